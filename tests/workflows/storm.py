"""A QStash that does everything that QStash may do, and processes that die, all by lot.

One thread, one virtual clock: the same seed is the same storm. A *moment* is a statement, a commit
or a publish of a delivery; at any of them the delivery may die, lose its connection, have its
publish refused (or taken and called refused), or be overtaken: other deliveries, also of the very
letter that it is at work on, run to their ends in the middle of it, with its lease still good or
long over. Letters come late, early, twice, in any order, and again long after they were answered.
"""

from __future__ import annotations

import contextvars
import json
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import OperationalError, connection

from django_qstash import clock, durations
from django_qstash.conf import settings
from django_qstash.exceptions import PublishError
from django_qstash.testing.chance import Lot
from django_qstash.testing.crash import CONTROL, Crash
from django_qstash.transport.kept import KeptSchedules
from django_qstash.transport.local import DEDUPLICATION_WINDOW, failure_callback, knock
from django_qstash.wire.envelope import Envelope, Receipt

#: QStash's pauses between deliveries of one message, in seconds.
PAUSES = (12, 148, 1808, 21960)


@dataclass(eq=False)
class Message:
    id: str
    envelope: Envelope
    due: float
    retried: int = 0

    @property
    def queue(self) -> str | None:
        queue: str | None = self.envelope.options.get("queue")
        return queue

    def __str__(self) -> str:
        if self.envelope.options.get("callback"):
            return f"{self.id} to {self.envelope.url}"
        letter = json.loads(self.envelope.body)
        if "retried" in letter:
            return f"{self.id} {'(given up)' if 'sourceBody' in letter else '(called back)'}"
        said = {name: value for name, value in letter.items() if name not in ("v", "args")}
        return f"{self.id} {json.dumps(said)} retried={self.retried}"


class Stormy(KeptSchedules):
    """The transport of a process in a storm."""

    def publish(self, envelope: Envelope) -> Receipt:
        return current().publishing(lambda: current().take(envelope))

    def batch(self, envelopes: Any) -> list[Receipt | PublishError]:
        return current().publishing(lambda: current().take_some(envelopes))

    def cancel(self, message_id: str) -> bool:
        return False

    def prepare_queue(self, name: str, parallelism: int) -> None: ...


TRANSPORT = f"{__name__}.{Stormy.__name__}"
_storms: list[Storm] = []


def current() -> Storm:
    return _storms[-1]


