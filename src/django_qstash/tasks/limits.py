"""Time limits: how a body that takes too long is told so, in whichever thread it runs.

A web process may not be killed for one task, so a limit is an exception that Python raises in the
body's thread at its next bytecode; a call that blocks in C ends first. Celery kills the process.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django_qstash.exceptions import HardTimeLimit, SoftTimeLimitExceeded

logger = logging.getLogger("django_qstash.tasks")


class Alarm:
    """Throws an exception at one thread at one moment, unless it is cancelled first."""

    __slots__ = ("_after", "_done", "_kind", "_lock", "_thread")

    def __init__(
        self, thread: int, kind: type[BaseException], after: Callable[[], None] | None
    ) -> None:
        self._thread = thread
        self._kind = kind
        self._after = after
        self._lock = threading.Lock()
        self._done = False

    def ring(self) -> None:
        with self._lock:
            if self._done:
                return
            self._done = True
            throw(self._thread, self._kind)
        # Not under the lock: it may wait for the body, which waits for the lock in cancel().
        if self._after is not None:
            self._after()

    def cancel(self) -> None:
        """Afterwards it never throws."""
        with self._lock:
            self._done = True


class Watch:
    """Rings alarms in time, from one thread for the whole process; none while none is set."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Alarm]] = []
        self._count = itertools.count()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def set(self, seconds: float, alarm: Alarm) -> Alarm:
        if self._pid != os.getpid():
            self.__init__()  # type: ignore[misc] # the thread stayed behind in the parent
        with self._condition:
            entry = (time.monotonic() + seconds, next(self._count), alarm)
            heapq.heappush(self._heap, entry)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="django-qstash-limits", daemon=True
                )
                self._thread.start()
            elif self._heap[0] is entry:
                self._condition.notify()
        return alarm

    def _work(self) -> None:
        while True:
            with self._condition:
                if not self._heap:
                    self._condition.wait(timeout=5)
                    if not self._heap:
                        self._thread = None
                        return
                    continue
                wait = self._heap[0][0] - time.monotonic()
                if wait > 0:
                    self._condition.wait(timeout=wait)
                    continue
                alarm = heapq.heappop(self._heap)[2]
            try:
                alarm.ring()
            except Exception:
                logger.exception("An alarm failed.")


_watch = Watch()


@contextmanager
def limited(
    hard: float | None, soft: float | None, *, on_hard: Callable[[], None] | None = None
) -> Iterator[None]:
    """Raise :class:`SoftTimeLimitExceeded`, later :class:`HardTimeLimit`, inside this block.

    Limits are in seconds. ``on_hard`` is called from another thread when the hard limit passes,
    whether or not the body lets itself be stopped.
    """
    if not hard and not soft:
        yield
        return
    thread = threading.get_ident()
    alarms = []
    if soft:
        alarms.append(_watch.set(soft, Alarm(thread, SoftTimeLimitExceeded, None)))
    if hard:
        alarms.append(_watch.set(hard, Alarm(thread, HardTimeLimit, on_hard)))
    try:
        yield
    finally:
        _disarm(alarms, thread)


def _disarm(alarms: Sequence[Alarm], thread: int) -> None:
    """Cancel the alarms, and take back what was thrown and has not arrived: it must not hit what
    comes after the body. It may arrive within these very lines."""
    felt: BaseException | None = None
    while True:
        try:
            for alarm in alarms:
                alarm.cancel()
            clear(thread)
            break
        except (SoftTimeLimitExceeded, HardTimeLimit) as error:
            felt = error
    if felt is not None:
        raise felt


def throw(thread: int, kind: type[BaseException]) -> None:
    """Let Python raise ``kind`` in another thread, at its next bytecode."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def clear(thread: int) -> None:
    """Take back what :func:`throw` has thrown and the thread has not felt yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)


async def cancelled_at(
    awaitable: Awaitable[Any], limits: Sequence[float | None], on_hard: Callable[[], None] | None
) -> Any:
    """Await a body; cancel it at its soft limit, and again at its hard one.

    Raises :class:`SoftTimeLimitExceeded` or :class:`HardTimeLimit` where the cancellation came from
    here and the body let it through.
    """
    hard, soft = limits
    task = asyncio.ensure_future(awaitable)
    loop = asyncio.get_running_loop()
    passed: list[type[BaseException]] = []

    def at(kind: type[BaseException]) -> None:
        passed.append(kind)
        if kind is HardTimeLimit and on_hard is not None:
            loop.run_in_executor(None, on_hard)
        task.cancel()

    timers = []
    if soft:
        timers.append(loop.call_later(soft, at, SoftTimeLimitExceeded))
    if hard:
        timers.append(loop.call_later(hard, at, HardTimeLimit))
    try:
        return await task
    except asyncio.CancelledError:
        if passed:
            raise passed[-1] from None
        task.cancel()
        raise
    finally:
        for timer in timers:
            timer.cancel()
