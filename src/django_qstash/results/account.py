"""What the site's tasks are at, for people who ask: ``app.control.inspect()``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import router
from django.db.models import Count, F

from django_qstash import states
from django_qstash.results.models import Phase, TaskResult
from django_qstash.results.reads import as_record
from django_qstash.sql.clock import DatabaseClock

if TYPE_CHECKING:
    from django_qstash.tasks.store import TaskRecord


def active(limit: int) -> list[TaskRecord]:
    """The tasks under way: somebody holds their lease."""
    held = _rows().filter(phase=Phase.OPEN, lease_until__gt=DatabaseClock())
    return _records(held.exclude(lease_token=None), limit)


def waiting(limit: int) -> list[TaskRecord]:
    """The tasks that were sent and have not begun."""
    return _records(_rows().filter(phase=Phase.OPEN, status=states.PENDING), limit)


def to_retry(limit: int) -> list[TaskRecord]:
    """The tasks that wait for another try; ``meta["eta"]`` is when it will be."""
    rows = _rows().filter(phase=Phase.RETRY)[:limit]
    return [as_record(row, eta=_eta(row.follow)) for row in rows]


def revoked(limit: int) -> list[TaskRecord]:
    """The tasks that were revoked, whether or not their letter has come yet."""
    return _records(_rows().filter(status=states.REVOKED), limit)


def totals() -> dict[str, dict[str, int]]:
    """How many results of each task there are, by the host that ran it."""
    counted = (
        _rows()
        .filter(phase=Phase.DONE)
        .exclude(worker="")
        .values(host=F("worker"), name=F("task_name"))
        .annotate(count=Count("id"))
        .order_by()
    )
    found: dict[str, dict[str, int]] = {}
    for row in counted:
        found.setdefault(row["host"], {})[row["name"]] = row["count"]
    return found


def _rows() -> Any:
    return TaskResult.objects.using(router.db_for_read(TaskResult)).order_by("-id")


def _records(rows: Any, limit: int) -> list[TaskRecord]:
    return [as_record(row) for row in rows[:limit]]


def _eta(follow: Sequence[Any] | None) -> str | None:
    """When the next try is due, as its letter says."""
    for letter in follow or ():
        if letter.get("retries") and letter.get("eta"):
            return str(letter["eta"])
    return None
