"""There is one clock, and a test may hold it."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import pytest

from django_qstash import clock
from django_qstash.clock import VirtualClock


def test_the_machines_clock_is_in_use():
    before = time.time()

    assert before <= clock.time() <= time.time()
    assert not clock.is_virtual()
    assert clock.now() - datetime.now(timezone.utc) < timedelta(seconds=5)
    assert clock.now().tzinfo is timezone.utc


def test_sleeping_takes_time():
    before = time.monotonic()

    clock.sleep(0.01)

    assert time.monotonic() - before >= 0.009


def test_a_virtual_clock_stands_still_until_it_is_moved():
    with clock.use(VirtualClock(start=1000)) as virtual:
        assert clock.is_virtual()
        assert clock.time() == 1000
        clock.sleep(3600)
        virtual.advance(0.5)
        assert clock.time() == 4600.5
        assert clock.now() == datetime(1970, 1, 1, 1, 16, 40, 500000, tzinfo=timezone.utc)
    assert not clock.is_virtual()


def test_blocks_nest_and_end_even_in_an_error():
    outer, inner = VirtualClock(start=1), VirtualClock(start=2)

    def fail():
        with clock.use(inner):
            assert clock.time() == 2
            raise KeyError

    with clock.use(outer):
        with pytest.raises(KeyError):
            fail()
        assert clock.time() == 1


@pytest.mark.parametrize("move", ["advance", "sleep"])
def test_it_does_not_run_backwards(move):
    virtual = VirtualClock()

    with pytest.raises(ValueError, match="does not run backwards"):
        getattr(virtual, move)(-1)
