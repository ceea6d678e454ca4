"""Steps that are tasks: sent as letters of their own, whose links tell the run how they ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash import serialization
from django_qstash.messages import TaskMessage, derived_run
from django_qstash.tasks import send
from django_qstash.tasks.failure import to_exception
from django_qstash.tasks.launch import Origin, letters_of
from django_qstash.tasks.plan import plan
from django_qstash.tasks.registry import tasks
from django_qstash.workflows import failures, records, rows
from django_qstash.workflows.entries import completed, failed, waiting
from django_qstash.workflows.history import Entry, Key, Kind, Status
from django_qstash.workflows.waiting import consume, first_of

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.models import WorkflowEvent, WorkflowRun
    from django_qstash.workflows.turn import Turn

#: The tasks that are linked to the errand: they come with its value, or with its exception.
ARRIVED = "django_qstash.workflows.arrived"
WENT_WRONG = "django_qstash.workflows.went_wrong"


def task(turn: Turn, ask: Ask, key: Key, old: Entry | None) -> Entry:
    """Send it with the record that the run waits for it."""
    name = f"task:{key}"
    while True:
        event = first_of(turn, name)
        if event is not None:
            return _received(turn, ask, key, old, event)
        if old is not None:
            turn.wait(key, old, old, waits=name)
            continue
        letters = _letters(turn, ask, key)
        text = serialization.dumps([letter.as_dict() for letter in letters])
        envelopes = [send.seal(letter) for letter in letters]
        turn.wait(key, None, waiting(ask), waits=name, after=envelopes, follow=text)


def _letters(turn: Turn, ask: Ask, key: Key) -> list[TaskMessage]:
    run_id = turn.hold.run.run_id
    sig = ask.payload.clone()
    told = {"run_id": run_id, "name": f"task:{key}"}
    sig.link(tasks[ARRIVED].s(**told))
    sig.link_error(tasks[WENT_WRONG].s(**told))
    origin = Origin(run=derived_run(run_id, f"task:{key}"), parent_id=run_id, root_id=run_id)
    return [send.prepared(letter) for letter in letters_of(plan(sig), origin)]


def _received(turn: Turn, ask: Ask, key: Key, old: Entry | None, event: WorkflowEvent) -> Entry:
    data = event.data
    if data.get("error") is None:
        done = completed(ask, old, serialization.dumps(data.get("value")))
    else:
        error = to_exception(data["error"])
        done = failed(ask, old, failures.of_step(str(key), 1, error))
    return consume(turn, key, old, done, event)


def republish(run: WorkflowRun) -> None:
    """Send again what the run waits for. Raises :class:`PublishError`."""
    waits = records.steps(rows.alias(), run).filter(kind=Kind.TASK, status=Status.WAITING)
    for follow in waits.values_list("follow", flat=True):
        send.follow([TaskMessage.from_dict(letter) for letter in follow or ()])
