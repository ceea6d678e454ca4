"""A run's row is written: once for an id, and once for an idempotency key of its workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_qstash import clock, serialization
from django_qstash.exceptions import IdempotencyConflict
from django_qstash.messages import WorkflowMessage, new_id
from django_qstash.sql.clock import clock_sql
from django_qstash.sql.fields import json_text
from django_qstash.sql.statements import insert_once, moment
from django_qstash.tasks.options import check_task_id
from django_qstash.workflows import letters, rows
from django_qstash.workflows.history import fingerprint
from django_qstash.workflows.models import Closing, RunStatus, WorkflowRun
from django_qstash.workflows.names import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_qstash.workflows.definition import Workflow


@dataclass(slots=True, kw_only=True)
class Birth:
    """What a run is to be started with."""

    workflow: Workflow
    data: Any
    run_id: str | None = None
    idempotency_key: str | None = None
    #: When it is to begin; ``None``: at once.
    at: datetime | None = None
    parent: WorkflowRun | None = None
    #: The task's letter that it comes by.
    origin: Mapping[str, Any] | None = None
    #: Bytes of that letter, where its delivery is the run's first.
    came_by: int = 0
    options: Mapping[str, Any] | None = None
    #: Its parent waits for it from the beginning.
    watched: bool = False

    def text(self) -> str:
        """The input as JSON text. Raises :class:`EncodeError`."""
        return json_text(self.data, what=f"The input of {self.workflow.name}")


def write(birth: Birth, *, owed: bool = True) -> tuple[WorkflowRun, bool]:
    """The run's row, and whether it is new.

    Raises :class:`IdempotencyConflict` where the row that is there was started with other data, and
    ``TypeError``, ``ValueError`` or :class:`EncodeError` for what cannot be.
    """
    text = birth.text()
    workflow = birth.workflow
    run_id = new_id() if birth.run_id is None else check_task_id(birth.run_id, "run_id")
    if birth.idempotency_key is not None:
        check_name(birth.idempotency_key, "An idempotency key")
    alias = rows.alias()
    now = clock.now()
    deadline = None
    if workflow.run_timeout is not None:
        deadline = (birth.at or now) + timedelta(seconds=workflow.run_timeout)
    mark = fingerprint(text)
    values = {
        "run_id": run_id,
        "workflow_id": workflow.name,
        "version": workflow.version,
        "status": RunStatus.PENDING,
        "data": _as_json(alias, birth.data),
        "result": None,
        "error_message": "",
        "error_traceback": "",
        "error": None,
        "failed_step": "",
        "attempt": 1,
        "generation": 0,
        "lease_token": None,
        "lease_until": None,
        "attempts": 0,
        "progress": 0,
        "inbox": 0,
        "branches": 0,
        "waits": "",
        "wake_at": None if birth.at is None else moment(alias, birth.at),
        "owed": rows.stamp() if owed else None,
        "watched": birth.watched,
        "closing": Closing.NOTHING,
        "follow": None,
        "idempotency_key": birth.idempotency_key,
        "input_hash": mark,
        "parent_id": None if birth.parent is None else birth.parent.pk,
        "origin": None if birth.origin is None else serialization.dumps(dict(birth.origin)),
        "options": serialization.dumps(dict(birth.options)) if birth.options else None,
        "created_at": moment(alias, now),
        "started_at": None,
        "completed_at": None,
        "deadline": None if deadline is None else moment(alias, deadline),
        "messages": 1 if owed or birth.came_by else 0,
        "bytes_sent": _size(birth, run_id, now) if owed else birth.came_by,
        "compute_seconds": 0,
        "database_seconds": 0,
    }
    born = clock_sql(connections[alias])
    new = insert_once(alias, WorkflowRun, values, ("born", *born))
    return found(birth, run_id, mark), new


def _size(birth: Birth, run_id: str, now: datetime) -> int:
    """Bytes of the run's first letter."""
    letter = WorkflowMessage(workflow=birth.workflow.name, id=run_id)
    return letters.size(letter, birth.options, delay=letters.seconds_until(birth.at, now))


def found(birth: Birth, run_id: str, mark: str) -> WorkflowRun:
    """The row that is there, if it is what was asked for. Raises :class:`IdempotencyConflict`."""
    run: WorkflowRun | None = None
    name = birth.workflow.name
    if birth.idempotency_key is not None:
        keyed = rows.runs().filter(workflow_id=name, idempotency_key=birth.idempotency_key)
        run = keyed.first()
        if run is not None and birth.run_id is not None and run.run_id != run_id:
            raise IdempotencyConflict(
                f"The idempotency key {birth.idempotency_key!r} of {name} belongs to the run "
                f"{run.run_id!r}, not to {run_id!r}."
            )
    run = run or rows.runs().get(run_id=run_id)
    said = f"run id {run_id!r}" if birth.idempotency_key is None else "idempotency key"
    if run.workflow_id != name:
        raise IdempotencyConflict(f"The {said} belongs to a run of {run.workflow_id}.")
    if run.input_hash != mark:
        raise IdempotencyConflict(
            f"The {said} belongs to a run of {name} that was started with other data."
        )
    return run


def _as_json(alias: str, value: Any) -> Any:
    field: Any = WorkflowRun._meta.get_field("data")  # noqa: SLF001 - documented
    return field.get_db_prep_save(value, connections[alias])
