"""The statements on steps: a run's history is read in one, and a step recorded in one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import connections

from django_qstash import serialization
from django_qstash.sql.statements import (
    KeptCursor,
    adapted,
    fetch,
    insert_by,
    instant,
    raw,
    storable,
    table,
)
from django_qstash.workflows import entries
from django_qstash.workflows.failures import LONGEST
from django_qstash.workflows.history import Entry, History, Key, Status
from django_qstash.workflows.models import StepExecution, WorkflowRun

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

COLUMNS = (
    "step_id",
    "occurrence",
    "kind",
    "status",
    "result",
    "error",
    "attempts",
    "wake_at",
    "input_hash",
    "target",
    "child_id",
    "fan",
    "id",
)


def steps(alias: str, run: WorkflowRun) -> Any:
    return StepExecution.objects.using(alias).filter(workflow_run_id=run.pk)


def read(alias: str, run: WorkflowRun, *, branch: Entry | None = None) -> History:
    """The history of a run, in the order in which it was recorded.

    For a ``branch``, without the others of its fan-out: with ten thousand of them each would read
    all the others.
    """
    if branch is None:
        return History.of(_select(alias, run, "", []))
    return History.of(_select(alias, run, "AND (fan <> %s OR id = %s)", [branch.fan, branch.pk]))


def find(alias: str, run: WorkflowRun, key: Key) -> Entry | None:
    """One step as it is recorded now."""
    return dict(_select(alias, run, "AND step_id = %s AND occurrence = %s", list(key))).get(key)


def ended(alias: str, run: WorkflowRun, fans: Collection[int]) -> Iterator[tuple[Key, Entry]]:
    """The branches of these fans that have ended."""
    fan, done = (", ".join(["%s"] * len(values)) for values in (fans, Status.DONE))
    where = f"AND fan IN ({fan}) AND status IN ({done})"
    return _select(alias, run, where, [*fans, *Status.DONE]) if fans else iter(())


@lru_cache(maxsize=8)
def _from(alias: str) -> str:
    names = ", ".join(connections[alias].ops.quote_name(column) for column in COLUMNS)
    return f"SELECT {names} FROM {table(alias, StepExecution)} WHERE workflow_run_id = %s"  # noqa: S608


def _select(
    alias: str, run: WorkflowRun, where: str, params: list[Any]
) -> Iterator[tuple[Key, Entry]]:
    # The result stays text: each replay makes a value of its own, and most are never looked at.
    for row in fetch(alias, f"{_from(alias)} {where} ORDER BY id", [run.pk, *params]):
        error, wake_at = row[5], instant(row[7])
        entry = Entry(
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
        yield Key(row[0], row[1]), entry


def insert(
    cursor: KeptCursor,
    run: WorkflowRun,
    key: Key,
    entry: Entry,
    *,
    started_at: datetime,
    executed_at: datetime | None = None,
    follow: str | None = None,
) -> bool:
    """Record a step that was not recorded. False if it is by now: that record counts."""
    found = cursor()
    values = {
        "workflow_run_id": run.pk,
        "step_id": key.step_id,
        "occurrence": key.occurrence,
        "kind": entry.kind,
        "status": entry.status,
        "result": entry.result,
        "attempts": entry.attempts,
        "started_at": adapted(found.db, started_at),
        "executed_at": None if executed_at is None else adapted(found.db, executed_at),
    }
    # What most steps have not: each column costs as much as ten lines of this.
    if entry.input_hash:
        values["input_hash"] = entry.input_hash
    if entry.target:
        values["target"] = entry.target
    if entry.error is not None or entry.wake_at is not None or entry.child_id or follow:
        wake_at = entries.instant(entry.wake_at)
        values |= _outcome(entry)
        values["wake_at"] = None if wake_at is None else adapted(found.db, wake_at)
        values["follow"] = follow
    return insert_by(found, cursor.alias, StepExecution, values)


def update(
    alias: str,
    entry: Entry,
    *,
    started_at: datetime | None = None,
    executed_at: datetime | None = None,
    token: str | None = None,
    used: Mapping[str, float] | None = None,
) -> bool:
    """Record what became of a step that waited. False if somebody else has, or holds it now.

    ``used`` are the columns of its times.
    """
    rows = StepExecution.objects.using(alias).filter(pk=entry.pk)
    rows = rows.filter(lease_token=token) if token else rows.exclude(status__in=Status.DONE)
    values = _outcome(entry)
    values |= {"result": raw(entry.result), "error": raw(values["error"])}
    values |= {"wake_at": entries.instant(entry.wake_at), "executed_at": executed_at}
    if started_at is not None:
        values["started_at"] = started_at
    return bool(rows.update(lease_token=None, lease_until=None, **values, **(used or {})))


def _outcome(entry: Entry) -> dict[str, Any]:
    error = entry.error
    return {
        "status": entry.status,
        "result": entry.result,
        "error": None if error is None else serialization.dumps(dict(error)),
        "error_message": "" if error is None else (storable(str(error["message"])) or "")[:LONGEST],
        "attempts": entry.attempts,
        "child_id": entry.child_id,
    }
