"""The words of the demo, in English and Chinese."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final

from ddtp.identity.language import Language


@dataclass(frozen=True, slots=True)
class Names:
    """What the parties are called."""

    person: str
    ledger: str
    issuer: str
    receiver: str
    other: str
    verifier: str
    contact: str


@dataclass(frozen=True, slots=True)
class Words:
    """All words of one language; names in braces are filled in where they are told.

    Attributes:
        names: Of the parties.
        title: Above everything.
        steps: What happened, by the name of the step; a new line starts where one is too long.
        more: Below the shown part of the consent screen.
        attacks: Above the attacks.
        caught: Which check refused an attack.
        end: When all went as it must.
        next_kept: Where to look next, if everything is left behind.
        next_gone: Where to look next, if nothing is.
    """

    names: Names
    title: str
    steps: Mapping[str, str]
    more: str
    attacks: str
    caught: str
    end: str
    next_kept: str
    next_gone: str

    def text(self, name: str, **values: object) -> str:
        """Return what a step says."""
        return self.fill(self.steps[name], **values)

    def fill(self, template: str, **values: object) -> str:
        """Return a text with the parties and values filled in."""
        return template.format(**asdict(self.names), **values)


_WORDS: Final = MappingProxyType(
    {
        Language.EN: Words(
            names=Names(
                person="Xiao Ming",
                ledger="City Ledger",
                issuer="Bank A",
                receiver="Bank B",
                other="Bank C",
                verifier="City Verifier",
                contact="privacy@bank.example",
            ),
            title=(
                "{person} takes a bank statement from {issuer} to {receiver}.\n"
                "Every institution is a process of its own on this machine; the data is synthetic.\n"
                "Starting all of them takes some seconds.\n"
            ),
            steps=MappingProxyType(
                {
                    "start": "Started {count} processes: {ledger}, {verifier}, {issuer}, {receiver}, {other}.",
                    "issue": (
                        "{issuer} issued the statement: {files} files and {fields} values, {size}, signed.\n"
                        "{ledger} keeps a blinded fingerprint of it, nothing else."
                    ),
                    "collect": "{person} collected it over the network and checked all of it.",
                    "ask": "{receiver} asks for most of it. {person} reads, before anything is signed:",
                    "deliver": (
                        "The demo answered yes for {person}. The consent to exactly that text was signed\n"
                        "and registered; {size} went to {receiver}, encrypted. {receiver} had to sign for\n"
                        "the ciphertext before it got the key. Its receipt: VERIFIED, all checks passed.\n"
                        "The value {kept_back} was not asked for and stayed with {person}."
                    ),
                    "ledger": "{ledger} now has {count} entries ({kinds}), without names or data.",
                    "attack-altered-file": (
                        "Attack 1, a changed byte: in {file} the balance {genuine} becomes\n"
                        "{forged}. It is sealed, agreed to and sent like the genuine file.\n"
                        "{receiver} opened it in quarantine, rejected it and signed for that."
                    ),
                    "attack-other-receiver": (
                        "Attack 2, the consent for {receiver} used for {other}: the same proof is offered\n"
                        "to {other}. {other} declined before any data was sent."
                    ),
                    "attack-other-request": (
                        "Attack 2 again, cleverer: the same consent, shown as an answer to {other}'s own\n"
                        "request. {other} declined before any data was sent."
                    ),
                    "attack-expired-consent": (
                        "Attack 3, a consent that has ended: it was given for {permitted} second, and used later.\n"
                        "{receiver} declined before any data was sent."
                    ),
                    "stop": "Stopped all {count} processes. What follows needs nobody.",
                    "offline": (
                        "Offline, the files and the proof as {receiver} exported them: genuine.\n"
                        "{passed} of {count} checks passed."
                    ),
                    "offline-altered-file": "Offline, after one byte of {file} was changed: refused.",
                    "offline-other-receiver": "Offline, as a proof for {other}: refused.",
                    "offline-expired-consent": "Offline, for a time after the consent ends: refused.",
                }
            ),
            more="... and {count} more lines: how long, who else, how to withdraw, rights",
            attacks=(
                "\nNow three attacks, by somebody who has {person}'s own keys and a modified program.\n"
                "Each must fail, and says which check of the verification caught it.\n"
            ),
            caught='=> caught by check {number}, {label}: "{title}"',
            end="\nEverything went as it must, in {seconds:.1f} s.",
            next_kept=(
                "Where to look next: README.md has the tour with the commands behind each step, spec/ the protocol.\n"
                "Everything is left in {folder}. Check the proof yourself:\n"
                "  ddtp verify {bundle} --policy {policy}"
            ),
            next_gone=(
                "Where to look next: README.md has the tour with the commands behind each step, spec/ the protocol.\n"
                "To keep the files, and check the proof with ddtp verify:\n"
                "  ddtp demo --keep ./demo"
            ),
        ),
        Language.ZH: Words(
            names=Names(
                person="小明",
                ledger="城市账本",
                issuer="甲银行",
                receiver="乙银行",
                other="丙银行",
                verifier="城市核验处",
                contact="privacy@bank.example",
            ),
            title=(
                "{person}把一份银行流水从{issuer}带到{receiver}。\n"
                "各机构都是本机上独立的进程；数据均为合成数据。启动需要几秒钟。\n"
            ),
            steps=MappingProxyType(
                {
                    "start": "已启动 {count} 个进程：{ledger}、{verifier}、{issuer}、{receiver}、{other}。",
                    "issue": (
                        "{issuer}签发了流水：{files} 个附件、{fields} 项数值，共 {size}，已签名。\n"
                        "{ledger}只保存其盲化指纹，别无其他。"
                    ),
                    "collect": "{person}通过网络领取，并完整核对。",
                    "ask": "{receiver}请求其中的大部分内容。签署之前，{person}看到：",
                    "deliver": (
                        "演示程序代{person}回答：同意。对上述文字的授权已签名并登记；\n"
                        "{size} 已加密送达{receiver}。{receiver}先为密文签收，才得到密钥。\n"
                        "回执：核验通过（VERIFIED），各项检查全部通过。\n"
                        "未请求的数值 {kept_back} 仍只在{person}手中。"
                    ),
                    "ledger": "{ledger}现有 {count} 条记录（{kinds}），不含姓名和数据。",
                    "attack-altered-file": (
                        "攻击一，改动一个字节：把 {file} 中的余额 {genuine} 改成\n"
                        "{forged}，照常加密、授权并发送。\n"
                        "{receiver}在隔离区打开后拒收，并对此签署回执。"
                    ),
                    "attack-other-receiver": (
                        "攻击二，把给{receiver}的授权用于{other}：向{other}出示同一份证明。\n{other}在收到任何数据之前拒绝。"
                    ),
                    "attack-other-request": (
                        "攻击二之二，更巧妙：把同一份授权当作对{other}请求的答复。\n{other}在收到任何数据之前拒绝。"
                    ),
                    "attack-expired-consent": (
                        "攻击三，授权已到期：授权期只有 {permitted} 秒，到期后才使用。\n"
                        "{receiver}在收到任何数据之前拒绝。"
                    ),
                    "stop": "{count} 个进程均已停止。以下步骤无需任何人参与。",
                    "offline": "离线核验{receiver}导出的文件和证明：真实有效。\n{count} 项检查通过 {passed} 项。",
                    "offline-altered-file": "离线：{file} 改动一个字节之后：不予采信。",
                    "offline-other-receiver": "离线：作为给{other}的证明：不予采信。",
                    "offline-expired-consent": "离线：以授权到期之后的时间核验：不予采信。",
                }
            ),
            more="……另有 {count} 行：期限、其他接收方、如何撤回、您的权利",
            attacks=(
                "\n以下三次攻击，攻击者拥有{person}本人的密钥和改动过的程序。\n"
                "每次都必须失败，并指出由哪一项检查发现。\n"
            ),
            caught="=> 由第 {number} 项检查（{label}）发现：“{title}”",
            end="\n一切符合预期，用时 {seconds:.1f} 秒。",
            next_kept=(
                "下一步：README.md 有带命令的导览，spec/ 是协议文本。\n"
                "全部文件留在 {folder}。您可以自行核验证明：\n"
                "  ddtp verify {bundle} --policy {policy}"
            ),
            next_gone=(
                "下一步：README.md 有带命令的导览，spec/ 是协议文本。\n"
                "若要保留文件，并用 ddtp verify 核验证明：\n"
                "  ddtp demo --keep ./demo"
            ),
        ),
    }
)


def words(language: Language) -> Words:
    """Return the words of a language."""
    return _WORDS[language]
