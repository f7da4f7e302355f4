"""The table of states is complete, and the spec shows the same one."""

from pathlib import Path

import pytest

from ddtp.errors import ProtocolViolation
from ddtp.protocol.messages import MessageType
from ddtp.protocol.states import STAGES, TRANSITIONS, Role, State, diagram, next_state

SPEC = Path(__file__).parents[2] / "spec" / "08-session.md"


def test_spec_shows_the_generated_diagram() -> None:
    """The diagram between the markers of spec/08 is the one that the table gives."""
    text = SPEC.read_text(encoding="utf-8")
    shown = text.split("<!-- states: begin -->\n```mermaid\n")[1].split("```\n<!-- states: end -->")[0]
    assert shown == diagram()


def test_every_state_is_reached_from_the_start() -> None:
    """No state of the table is unreachable."""
    reached = {State.START}
    for _ in State:
        reached |= {target for (origin, _, _), target in TRANSITIONS.items() if origin in reached}
    assert reached == set(State)


@pytest.mark.parametrize("state", State)
def test_a_state_is_live_exactly_if_something_may_follow(state: State) -> None:
    """Nothing leads out of an end, and out of every other state both sides may abort."""
    aborts = {role for role in Role if (state, role, MessageType.ABORT) in TRANSITIONS}
    assert aborts == (set(Role) if state.live else set())
    assert any(origin is state for origin, _, _ in TRANSITIONS) is state.live


def test_receipts_are_allowed_exactly_where_a_stage_is_named() -> None:
    """The two tables about receipts agree."""
    assert {origin for origin, _, kind in TRANSITIONS if kind is MessageType.RECEIPT} == STAGES.keys()


def test_what_is_not_in_the_table_is_refused_with_what_is_allowed() -> None:
    """The error names state, sender, message and what was expected."""
    with pytest.raises(ProtocolViolation) as caught:
        next_state(State.READY, Role.RECEIVER, MessageType.ACK)
    assert caught.value.message == "expected holder offer in state ready, found receiver ack"
