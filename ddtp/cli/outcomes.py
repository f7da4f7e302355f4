"""What a person reads when a transfer has come to its end: what was proven, or what failed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ddtp.cli._console import Console, human_bytes, human_seconds, human_time
from ddtp.errors import EvidenceError, VerificationFailed

if TYPE_CHECKING:
    from ddtp.agent.delivering import SentTransfer

ID_DIGITS: Final = 8
"""Of a transfer id, enough to tell a person's transfers apart."""
_DIGEST_DIGITS: Final = 16
"""Of a digest, enough to find it again; --json and the receipt have all."""
_ADVICE: Final = ("content", *["issuer"] * 2, "time", "content", *["issuer"] * 2, *["consent"] * 4, *["content"] * 3)
"""What a sender can do when a step of spec/10 has failed at the receiver, step by step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an exchange has brought, and how long it took here."""

    sent: "SentTransfer"
    seconds: float


def report(console: Console, outcome: Outcome) -> None:
    """Write what was proven: by whom, about what, when, and where the proof is.

    Raises:
        VerificationFailed: The receiver did not accept the data.
        ResultLost: Stdout does not take it.
    """
    sent = outcome.sent
    if not sent.verified:
        raise _rejection(console, sent)
    receipt = sent.receipt.body
    assert receipt.package_root is not None, "a receipt that verifies names the content"
    transfer = sent.transfer_id.hex()[:ID_DIGITS]
    text = console.words.delivered.format(
        name=sent.receiver_name,
        at=human_time(receipt.at),
        size=human_bytes(sent.content_bytes),
        elapsed=human_seconds(outcome.seconds),
        transfer=transfer,
        content=receipt.package_root.hex()[:_DIGEST_DIGITS],
        receipt=sent.receipt.digest.hex()[:_DIGEST_DIGITS],
    )
    data = {
        "transfer_id": sent.transfer_id.hex(),
        "receiver": sent.receiver,
        "receiver_name": sent.receiver_name,
        "verified": sent.verified,
        "receipt": sent.receipt.digest.hex(),
        "package_root": receipt.package_root.hex(),
        "signed": receipt.at,
        "content_bytes": sent.content_bytes,
        "seconds": round(outcome.seconds, 3),
    }
    anyway = console.words.delivered_anyway.format(name=sent.receiver_name, transfer=transfer)
    console.result(text, data, done=anyway)


def _rejection(console: Console, sent: "SentTransfer") -> VerificationFailed:
    from ddtp.verify.steps import Step
    from ddtp.verify.wording import words as verify_words

    assert sent.failed_step is not None, "a receipt that rejects names the step"
    step = Step(sent.failed_step)
    text = console.words.rejected.format(
        name=sent.receiver_name,
        at=human_time(sent.receipt.body.at),
        step=step.value,
        check=verify_words(console.language).steps[step].title,
        reason=sent.reason,
    )
    advice = console.words.advice[_ADVICE[step.value - 1]].format(name=sent.receiver_name)
    # a receipt says which step failed and why, not the code of the cause: the code of the audience stands for it
    return VerificationFailed(text, step=step.value, step_name=step.label, cause_code=EvidenceError.code, hint=advice)
