"""Every vector of spec/vectors/09-ledger."""

from typing import Any

import pytest

from ddtp.chain.admission import AdmissionPolicy, admit
from ddtp.chain.checkpoint import Checkpoint, check_growth, check_succession, verify_checkpoint
from ddtp.chain.ledger_messages import Question
from ddtp.chain.proof import AnchorProof, entry_hash
from ddtp.chain.statement import Entry, EntryKind, blind, verify_statements
from ddtp.chain.witness import attest, verify_cosignature
from ddtp.crypto import sm2, sm3
from ddtp.protocol import envelope
from tests.ledgers import Key, verify_anchor
from tests.vectors import Case, check, load

CASES = load("09-ledger")


def entry(case: Case) -> str:
    parsed = Entry.parse(case.data("entry"))
    assert parsed.encode() == case.data("entry")
    return entry_hash(parsed.encode()).hex()


def statements(case: Case) -> list[list[str]]:
    found = verify_statements(Entry.parse(case.data("entry")))
    return [[each.body.role.value, each.signer.hex()] for each in found]


def checkpoint(case: Case) -> dict[str, Any]:
    body = known_checkpoint(case, "checkpoint")
    return {"size": body.size, "root": body.root.hex(), "time": body.time}


def known_checkpoint(case: Case, name: str) -> Checkpoint:
    origin, public_key = case.input["origin"], case.data("public_key")
    return verify_checkpoint(case.data(name), origin=origin, public_key=public_key).body


def succession(case: Case) -> None:
    old, new = known_checkpoint(case, "old"), known_checkpoint(case, "new")
    check_succession(old, new)
    check_growth(old, new, [bytes.fromhex(each) for each in case.input["path"]])


def anchor(case: Case) -> dict[str, int]:
    logs = {origin: bytes.fromhex(key) for origin, key in case.input["logs"].items()}
    proof, kind = AnchorProof.parse(case.data("anchor")), EntryKind(case.input["kind"])
    _, signed = verify_anchor(proof, case.data("subject"), kind=kind, logs=logs)
    return {"size": signed.body.size, "time": signed.body.time}


def admission(case: Case) -> str:
    policy = AdmissionPolicy.parse(case.data("policy"))
    admit([case.data("entry")], policy, now=case.input["now"])
    return sm3.digest(policy.encode()).hex()


def attestation(case: Case) -> dict[str, Any]:
    private_key = case.data("witness")
    witness = Key(private_key, sm2.public_key(private_key))
    body = attest(case.data("request"), signer=witness, now=case.input["now"]).body
    return {"digest": body.digest.hex(), "hour": body.hour, "role": body.role.value}


def cosignature(case: Case) -> int:
    body = envelope.verify(Checkpoint, case.data("checkpoint")).body
    witnesses = {bytes.fromhex(each) for each in case.input["witnesses"]}
    return verify_cosignature(case.data("cosignature"), body, witnesses=witnesses).body.time


def question(case: Case) -> str:
    (kind,) = Question.parse(case.data("question")).to_value()
    return kind


OPERATIONS = {
    "blind": lambda case: blind(case.data("salt"), case.data("subject")).hex(),
    "entry": entry,
    "statements": statements,
    "checkpoint": checkpoint,
    "succession": succession,
    "anchor": anchor,
    "admit": admission,
    "attest": attestation,
    "cosignature": cosignature,
    "question": question,
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_vector(case: Case) -> None:
    """The operation gives the output of the vector, or fails with its code."""
    check(case, OPERATIONS)


def test_every_operation_has_good_and_bad_vectors() -> None:
    """Each operation is shown to accept and, unless it cannot fail, to refuse."""
    assert {case.operation for case in CASES if case.expect == "ok"} == set(OPERATIONS)
    assert {case.operation for case in CASES if case.expect != "ok"} == set(OPERATIONS) - {"blind"}
