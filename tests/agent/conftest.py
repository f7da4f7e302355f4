"""The surroundings of use cases: a town with a ledger, an issuer and a receiver."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.town import Town, open_town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """A ledger, an issuer and a receiver."""
    async with open_town(tmp_path) as town:
        yield town
