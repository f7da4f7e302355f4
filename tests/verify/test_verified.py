"""Verified values come from verification only."""

import dataclasses

import pytest

from ddtp.errors import InternalError
from ddtp.verify.verified import VerifiedEvidence, VerifiedPackage
from ddtp.verify.verifier import verify_evidence
from tests.worlds import NOW, World


def test_verified_evidence_cannot_be_made(world: World) -> None:
    """Who has all the parts still cannot say that they were verified."""
    with pytest.raises(InternalError):
        VerifiedEvidence(
            bytes(32), world.manifest(), world.disclosure, world.request(), world.grant(), NOW, passed=object()
        )


def test_verified_package_cannot_be_made(world: World) -> None:
    """Verified evidence is no licence to call content verified."""
    evidence = verify_evidence(world.evidence().encode(), policy=world.policy(), receiver=None, now=NOW)
    with pytest.raises(InternalError):
        VerifiedPackage(evidence, world.openings, world.files(), passed=None)


def test_verified_evidence_cannot_be_changed(world: World) -> None:
    """Neither assignment nor a changed copy is possible."""
    evidence = verify_evidence(world.evidence().encode(), policy=world.policy(), receiver=None, now=NOW)
    with pytest.raises(dataclasses.FrozenInstanceError):
        evidence.at = 0  # type: ignore[misc]
    with pytest.raises(ValueError, match="passed"):
        dataclasses.replace(evidence, at=0)
