"""Everything at once: code, rows and QStash are compared, and what differs is a list of steps.

QStash's list has other sites' schedules too. Those are counted, and never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, IntegrityError, router, transaction

from django_qstash import clock
from django_qstash.exceptions import (
    DjangoQStashError,
    ImproperlyConfigured,
    MessageError,
    NotRegistered,
    ResultsNotInstalled,
)
from django_qstash.messages import LegacyMessage
from django_qstash.schedules import code, remote, sync
from django_qstash.schedules.check import DELIVERY
from django_qstash.schedules.envelope import envelope_of, fingerprint
from django_qstash.schedules.models import DeletedSchedule, TaskSchedule, new_schedule_id
from django_qstash.schedules.sync import Pushed
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import get_store
from django_qstash.tasks.triggers import ALLOW
from django_qstash.transport.address import webhook_url

#: What one step may come to without keeping the others from being taken.
_WRONG = (
    DatabaseError,
    DjangoQStashError,
    ImproperlyConfigured,
    NotRegistered,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, and in words: ``create 'nightly'``."""

    verb: str
    name: str
    why: str
    run: Callable[[], Pushed]

    def __str__(self) -> str:
        return f"{self.verb} {self.name!r}" + (f": {self.why}" if self.why else "")


@dataclass(slots=True)
class Plan:
    """What there is to do, and what cannot be done."""

    steps: list[Step] = field(default_factory=list)
    #: What is wrong and stays so until somebody mends it: a failure of the command.
    problems: list[str] = field(default_factory=list)
    #: What somebody should know, and is no failure.
    notes: list[str] = field(default_factory=list)
    foreign: int = 0
    equal: int = 0


def make_plan(*, prune: bool = False, move_from: str | None = None, new_ids: bool = False) -> Plan:
    """Compare code, rows and QStash. Nothing is changed by that.

    ``prune``: what only QStash knows is deleted there instead of taken over, and so is what the
    code has given up. ``move_from``: schedules of ours that fire at this address are ours to move.
    ``new_ids``: rows whose schedule fires elsewhere get one of their own. Raises
    :class:`PublishError` and :class:`ImproperlyConfigured`.
    """
    webhook_url()
    theirs = {each.id: each for each in remote.listed()}
    return _Planner(theirs, prune, move_from, new_ids).plan()


