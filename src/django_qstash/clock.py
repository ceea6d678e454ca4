"""The one clock: leases, etas, signatures and time-outs all ask here what time it is.

A test, or a test fixture that shares its clock with the embedded server, replaces it with
:func:`use`; nothing else in the project calls ``time.time()`` to decide something.
"""

from __future__ import annotations

import time as _time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        return _time.time()

    def sleep(self, seconds: float) -> None:
        _time.sleep(seconds)


class VirtualClock:
    """A clock that stands still until it is told to move. ``sleep`` moves it and returns."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = float(start)

    def time(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("A clock does not run backwards.")
        self._now += seconds

    def advance_to(self, moment: float) -> None:
        """To that very instant; a difference, added, may fall short of it by a rounding error."""
        self._now = max(self._now, moment)


_SYSTEM = SystemClock()
_clock: Clock = _SYSTEM


def time() -> float:
    """Seconds since the epoch, by the clock in use."""
    return _clock.time()


def now() -> datetime:
    """The current time as an aware datetime in UTC, by the clock in use."""
    return datetime.fromtimestamp(_clock.time(), tz=timezone.utc)


def sleep(seconds: float) -> None:
    _clock.sleep(seconds)


def is_virtual() -> bool:
    """True while a clock other than the machine's is in use: the database's own then counts not."""
    return _clock is not _SYSTEM


@contextmanager
def use(clock: Clock) -> Iterator[Clock]:
    """Let the whole process read ``clock`` inside this block; blocks nest."""
    global _clock
    previous, _clock = _clock, clock
    try:
        yield clock
    finally:
        _clock = previous
