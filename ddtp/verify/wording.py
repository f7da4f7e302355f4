"""The words of a verification report, in Chinese and English (spec/10-verification s.5).

Written for a clerk: what each step found out, what a failure means, what to do next. Technical detail is added by
`report`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ddtp.identity.language import Language
from ddtp.verify.steps import Step


@dataclass(frozen=True, slots=True)
class StepWords:
    """What people read about one step.

    Attributes:
        title: What is true if the step passed.
        meaning: What its failure means.
        advice: What to do then.
    """

    title: str
    meaning: str
    advice: str


@dataclass(frozen=True, slots=True)
class Words:
    """All words of one language; names in braces are filled in by the report.

    `same_content` is the meaning and the advice where only the bytes of a file differ.
    """

    accepted: str
    accepted_without_content: str
    refused: str
    checked_for: str
    failure_heading: str
    meaning_label: str
    advice_label: str
    detail_label: str
    same_content: tuple[str, str]
    issuer_label: str
    schema_label: str
    issued_label: str
    receiver_label: str
    granted_label: str
    outcome_label: str
    outcomes: Mapping[str, str]
    needs: str
    absent: str
    states: Mapping[str, str]
    steps: Mapping[Step, StepWords]


def words(language: Language) -> Words:
    """Return the words of a language."""
    return _WORDS[language]


_STEPS_EN = {
    Step.BUNDLE_FORM: StepWords(
        "The proof is complete and readable",
        "The proof was cut off, damaged or made by other software.",
        "Ask the person to send the proof file again.",
    ),
    Step.ISSUER_SIGNATURE: StepWords(
        "The issuer's signature is genuine",
        "The document was altered after it was issued, or the issuer it names never signed it.",
        "Do not use the data. Ask the person for a fresh copy from the issuer.",
    ),
    Step.ISSUER_TRUSTED: StepWords(
        "We trust the issuer for this kind of document",
        "The signature may be real, but nobody here has said that this issuer may vouch for such data.",
        "Check who the issuer is. If it is a known institution, ask your administrator to add it.",
    ),
    Step.MANIFEST_TIME: StepWords(
        "The document is within its period of validity",
        "The document has expired, or is dated in the future.",
        "Ask the person for a newly issued copy. If the date is in the future, check this computer's clock.",
    ),
    Step.DISCLOSURE: StepWords(
        "The shown parts belong to the issued document",
        "At least one shown part does not belong to the document, or parts that belong together were separated.",
        "Do not use the data. Ask the person to send it again.",
    ),
    Step.PACKAGE_ANCHOR: StepWords(
        "The document's fingerprint was registered by the right party",
        "The registered fingerprint is that of another document, or the party we demand did not register it.",
        "Ask the issuer whether it registered this copy; the person may need a new one.",
    ),
    Step.LEDGER_INCLUSION: StepWords(
        "A ledger that we trust holds the fingerprint",
        "The ledger entry cannot be proven, its ledger is not on our list, or its state is too old or in the future.",
        "Ask the person to fetch a fresh ledger proof and send again. If it repeats, tell your administrator.",
    ),
    Step.REQUEST_SIGNATURE: StepWords(
        "The request is our own",
        "The data was sent in answer to another institution's request, or to one that was altered.",
        "Do not use the data. Give the person your current request.",
    ),
    Step.GRANT_BINDING: StepWords(
        "The owner of the data agreed to exactly this",
        "The consent is for another receiver, request, document or set of fields, or the owner did not sign it.",
        "Do not use the data. Ask the person to look at the request again and to agree anew.",
    ),
    Step.GRANT_TIME: StepWords(
        "The consent is in force",
        "The consent has expired, or its period has not begun.",
        "Ask the person to agree anew.",
    ),
    Step.GRANT_ANCHOR: StepWords(
        "The consent is registered on the ledger",
        "Without this entry nobody can prove later when the person agreed.",
        "Ask the person to send again; their software registers the consent.",
    ),
    Step.RECEIPTS: StepWords(
        "The receipts are in order",
        "A receipt is missing, out of order, altered or about another transfer.",
        "Compare with your own record of the transfer; do not rely on these receipts.",
    ),
    Step.OPENINGS: StepWords(
        "The values are the issued ones",
        "At least one value differs from the issued document, or is missing.",
        "Do not use the data. Ask the person to send it again.",
    ),
    Step.CONTENT: StepWords(
        "Every file is unaltered, byte for byte",
        "At least one file differs from the issued one, is missing, or was not announced.",
        "Do not use the file. Ask the person to send it again.",
    ),
}

_STEPS_ZH = {
    Step.BUNDLE_FORM: StepWords(
        "证明文件完整、可读",
        "证明文件被截断、损坏，或由其他软件生成。",
        "请对方重新发送证明文件。",
    ),
    Step.ISSUER_SIGNATURE: StepWords(
        "签发机构的签名真实",
        "文件签发后被改动，或所写的签发机构从未签过名。",
        "不要使用该数据。请对方向签发机构重新取得一份。",
    ),
    Step.ISSUER_TRUSTED: StepWords(
        "该机构有资格签发此类文件",
        "签名可能是真的，但本单位未认可该机构签发此类数据。",
        "核实签发机构的身份；如确为正规机构，请管理员将其加入信任名单。",
    ),
    Step.MANIFEST_TIME: StepWords(
        "文件在有效期内",
        "文件已过期，或签发日期在将来。",
        "请对方取得新签发的文件；若日期在将来，请检查本机时钟。",
    ),
    Step.DISCLOSURE: StepWords(
        "所出示的内容出自该文件",
        "至少有一项内容不属于该文件，或应当一起出示的内容被拆开。",
        "不要使用该数据。请对方重新发送。",
    ),
    Step.PACKAGE_ANCHOR: StepWords(
        "文件指纹已由规定的机构登记",
        "登记的是另一份文件的指纹，或规定的机构没有登记。",
        "向签发机构询问是否登记过这一份；对方可能需要重新取得文件。",
    ),
    Step.LEDGER_INCLUSION: StepWords(
        "可信账本上存有该指纹",
        "账本记录无法证明，或账本不在信任名单中，或账本状态过旧、时间在将来。",
        "请对方重新取得账本证明后再发送；若反复出现，请告知管理员。",
    ),
    Step.REQUEST_SIGNATURE: StepWords(
        "所答复的是本单位的请求",
        "数据是答复其他机构的请求，或请求被改动过。",
        "不要使用该数据。请把本单位当前的请求交给对方。",
    ),
    Step.GRANT_BINDING: StepWords(
        "数据本人同意的正是这些内容",
        "授权针对的是其他接收方、其他请求、其他文件或其他内容，或并非本人签署。",
        "不要使用该数据。请对方重新查看请求并重新授权。",
    ),
    Step.GRANT_TIME: StepWords(
        "授权在有效期内",
        "授权已过期，或尚未生效。",
        "请对方重新授权。",
    ),
    Step.GRANT_ANCHOR: StepWords(
        "授权已登记在账本上",
        "没有这条登记，日后无法证明对方何时同意。",
        "请对方重新发送，其软件会完成登记。",
    ),
    Step.RECEIPTS: StepWords(
        "回执完整有序",
        "回执缺失、次序不对、被改动，或属于另一次传输。",
        "请与本单位的传输记录核对，不要依据这些回执。",
    ),
    Step.OPENINGS: StepWords(
        "各项数值与签发时一致",
        "至少有一项数值与签发的文件不同，或缺失。",
        "不要使用该数据。请对方重新发送。",
    ),
    Step.CONTENT: StepWords(
        "每个附件逐字节未被改动",
        "至少有一个附件与签发时不同、缺失，或未曾声明。",
        "不要使用该附件。请对方重新发送。",
    ),
}

_WORDS = MappingProxyType(
    {
        Language.EN: Words(
            accepted="RESULT: genuine. The data is what the issuer gave out, and its owner agreed to this use.",
            accepted_without_content="RESULT: the proof is genuine. The data itself was not there and was not checked.",
            refused="RESULT: do not rely on this. At least one check failed; see below.",
            checked_for="Checked for the time {time}.",
            failure_heading='Check {number} did not pass: "{title}"',
            meaning_label="What it means: ",
            advice_label="What to do:    ",
            detail_label="For experts:   ",
            same_content=(
                "The content is equal to the issued one, but a file was saved again, so its bytes differ.",
                "Ask the person to send the file as it was issued, without opening and saving it.",
            ),
            issuer_label="Issued by:     ",
            schema_label="Kind:          ",
            issued_label="Issued on:     ",
            receiver_label="For:           ",
            granted_label="Consent given: ",
            outcome_label="The receiver:  ",
            outcomes=MappingProxyType(
                {
                    "cipher": "signed for the encrypted data; there is no word that it was opened and found genuine",
                    "verified": "signed that it found everything genuine",
                    "rejected": "signed that it REJECTED the data",
                }
            ),
            needs=" (not checked, because check {number} failed)",
            absent=" (not checked, nothing was attached)",
            states=MappingProxyType({"passed": "[  ok  ]", "failed": "[FAILED]", "skipped": "[  --  ]"}),
            steps=MappingProxyType(_STEPS_EN),
        ),
        Language.ZH: Words(
            accepted="结论：真实有效。数据与签发时一致，且数据本人同意此次使用。",
            accepted_without_content="结论：证明真实有效。未附数据本身，因此未核对内容。",
            refused="结论：不可采信。至少有一项检查未通过，详见下文。",
            checked_for="检查所依据的时间：{time}。",
            failure_heading="第 {number} 项未通过：“{title}”",
            meaning_label="含义：",
            advice_label="下一步：",
            detail_label="技术说明：",
            same_content=(
                "内容与签发时相同，但附件被重新保存过，字节不同。",
                "请对方发送签发时的原文件，不要打开后另存。",
            ),
            issuer_label="签发机构：",
            schema_label="数据类别：",
            issued_label="签发时间：",
            receiver_label="接收机构：",
            granted_label="授权时间：",
            outcome_label="接收方：",
            outcomes=MappingProxyType(
                {
                    "cipher": "已签收加密数据；尚无“已打开并核实”的回执",
                    "verified": "已签字确认全部真实",
                    "rejected": "已签字拒收该数据",
                }
            ),
            needs="（未检查：第 {number} 项未通过）",
            absent="（未检查：未附相应内容）",
            states=MappingProxyType({"passed": "[通过]", "failed": "[失败]", "skipped": "[未查]"}),
            steps=MappingProxyType(_STEPS_ZH),
        ),
    }
)
