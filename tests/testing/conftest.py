"""The careless workflows that these tests define are nobody else's."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def forgotten(tidy_registry):
    """What a test defines is forgotten with it."""
