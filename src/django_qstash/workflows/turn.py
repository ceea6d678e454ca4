"""One delivery's turn at a run: it does the steps that the body asks for, and records them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, transaction

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import LeaseLost, PublishError, Suspend
from django_qstash.sql.statements import KeptCursor
from django_qstash.workflows import fans, letters, observe, records, rehearsal
from django_qstash.workflows.entries import instant
from django_qstash.workflows.history import Entry, History, Key, Status
from django_qstash.workflows.interrupts import DeadlinePassed, Stop

if TYPE_CHECKING:
    from django_qstash.wire.envelope import Envelope
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.context import Context
    from django_qstash.workflows.definition import Workflow
    from django_qstash.workflows.rows import Hold

#: Seconds between two looks at whether the run is still ours: it may have been canceled.
LOOK = 1.0

Performer = Callable[["Turn", "Ask", Key, "Entry | None"], Entry]


@dataclass(slots=True, eq=False)
class Turn:
    """The engine's :class:`Host`."""

    hold: Hold
    workflow: Workflow
    history: History
    performers: dict[str, Performer]
    #: What is to be published once the body has been left.
    outbound: list[Envelope] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    looked: float = field(default_factory=time.monotonic)
    context: Context | None = None
    #: Seconds that this delivery may go on.
    budget: float | None = None
    cursor: KeptCursor = field(init=False)
    verbose: bool = field(init=False)

    def __post_init__(self) -> None:
        self.cursor = KeptCursor(self.alias)
        self.verbose = observe.is_verbose(self.workflow)

    @property
    def alias(self) -> str:
        return self.hold.alias

    # --- the host's four --------------------------------------------------------------------------

    def perform(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:
        try:
            self._look()
            perform = self.performers[ask.kind]
            if rehearsal.stage is None:
                done = perform(self, ask, key, entry)
            else:
                done = rehearsal.stage.step(self, ask, key, entry, perform)
            if self._budget_is_spent():
                self.history.put(key, done)
                self._hand_over()
        except (DatabaseError, PublishError) as error:
            raise Stop(error) from error
        return done

    def start(self, branches: Sequence[tuple[Ask, Key]]) -> None:
        try:
            self._look()
            fans.begin(self, branches)
        except (DatabaseError, PublishError) as error:
            raise Stop(error) from error

    def join(self, keys: Sequence[Key]) -> None:
        try:
            self._look()
            fans.join(self, keys)
        except (DatabaseError, PublishError) as error:
            raise Stop(error) from error

    def reached(self, ask: Ask, key: Key) -> None:
        """The body itself goes on after the start of a branch."""

    # --- recording --------------------------------------------------------------------------------

    def fenced(self) -> AbstractContextManager[None]:
        """A transaction that fails if the run is not ours any more. Raises :class:`LeaseLost`."""
        return self.hold.fenced()

    def record(self, key: Key, old: Entry | None, entry: Entry, *, started_at: datetime) -> Entry:
        """Write that a step is done; what is recorded of it, which counts."""
        done_at = clock.now()
        if old is None:
            written = records.insert(
                self.cursor, self.hold.run, key, entry, started_at=started_at, executed_at=done_at
            )
        else:
            entry.pk = old.pk
            # A wait began when it was noted; an attempt has begun anew.
            began = None if old.status == Status.WAITING else started_at
            written = records.update(self.alias, entry, started_at=began, executed_at=done_at)
        if not written:
            return self.recorded(key)
        observe.stepped(self.workflow, self.hold.run.run_id, key, entry, self.verbose)
        return entry

    def recorded(self, key: Key) -> Entry:
        """What another delivery has recorded of a step. Raises :class:`LeaseLost`."""
        found = records.find(self.alias, self.hold.run, key)
        if found is None or not found.is_done:
            raise LeaseLost
        return found

    def note(self, key: Key, old: Entry | None, entry: Entry, **columns: Any) -> None:
        """Write, inside a transaction, that a step waits. Raises :class:`LeaseLost`."""
        if old is None:
            columns.setdefault("started_at", clock.now())
            written = records.insert(self.cursor, self.hold.run, key, entry, **columns)
        else:
            entry.pk = old.pk
            written = records.update(self.alias, entry)
        if not written:
            raise LeaseLost

    # --- putting the run down ---------------------------------------------------------------------

    def suspend(
        self,
        write: Callable[[], Any] = lambda: None,
        *,
        waits: str = "",
        wake_at: datetime | None = None,
        branches: int | Callable[[], int] = 0,
        attempt: int | None = None,
        after: Sequence[Envelope] = (),
        before: Callable[[], bool] = lambda: True,
        letter: bool = True,
    ) -> None:
        """Put the run down, write, and raise :class:`Suspend`: the letter goes out after that.

        Without ``letter`` none is sent for ``wake_at``, unless the run has an end to its time.
        ``before`` is for rows that are locked before the run's; with false it says that there is
        nothing to wait for. Returns only if so, or if something has come meanwhile: nothing is
        written then, and the caller looks again. Raises :class:`LeaseLost`.
        """
        wake_at = self.before_deadline(wake_at)
        envelope = None
        if wake_at is not None and (letter or self.hold.run.deadline is not None):
            message = letters.of_run(self.hold.run)
            message = message.but(generation=message.generation + 1)
            delay = letters.seconds_until(wake_at, clock.now())
            envelope = letters.seal(message, self.hold.run.options, delay=delay)
        sent = [*after, *([envelope] if envelope else [])]
        with transaction.atomic(using=self.alias):
            # The run before its steps: their foreign keys would have MySQL lock it for sharing,
            # and two that share a lock cannot both write.
            done = before() and self.hold.suspend(
                waits=waits,
                wake_at=wake_at,
                branches=branches() if callable(branches) else branches,
                attempt=attempt,
                envelopes=sent,
            )
            if done:
                write()
            else:
                transaction.set_rollback(True, using=self.alias)
        if not done:
            self.hold.reload()
            return
        self.outbound += sent
        observe.suspended(self.workflow, self.hold.run.run_id, waits, wake_at)
        raise Suspend

    def before_deadline(self, moment: datetime | None) -> datetime | None:
        """The moment, or the end of the run's own time if that comes first."""
        deadline = self.hold.run.deadline
        if deadline is None or moment is None:
            return deadline if moment is None else moment
        return min(deadline, moment)

    def wait(
        self,
        key: Key,
        old: Entry | None,
        entry: Entry,
        *,
        waits: str = "",
        write: Callable[[], Any] = lambda: None,
        before: Callable[[], bool] = lambda: True,
        after: Sequence[Envelope] = (),
        letter: bool = True,
        **columns: Any,
    ) -> None:
        """Record that the run waits here, if it is not, and :meth:`suspend`."""

        def written() -> None:
            if old is None or (old.status, old.attempts) != (entry.status, entry.attempts):
                self.note(key, old, entry, **columns)
                if entry.status == Status.RETRYING:
                    observe.stepped(self.workflow, self.hold.run.run_id, key, entry)
            write()

        wake_at = instant(entry.wake_at)
        self.suspend(
            written, waits=waits, wake_at=wake_at, before=before, after=after, letter=letter
        )

    # --- between steps ----------------------------------------------------------------------------

    def _look(self) -> None:
        deadline = self.hold.run.deadline
        if deadline is not None and clock.now() >= deadline:
            raise DeadlinePassed
        if time.monotonic() - self.looked >= LOOK:
            self.looked = time.monotonic()
            if not self.hold.renew():
                raise LeaseLost

    def _budget_is_spent(self) -> bool:
        if self.budget is None:
            self.budget = self.workflow.time_budget or settings.DJANGO_QSTASH_WORKFLOW_TIME_BUDGET
        return time.monotonic() - self.began >= self.budget

    def _hand_over(self) -> None:
        """Go on in the next delivery: this one has had its time."""
        while True:
            self.suspend(wake_at=clock.now())
