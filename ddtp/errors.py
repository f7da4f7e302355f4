"""Every error that DDTP raises, each with the stable code of spec/12-errors.

    DdtpError
    ├── EvidenceError                what arrived cannot be trusted                        exit 6
    │   ├── DecodeError              malformed            bytes are not what the spec says
    │   ├── SignatureInvalid         bad-signature        a signature does not verify
    │   ├── AuthenticationFailed     bad-tag              a sealed chunk or key does not open
    │   ├── ProofInvalid             bad-proof            a Merkle proof does not lead to the root
    │   ├── ContentMismatch          content-mismatch     bytes differ from the fingerprint
    │   ├── NotAnchored              not-anchored         the ledger does not hold the fingerprint
    │   ├── ConsentInvalid           consent-invalid      a grant does not permit this transfer
    │   ├── LedgerInconsistent       ledger-inconsistent  a log rolled back or forked
    │   └── VerificationFailed       verification-failed  a numbered verification step failed
    ├── PeerError                    the other side's fault                                exit 1
    │   ├── ProtocolViolation        protocol-violation   a message that the state does not allow
    │   ├── PeerRefused              refused              the peer declined, with its reason     (5)
    │   ├── PeerAborted              aborted              the peer gave up, with its reason
    │   ├── PeerStalled              stalled              the peer was silent past a deadline    (7)
    │   └── PeerVanished             vanished             the connection broke                   (7)
    ├── EnvironmentProblem           this machine, its disk or its network                 exit 1
    │   ├── PeerUnreachable          unreachable          no address of the peer answered        (7)
    │   ├── DiskFull                 disk-full            no room for the data
    │   ├── StorageFailed            storage-failed       the disk refused a read or write
    │   ├── StoreDamaged             store-damaged        a file or database of ours is corrupt
    │   ├── AlreadyRunning           already-running      another process holds the lock
    │   ├── Overloaded               overloaded           a bound on concurrent work is reached
    │   ├── ResultLost               result-lost          done, but stdout did not take the result (8)
    │   └── CryptoUnavailable        crypto-unavailable   no safe implementation of a primitive
    ├── InputError                   what the user gave                                    exit 2
    │   ├── UsageError               usage                an argument is wrong
    │   ├── ConfigInvalid            config-invalid       a setting is wrong
    │   ├── ConfirmationMissing      confirmation-missing nobody confirmed, and nobody can be asked
    │   ├── NotFound                 not-found            no such package, transfer or file
    │   ├── SourceChanged            source-changed       a file changed while it was read       (1)
    │   ├── Cancelled                cancelled            the person said no                     (3)
    │   ├── IdentityMissing          identity-missing     no identity has been made yet          (4)
    │   ├── PassphraseWrong          passphrase-wrong     the key file does not open             (4)
    │   └── PolicyRefused            policy-refused       our own policy forbids it              (5)
    └── InternalError                internal             a defect of DDTP itself          exit 1

`code` never changes once released. `exit_code` is what the CLI returns. Messages say what was expected and what was
found, in lower case, without secrets or personal data; `hint` is the next step for a person.
"""

from typing import ClassVar


