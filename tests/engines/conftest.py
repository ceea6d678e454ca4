"""What a test makes of workflows is gone after it."""

from __future__ import annotations

import pytest

from tests.differences.conftest import own_world  # noqa: F401 - for every test
from tests.shop import workflows


@pytest.fixture(autouse=True)
def effects():
    """What steps did outside of the database, counted from nothing."""
    workflows.EFFECTS.clear()
    return workflows.EFFECTS
