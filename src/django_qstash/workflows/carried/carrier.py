"""One delivery of a carried run: it does one step, and packs what that came to for the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import Interrupt, PayloadTooLarge, Suspend
from django_qstash.workflows import functions, observe, persistence, sleeping
from django_qstash.workflows.carried.letter import Letter, in_order
from django_qstash.workflows.history import Entry, History, Key, Kind, Status
from django_qstash.workflows.interrupts import DeadlinePassed

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.context import Context
    from django_qstash.workflows.definition import Workflow

Performer = Callable[["Carrier", "Ask", Key, "Entry | None"], Entry]

PERFORMERS: dict[str, Performer] = {
    Kind.RUN: functions.perform,
    Kind.BRANCH: functions.perform,
    Kind.VALUE: functions.perform,
    Kind.VERSION: functions.perform,
    Kind.SLEEP: sleeping.sleep,
    Kind.CALL: functions.call,
}
#: Steps that come out differently, or have an effect, when they are done again: one a delivery.
WORK = frozenset({Kind.RUN, Kind.BRANCH, Kind.VALUE, Kind.CALL})
REFUSED = {
    Kind.SIGNAL: "A wait for a signal",
    Kind.EVENT: "A wait for an event",
    Kind.CHILD: "A child workflow",
    Kind.START: "A child workflow",
    Kind.TASK: "step.task",
}


class Full(Interrupt):
    """The next letter would be too large to send, whatever the body did about it."""

    def __init__(self, error: PayloadTooLarge) -> None:
        self.error = error
        super().__init__(error)


@dataclass(slots=True, eq=False)
class Carrier:
    """The carried engine's :class:`Host`, and the :class:`Keeper` of its steps."""

    workflow: Workflow
    letter: Letter
    history: History
    context: Context | None = None
    #: The letter that the run goes on with, and the seconds that it is to wait.
    onward: Letter | None = None
    delay: float = 0
    #: This delivery has done its step.
    has_worked: bool = False
    #: What is told of once it has left, or the run has ended.
    news: list[tuple[Key, Entry]] = field(default_factory=list)
    #: Branches that the body has started and that are not done.
    open: dict[Key, Ask] = field(default_factory=dict)

    # --- the host's four --------------------------------------------------------------------------

    def perform(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:
        self._do_branches()
        return self._do(ask, key, entry)

    def start(self, branches: Sequence[tuple[Ask, Key]]) -> None:  # noqa: ARG002
        """Do them one after the other: nothing here could do them side by side."""
        self._do_branches()

    def join(self, keys: Sequence[Key]) -> None:  # noqa: ARG002
        self._do_branches()

    def reached(self, ask: Ask, key: Key) -> None:
        entry = self.history.entries.get(key)
        if entry is None or not entry.is_done:
            self.open[key] = ask

    def _do_branches(self) -> None:
        for key, ask in list(self.open.items()):
            done = self._do(ask, key, self.history.entries.get(key))
            self.history.put(key, done)
            del self.open[key]

    def _do(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:
        _refuse(ask)
        if self.letter.deadline is not None and clock.time() >= self.letter.deadline:
            raise DeadlinePassed
        if ask.kind in WORK:
            if self.has_worked:
                self.hand_over()
            self._check_room(ask, key, entry)
        return PERFORMERS[ask.kind](self, ask, key, entry)

    # --- the keeper's three -----------------------------------------------------------------------

    def record(
        self,
        key: Key,
        old: Entry | None,
        entry: Entry,
        *,
        started_at: datetime,  # noqa: ARG002 - nobody is to see it
    ) -> Entry:
        entry.wake_at = None
        self.history.put(key, entry)
        excess = self._excess(self._next())
        if excess is not None:
            if old is None:
                del self.history.entries[key]
            else:
                self.history.put(key, old)
            if entry.status == Status.FAILED:
                raise Full(excess)
            raise excess
        if entry.kind in WORK:
            self.has_worked = True
        self.news.append((key, entry))
        return entry

    def wait(
        self,
        key: Key,
        old: Entry | None,
        entry: Entry,
        *,
        started_at: datetime | None = None,  # noqa: ARG002 - nobody is to see it
    ) -> None:
        self.history.put(key, entry)
        if entry is not old and entry.status == Status.RETRYING:
            self.news.append((key, entry))
        wake_at = entry.wake_at
        if self.letter.deadline is not None:
            wake_at = min(wake_at or self.letter.deadline, self.letter.deadline)
        self.hand_over(0 if wake_at is None else wake_at - clock.time())

    def fenced(self) -> AbstractContextManager[None]:
        raise persistence.refusal("A step with atomic=True")

    # --- the next letter --------------------------------------------------------------------------

    def hand_over(self, delay: float = 0, **changes: Any) -> NoReturn:
        """Leave the rest to the next letter, which comes after ``delay`` seconds."""
        onward = self._next(**changes)
        excess = self._excess(onward)
        if excess is not None:
            raise Full(excess)
        self.onward, self.delay = onward, max(0.0, delay)
        if self.context is not None:
            self.context.is_paused = True
        raise Suspend

    def tell(self) -> None:
        """Say what became of steps, now that it is sent."""
        for key, entry in self.news:
            observe.stepped(self.workflow, self.letter.id, key, entry)

    def _next(self, **changes: Any) -> Letter:
        return self.letter.next(steps=in_order(self.history), **changes)

    def _check_room(self, ask: Ask, key: Key, entry: Entry | None) -> None:
        """Before a step is done: its record must fit, however little it returns."""
        probe = Entry(kind=ask.kind, status=Status.COMPLETED, input_hash=ask.input_hash, attempts=2)
        steps = in_order(self.history)
        if entry is None:
            steps = (*steps, (key, probe))
        excess = self._excess(self.letter.next(steps=steps))
        if excess is not None:
            raise Full(excess)

    def _excess(self, letter: Letter) -> PayloadTooLarge | None:
        """What is to be said of a letter that cannot be sent; ``None`` of one that can."""
        size = len(letter.but(enqueued=True).encode())
        limit = settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE
        if size <= limit:
            return None
        largest = max(letter.steps, key=_size, default=None)
        most = "" if largest is None else f", of which step {str(largest[0])!r} takes the most"
        return PayloadTooLarge(
            f"The run {letter.id!r} of {letter.workflow} carries its input and the results of "
            f"{len(letter.steps)} steps in its messages: the next one takes {size:,} bytes{most}, "
            f"and DJANGO_QSTASH_MAX_PAYLOAD_SIZE allows {limit:,}. Return ids rather than data, or "
            "keep runs in the database (django_qstash.workflows)."
        )


def _size(step: tuple[Key, Entry]) -> int:
    return len(step[1].result or "")


def _refuse(ask: Ask) -> None:
    """Raises :class:`PersistenceOff` for what only a database could do."""
    if ask.kind in REFUSED:
        raise persistence.refusal(f"{REFUSED[ask.kind]} (step {ask.step_id!r})")
    if ask.options.atomic:
        raise persistence.refusal(f"atomic=True (step {ask.step_id!r})")
    if ask.kind == Kind.CALL and ask.payload.via != "process":
        raise persistence.refusal(f'step.call(via="qstash") (step {ask.step_id!r})')
