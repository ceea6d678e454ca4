"""What happens next to every message: a state machine with no I/O and no clock of its own.

``due`` says which HTTP calls are to be made now, ``finish`` takes what came of each, ``next_due``
says when to ask again. Whoever drives it (the server's event loop, a test with a virtual clock)
makes the calls. What holds a message back before an attempt stands in ``gates``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from django_qstash.devserver import backoff, callback
from django_qstash.devserver.dlq import DeadLetters
from django_qstash.devserver.events import Events
from django_qstash.devserver.faults import Faults
from django_qstash.devserver.gates import Gates
from django_qstash.devserver.journal import Journal
from django_qstash.devserver.message import (
    ACTIVE,
    CANCEL_REQUESTED,
    CANCELED,
    CREATED,
    DELIVERED,
    ERROR,
    FAILED,
    RETRY,
    Answer,
    Attempt,
    Message,
    Pairs,
    new_id,
)
from django_qstash.devserver.request import callback_spec
from django_qstash.devserver.timers import Timers
from django_qstash.wire import retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django_qstash.clock import Clock
    from django_qstash.devserver.limits import Limits

#: Timers that one call of ``due`` runs at most: a hundred thousand messages that become due at one
#: moment must not keep the server from answering.
_STEP = 1000


class Machine:
    """Every message that is not finished, and the gates before it."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: Limits,
        retry_scale: float = 1.0,
        faults: Faults | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.clock = clock
        self.limits = limits
        #: Factor on retry back-off alone. Delays, not-before, cron and Retry-After stay true: the
        #: destination compares them with its own clock.
        self.retry_scale = retry_scale
        self.faults = faults or Faults()
        self.journal = journal or Journal()
        self.timers = Timers()
        self.messages: dict[str, Message] = {}
        self.events = Events(self._forget)
        self.dead = DeadLetters()
        self.gates = Gates(
            clock=clock, timers=self.timers, journal=self.journal, past_queue=self._past_queue
        )
        self.parallelism = limits.parallelism
        #: HTTP calls that are open now.
        self.calls = 0
        #: Called with every message that is finished.
        self.on_finished: Callable[[Message], None] = lambda _message: None
        #: How many known messages are in each state.
        self.tally: Counter[str] = Counter()
        self._echoes: list[Attempt] = []
        self._serial = 0
        # Bound once: a hundred thousand timers share them.
        self._wake_action = self._wake
        self._flow_action = self.gates.to_flow

    # What its driver calls.

    def due(self) -> list[Attempt]:
        """The calls that are to be made now; each must be answered by :meth:`finish`."""
        now = self.clock.time()
        for _ in range(_STEP):
            action = self.timers.pop(now)
            if action is None:
                break
            action()
        attempts: list[Attempt] = []
        while self.calls < self.parallelism and (message := self.gates.next()) is not None:
            attempts.append(self._start(message, now))
        while self._echoes and self.calls < self.parallelism:
            attempts.append(self._echoes.pop())
            self.calls += 1
        return attempts

    def next_due(self) -> float | None:
        """When :meth:`due` has something to do; ``None`` if only a new message can give it that."""
        if (self.gates or self._echoes) and self.calls < self.parallelism:
            return self.clock.time()
        return self.timers.next()

    def idle(self) -> bool:
        """Nothing is due now and no call is open."""
        due = self.next_due()
        return self.calls == 0 and (due is None or due > self.clock.time())

    def finish(self, attempt: Attempt, answer: Answer) -> None:
        """Take what came of one call."""
        self.calls -= 1
        message = attempt.message
        if attempt.echo:
            return
        message.open = False
        self.gates.leave_flow(message)
        if message.done:
            self.gates.leave_queue(message)
            return
        if answer.good and self.faults.loses_answer():
            answer = Answer(status=0, error="fault: the acknowledgement was lost", took=answer.took)
        message.last = answer
        message.shaken = False
        now = self.clock.time()
        if answer.good:
            self._event(now, DELIVERED, message, answer)
            self._callback(message, answer)
            self._finish(message, DELIVERED, now)
            return
        self._event(now, ERROR, message, answer)
        self._callback(message, answer)
        if answer.final or message.retried >= message.spec.retries:
            self._fail(message, answer, now)
        else:
            self._retry(message, answer, now)

    # Messages.

    def accept(self, message: Message) -> None:
        """Take a new message in; it is delivered from ``message.next_time`` on."""
        if message.spec.flow is not None:
            key = self.gates.flow(message.spec.flow.key)
            if key.configure(message.spec.flow):
                self.journal.keep("flow", key.name, key)
        self.journal.message(message)
        self._event(message.created, CREATED, message)
        self._enroll(message)
        self._await(message)

    def readmit(self, messages: Iterable[Message]) -> None:
        """Take unfinished messages back from a journal, in the order of their lines."""
        messages = list(messages)
        # Every slot that is held is counted before the first line moves.
        for message in messages:
            self._enroll(message)
        for message in messages:
            self._await(message)

    def _enroll(self, message: Message) -> None:
        self.messages[message.id] = message
        self.tally[message.state] += 1
        self._serial = max(self._serial, message.serial)
        self.gates.enroll(message)

    def _await(self, message: Message) -> None:
        if message.next_time > self.clock.time():
            self.timers.set(message, message.next_time, self._wake_action)
        else:
            self._wake(message)

    def recall(self, message: Message) -> None:
        """Take back a finished message of a journal, to be looked at."""
        self.messages[message.id] = message
        self.tally[message.state] += 1
        self._serial = max(self._serial, message.serial)
        self.events.retire(message)

    def next_serial(self) -> int:
        self._serial += 1
        return self._serial

    def cancel(self, message: Message) -> bool:
        """Stop a message, in flight too, whose outcome is dropped; false if it is finished."""
        if message.done:
            return False
        now = self.clock.time()
        self.timers.clear(message)
        self.gates.withdraw(message)
        self._event(now, CANCEL_REQUESTED, message)
        self._event(now, CANCELED, message)
        # An open call keeps its slots until it ends.
        self._finish(message, CANCELED, now, leave=not message.open)
        return True

    def hurry(self, message: Message) -> bool:
        """Do not wait for a message's time any longer; false if that is not what it waits for."""
        if message.done or message not in self.timers:
            return False
        self.timers.clear(message)
        message.next_time = self.clock.time()
        self.journal.progress(message)
        self._wake(message)
        return True

    # The steps of one message.

    def _wake(self, message: Message) -> None:
        self.gates.knock(message)

    def _past_queue(self, message: Message) -> None:
        if not message.shaken:
            message.shaken = True
            held = self.faults.hold()
            if held:
                self.timers.set(message, self.clock.time() + held, self._flow_action)
                return
        self.gates.to_flow(message)

    def _start(self, message: Message, now: float) -> Attempt:
        self._turn(message, ACTIVE)
        message.attempt += 1
        message.open = True
        self.calls += 1
        self._event(now, ACTIVE, message)
        echo = self.faults.echo()
        if echo is not None:
            again = Attempt(
                message=message, number=message.attempt, retried=message.retried, echo=True
            )
            self.timers.set(again, now + echo, self._echoes.append)
        return Attempt(message=message, number=message.attempt, retried=message.retried)

    def _retry(self, message: Message, answer: Answer, now: float) -> None:
        wait = retries.asked_for(answer.header, now)
        if wait is None:
            wait = backoff.computed(message.spec.retry_delay, message.retried) * self.retry_scale
        message.retried += 1
        self._turn(message, RETRY)
        message.next_time = now + wait
        self._event(now, RETRY, message, message.next_time)
        self.journal.progress(message)
        self.timers.set(message, message.next_time, self._wake_action)

    def _fail(self, message: Message, answer: Answer, now: float) -> None:
        self._event(now, FAILED, message)
        entry = self.dead.add(message, answer, now)
        self.journal.keep("dead", entry.id, entry)
        if message.spec.failure_callback is not None:
            self._follow(
                message,
                message.spec.failure_callback,
                message.spec.failure_callback_header,
                callback.body(message, answer, dlq_id=entry.id),
            )
        self._finish(message, FAILED, now)

    def _callback(self, message: Message, answer: Answer) -> None:
        if message.spec.callback is not None:
            self._follow(
                message,
                message.spec.callback,
                message.spec.callback_header,
                callback.body(message, answer),
            )

    def _follow(self, source: Message, url: str, header: Pairs, body: bytes) -> None:
        now = self.clock.time()
        message = Message(
            id=new_id("msg"),
            spec=callback_spec(header, body, source.spec),
            url=url,
            created=now,
            not_before=now,
            next_time=now,
            serial=self.next_serial(),
            source=source.id,
            source_queue=source.spec.queue,
        )
        self.accept(message)

    def _finish(self, message: Message, state: str, now: float, *, leave: bool = True) -> None:
        self._turn(message, state)
        message.finished = now
        queue = self.gates.queues.get(message.spec.queue or "")
        if queue is not None:
            queue.lag -= 1
        self.journal.progress(message)
        self.on_finished(message)
        if leave:
            self.gates.leave_queue(message)
        self.events.retire(message)

    def _event(
        self, now: float, state: str, message: Message, detail: Answer | float | None = None
    ) -> None:
        self.journal.event(self.events.add(now, state, message, detail))

    def _turn(self, message: Message, state: str) -> None:
        self.tally[message.state] -= 1
        self.tally[state] += 1
        message.state = state

    def _forget(self, message: Message) -> None:
        if self.messages.pop(message.id, None) is not None:
            self.tally[message.state] -= 1
        self.journal.forget(message)
