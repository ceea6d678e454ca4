"""A world in which deliveries go wrong: they die at a chosen moment, come twice, late, out of turn.

The world is the transport, QStash, and the passing of time in one: what is published waits here
until :meth:`World.go_on` delivers it, at its time by a virtual clock. A delivery is killed by an
exception that nothing catches, at any of its *moments*: before and after each SQL statement, and
before and after each publish. QStash then sees a connection that broke, and delivers again; when
its retries are used up it calls the failure callback. A killed delivery's transaction is rolled
back and its lease stays, as when its process dies (``tests/processes`` kills real ones).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from django.db import connection

from django_qstash import clock, durations
from django_qstash.transport.local import DEDUPLICATION_WINDOW, failure_callback, knock
from django_qstash.wire.envelope import Envelope, Receipt

#: Deliveries after which a story is said never to end.
PATIENCE = 3000
RETRIES = 3
#: Seconds before QStash delivers again what came to nothing.
BACKOFF = 12


class Killed(BaseException):
    """The process is gone."""


@dataclass(order=True)
class Message:
    """What QStash has taken and not yet delivered for good."""

    due: float
    turn: float
    id: str = field(compare=False)
    envelope: Envelope = field(compare=False)
    retried: int = field(compare=False, default=0)


@dataclass
class Faults:
    """What goes wrong. ``moments`` counts all that a run has, for the test that goes through them.

    ``kill`` says of the number of a moment whether the delivery dies there.
    """

    kill: Callable[[int], bool] = lambda moment: False
    copies: int = 1
    #: Draws the order of what is due at the same time, and extra delay.
    chance: random.Random | None = None
    moments: int = 0
    killed: int = 0


class World:
    """The transport of the tests in this folder; ``DJANGO_QSTASH_TRANSPORT`` names it."""

    def __init__(self) -> None:
        self.begin(Faults())

    def begin(self, faults: Faults) -> None:
        """A new story: nothing on its way."""
        self.faults = faults
        self.waiting: list[Message] = []
        self.answers: Counter[int] = Counter()
        self._seen: dict[str, tuple[str, float]] = {}
        self._turns = count(1)
        self._delivering = False

    # --- what a transport does ------------------------------------------------------------------

    def publish(self, envelope: Envelope) -> Receipt:
        self._moment()
        receipt = self._take(envelope)
        self._moment()
        return receipt

    def batch(self, envelopes: Sequence[Envelope]) -> list[Receipt]:
        self._moment()
        receipts = [self._take(envelope) for envelope in envelopes]
        self._moment()
        return receipts

    def cancel(self, message_id: str) -> bool:
        kept = [each for each in self.waiting if each.id != message_id]
        found, self.waiting = len(kept) < len(self.waiting), kept
        heapify(self.waiting)
        return found

    def prepare_queue(self, name: str, parallelism: int) -> None: ...

    def request(self, method: str, path: str, body: Any = None) -> Any:
        raise NotImplementedError(f"This world answers no {method} {path}.")

    def _take(self, envelope: Envelope) -> Receipt:
        now = clock.time()
        once = envelope.options.get("deduplication_id")
        seen = self._seen.get(once) if once else None
        if seen and now - seen[1] < DEDUPLICATION_WINDOW:
            return Receipt(message_id=seen[0], deduplicated=True)
        options = envelope.options
        due = float(options.get("not_before", 0)) or now + durations.seconds(
            options.get("delay", 0)
        )
        message_id = f"msg_{next(self._turns)}"
        if once:
            self._seen[once] = (message_id, now)
        for _ in range(self.faults.copies):
            self._wait(Message(due, 0, message_id, envelope))
        return Receipt(message_id=message_id)

    def _wait(self, message: Message) -> None:
        chance = self.faults.chance
        message.turn = next(self._turns) if chance is None else chance.random()
        if chance is not None:
            message.due += chance.choice((0, 0, 0, 1, 30, 90))
        heappush(self.waiting, message)

    # --- time passes ----------------------------------------------------------------------------

    def go_on(self, time: clock.VirtualClock) -> None:
        """Deliver all that waits, and all that comes of it, until nothing is left."""
        for _ in range(PATIENCE):
            if not self.waiting:
                return
            message = heappop(self.waiting)
            time.advance(max(0.0, message.due - time.time()))
            self._deliver(message)
        raise AssertionError("The story does not end.")

    def _deliver(self, message: Message) -> None:
        options = message.envelope.options
        try:
            with self._mortal():
                answer = knock(message.envelope, message_id=message.id, retried=message.retried)
        except Killed:
            answer = _NoAnswer()
        self.answers[answer.status_code] += 1
        if 200 <= answer.status_code < 300:
            return
        if answer.status_code != 489 and message.retried < int(options.get("retries", RETRIES)):
            message.retried += 1
            message.due = clock.time() + BACKOFF**message.retried
            self._wait(message)
        elif options.get("failure_callback"):
            callback = failure_callback(
                message.envelope, message.id, answer, retried=message.retried
            )
            self._wait(Message(clock.time(), 0, f"{message.id}-callback", callback))

    @contextmanager
    def _mortal(self) -> Iterator[None]:
        self._delivering = True
        try:
            with connection.execute_wrapper(self._statement):
                yield
        finally:
            self._delivering = False

    def _statement(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # Only what changes something: dying before a look is dying after the write before it.
        if sql.startswith(("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET ")):
            return execute(sql, params, many, context)
        self._moment()
        result = execute(sql, params, many, context)
        self._moment()
        return result

    def _moment(self) -> None:
        if not self._delivering:
            return
        faults = self.faults
        faults.moments += 1
        if faults.kill(faults.moments):
            faults.killed += 1
            raise Killed


class _NoAnswer:
    """A connection that broke, as QStash reports it."""

    status_code = 0
    headers: dict[str, str] = {}
    content = b""
