"""Waiting for results: how long, how often, and where that is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from django_qstash import clock
from django_qstash.exceptions import TimeoutError  # noqa: A004 - Celery's name
from django_qstash.tasks.request import current_delivery

#: Seconds between two looks at the result: short at first, since most tasks are.
FIRST_INTERVAL = 0.02
LONGEST_INTERVAL = 2.0
GROWTH = 1.5

_may_join: ContextVar[bool] = ContextVar("django_qstash_may_join", default=False)


def allow_join_result() -> AbstractContextManager[None]:
    """Let ``get()`` wait inside a task in this block. Celery: ``allow_join_result``."""
    return _joining(allowed=True)


def denied_join_result() -> AbstractContextManager[None]:
    """Refuse ``get()`` inside a task again in this block. Celery: ``denied_join_result``."""
    return _joining(allowed=False)


@contextmanager
def _joining(*, allowed: bool) -> Iterator[None]:
    token = _may_join.set(allowed)
    try:
        yield
    finally:
        _may_join.reset(token)


def assert_will_not_block() -> None:
    """Raises ``RuntimeError`` inside a task: waiting holds one delivery open for another."""
    if current_delivery() is not None and not _may_join.get():
        raise RuntimeError(
            "Never call result.get() within a task! It holds one delivery open for another; use a "
            "chain or chord, or allow it with disable_sync_subtasks=False."
        )


class Wait:
    """Looks again and again until a time, with growing pauses unless an interval is fixed."""

    def __init__(self, what: str, timeout: float | None, interval: float | None) -> None:
        self._what = what
        self._timeout = timeout
        self._deadline = None if timeout is None else clock.time() + timeout
        self._pause = FIRST_INTERVAL if interval is None else interval
        self._grows = interval is None

    def pause(self) -> None:
        """Sleep until the next look. Raises :class:`TimeoutError` when the time is up."""
        clock.sleep(self._next())

    async def apause(self) -> None:
        """The same for async code."""
        seconds = self._next()
        if clock.is_virtual():
            clock.sleep(seconds)
        else:
            await asyncio.sleep(seconds)

    def _next(self) -> float:
        left = None if self._deadline is None else self._deadline - clock.time()
        if left is not None and left <= 0:
            raise TimeoutError(f"{self._what} did not end within {self._timeout} s.")
        pause = self._pause if left is None else min(self._pause, left)
        if self._grows:
            self._pause = min(self._pause * GROWTH, LONGEST_INTERVAL)
        return pause
