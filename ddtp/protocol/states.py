"""The states of a session as one table (spec/08-session s.4).

Both sides run the same machine: what moves it is who sent which message, not who we are. The diagram of the spec is
generated from the table.
"""

from enum import Enum
from typing import Final

from ddtp.errors import ProtocolViolation
from ddtp.protocol.messages import MessageType, Stage


class Role(Enum):
    """The two sides of a session; the holder opens it."""

    HOLDER = "holder"
    RECEIVER = "receiver"

    @property
    def other(self) -> "Role":
        """The peer's role."""
        return Role.RECEIVER if self is Role.HOLDER else Role.HOLDER


class State(Enum):
    """Where a session is."""

    START = "start"
    GREETED = "greeted"
    READY = "ready"
    OFFERED = "offered"
    SENDING = "sending"
    FINISHED = "finished"
    RECEIPTED = "receipted"
    KEYED = "keyed"
    DONE = "done"
    DECLINED = "declined"
    ABORTED = "aborted"

    @property
    def live(self) -> bool:
        """True if messages may still follow."""
        return self not in {State.DONE, State.DECLINED, State.ABORTED}


_PROGRESS: Final[dict[tuple[State, Role, MessageType], State]] = {
    (State.START, Role.HOLDER, MessageType.HELLO): State.GREETED,
    (State.GREETED, Role.RECEIVER, MessageType.HELLO): State.READY,
    (State.READY, Role.HOLDER, MessageType.OFFER): State.OFFERED,
    (State.OFFERED, Role.RECEIVER, MessageType.ACCEPT): State.SENDING,
    (State.OFFERED, Role.RECEIVER, MessageType.DECLINE): State.DECLINED,
    (State.OFFERED, Role.RECEIVER, MessageType.RECEIPT): State.DONE,
    (State.SENDING, Role.HOLDER, MessageType.CHUNK): State.SENDING,
    (State.SENDING, Role.RECEIVER, MessageType.ACK): State.SENDING,
    (State.SENDING, Role.HOLDER, MessageType.FINISH): State.FINISHED,
    (State.FINISHED, Role.RECEIVER, MessageType.ACK): State.FINISHED,
    (State.FINISHED, Role.RECEIVER, MessageType.RECEIPT): State.RECEIPTED,
    (State.RECEIPTED, Role.HOLDER, MessageType.KEY): State.KEYED,
    (State.KEYED, Role.RECEIVER, MessageType.RECEIPT): State.DONE,
}

_ABORTS: Final[dict[tuple[State, Role, MessageType], State]] = {
    (state, role, MessageType.ABORT): State.ABORTED for state in State if state.live for role in Role
}

TRANSITIONS: Final = _PROGRESS | _ABORTS
"""State, sender and type of a message -> next state; what is not here is not allowed."""

STAGES: Final[dict[State, frozenset[Stage]]] = {
    State.OFFERED: frozenset({Stage.VERIFIED, Stage.REJECTED}),
    State.FINISHED: frozenset({Stage.CIPHER}),
    State.KEYED: frozenset({Stage.VERIFIED, Stage.REJECTED}),
}
"""Which receipts a state allows; in OFFERED it is the answer to an offer that was concluded before."""


def next_state(state: State, sender: Role, message_type: MessageType) -> State:
    """Return where a message leads.

    Args:
        state: Where the session is.
        sender: Who sent the message.
        message_type: What was sent.

    Raises:
        ProtocolViolation: The message is not allowed now.
    """
    found = TRANSITIONS.get((state, sender, message_type))
    if found is None:
        raise ProtocolViolation(
            f"expected {_allowed(state)} in state {state.value}, found {sender.value} {message_type.name.lower()}"
        )
    return found


def diagram() -> str:
    """Return the state diagram of the spec, in Mermaid."""
    labels: dict[tuple[State, State], list[str]] = {}
    for (state, sender, message_type), target in TRANSITIONS.items():
        labels.setdefault((state, target), []).append(_label(state, sender, message_type))
    lines = [f"    {state.name} --> {target.name} : {', '.join(names)}" for (state, target), names in labels.items()]
    ends = [f"    {state.name} --> [*]" for state in State if not state.live]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {State.START.name}", *lines, *ends]) + "\n"


def _label(state: State, sender: Role, message_type: MessageType) -> str:
    name = f"{sender.value} {message_type.name.lower()}"
    if message_type is not MessageType.RECEIPT:
        return name
    stages = " or ".join(stage.value for stage in Stage if stage in STAGES[state])
    return f"{name} ({stages})"


def _allowed(state: State) -> str:
    names = [
        f"{sender.value} {kind.name.lower()}"
        for origin, sender, kind in TRANSITIONS
        if origin is state and kind is not MessageType.ABORT
    ]
    return " or ".join(names) or "nothing more"