@dataclass(eq=False)
class Storm:
    """``faults`` are as many as there will be at most, ``calm`` the moments between two of them."""

    chance: random.Random
    faults: int = 0
    calm: int = 40
    clock: clock.VirtualClock = field(default_factory=clock.VirtualClock)
    messages: list[Message] = field(default_factory=list)
    flying: list[Message] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    #: Deliveries that are at work, one within the other.
    depth: int = 0
    #: The innermost has died: whatever a ``finally`` of it still tries is not done.
    dead: bool = False
    #: Called after every delivery.
    watch: Callable[[], None] = lambda: None
    #: What an address that is not ours answers, given its idempotency key: a status and a value.
    elsewhere: Callable[[str, str], tuple[int, Any]] = lambda url, key: (404, None)

    def __post_init__(self) -> None:
        self.lot = Lot(self.chance, self.faults, self.calm)
        self._number = 0
        self._known: dict[str, tuple[str, float]] = {}

    @contextmanager
    def blowing(self) -> Iterator[Storm]:
        commit = connection._commit
        connection._commit = lambda: self._committing(commit)
        _storms.append(self)
        try:
            with clock.use(self.clock), connection.execute_wrapper(self._executing):
                yield self
        finally:
            _storms.remove(self)
            del connection._commit

    # --- QStash -----------------------------------------------------------------------------------

    def take(self, envelope: Envelope) -> Receipt:
        """What QStash does with a message that it takes."""
        now, options = self.clock.time(), envelope.options
        mark = options.get("deduplication_id")
        if mark and now - self._known.get(mark, ("", -1e9))[1] < DEDUPLICATION_WINDOW:
            self.tell(f"  deduplicated {mark[:8]}")
            return Receipt(message_id=self._known[mark][0], deduplicated=True)
        self._number += 1
        message = Message(f"msg_{self._number}", envelope, now)
        message.due += durations.seconds(options.get("delay", 0))
        if mark:
            self._known[mark] = (message.id, now)
        self.messages.append(message)
        self.tell(f"  published {message} for {message.due - now:+g}")
        return Receipt(message_id=message.id)

    def take_some(self, envelopes: Any) -> list[Receipt | PublishError]:
        refused = self.chance.random() if self._strikes() else None
        answers: list[Receipt | PublishError] = []
        for envelope in envelopes:
            if refused is not None and self.chance.random() < refused:
                self.tell("  ! refused one of a batch")
                answers.append(PublishError("QStash refused this one."))
            else:
                answers.append(self.take(envelope))
        return answers

    def deliver_one(self) -> bool:
        """Deliver one of the messages that are due, or wait for the first; false if there are none.

        Which one is a matter of chance, and so is how late it is.
        """
        now, waiting = self.clock.time(), self._in_turn()
        if not waiting:
            return False
        due = [message for message in waiting if message.due <= now]
        if not due:
            if self._strikes(0.02):
                self.tell("! early")
                due = waiting
            else:
                first = min(message.due for message in waiting)
                late = self.chance.choice((0, 0, 0, 1, 30, 700))
                self.clock.advance(max(0.0, first - now) + late)
                now = self.clock.time()
                due = [message for message in waiting if message.due <= now]
        message = self.chance.choice(due)
        self.messages.remove(message)
        self.flying.append(message)
        try:
            status, answer = self._deliver(message)
        finally:
            self.flying.remove(message)
        self._answered(message, status, answer)
        return True

    def _in_turn(self) -> list[Message]:
        """The messages without those whose queue has others before them, or one under way."""
        busy = {message.queue for message in self.flying if message.queue}
        found = []
        for message in self.messages:
            if message.queue not in busy:
                found.append(message)
            if message.queue:
                busy.add(message.queue)
        return found

    def _deliver(self, message: Message) -> tuple[int, Any]:
        self.tell(f"deliver {message}")
        if message.envelope.options.get("callback"):
            return self._call(message), None
        answer = self.act(
            lambda: knock(message.envelope, message_id=message.id, retried=message.retried)
        )
        status = 0 if answer is None else answer.status_code
        said = "" if answer is None else answer.content[:90]
        self.tell(f"answered {message.id} {status} {said}")
        if status == 500:
            raise AssertionError(f"A delivery was answered with 500.\n{self}")
        # Whoever looks on is not in the storm.
        depth, self.depth = self.depth, 0
        self.watch()
        self.depth = depth
        return status, answer

    def _call(self, message: Message) -> int:
        """Call an address that is not ours, and publish what it has answered to the callback."""
        envelope, options = message.envelope, message.envelope.options
        status, value = self.elsewhere(envelope.url, options["headers"]["Idempotency-Key"])
        told = {
            "status": status,
            "header": {},
            "body": b64encode(json.dumps(value).encode()).decode(),
            "retried": message.retried,
            "maxRetries": options["retries"],
        }
        body = json.dumps(told).encode()
        headers = options["callback_headers"]
        back = {"retries": int(headers["Retries"]), "failure_callback": headers["Failure-Callback"]}
        self.take(Envelope(url=options["callback"], body=body, options=back))
        return status

    def _answered(self, message: Message, status: int, answer: Any) -> None:
        if 200 <= status < 300:
            if self._strikes(0.05):
                # Its answer was lost, or QStash delivers it again for no reason at all.
                message.due = self.clock.time() + self.chance.choice((0, 5, 100, 5000))
                self.messages.append(message)
                self.tell(f"! again {message.id} for +{message.due - self.clock.time():g}")
            return
        options = message.envelope.options
        if status != 489 and message.retried < options.get("retries", 3):
            asked = None if answer is None else answer.headers.get("Retry-After")
            pause = PAUSES[min(message.retried, len(PAUSES) - 1)] if asked is None else int(asked)
            message.due = self.clock.time() + pause
            message.retried += 1
            # Those behind it in its queue wait.
            self.messages.insert(0, message)
        elif "failure_callback" in options and not options.get("callback"):
            told = answer if answer is not None else _NoAnswer()
            retried = message.retried
            callback = failure_callback(message.envelope, message.id, told, retried=retried)
            self.take(callback)

    # --- processes --------------------------------------------------------------------------------

    def act(self, work: Callable[[], Any]) -> Any:
        """Do it in a process that may die of it: ``None``, then."""
        outer, self.dead = self.dead, False
        self.depth += 1
        try:
            # As in a process of its own: nothing that runs outside of it is known within.
            return contextvars.Context().run(work)
        except Crash:
            connection.run_on_commit.clear()
            return None
        finally:
            self.depth -= 1
            self.dead = outer

    def publishing(self, publish: Callable[[], Any]) -> Any:
        self._breathe()
        if self._strikes():
            self._die_or(PublishError("QStash cannot be reached."), "before a publish")
        answer = publish()
        if self._strikes():
            self._die_or(PublishError("QStash did not answer."), "after a publish")
        return answer

    def _executing(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # What begins and ends transactions is no moment of its own: commits are.
        if not self.depth or sql.startswith(CONTROL):
            return execute(sql, params, many, context)
        self._breathe()
        if self._strikes():
            if not connection.in_atomic_block and self.chance.random() < 0.6:
                self._overtake()
            else:
                self._die_or(_lost(), f"before {sql[:60]}")
        answer = execute(sql, params, many, context)
        if not connection.in_atomic_block and self._strikes():
            self._die_or(_lost(), f"after {sql[:60]}")
        return answer

    def _committing(self, commit: Callable[[], None]) -> None:
        if not self.depth:
            commit()
            return
        if self.dead or self._strikes():
            connection._rollback()
            self._die_or(_lost(), "before a commit")
        commit()
        if self._strikes():
            try:
                self._die_or(_lost(), "after a commit")
            finally:
                # Whatever was to be done after it is not done.
                connection.run_on_commit.clear()

    def _overtake(self) -> None:
        """Others come and go, and this delivery goes on where it was."""
        if self.depth > 2:
            return
        jump = self.chance.choice((0, 0, settings.DJANGO_QSTASH_LEASE + 5, 5000))
        self.clock.advance(jump)
        self.tell(f"! overtaken after +{jump}")
        for _ in range(self.chance.randint(1, 4)):
            if self.flying and self.chance.random() < 0.4:
                # QStash has waited long enough, and delivers the same again beside it.
                self._deliver(self.chance.choice(self.flying))
            else:
                self.deliver_one()
        self.tell("! and goes on")

    def _breathe(self) -> None:
        if self.dead:
            raise Crash

    def _strikes(self, chance: float | None = None) -> bool:
        """True if something goes wrong now: within a delivery, or so likely."""
        return (chance is not None or self.depth > 0) and self.lot.falls(chance)

    def _die_or(self, error: Exception, where: str) -> None:
        if self.dead or self.chance.random() < 0.6:
            self.tell(f"! dies {where}")
            self.dead = True
            raise Crash
        self.tell(f"! {error} {where}")
        raise error

    # --- telling ----------------------------------------------------------------------------------

    def tell(self, what: str) -> None:
        self.story.append(f"{self.clock.time() - 1_800_000_000:10.2f} {'  ' * self.depth}{what}")

    def __str__(self) -> str:
        return "\n".join(self.story)


def _lost() -> OperationalError:
    return OperationalError("server closed the connection unexpectedly")


class _NoAnswer:
    status_code = 0
    headers: dict[str, str] = {}
    content = b""
