"""Two engines, and one way to hold them against each other."""

from __future__ import annotations

import pytest

from tests.contract.engines import CeleryEngine, OurEngine


@pytest.fixture(scope="session")
def celery_engine():
    """Celery with its worker; one for all tests, since starting it takes longer than they do."""
    with CeleryEngine().working() as engine:
        yield engine


@pytest.fixture(scope="session")
def our_engine():
    return OurEngine()


@pytest.fixture(params=["sent", "eager"])
def eager(request):
    """Each contract holds for tasks that are sent, and for eager ones."""
    return request.param == "eager"


@pytest.fixture
def both(celery_engine, our_engine, db):
    """``both(body, eager=…)``: what Celery does, and what we do."""

    def run(body, *, eager=False):
        return celery_engine.run(body, eager=eager), our_engine.run(body, eager=eager)

    return run


@pytest.fixture
def same(both, eager):
    """``same(body)``: run it by both, assert that nothing differs, and return what was seen."""

    def run(body):
        theirs, ours = both(body, eager=eager)
        assert ours.lines() == theirs.lines()
        return ours

    return run
