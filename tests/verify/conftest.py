"""The valid transfer that each test changes in one place."""

import pytest

from tests.worlds import World


@pytest.fixture
def world() -> World:
    return World()
