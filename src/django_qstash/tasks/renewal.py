"""Leases are renewed while bodies run: one thread for all tasks of a process."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import LeaseLost
from django_qstash.tasks import limits

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage, WorkflowMessage

logger = logging.getLogger("django_qstash.tasks")


class Renewing(Protocol):
    """Who holds leases: the store of tasks, a claimed run, a claimed branch of one."""

    def renew(self, message: Any, token: str) -> bool:
        """Lengthen the lease; false if it is not ours any more."""
        ...

    def can_renew_within(self, *, atomic: bool) -> bool:
        """False where renewing would wait for the transaction of the body itself."""
        ...


@dataclass(slots=True, eq=False)
class Lease:
    """A claim that is being kept."""

    store: Renewing
    message: TaskMessage | WorkflowMessage
    token: str
    #: When to renew it next, by the monotonic clock.
    due: float
    #: Where the body runs.
    thread: int
    lost: bool = False


class Keeper:
    """Renews leases at a third of their length, on a database connection of its own.

    Its thread starts with the first lease that lasts long enough to need it, and ends when none
    is left, so that a short task costs one entry in a dictionary.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._leases: set[Lease] = set()
        self._thread: threading.Thread | None = None
        #: Until when the thread sleeps, by the monotonic clock.
        self._asleep_until = 0.0
        self._pid = os.getpid()

    def add(self, lease: Lease) -> None:
        if self._pid != os.getpid():
            # The thread, and whoever held the lock, stayed behind in the parent.
            self.__init__()  # type: ignore[misc]
        with self._condition:
            self._leases.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="django-qstash-leases", daemon=True
                )
                self._thread.start()
            elif lease.due < self._asleep_until:
                # Not for every lease: one of the usual length is due long after the next look.
                self._condition.notify()

    def discard(self, lease: Lease) -> None:
        with self._condition:
            self._leases.discard(lease)

    def _work(self) -> None:
        from django.db import connections

        while True:
            with self._condition:
                if not self._leases:
                    self._sleep(5)
                    if not self._leases:
                        self._thread = None
                        return
                now = time.monotonic()
                due = [lease for lease in self._leases if lease.due <= now]
                if not due:
                    soonest = min(lease.due for lease in self._leases)
                    self._sleep(min(max(0.01, soonest - now), 1.0))
                    continue
            for lease in due:
                self._renew(lease)
            # Idle between rounds that are many seconds apart: no connection is held for it.
            connections.close_all()

    def _sleep(self, seconds: float) -> None:
        self._asleep_until = time.monotonic() + seconds
        self._condition.wait(timeout=seconds)
        self._asleep_until = 0.0

    def _renew(self, lease: Lease) -> None:
        third = settings.DJANGO_QSTASH_LEASE / 3
        try:
            kept_on = lease.store.renew(lease.message, lease.token)
        except Exception:
            logger.exception("The lease of %s could not be renewed.", lease.message.id)
            lease.due = time.monotonic() + third / 4
            return
        if kept_on:
            lease.due = time.monotonic() + third
            return
        with self._condition:
            if lease in self._leases:
                # Whatever the body does from here on would not count: stop it if it lets us.
                self._leases.discard(lease)
                lease.lost = True
                limits.throw(lease.thread, LeaseLost)


_keeper = Keeper()


@contextmanager
def kept(
    store: Renewing, message: TaskMessage | WorkflowMessage, token: str, *, atomic: bool = False
) -> Iterator[Lease | None]:
    """Keep the lease of ``message`` inside this block.

    Not where nothing is remembered, nor while the clock is a virtual one, which stands still. When
    the lease is lost all the same, :class:`LeaseLost` is raised inside the block.
    """
    if clock.is_virtual() or not store.can_renew_within(atomic=atomic):
        yield None
        return
    due = time.monotonic() + settings.DJANGO_QSTASH_LEASE / 3
    lease = Lease(store, message, token, due, threading.get_ident())
    _keeper.add(lease)
    try:
        yield lease
    finally:
        _keeper.discard(lease)
        if lease.lost:
            limits.clear(lease.thread)