class _Planner:
    def __init__(
        self,
        theirs: dict[str, remote.Remote],
        prune: bool,
        move_from: str | None,
        new_ids: bool,
    ) -> None:
        self.theirs = theirs
        self.prune = prune
        self.move_from = move_from
        self.new_ids = new_ids
        self.using = router.db_for_write(TaskSchedule)
        self.result = Plan()

    def plan(self) -> Plan:
        rows = list(TaskSchedule.objects.using(self.using))
        wanted = code.keys()
        known = {row.code_key: row for row in rows if row.code_key is not None}
        for key, each in wanted.items():
            if each.problem:
                self.result.problems.append(f"{each.name!r} in the code: {each.problem}")
            elif key not in known:
                self._step("create", each.name, "it is new in the code", self._creator(each))
        seen = {row.schedule_id for row in rows}
        for row in rows:
            self._row(row, wanted)
        for tomb in DeletedSchedule.objects.using(self.using).filter(done_at=None):
            seen.add(tomb.schedule_id)
            self._step("delete", tomb.name, "it was deleted here", self._remover(tomb.schedule_id))
        done = DeletedSchedule.objects.using(self.using).exclude(done_at=None)
        for schedule_id in done.values_list("schedule_id", flat=True):
            if schedule_id in self.theirs and schedule_id not in seen:
                seen.add(schedule_id)
                why = "it was deleted here, and QStash has it again"
                self._step("delete", schedule_id, why, self._remover(schedule_id))
        for schedule_id, found in self.theirs.items():
            if schedule_id not in seen:
                self._unknown(found, wanted)
        return self.result

    # --- rows -------------------------------------------------------------------------------------

    def _row(self, row: TaskSchedule, wanted: dict[str, code.Declared]) -> None:
        found = self.theirs.get(row.schedule_id)
        if row.code_key is not None and row.code_key not in wanted:
            self._given_up(row)
            return
        if row.overlap != ALLOW and not get_store().durable:
            missing = ResultsNotInstalled(f"Schedules with overlap={row.overlap!r}")
            self.result.problems.append(f"{row.name!r}: {missing} Until then its runs overlap.")
        each = wanted.get(row.code_key or "")
        changed = []
        if each is not None and not each.problem:
            changed = code.differences(row, each)
            if changed:
                why = f"its {', '.join(changed)} changed in the code"
                self._step("change", row.name, why, self._updater(row, each))
                return
        if found is not None and not found.is_ours:
            self._elsewhere(row, found)
            return
        try:
            tasks.find(row.task_name)
            envelope = envelope_of(row)
        except (NotRegistered, TypeError, ValueError) as error:
            self.result.problems.append(f"{row.name!r}: {error}")
            return
        if found is None:
            why = "QStash has it no more" if row.synced_at else "QStash does not know it"
            self._step("create", row.name, why, self._pusher(row))
            return
        self._compare(row, found, found.differences(envelope), fingerprint(envelope))

    def _compare(self, row: TaskSchedule, found: remote.Remote, drift: list[str], now: str) -> None:
        if found.paused and row.is_active:
            if row.synced_active is False:
                self._step("resume", row.name, "", self._pusher(row, found))
                return
            drift = [*drift, "it was paused there, and stays so"]
        elif not found.paused and not row.is_active:
            self._step("pause", row.name, "", self._pusher(row, found))
            return
        if drift:
            # Ours if the row has changed since; else somebody has changed it at QStash.
            said = "" if row.synced_as not in ("", now) else "at QStash "
            self._step("change", row.name, said + "; ".join(drift), self._pusher(row, found))
        elif row.synced_as != now or row.sync_error or row.synced_active is not row.is_active:
            self._step("confirm", row.name, "QStash has it as it is", self._pusher(row, found))
        else:
            self.result.equal += 1

    def _elsewhere(self, row: TaskSchedule, found: remote.Remote) -> None:
        former = (self.move_from or "").rstrip("/")
        if former and found.destination.rstrip("/") == former:
            self._step("move", row.name, f"from {found.destination}", self._mover(row))
        elif self.new_ids:
            why = f"its schedule fires at {found.destination}"
            self._step("create", row.name, why, self._renewer(row))
        else:
            self.result.foreign += 1
            self.result.problems.append(
                f"{row.name!r}: QStash's schedule of this id fires at {found.destination}. If this "
                "site has moved from there, use --move-from with that address; if this database is "
                "a copy of that site's, use --new-ids."
            )

    def _given_up(self, row: TaskSchedule) -> None:
        if self.prune:
            self._step("delete", row.name, "its code is gone", self._dropper(row))
        else:
            self.result.notes.append(
                f"{row.name!r} is not in the code any more; --prune deletes it."
            )

    # --- what only QStash knows -------------------------------------------------------------------

    def _unknown(self, found: remote.Remote, wanted: dict[str, code.Declared]) -> None:
        if not found.is_ours:
            self.result.foreign += 1
            return
        try:
            letter = found.letter()
        except MessageError as error:
            self.result.notes.append(f"{found.id} cannot be read, and is left alone: {error}")
            return
        if self.prune:
            why = "nobody here knows it"
            self._step("delete", found.id, why, lambda: self._delete_there(found.id))
        elif getattr(letter, "code", "") and letter.code not in wanted:  # type: ignore[union-attr]
            self.result.notes.append(
                f"{found.id} runs {letter.task}, and is not in the code any more; --prune deletes "
                "it."
            )
        elif not getattr(letter, "code", ""):
            row = imported(found, letter)
            # A task may be gone from this code, and come back; the row says so.
            wrong = [error for name, error in row.problems().items() if name != "task_name"]
            if wrong:
                self.result.notes.append(
                    f"{found.id} cannot be taken over, and is left alone: {wrong[0]}"
                )
                return
            self._step("take over", row.name, "QStash has it", lambda: self._import(row, found))

    # --- the steps --------------------------------------------------------------------------------

    def _step(self, verb: str, name: str, why: str, run: Callable[[], Pushed]) -> None:
        self.result.steps.append(Step(verb, name, why, run))

    def _pusher(self, row: TaskSchedule, found: Any = "ask") -> Callable[[], Pushed]:
        return lambda: sync.push(row.schedule_id, self.using, found=found)

    def _creator(self, each: code.Declared) -> Callable[[], Pushed]:
        def run() -> Pushed:
            row = code.make(each, self.using)
            made = TaskSchedule.objects.using(self.using).filter(code_key=row.code_key)
            try:
                with transaction.atomic(using=self.using):
                    row.write(using=self.using)
            except IntegrityError:
                # Another deployment does the same at this moment; it is the same schedule.
                if not made.exists():
                    raise
            return sync.push(row.schedule_id, self.using)

        return run

    def _updater(self, row: TaskSchedule, each: code.Declared) -> Callable[[], Pushed]:
        def run() -> Pushed:
            fields = code.fields_of(each)
            for name, value in fields.items():
                setattr(row, name, value)
            # Somebody may have paused or renamed it since we looked, or while we asked.
            row.write(using=self.using, update_fields=list(fields))
            return sync.push(row.schedule_id, self.using)

        return run

    def _mover(self, row: TaskSchedule) -> Callable[[], Pushed]:
        def run() -> Pushed:
            # What is put replaces what is there, its address too, and leaves its pause alone.
            remote.put(envelope_of(row))
            return sync.push(row.schedule_id, self.using)

        return run

    def _renewer(self, row: TaskSchedule) -> Callable[[], Pushed]:
        def run() -> Pushed:
            row.schedule_id = new_schedule_id()
            row.write(using=self.using, update_fields=["schedule_id"])
            # Nobody has told QStash of this one.
            TaskSchedule.objects.using(self.using).filter(pk=row.pk).update(
                synced_at=None, synced_active=None, synced_as=""
            )
            return sync.push(row.schedule_id, self.using)

        return run

    def _dropper(self, row: TaskSchedule) -> Callable[[], Pushed]:
        def run() -> Pushed:
            row.delete(using=self.using)
            return sync.remove(row.schedule_id, self.using)

        return run

    def _remover(self, schedule_id: str) -> Callable[[], Pushed]:
        return lambda: sync.remove(schedule_id, self.using)

    def _delete_there(self, schedule_id: str) -> Pushed:
        remote.delete(schedule_id)
        return Pushed("deleted")

    def _import(self, row: TaskSchedule, found: remote.Remote) -> Pushed:
        names = TaskSchedule.objects.using(self.using).filter(name=row.name)
        if names.exists():
            row.name = f"{row.name[:200]} ({found.id})"
        row.created_at = row.updated_at = row.synced_at = clock.now()
        # What it differs in from a schedule of ours is for the next sync to mend.
        with suppress(*_WRONG):
            wanted = envelope_of(row)
            if not found.differences(wanted):
                row.synced_as = fingerprint(wanted)
        # Its task may be gone from this code: the row then says so. Another deployment may have
        # taken it over since we looked.
        with transaction.atomic(using=self.using):
            TaskSchedule.objects.using(self.using).bulk_create([row], ignore_conflicts=True)
        return Pushed("taken over")


