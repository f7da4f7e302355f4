"""How far a transfer is, as a person understands it: in words, in bytes, and what to do next."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddtp.cli.outcomes import ID_DIGITS
from ddtp.cli.wording import Words

if TYPE_CHECKING:
    from ddtp.config import Config
    from ddtp.store.records import TransferRow


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a transfer stands now.

    Attributes:
        row: What the home remembers of it.
        state: Key of `Words.states`.
        is_running: A process sends it now, or holds it paused.
        bytes_done: Content that survives a crash of the receiver.
        bytes_total: Content in all.
    """

    row: "TransferRow"
    state: str
    is_running: bool
    bytes_done: int
    bytes_total: int

    @property
    def next_step(self) -> str:
        """The command that goes on with it; empty if there is nothing to do."""
        name = self.row.transfer_id.hex()[:ID_DIGITS]
        outgoing = self.row.direction.value == "out"
        if outgoing and self.state == "paused":
            return f"ddtp transfers resume {name}"
        if outgoing and self.state in {"broken-off", "keyed"} and not self.is_running:
            return f"ddtp resume {name}"
        if outgoing and self.state in {"rejected", "declined"}:
            return f"ddtp transfers show {name}"
        return f"ddtp export {name} --to DIR" if not outgoing and self.state == "verified" else ""

    def who(self, words: Words) -> str:
        """Return the other side, and which way it went."""
        text = words.sent_to if self.row.direction.value == "out" else words.received_from
        return text.format(name=self.row.peer_name)

    def done(self, words: Words) -> str:
        """Return how much is done, in a few cells."""
        from ddtp.cli._progress import size

        if self.bytes_done >= self.bytes_total:
            return size(self.bytes_total)
        percent = f"{self.bytes_done * 100 // self.bytes_total}%"
        return f"{percent} " + words.progress_of.format(done=size(self.bytes_done), total=size(self.bytes_total))


def standing(config: "Config", row: "TransferRow") -> Standing:
    """Return where a transfer stands: what is remembered, and whether somebody is at it now.

    Raises:
        StorageFailed: The disk refuses.
    """
    from ddtp.agent.attending import is_being_sent
    from ddtp.agent.dropping import GIVEN_UP
    from ddtp.agent.tidying import INCOMING
    from ddtp.protocol.messages import Offer
    from ddtp.store.blobs import journaled_chunks
    from ddtp.store.records import FINAL_STATES, Direction, TransferState

    seal = Offer.parse(row.offer).seal
    total = seal.content_bytes
    if row.state in FINAL_STATES:
        done = total if row.state is not TransferState.DECLINED else min(row.done_bytes, total)
        dropped = row.state is TransferState.DECLINED and row.reason == GIVEN_UP
        return Standing(row, "dropped" if dropped else row.state.value, False, done, total)
    outgoing = row.direction is Direction.OUT
    running = outgoing and is_being_sent(config.home, row.transfer_id)
    if outgoing:
        done = row.done_bytes
    else:
        done = journaled_chunks(config.vault / INCOMING, row.transfer_id.hex()) * seal.chunk_size
    if row.state in {TransferState.KEYED, TransferState.RECEIVED}:
        done = total
    return Standing(row, _state(row, running=running), running, min(done, total), total)


def _state(row: "TransferRow", *, running: bool) -> str:
    from ddtp.store.records import Direction, TransferState

    if row.state in {TransferState.KEYED, TransferState.RECEIVED}:
        return "keyed" if row.state is TransferState.KEYED else "received"
    if row.paused:
        return "paused"
    if running:
        return "sending"
    return "broken-off" if row.direction is Direction.OUT else "receiving"