class DdtpError(Exception):
    """Base of all errors raised by DDTP.

    Args:
        message: What was expected and what was found.
        hint: What a person can do next, if anything.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class EvidenceError(DdtpError):
    """What arrived cannot be trusted."""

    code = "evidence-invalid"
    exit_code = 6


class DecodeError(EvidenceError):
    """Bytes do not follow the format of their spec chapter."""

    code = "malformed"


class SignatureInvalid(EvidenceError):
    """An SM2 signature does not verify under the expected key."""

    code = "bad-signature"


class AuthenticationFailed(EvidenceError):
    """An SM4-GCM tag or a key commitment does not match."""

    code = "bad-tag"


class ProofInvalid(EvidenceError):
    """A Merkle proof does not lead to the expected root."""

    code = "bad-proof"


class ContentMismatch(EvidenceError):
    """Bytes differ from their fingerprint.

    Args:
        message: Which content differs.
        same_content: True if the canonical content (spec/03 s.6) is equal although the bytes differ.
        hint: What a person can do next.
    """

    code = "content-mismatch"

    def __init__(self, message: str, *, same_content: bool = False, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.same_content = same_content


class NotAnchored(EvidenceError):
    """The ledger does not hold the fingerprint."""

    code = "not-anchored"


class ConsentInvalid(EvidenceError):
    """A grant does not permit this transfer: other receiver, expired, used up or never given."""

    code = "consent-invalid"


class LedgerInconsistent(EvidenceError):
    """A log signed two histories, or one that is shorter than before."""

    code = "ledger-inconsistent"


class VerificationFailed(EvidenceError):
    """One numbered verification step (spec/10) failed.

    Args:
        message: Why the step failed.
        step: Number of the step, from 1.
        step_name: Stable name of the step.
        cause_code: Code of the underlying error.
        hint: What a person can do next.
    """

    code = "verification-failed"

    def __init__(self, message: str, *, step: int, step_name: str, cause_code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.step_name = step_name
        self.cause_code = cause_code


class PeerError(DdtpError):
    """The other side broke the protocol, refused, or went away."""

    code = "peer-error"


class ProtocolViolation(PeerError):
    """The peer sent a message that the current state does not allow."""

    code = "protocol-violation"


class PeerRefused(PeerError):
    """The peer declined.

    Args:
        message: The peer's reason, for people.
        reason_code: The peer's stable code (spec/12).
        hint: What a person can do next.
    """

    code = "refused"
    exit_code = 5

    def __init__(self, message: str, *, reason_code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason_code = reason_code


class PeerAborted(PeerError):
    """The peer ended the exchange before its end.

    Args:
        message: The peer's reason, for people.
        reason_code: The peer's stable code (spec/12).
        hint: What a person can do next.
    """

    code = "aborted"

    def __init__(self, message: str, *, reason_code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason_code = reason_code


class PeerStalled(PeerError):
    """The peer was silent past a deadline."""

    code = "stalled"
    exit_code = 7


class PeerVanished(PeerError):
    """The connection broke before the exchange was complete."""

    code = "vanished"
    exit_code = 7


class EnvironmentProblem(DdtpError):
    """This machine, its disk or its network is not able to do it now."""

    code = "environment"


class PeerUnreachable(EnvironmentProblem):
    """None of the peer's addresses answered."""

    code = "unreachable"
    exit_code = 7


class DiskFull(EnvironmentProblem):
    """There is no room for the data."""

    code = "disk-full"


class StorageFailed(EnvironmentProblem):
    """The disk refused a read or a write."""

    code = "storage-failed"


class StoreDamaged(EnvironmentProblem):
    """A file or database of ours is corrupt."""

    code = "store-damaged"


class AlreadyRunning(EnvironmentProblem):
    """Another process holds the lock of this store or address."""

    code = "already-running"


class Overloaded(EnvironmentProblem):
    """A bound on concurrent work or stored data is reached."""

    code = "overloaded"


class ResultLost(EnvironmentProblem):
    """What was asked for is done, but its result could not be written."""

    code = "result-lost"
    exit_code = 8


class CryptoUnavailable(EnvironmentProblem):
    """No safe implementation of a primitive is available on this machine."""

    code = "crypto-unavailable"


class InputError(DdtpError):
    """What the user gave cannot be used."""

    code = "input"
    exit_code = 2


class UsageError(InputError):
    """An argument is wrong."""

    code = "usage"


class ConfigInvalid(InputError):
    """A setting is wrong."""

    code = "config-invalid"


class ConfirmationMissing(InputError):
    """The person has not confirmed, and nobody can be asked."""

    code = "confirmation-missing"


class NotFound(InputError):
    """There is no such package, transfer, card or file."""

    code = "not-found"


class SourceChanged(InputError):
    """A file changed while it was being read."""

    code = "source-changed"
    exit_code = 1


class Cancelled(InputError):
    """The person said no."""

    code = "cancelled"
    exit_code = 3


class IdentityMissing(InputError):
    """No identity has been made in this home yet."""

    code = "identity-missing"
    exit_code = 4


class PassphraseWrong(InputError):
    """The key file does not open with this passphrase."""

    code = "passphrase-wrong"
    exit_code = 4


class PolicyRefused(InputError):
    """Our own policy forbids it."""

    code = "policy-refused"
    exit_code = 5


class InternalError(DdtpError):
    """A defect of DDTP itself; please report it."""

    code = "internal"