def imported(found: remote.Remote, letter: Any) -> TaskSchedule:
    """The row of a schedule that only QStash knows. It is not written, and QStash not told."""
    data = found.data
    name = letter.task_name if isinstance(letter, LegacyMessage) else letter.name
    row = TaskSchedule(
        schedule_id=found.id,
        name=(name or letter.task)[:255],
        task_name=letter.task[:255],
        args=list(letter.args),
        kwargs=dict(letter.kwargs),
        is_active=not found.paused,
        synced_active=not found.paused,
        revision="imported",
    )
    row.cron, row.timezone = found.cron[:255], ""
    if isinstance(letter, LegacyMessage):
        known: dict[str, Any] = {
            "retries": data.get("retries"),
            "timeout": f"{data['timeout']}s" if data.get("timeout") else "",
            "label": data.get("label") or "",
            "callback": data.get("callback") or "",
            "failure_callback": data.get("failureCallback") or "",
            "retry_delay": data.get("retryDelayExpression") or "",
        }
    else:
        call = dict(letter.call)
        known = {name: call.pop(name) for name in (*DELIVERY, "queue", "headers") if name in call}
        known |= {"options": call, "overlap": letter.overlap, "only_on": letter.only_on}
    delay = data.get("delay")
    known["delay"] = f"{delay}s" if delay else ""
    for name, value in known.items():
        if value is not None:
            setattr(row, name, value)
    try:
        row.task_name = tasks.find(row.task_name).name
    except NotRegistered as error:
        row.sync_error = str(error)
    return row


def apply(steps: Iterable[Step]) -> tuple[int, list[str]]:
    """Take the steps, one after another; how many went well, and what went wrong with others."""
    done, wrong = 0, []
    for step in steps:
        try:
            became = step.run()
        except _WRONG as error:
            wrong.append(f"{step.name!r}: {error}")
            continue
        if became.error:
            wrong.append(f"{step.name!r}: {became.error}")
        else:
            done += 1
    sync.forget_deleted(router.db_for_write(TaskSchedule))
    return done, wrong
