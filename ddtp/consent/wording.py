"""The words of the consent screen (spec/06-consent s.4); a test compares them with the table there.

Any change makes another text, which old grants do not name: it needs a new `screen.VERSION`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ddtp.consent.choice import ConsentKind
from ddtp.consent.request import AtEnd, Basis, Operation
from ddtp.identity.language import Language


@dataclass(frozen=True, slots=True)
class Words:
    """All words of one language; names in braces are filled in by the screen."""

    title: str
    quoted: str
    who: str
    identifier: str
    contact: str
    country: str
    controllers: str
    what: str
    issuer: str
    package: str
    level_1: str
    level_2: str
    level_3: str
    level_4: str
    level_2_of_all: str
    proves: str
    category: str
    sensitive: str
    others: str
    period: str
    period_from: str
    period_to: str
    max_age: str
    condition: str
    why: str
    required: str
    optional: str
    declined: str
    basis: str
    service: str
    operations: str
    automated: str
    automated_none: str
    onward: str
    onward_none: str
    place: str
    cross_border: str
    when: str
    starts: str
    ends: str
    uses: str
    every: str
    keep: str
    keep_until: str
    keep_seconds: str
    keep_event: str
    keep_first: str
    erase_within: str
    legal_holds: str
    reports: str
    fee: str
    fee_none: str
    withdrawal: str
    withdrawal_delay: str
    withdrawal_effect: str
    rights: str
    authority: str
    law: str
    profile: str
    notice: str
    notice_version: str
    notice_digest: str
    proof: str
    logs_any: str
    logs: str
    verifier: str
    request: str
    answer_until: str
    form: str
    kinds: Mapping[ConsentKind, str]
    bases: Mapping[Basis, str]
    permitted: Mapping[Operation, str]
    at_end: Mapping[AtEnd, str]
    units: tuple[tuple[int, str, str], ...]
    time_zone: str
    utc_offset_seconds: int
    comma: str


WORDS: Final[Mapping[Language, Words]] = {
    Language.EN: Words(
        title="CONSENT TO SEND YOUR DATA",
        quoted='Lines that start with ">" are the words of who asks. All other lines come from your own program.',
        who="WHO ASKS",
        identifier="Identifier: {did}",
        contact="Contact:",
        country="Country: {code}",
        controllers="Who else decides how it is used:",
        what="WHAT IS SENT",
        issuer="Issued by: {did}",
        package="Package: {package}",
        level_1="Level 1 of 4: everything in the package",
        level_2="Level 2 of 4: only the parts of the package that are listed here",
        level_3="Level 3 of 4: a statement about a value, not the value itself",
        level_4="Level 4 of 4: only that you qualify, without your name",
        level_2_of_all="Level 2 of 4: only a part of the package, although everything was asked for",
        proves="Statement:",
        category="Kind of data:",
        sensitive="This is SENSITIVE personal data. Misuse can harm you.",
        others="It is also about other people. They are protected like this:",
        period="About the time from {start} to {end}",
        period_from="About the time from {start} on",
        period_to="About the time until {end}",
        max_age="Not older than {duration}",
        condition="Condition:",
        why="WHAT IT IS USED FOR",
        required="[x] {number}. Required: without it there is no service",
        optional="[x] {number}. Optional: you agree to it",
        declined="[ ] {number}. Optional: you do NOT agree to it",
        basis="Legal ground: {basis}",
        service="Service:",
        operations="It may be: {operations}",
        automated="DECISIONS WITHOUT A HUMAN",
        automated_none="None.",
        onward="WHO ELSE RECEIVES IT",
        onward_none="Nobody.",
        place="Stored at:",
        cross_border="It leaves the country, on this ground:",
        when="HOW LONG YOU PERMIT IT",
        starts="From {time}",
        ends="Until {time}. After that the permission ends by itself.",
        uses="Number of uses, at most: {count}",
        every="Time between two uses, at least: {duration}",
        keep="HOW LONG IT IS KEPT",
        keep_until="Until {time}",
        keep_seconds="For {duration} after it was received",
        keep_event="Until this happens:",
        keep_first="Whichever of these is first.",
        erase_within="This is done within {duration}.",
        legal_holds="These laws can forbid that:",
        reports="You are told about its use:",
        fee="COST OR REWARD",
        fee_none="None.",
        withdrawal="HOW YOU WITHDRAW",
        withdrawal_delay=(
            "A withdrawal holds as soon as the receiver confirms it, at the latest {duration} after it was recorded. "
            "What was done before stays lawful."
        ),
        withdrawal_effect="What it changes:",
        rights="YOUR RIGHTS",
        authority="You can complain to:",
        law="Law: {codes}",
        profile="Rules followed:",
        notice="Privacy notice:",
        notice_version="Version:",
        notice_digest="Fingerprint of the notice: {digest}",
        proof="PROOF",
        logs_any="Your consent is recorded as a fingerprint on a ledger, without your name or data.",
        logs="Your consent is recorded as a fingerprint, without your name or data, on one of these ledgers:",
        verifier="Checked by:",
        request="Request: {request}",
        answer_until="You can answer until {time}.",
        form="Form of your consent: {kind}",
        kinds={
            ConsentKind.EXPLICIT: "explicit",
            ConsentKind.SEPARATE: "separate, for this purpose alone",
            ConsentKind.WRITTEN: "written",
            ConsentKind.ONCE: "for this one time",
        },
        bases={
            Basis.CONSENT: "your consent",
            Basis.CONTRACT: "a contract with you",
            Basis.LEGAL_DUTY: "a legal duty",
            Basis.EMERGENCY: "an emergency",
            Basis.PUBLIC_INTEREST: "the public interest",
            Basis.PUBLISHED: "you or the law have published it",
            Basis.LEGITIMATE_INTEREST: "a legitimate interest",
        },
        permitted={
            Operation.VIEW: "viewed",
            Operation.STORE: "stored",
            Operation.QUERY: "searched",
            Operation.STREAM: "received continuously",
        },
        at_end={
            AtEnd.ERASE: "Then it is erased.",
            AtEnd.RETURN: "Then it is returned to you and erased.",
            AtEnd.RESTRICT: "Then it is locked away, but NOT erased.",
        },
        units=(
            (86400, "{count} day", "{count} days"),
            (3600, "{count} hour", "{count} hours"),
            (60, "{count} minute", "{count} minutes"),
            (1, "{count} second", "{count} seconds"),
        ),
        time_zone="UTC",
        utc_offset_seconds=0,
        comma=", ",
    ),
    Language.ZH: Words(
        title="同意发送您的数据",
        quoted="以“>”开头的行是请求方的原话，其余各行由您自己的程序给出。",
        who="谁在请求",
        identifier="标识：{did}",
        contact="联系方式：",
        country="国家或地区：{code}",
        controllers="还有谁决定数据的用法：",
        what="发送什么",
        issuer="签发方：{did}",
        package="数据包：{package}",
        level_1="第 1 级（共 4 级）：数据包的全部内容",
        level_2="第 2 级（共 4 级）：仅限此处列出的部分",
        level_3="第 3 级（共 4 级）：只证明一个结论，不给出数值本身",
        level_4="第 4 级（共 4 级）：只证明您符合条件，不透露您是谁",
        level_2_of_all="第 2 级（共 4 级）：对方要求全部内容，您只发送其中一部分",
        proves="结论：",
        category="数据类别：",
        sensitive="这是敏感个人信息，一旦被滥用可能使您受到伤害。",
        others="其中也涉及他人的信息，对他人的保护措施：",
        period="数据所属时间：{start} 至 {end}",
        period_from="数据所属时间：{start} 起",
        period_to="数据所属时间：截至 {end}",
        max_age="数据签发至今不超过 {duration}",
        condition="条件：",
        why="用来做什么",
        required="[x] {number}. 必需：不同意则无法提供服务",
        optional="[x] {number}. 可选：您同意",
        declined="[ ] {number}. 可选：您不同意",
        basis="合法依据：{basis}",
        service="服务：",
        operations="允许的操作：{operations}",
        automated="是否由机器自动作出决定",
        automated_none="否。",
        onward="还会提供给谁",
        onward_none="不提供给任何人。",
        place="存放地点：",
        cross_border="数据将出境，依据：",
        when="您允许多久",
        starts="开始：{time}",
        ends="结束：{time}，到期自动失效。",
        uses="最多使用次数：{count}",
        every="两次使用的最短间隔：{duration}",
        keep="数据保存多久",
        keep_until="保存到 {time}",
        keep_seconds="收到后保存 {duration}",
        keep_event="保存到以下情况发生：",
        keep_first="以最先到的为准。",
        erase_within="以上处理在 {duration}内完成。",
        legal_holds="下列法律可能不允许这样处理：",
        reports="您会得知数据的使用情况：",
        fee="费用或报酬",
        fee_none="没有。",
        withdrawal="怎样撤回同意",
        withdrawal_delay="对方确认撤回后立即生效，最迟在撤回登记后 {duration}生效。撤回以前已经进行的处理仍然有效。",
        withdrawal_effect="撤回的影响：",
        rights="您的权利",
        authority="您可以向以下机构投诉：",
        law="适用法律：{codes}",
        profile="遵循的规则：",
        notice="隐私告知：",
        notice_version="版本：",
        notice_digest="隐私告知的指纹：{digest}",
        proof="存证",
        logs_any="您的同意会以指纹形式登记在账本上，不含您的姓名和数据。",
        logs="您的同意会以指纹形式（不含您的姓名和数据）登记在以下账本之一：",
        verifier="核验方：",
        request="请求编号：{request}",
        answer_until="请在 {time} 之前答复。",
        form="同意的形式：{kind}",
        kinds={
            ConsentKind.EXPLICIT: "明确同意",
            ConsentKind.SEPARATE: "单独同意",
            ConsentKind.WRITTEN: "书面同意",
            ConsentKind.ONCE: "仅此一次",
        },
        bases={
            Basis.CONSENT: "您的同意",
            Basis.CONTRACT: "与您的合同",
            Basis.LEGAL_DUTY: "法定职责或义务",
            Basis.EMERGENCY: "紧急情况",
            Basis.PUBLIC_INTEREST: "公共利益",
            Basis.PUBLISHED: "已依法公开",
            Basis.LEGITIMATE_INTEREST: "正当利益",
        },
        permitted={
            Operation.VIEW: "查看",
            Operation.STORE: "存储",
            Operation.QUERY: "查询",
            Operation.STREAM: "持续接收",
        },
        at_end={
            AtEnd.ERASE: "此后删除。",
            AtEnd.RETURN: "此后归还给您并删除。",
            AtEnd.RESTRICT: "此后封存，但不删除。",
        },
        units=(
            (86400, "{count} 天", "{count} 天"),
            (3600, "{count} 小时", "{count} 小时"),
            (60, "{count} 分钟", "{count} 分钟"),
            (1, "{count} 秒", "{count} 秒"),
        ),
        time_zone="北京时间",
        utc_offset_seconds=8 * 3600,
        comma="、",
    ),
}
"""The words of version 1."""


def words(language: Language) -> Words:
    """Return the words of a language."""
    return WORDS[language]


def duration(seconds: int, text: Words) -> str:
    """Return a duration in the largest unit that divides it."""
    size, one, many = next(unit for unit in text.units if seconds % unit[0] == 0)
    count = seconds // size
    return (one if count == 1 else many).format(count=count)
