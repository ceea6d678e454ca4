"""The statements on steps: a run's history is read in one, and a step recorded in one."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from django.db import connections
from django.db.models import ExpressionWrapper, F, TextField

from django_qstash import serialization
from django_qstash.sql.statements import fetch, insert_once, instant, moment, raw, storable, table
from django_qstash.workflows.failures import LONGEST
from django_qstash.workflows.history import Entry, History, Key, Status
from django_qstash.workflows.models import StepExecution, WorkflowRun

COLUMNS = (
    "step_id",
    "occurrence",
    "kind",
    "status",
    "text",
    "error",
    "attempts",
    "wake_at",
    "input_hash",
    "target",
    "child_id",
    "fan",
    "id",
)
#: The same as they are in the table.
READ = tuple("result" if column == "text" else column for column in COLUMNS)


def steps(alias: str, run: WorkflowRun) -> Any:
    # The result as text: each replay makes a value of its own, and most are never looked at.
    text = ExpressionWrapper(F("result"), output_field=TextField())
    return StepExecution.objects.using(alias).filter(workflow_run_id=run.pk).annotate(text=text)


def read(alias: str, run: WorkflowRun, *, branch: Entry | None = None) -> History:
    """The history of a run, in the order in which it was recorded.

    For a ``branch``, without the others of its fan-out: with ten thousand of them each would read
    all the others.
    """
    names = ", ".join(connections[alias].ops.quote_name(column) for column in READ)
    sql = f"SELECT {names} FROM {table(alias, StepExecution)} WHERE workflow_run_id = %s"  # noqa: S608
    params: list[Any] = [run.pk]
    if branch is not None:
        sql += " AND (fan <> %s OR id = %s)"
        params += [branch.fan, branch.pk]
    return History.of(
        (Key(row[0], row[1]), _read(row)) for row in fetch(alias, sql + " ORDER BY id", params)
    )


def _read(row: Any) -> Entry:
    """An entry as the cursor returns it: the order is that of :data:`READ`."""
    error, wake_at = row[5], instant(row[7])
    return Entry(
        kind=row[2],
        status=row[3],
        result=row[4],
        error=None if error is None else serialization.loads(error),
        attempts=row[6],
        wake_at=None if wake_at is None else wake_at.timestamp(),
        input_hash=row[8],
        target=row[9],
        child_id=row[10],
        fan=row[11],
        pk=row[12],
    )


def find(alias: str, run: WorkflowRun, key: Key) -> Entry | None:
    """One step as it is recorded now."""
    row = (
        steps(alias, run)
        .filter(step_id=key.step_id, occurrence=key.occurrence)
        .values_list(*COLUMNS)
        .first()
    )
    return None if row is None else entry_of(row)


def entry_of(row: Any) -> Entry:
    return Entry(
        kind=row[2],
        status=row[3],
        result=row[4],
        error=row[5],
        attempts=row[6],
        wake_at=None if row[7] is None else row[7].timestamp(),
        input_hash=row[8],
        target=row[9],
        child_id=row[10],
        fan=row[11],
        pk=row[12],
    )


def insert(
    alias: str,
    run: WorkflowRun,
    key: Key,
    entry: Entry,
    *,
    started_at: datetime | None = None,
    executed_at: datetime | None = None,
    limit: int | None = None,
    follow: str | None = None,
) -> bool:
    """Record a step that was not recorded. False if it is by now: that record counts."""
    values = {
        "workflow_run_id": run.pk,
        "step_id": key.step_id,
        "occurrence": key.occurrence,
        "fan": entry.fan,
        "limit": limit,
        "awaited": False,
        "deliveries": 0,
        "follow": follow,
        "lease_token": None,
        "lease_until": None,
        "kind": entry.kind,
        "input_hash": entry.input_hash,
        "target": entry.target,
        "started_at": None if started_at is None else moment(alias, started_at),
        **_columns(alias, entry, executed_at),
    }
    return insert_once(alias, StepExecution, values)


def update(
    alias: str,
    entry: Entry,
    *,
    started_at: datetime | None = None,
    executed_at: datetime | None = None,
    token: str | None = None,
) -> bool:
    """Record what became of a step that waited. False if somebody else has, or holds it now."""
    rows = StepExecution.objects.using(alias).filter(pk=entry.pk)
    rows = rows.filter(lease_token=token) if token else rows.exclude(status__in=Status.DONE)
    values = _columns(alias, entry, None)
    values |= {"result": raw(entry.result), "error": raw(values["error"])}
    values |= {"wake_at": _instant(entry.wake_at), "executed_at": executed_at}
    if started_at is not None:
        values["started_at"] = started_at
    return bool(rows.update(lease_token=None, lease_until=None, **values))


def _columns(alias: str, entry: Entry, executed_at: datetime | None) -> dict[str, Any]:
    error = entry.error
    wake_at = _instant(entry.wake_at)
    return {
        "status": entry.status,
        "result": entry.result,
        "error": None if error is None else serialization.dumps(dict(error)),
        "error_message": "" if error is None else (storable(str(error["message"])) or "")[:LONGEST],
        "attempts": entry.attempts,
        "wake_at": None if wake_at is None else moment(alias, wake_at),
        "executed_at": None if executed_at is None else moment(alias, executed_at),
        "child_id": entry.child_id,
    }


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
