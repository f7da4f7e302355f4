"""The words of the command line for persons, in English and Chinese.

What operators of institutions read is in English only; so are the details of errors, as in reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ddtp.identity.language import Language


@dataclass(frozen=True, slots=True)
class Words:
    """All words of one language; names in braces are filled in where they are used."""

    error: str
    cause: str
    next_step: str
    warning: str
    defect: str
    defect_advice: str
    cancelled: str
    interrupted: str
    ended: str
    not_confirmed: str
    not_confirmed_hint: str
    unlock: str
    new_unlock: str
    again: str
    passphrases_differ: str
    unlock_again: str
    unlock_lost: str
    unlock_short: str
    phrase_heading: str
    phrase_advice: str
    phrase_hidden: str
    phrase_question: str
    person_ready: str
    institution_ready: str
    restored: str
    to_question: str
    send_question: str
    issued_by: str
    issued_by_yourself: str
    issued_by_stranger: str
    dry_run: str
    delivered: str
    delivered_anyway: str
    result_lost: str
    notify_failed: str
    rejected: str
    resume_hint: str
    keyed_hint: str
    declined_hint: str
    unreachable_hint: str
    pack_hint: str
    left_out: str
    phases: Mapping[str, str]
    progress_of: str
    progress_left: str
    pause_key: str
    resume_key: str
    states: Mapping[str, str]
    sent_to: str
    received_from: str
    headings: Mapping[str, str]
    no_transfers: str
    pausing: str
    resuming: str
    partly_there: str
    dropped: str
    drop_keyed: str
    advice: Mapping[str, str]
    refusals: Mapping[str, str]
    refusal_advice: Mapping[str, str]


_WORDS: Final = MappingProxyType(
    {
        Language.EN: Words(
            error="error:",
            cause="cause:",
            next_step="next: ",
            warning="warning:",
            defect="this is a defect of DDTP, not a mistake of yours: {error}",
            defect_advice="run the command again with --debug and report what it prints",
            cancelled="cancelled; nothing was sent or changed",
            interrupted="interrupted",
            ended="ended by {signal}",
            not_confirmed="expected somebody to confirm, found nobody who can be asked",
            not_confirmed_hint="run it in a terminal, or add {flag} if you have read what it does",
            unlock="Passphrase",
            new_unlock="Choose a passphrase that protects your keys on this machine",
            again="The same passphrase again",
            passphrases_differ="expected the same passphrase twice, found two different ones",
            unlock_again="This is not the passphrase. Again, please.",
            unlock_lost="if it is lost, bring the keys back from the 24 words: ddtp --home NEW init --phrase FILE",
            unlock_short="it has fewer than {least} characters; whoever gets the key file can guess it",
            phrase_heading="Your recovery phrase:",
            phrase_advice=(
                "Write these 24 words on paper, in this order, and keep the paper where nobody else looks.\n"
                "They are the only way to get your identity back if this machine is lost. Whoever has them can act as\n"
                "you, so never type them into a web page or a message. They will not be shown again by themselves."
            ),
            phrase_hidden="Your recovery phrase was not shown. Write it down soon: ddtp phrase",
            phrase_question="Whoever sees these words can act as you. Show them now?",
            person_ready=(
                "Your identity is ready in {home}.\n"
                "Next: remember an institution:       ddtp card add FILE\n"
                "      hand it your address:          ddtp id --for NAME\n"
                "      collect what it has for you:   ddtp collect NAME"
            ),
            institution_ready=(
                "The identity of {name} is ready in {home}.\n"
                "Next: choose roles in {config}\n"
                "      check the machine:             ddtp doctor\n"
                "      start the service:             ddtp serve"
            ),
            restored="The identity was restored from its phrase; all keys are the same as before.",
            to_question="To {name}?",
            send_question="Do you agree, and send this to {name}?",
            issued_by="Issued by {name}, whose card you have:",
            issued_by_yourself="Packed by yourself:",
            issued_by_stranger="Issued by somebody whose card you do not have:",
            dry_run="This was a dry run: nothing was signed and nothing was sent.",
            delivered=(
                "Delivered and verified: {name} signed at {at}\n"
                "that the data arrived complete and unchanged, is genuine, and was sent with your consent.\n"
                "{size} in {elapsed}, transfer {transfer}; content {content}, receipt {receipt}.\n"
                "The receipt is kept, and proves this later: ddtp show {transfer}"
            ),
            delivered_anyway="nothing has to be sent again: {name} has verified the data; see ddtp show {transfer}",
            result_lost="it is done, but the result could not be written to stdout",
            notify_failed="the command of [notify] failed: {reason}",
            rejected=(
                "{name} received the data but did not accept it, and signed for that at {at}: check {step} failed "
                '("{check}"). It says: "{reason}"'
            ),
            resume_hint="nothing is lost; go on later with: ddtp resume {transfer}",
            keyed_hint=(
                "{name} has the key and may read the data; only its answer is missing, and this fetches it: "
                "ddtp resume {transfer}"
            ),
            declined_hint="no data has left; ask the institution what it needs, and send again with a new consent",
            unreachable_hint="check the network; if it works, ask the institution for its present card",
            pack_hint=(
                "ask the institution that made the file for a package (ddtp collect NAME), "
                "or pack it yourself: ddtp pack FILE --schema NAME --witness CARD"
            ),
            left_out="Too wide for this terminal, and left out: {columns}. --json has everything.",
            phases=MappingProxyType(
                {
                    "packing": "reading and sealing",
                    "consent": "recording your consent",
                    "connecting": "connecting",
                    "reconnecting": "connection lost, trying again",
                    "waiting": "waiting for the answer",
                    "sealing": "sealing again what has arrived",
                    "sending": "sending",
                    "paused": "paused",
                    "receipt": "waiting for the receipt",
                    "key": "handing over the key",
                    "verifying": "the receiver verifies",
                    "done": "done",
                }
            ),
            progress_of="{done} of {total}",
            progress_left="{time} left",
            pause_key="[p] pause",
            resume_key="[p] go on",
            states=MappingProxyType(
                {
                    "sending": "being sent",
                    "paused": "paused",
                    "broken-off": "broken off",
                    "receiving": "not complete yet",
                    "received": "received, not opened",
                    "keyed": "handed over, no answer yet",
                    "verified": "verified",
                    "rejected": "not accepted",
                    "declined": "declined",
                    "dropped": "given up",
                }
            ),
            sent_to="to {name}",
            received_from="from {name}",
            headings=MappingProxyType(
                {"who": "WHO", "state": "STATE", "done": "DONE", "next": "NEXT", "kind": "KIND", "when": "WHEN"}
            ),
            no_transfers="No transfers yet. Next: ddtp send FILE --to NAME",
            pausing="The transfer to {name} rests. It goes on with: ddtp transfers resume {transfer}",
            resuming="The transfer to {name} goes on where it is being sent.",
            partly_there="{percent}% of this package is at {name} already. Not to begin anew: ddtp resume {transfer}",
            dropped="The transfer {who} is given up; its key is destroyed, and what was kept to go on is deleted.",
            drop_keyed="{name} has the key and may read the data; if you give this up, its answer is never fetched",
            advice=MappingProxyType(
                {
                    "issuer": "show {name} this, or ask who issued the package for one that it accepts",
                    "time": "ask who issued the package for a present one, and send that",
                    "consent": "send again, with a new consent: ddtp send",
                    "content": "check the package: ddtp show FILE; collect it again if it is damaged, and send again",
                }
            ),
            refusals=MappingProxyType(
                {
                    "environment": "{name} has trouble with its machine",
                    "unreachable": "{name} cannot reach somebody whom it needs for this",
                    "disk-full": "{name} has no room for it now",
                    "storage-failed": "{name} has trouble with its disk",
                    "store-damaged": "{name} has found damage in what it has stored",
                    "already-running": "{name} is at work on this transfer already",
                    "overloaded": "{name} has too much to do now",
                    "crypto-unavailable": "{name} lacks a part of its software that it needs for this",
                    "stalled": "{name} has heard nothing from here for too long",
                    "vanished": "{name} has lost the connection",
                    "cancelled": "{name} was told to stop",
                    "internal": "{name} has met a defect of its software",
                }
            ),
            refusal_advice=MappingProxyType(
                {
                    "disk-full": "ask it to make room, then: ddtp resume {transfer}",
                    **dict.fromkeys(
                        ("environment", "storage-failed", "store-damaged", "crypto-unavailable", "internal"),
                        "tell it, and when it is mended: ddtp resume {transfer}",
                    ),
                    **dict.fromkeys(
                        ("unreachable", "already-running", "overloaded", "cancelled"),
                        "try again in a few minutes: ddtp resume {transfer}",
                    ),
                }
            ),
        ),
        Language.ZH: Words(
            error="错误：",
            cause="原因：",
            next_step="下一步：",
            warning="注意：",
            defect="这是 DDTP 自身的缺陷，不是您的操作有误：{error}",
            defect_advice="请加上 --debug 再运行一次，并把输出内容反馈给我们",
            cancelled="已取消；没有发送或更改任何内容",
            interrupted="已中断",
            ended="已被 {signal} 结束",
            not_confirmed="需要本人确认，但当前无法询问",
            not_confirmed_hint="请在终端中运行；若已了解后果，可加上 {flag}",
            unlock="口令",
            new_unlock="请设定一个口令，用来保护本机上的密钥",
            again="请再输入一次",
            passphrases_differ="两次输入的口令不一致",
            unlock_again="口令不对，请再输入一次。",
            unlock_lost="若口令遗失，可用 24 个助记词在新的目录中恢复密钥：ddtp --home 新目录 init --phrase 文件",
            unlock_short="口令不足 {least} 个字符；得到密钥文件的人可以猜出它",
            phrase_heading="您的恢复助记词：",
            phrase_advice=(
                "请按顺序把这 24 个字抄写在纸上，放在别人看不到的地方。\n"
                "本机丢失时，只有它能恢复您的身份。拿到它的人可以冒充您，\n"
                "所以不要输入到网页或消息里。以后不会再自动显示。"
            ),
            phrase_hidden="恢复助记词尚未显示。请尽快抄写：ddtp phrase",
            phrase_question="看到这些字的人可以冒充您。现在显示吗？",
            person_ready=(
                "您的身份已建立，位于 {home}。\n"
                "下一步：记住一家机构：      ddtp card add 文件\n"
                "        把您的地址交给它：  ddtp id --for 名称\n"
                "        领取给您的数据包：  ddtp collect 名称"
            ),
            institution_ready=(
                "{name} 的身份已建立，位于 {home}。\n"
                "下一步：在 {config} 中选择角色\n"
                "        检查本机：  ddtp doctor\n"
                "        启动服务：  ddtp serve"
            ),
            restored="身份已由助记词恢复，全部密钥与原来相同。",
            to_question="发送给 {name}？",
            send_question="您是否同意，并将以上内容发送给 {name}？",
            issued_by="由 {name} 出具（您存有其名片）：",
            issued_by_yourself="由您自己打包：",
            issued_by_stranger="出具者的名片您没有保存：",
            dry_run="以上为预演：没有签署，也没有发送任何内容。",
            delivered=(
                "已送达并核验：{name} 于 {at} 签署回执，确认数据完整、未被改动、真实有效，且经您同意。\n"
                "共 {size}，用时 {elapsed}，传输编号 {transfer}；内容 {content}，回执 {receipt}。\n"
                "回执已保存，日后可凭以证明：ddtp show {transfer}"
            ),
            delivered_anyway="无需重新发送：{name} 已收到数据并已核验；ddtp show {transfer}",
            result_lost="已完成，但结果无法写入标准输出",
            notify_failed="[notify] 中设置的命令运行失败：{reason}",
            rejected=(
                "{name} 收到了数据，但未予采信，并于 {at} 签署说明：第 {step} 项检查（{check}）未通过。"
                "对方说明：“{reason}”"
            ),
            resume_hint="数据没有丢失；稍后可继续：ddtp resume {transfer}",
            keyed_hint="{name} 已持有密钥，可以读取数据；只差其答复，可用此命令取回：ddtp resume {transfer}",
            declined_hint="没有数据发出；请向该机构询问其要求，再重新同意并发送",
            unreachable_hint="请检查网络；若网络正常，请向该机构索取最新名片",
            pack_hint=(
                "请向出具文件的机构领取数据包（ddtp collect 名称），"
                "或自行打包：ddtp pack 文件 --schema 类别 --witness 名片"
            ),
            left_out="终端宽度不足，未显示：{columns}。完整内容见 --json。",
            phases=MappingProxyType(
                {
                    "packing": "读取并加密",
                    "consent": "登记您的同意",
                    "connecting": "正在连接",
                    "reconnecting": "连接已断开，正在重试",
                    "waiting": "等待答复",
                    "sealing": "重新加密已到达的部分",
                    "sending": "正在发送",
                    "paused": "已暂停",
                    "receipt": "等待回执",
                    "key": "交付密钥",
                    "verifying": "接收方正在核验",
                    "done": "完成",
                }
            ),
            progress_of="{done} / {total}",
            progress_left="剩余 {time}",
            pause_key="[p] 暂停",
            resume_key="[p] 继续",
            states=MappingProxyType(
                {
                    "sending": "正在发送",
                    "paused": "已暂停",
                    "broken-off": "已中断",
                    "receiving": "尚未收全",
                    "received": "已收到，尚未打开",
                    "keyed": "已交付，尚无答复",
                    "verified": "已核验",
                    "rejected": "未被采信",
                    "declined": "已被拒绝",
                    "dropped": "已放弃",
                }
            ),
            sent_to="发往 {name}",
            received_from="来自 {name}",
            headings=MappingProxyType(
                {"who": "对方", "state": "状态", "done": "进度", "next": "下一步", "kind": "类别", "when": "时间"}
            ),
            no_transfers="尚无传输。下一步：ddtp send 文件 --to 名称",
            pausing="发往 {name} 的传输已暂停。继续请运行：ddtp transfers resume {transfer}",
            resuming="发往 {name} 的传输在原处继续。",
            partly_there="此数据包已有 {percent}% 到达 {name}。如不想重新开始：ddtp resume {transfer}",
            dropped="{who} 的传输已放弃；其密钥已销毁，为继续传输保存的内容已删除。",
            drop_keyed="{name} 已持有密钥，可以读取数据；若放弃，将不再取回其答复",
            advice=MappingProxyType(
                {
                    "issuer": "请向 {name} 出示此说明，或请出具方提供其认可的数据包",
                    "time": "请向出具方领取有效的数据包后重新发送",
                    "consent": "请重新同意并发送：ddtp send",
                    "content": "请检查数据包：ddtp show 文件；若已损坏，请重新领取后再发送",
                }
            ),
            refusals=MappingProxyType(
                {
                    "environment": "{name} 的机器出现故障",
                    "unreachable": "{name} 联系不上办理此事所需的另一方",
                    "disk-full": "{name} 目前没有足够的存储空间",
                    "storage-failed": "{name} 的磁盘出现故障",
                    "store-damaged": "{name} 发现其存储的内容已损坏",
                    "already-running": "{name} 已在处理此传输",
                    "overloaded": "{name} 目前过于繁忙",
                    "crypto-unavailable": "{name} 缺少办理此事所需的软件",
                    "stalled": "{name} 长时间没有收到本方的数据",
                    "vanished": "{name} 与本方的连接已断开",
                    "cancelled": "{name} 的程序被要求停止",
                    "internal": "{name} 的软件出现缺陷",
                }
            ),
            refusal_advice=MappingProxyType(
                {
                    "disk-full": "请对方腾出空间，然后运行：ddtp resume {transfer}",
                    **dict.fromkeys(
                        ("environment", "storage-failed", "store-damaged", "crypto-unavailable", "internal"),
                        "请告知对方，待其修复后运行：ddtp resume {transfer}",
                    ),
                    **dict.fromkeys(
                        ("unreachable", "already-running", "overloaded", "cancelled"),
                        "请过几分钟再试：ddtp resume {transfer}",
                    ),
                }
            ),
        ),
    }
)


def words(language: Language) -> Words:
    """Return the words of a language."""
    return _WORDS[language]
