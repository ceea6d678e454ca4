"""What every test of workflows begins with."""

from __future__ import annotations

import pytest

from tests.shop import workflows


@pytest.fixture(autouse=True)
def effects():
    """What steps did outside of the database, counted from nothing."""
    workflows.EFFECTS.clear()
    workflows.HEARD.clear()
    return workflows.EFFECTS
