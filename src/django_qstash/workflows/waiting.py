"""Steps that wait: for a signal to this run, for an event that all may hear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F

from django_qstash import clock, serialization
from django_qstash.exceptions import LeaseLost
from django_qstash.sql.statements import insert_once, moment
from django_qstash.workflows import records
from django_qstash.workflows.entries import completed, is_due, waiting
from django_qstash.workflows.models import StepExecution, Topic, WorkflowEvent
from django_qstash.workflows.sleeping import NOTHING

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.history import Entry, Key
    from django_qstash.workflows.turn import Turn


def signal(turn: Turn, ask: Ask, key: Key, entry: Entry | None) -> Entry:
    """The first signal of that name that no step has received."""
    old, entry = entry, entry or waiting(ask)
    while True:
        if (event := first_of(turn, f"signal:{ask.target}")) is not None:
            return receive(turn, ask, key, old, event)
        if is_due(entry.wake_at):
            done = completed(ask, entry, NOTHING)
            return turn.record(key, old, done, started_at=clock.now())
        turn.wait(key, old, entry, waits=f"signal:{ask.target}")


def first_of(turn: Turn, name: str) -> WorkflowEvent | None:
    """The first of what came to this run under a name, and is not received yet."""
    events = WorkflowEvent.objects.using(turn.alias)
    mine = events.filter(run=turn.hold.run, name=name, consumed_by=None)
    found: WorkflowEvent | None = mine.order_by("pk").first()
    return found


def event(turn: Turn, ask: Ask, key: Key, entry: Entry | None) -> Entry:
    """The next event under that key, since the run began, that this run has not received."""
    old, entry = entry, entry or waiting(ask)
    while True:
        if (found := _next_event(turn, ask.target)) is not None:
            return receive(turn, ask, key, old, found)
        if is_due(entry.wake_at):
            done = completed(ask, entry, NOTHING)
            return turn.record(key, old, done, started_at=clock.now())

        def still_nothing() -> bool:
            # Whoever notifies writes the same row: the event is there by now, or the run waits.
            touch(turn.alias, ask.target)
            return _next_event(turn, ask.target) is None

        turn.wait(key, old, entry, waits=f"event:{ask.target}", before=still_nothing)


def touch(alias: str, key: str) -> None:
    """Hold the row of an event's key until the transaction ends."""
    topics = Topic.objects.using(alias)
    now = clock.now()
    if topics.filter(key=key).update(count=F("count") + 1, touched_at=now):
        return
    insert_once(alias, Topic, {"key": key, "count": 0, "touched_at": moment(alias, now)})
    topics.filter(key=key).update(count=F("count") + 1, touched_at=now)


def _next_event(turn: Turn, key: str) -> WorkflowEvent | None:
    run = turn.hold.run
    events = WorkflowEvent.objects.using(turn.alias)
    name = f"event:{key}"
    mine = events.filter(run=run, name=name).order_by("-source_id").values_list("source_id")
    last = mine.first()
    rows = events.filter(run=None, name=name, at__gte=run.born)
    if last is not None and last[0] is not None:
        rows = rows.filter(pk__gt=last[0])
    found: WorkflowEvent | None = rows.order_by("pk").first()
    return found


def receive(turn: Turn, ask: Ask, key: Key, old: Entry | None, found: WorkflowEvent) -> Entry:
    """Record the step with what has come, and that it is received, together."""
    value = {"data": found.data, "at": found.created_at}
    text = serialization.dumps(value, what=f"What {ask.target!r} brought")
    return consume(turn, key, old, completed(ask, old, text), found)


def consume(turn: Turn, key: Key, old: Entry | None, done: Entry, found: WorkflowEvent) -> Entry:
    """Record how an event ended a step, and that the event is received, together."""
    events = WorkflowEvent.objects.using(turn.alias)
    with transaction.atomic(using=turn.alias):
        if not turn.hold.renew():
            raise LeaseLost
        recorded = turn.record(key, old, done, started_at=clock.now())
        if recorded is done:
            step = _row_of(turn, key)
            if found.run_id is None:
                _copy(turn, found, step)
            elif not events.filter(pk=found.pk, consumed_by=None).update(consumed_by=step):
                raise LeaseLost
    return recorded


def _row_of(turn: Turn, key: Key) -> StepExecution:
    rows = records.steps(turn.alias, turn.hold.run)
    step: StepExecution = rows.get(step_id=key.step_id, occurrence=key.occurrence)
    return step


def _copy(turn: Turn, found: WorkflowEvent, step: Any) -> None:
    """An event is shared, so each run that receives it gets a row that says so."""
    WorkflowEvent.objects.using(turn.alias).create(
        run=turn.hold.run,
        name=found.name,
        data=found.data,
        created_at=found.created_at,
        at=found.at,
        consumed_by=step,
        source=found,
    )
