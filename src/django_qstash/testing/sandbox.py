"""QStash inside a test: it takes messages, keeps them, and delivers them when it is told to."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.test import override_settings

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.devserver.faults import Knobs
from django_qstash.devserver.keys import Keys
from django_qstash.devserver.message import FINAL, Answer, Attempt
from django_qstash.devserver.state import State
from django_qstash.tasks.outbox import AfterCommit, get_outbox, in_transaction
from django_qstash.testing import door
from django_qstash.testing.crash import Crash, Fuse
from django_qstash.testing.door import Delivered
from django_qstash.testing.sent import SentTask, identity_of, letter_of
from django_qstash.testing.transport import SandboxTransport, open_sandboxes

if TYPE_CHECKING:
    from typing_extensions import Self

    from django_qstash.wire.envelope import Envelope, Receipt

TRANSPORT = f"{SandboxTransport.__module__}.{SandboxTransport.__qualname__}"
#: For what a project leaves unset.
DEFAULTS = {
    "QSTASH_TOKEN": "a token for tests",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_for_this_test_and_for_it_alone",
    "QSTASH_NEXT_SIGNING_KEY": "sig_for_the_next_test_and_for_none",
    "DJANGO_QSTASH_DOMAIN": "https://testserver",
}
#: The moments around a publish.
BEFORE_PUBLISH, AFTER_PUBLISH = "before a publish", "after a publish"
#: The clock moves from one due time to the next; so often in vain, with no message that has its
#: time ahead, means that nothing will come.
IN_VAIN = 50


class VirtualTime(clock.VirtualClock):
    """Stands still; who sleeps gets delivered what becomes due meanwhile."""

    def __init__(self, start: float, sandbox: QStashSandbox) -> None:
        super().__init__(start)
        self._sandbox = sandbox

    def sleep(self, seconds: float) -> None:
        self._sandbox.advance(seconds)


class QStashSandbox:
    """A context manager: inside it, whatever is published comes here and nothing leaves the test.

    It is the embedded server's machine without its sockets: retries, delays, deduplication, FIFO
    queues, schedules and the dead letter queue are QStash's, and each delivery is a signed request
    to this site's own URLs through Django's test client, in this thread, so that it works inside a
    ``TestCase``. Time stands still until a test moves it: by :meth:`advance`, by
    :meth:`deliver_all`, or by ``AsyncResult.get``, which has delivered what becomes due while it
    waits.

    ``deliver="at once"`` delivers within the call that publishes, as if there were no way between.
    ``faults`` are the knobs of the embedded server, such as ``{"duplicate": 1.0}``. Settings that
    the project leaves unset get values for the test, and ``DJANGO_QSTASH_ALWAYS_EAGER`` is off.
    """

    def __init__(
        self, *, deliver: str = "when told", faults: Mapping[str, Any] | None = None
    ) -> None:
        if deliver not in ("when told", "at once"):
            raise ValueError(f"deliver={deliver!r} is neither 'when told' nor 'at once'.")
        self.at_once = deliver == "at once"
        #: Publishing fails while this is true, as when QStash cannot be reached.
        self.is_down = False
        #: Every delivery so far.
        self.deliveries: list[Delivered] = []
        #: What was published for other addresses than this site's, and answered with 200.
        self.outside: list[Attempt] = []
        self.lock = threading.RLock()
        self._faults = dict(faults or {})
        self._noted: list[tuple[Envelope, Receipt]] = []
        self._open: ExitStack | None = None
        self._depth = 0
        self._fuse: Fuse | None = None
        #: The deliveries that are at work, the innermost last.
        self._at_work: list[Attempt] = []
        #: By the ids of their messages.
        self._seen: dict[str, Attempt] = {}
        #: Called at every moment of a delivery at which something may go wrong, with words for it.
        self.on_moment: Callable[[str], None] = lambda _: None
        #: The letters of which a delivery has died on purpose.
        self._died: set[Any] = set()

    # --- in and out -----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Take over publishing and the clock. Raises ``RuntimeError`` if it was started before."""
        if self._open is not None:
            raise RuntimeError("This QStashSandbox is open already; make another one.")
        with ExitStack() as stack:
            self.clock = VirtualTime(clock.time(), self)
            unset = {name: value for name, value in DEFAULTS.items() if not getattr(settings, name)}
            stack.enter_context(clock.use(self.clock))
            stack.enter_context(
                override_settings(
                    **unset,
                    DJANGO_QSTASH_TRANSPORT=TRANSPORT,
                    DJANGO_QSTASH_ALWAYS_EAGER=False,
                )
            )
            keys = Keys(
                settings.QSTASH_TOKEN,
                settings.QSTASH_CURRENT_SIGNING_KEY,
                settings.QSTASH_NEXT_SIGNING_KEY,
            )
            self.state = State(clock=self.clock, keys=keys)
            self.faults(**self._faults)
            open_sandboxes.append(self)
            stack.callback(open_sandboxes.remove, self)
            self._open = stack.pop_all()

    def stop(self) -> None:
        """Give publishing and the clock back; messages that wait are gone."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def faults(self, **knobs: Any) -> None:
        """Turn the embedded server's knobs: ``duplicate``, ``drop_ack``, ``refuse`` and the like.

        Those left out are off. Raises ``ValueError`` for what is no knob, or no chance.
        """
        self.state.machine.faults.turn(Knobs.of(knobs))

    # --- what was sent --------------------------------------------------------------------------

    @property
    def sent(self) -> list[SentTask]:
        """The messages of tasks so far, in their order: those of calls, chains and retries.

        Inside a ``TestCase``, what waits for a commit that never comes counts as committed, unless
        an ``atomic()`` block of the project's own is open.
        """
        self.commit()
        found = []
        for envelope, receipt in self._noted:
            message = letter_of(envelope.body)
            # Copies of the same letter, for later, are QStash's business.
            if message is not None and not (receipt.deduplicated or message.p or message.life):
                found.append(SentTask(message, envelope, receipt.message_id))
        return found

    def sent_to(self, task: Any) -> list[SentTask]:
        """The messages of one task, given itself or by its name."""
        name = _name(task)
        return [each for each in self.sent if each.name == name]

    def assert_sent(self, task: Any, *args: Any, **kwargs: Any) -> SentTask:
        """The last message of ``task``, with these arguments if any are given.

        Raises ``AssertionError`` that says what was sent instead.
        """
        sent = self.sent
        name = _name(task)
        for each in reversed(sent):
            if each.fits(name, args, kwargs):
                return each
        wanted = f"{name} was not sent" + (" with these arguments" if args or kwargs else "")
        told = "; ".join(map(str, sent)) or "nothing"
        raise AssertionError(f"{wanted}. Sent was: {told}.")

    def assert_not_sent(self, task: Any, *args: Any, **kwargs: Any) -> None:
        """Raises ``AssertionError`` if ``task`` was sent, with these arguments if any are given."""
        name = _name(task)
        found = [str(each) for each in self.sent if each.fits(name, args, kwargs)]
        if found:
            raise AssertionError(f"It was sent: {'; '.join(found)}.")

    def assert_nothing_sent(self) -> None:
        """Raises ``AssertionError`` if anything was."""
        if sent := self.sent:
            raise AssertionError(f"Something was sent: {'; '.join(map(str, sent))}.")

    @property
    def failed(self) -> list[SentTask]:
        """The messages in QStash's dead letter queue."""
        dead = {entry.message.id for entry in self.state.machine.dead}
        return [each for each in self.sent if each.message_id in dead]

    # --- deliveries -----------------------------------------------------------------------------

    def deliver_all(self, *, copies: int = 1, crash_at: int | None = None) -> list[Delivered]:
        """Deliver until nothing is left: what is sent meanwhile, retries and delayed messages too.

        The clock moves on to whatever is due next. Each message is delivered ``copies`` times, as
        QStash may. With ``crash_at`` the first delivery of each letter dies at that step, if it
        takes so many, and QStash delivers it again: :class:`Crash`. Returns the deliveries.
        """
        self.commit()
        before = len(self.deliveries)
        vain = 0
        while not self.is_idle and vain < IN_VAIN:
            vain = 0 if self._deliver_due(copies, crash_at) or self._is_awaited() else vain + 1
            self.commit()
            self.to_next()
        if self.state.machine.faults.knobs.duplicate:
            # The second of two deliveries comes up to a second later.
            self.clock.advance(1)
            self._deliver_due(copies, None)
        return self.deliveries[before:]

    def deliver_due(self, *, copies: int = 1, crash_at: int | None = None) -> list[Delivered]:
        """Deliver what is due now, and what that sends; the clock stands still."""
        self.commit()
        before = len(self.deliveries)
        while self._deliver_due(copies, crash_at):
            self.commit()
        return self.deliveries[before:]

    def to_next(self) -> bool:
        """Move the clock on to what is due next; false if no message is under way."""
        due = self.state.machine.next_due()
        if due is None or self.is_idle:
            return False
        awaited = [
            message.next_time
            for message in self.state.machine.messages.values()
            if not message.done
        ]
        others = self.state.schedules or self.state.machine.faults.knobs.duplicate
        if not others and awaited and min(awaited) > self.clock.time():
            # But for fires and second deliveries, timers can wait: for what is past its retention.
            due = min(awaited)
        self.clock.advance_to(due)
        return True

    def advance(self, seconds: float) -> list[Delivered]:
        """Move the clock on, and deliver what becomes due at its time, schedules included."""
        before = len(self.deliveries)
        end = self.clock.time() + seconds
        self.deliver_due()
        while (due := self.state.machine.next_due()) is not None and due <= end:
            self.clock.advance_to(due)
            self.deliver_due()
        self.clock.advance_to(end)
        return self.deliveries[before:]

    @property
    def is_idle(self) -> bool:
        """True if no message is under way."""
        tally = self.state.machine.tally
        return not any(count for state, count in tally.items() if state not in FINAL)

    def _is_awaited(self) -> bool:
        """True if a message has its time ahead; others are held back for good, perhaps."""
        now = self.clock.time()
        return any(
            message.next_time > now and not message.done
            for message in self.state.machine.messages.values()
        )

    def _deliver_due(self, copies: int, crash_at: int | None) -> bool:
        """True if anything was delivered."""
        with self.lock:
            attempts = self.state.machine.due()
        for attempt in attempts:
            letter = identity_of(attempt.message.spec.body)
            answer = self._deliver(attempt, None if letter in self._died else crash_at)
            if crash_at is not None:
                self._died.add(letter)
            for _ in range(copies - 1):
                self._deliver(attempt, None)
            with self.lock:
                self.state.machine.finish(attempt, answer)
        return bool(attempts)

    def again(self, old: Delivered | None = None) -> None:
        """Deliver a message once more, as QStash may: an ``old`` one, or the one that is at work.

        Raises ``RuntimeError`` where none is.
        """
        if old is None and not self._at_work:
            raise RuntimeError("No delivery is at work that could come twice.")
        self._deliver(self._at_work[-1] if old is None else self._seen[old.message_id], None)

    def _deliver(self, attempt: Attempt, crash_at: int | None) -> Answer:
        message = attempt.message
        if not door.is_ours(message.url):
            self.outside.append(attempt)
            return Answer(status=200)
        fuse = Fuse(crash_at, self.on_moment)
        self._at_work.append(attempt)
        self._seen[message.id] = attempt
        crashed = False
        with self.aside(fuse):
            self._depth += 1
            try:
                with fuse.watching():
                    answer = self._knock(attempt)
                    fuse.step("before the answer")
            except Crash as crash:
                answer, crashed = Answer(status=0, error=f"the process died {crash}"), True
            finally:
                self._depth -= 1
                self._at_work.pop()
        self.deliveries.append(
            Delivered(
                message.id,
                message.url,
                answer.status,
                answer.body,
                attempt.retried,
                crashed,
                fuse.steps,
            )
        )
        return answer

    @contextmanager
    def aside(self, fuse: Fuse | None = None) -> Iterator[None]:
        """What another process does, in the middle of whatever delivery is at work."""
        outer, self._fuse = self._fuse, fuse
        if outer is not None:
            outer.is_paused = True
        try:
            yield
        finally:
            self._fuse = outer
            if outer is not None:
                outer.is_paused = False

    def _knock(self, attempt: Attempt) -> Answer:
        if self._depth == 1:
            return door.knock(attempt, self.state.keys)
        # As in a process of its own: which task or run it interrupts is not known there.
        return contextvars.Context().run(door.knock, attempt, self.state.keys)

    # --- moments ----------------------------------------------------------------------------------

    def moment(self, where: str) -> None:
        """A delivery has come to a moment that only it knows of. Raises :class:`Crash`."""
        if self._fuse is not None:
            self._fuse.breathe()
            self.commit()
            self.on_moment(where)

    def die(self, where: str) -> None:
        """Let the process of the innermost delivery die now. Raises :class:`Crash`."""
        if self._fuse is not None:
            self._fuse.burn(where)

    @property
    def depth(self) -> int:
        """How many deliveries are at work, one within the other."""
        return self._depth

    # --- what the transport tells ---------------------------------------------------------------

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Around each publish: a delivery may die before and after it."""
        if self._fuse is not None:
            self._fuse.step(BEFORE_PUBLISH)
        yield
        if self._fuse is not None:
            self._fuse.step(AFTER_PUBLISH)
        elif self.at_once:
            self.deliver_due()

    def note(self, envelope: Envelope, receipt: Receipt) -> None:
        """Remember what was published."""
        with self.lock:
            self._noted.append((envelope, receipt))

    def commit(self) -> None:
        """Have done what waits for a commit that Django's TestCase never makes."""
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block or in_transaction(connection.alias):
                continue
            for _, call, *_ in list(connection.run_on_commit):
                if isinstance(call, AfterCommit):
                    call()
        if self._depth == 0 and not self.is_down and (outbox := get_outbox()) is not None:
            outbox.sweep()


def _name(task: Any) -> str:
    return task if isinstance(task, str) else str(task.name)
