"""Runs of a schedule: one now, and those that were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.messages import new_id
from django_qstash.schedules.envelope import letter_of
from django_qstash.schedules.models import TaskSchedule
from django_qstash.tasks import eager, send
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import LABEL, get_store

if TYPE_CHECKING:
    from collections.abc import Iterable


def run_now(row: TaskSchedule) -> str:
    """Send the task of a schedule at once, whatever its clock and its pause say; the task's id.

    It counts as a run: with an overlap of ``skip`` or ``queue``, the next fire heeds it. Raises
    :class:`NotRegistered`, :class:`OptionError`, and :class:`PublishError` when QStash cannot be
    reached.
    """
    task = tasks.find(row.task_name)
    # Each call of this is a run of its own, as each message of QStash's is.
    message = letter_of(row).message(f"now-{new_id()}")
    if settings.DJANGO_QSTASH_ALWAYS_EAGER:
        eager.apply_message(task, message)
    else:
        send.send(message)
    TaskSchedule.objects.filter(pk=row.pk).update(last_task_id=message.id, last_fire_at=clock.now())
    return message.id


def is_open(task_name: str, task_id: str, heard_within: float | None = None) -> bool | None:
    """Whether a run is under way, as :meth:`Task.is_open` has it: a workflow's is no task's."""
    task = tasks.get(task_name)
    ask = get_store().is_open if task is None else task.is_open
    return ask(task_id, heard_within)


def is_at_work(row: TaskSchedule) -> bool:
    """True while the last run of a schedule is under way, as far as anybody remembers."""
    if not row.last_task_id or not get_store().durable:
        return False
    limit = settings.DJANGO_QSTASH_OVERLAP_LIMIT
    return bool(is_open(row.task_name, row.last_task_id, limit))


def history(row: TaskSchedule, count: int = 10) -> list[Any]:
    """The rows of the results app that a schedule's runs have left, the latest first.

    They bear the schedule's id, so a new name takes them along, and one that another schedule had
    before brings none.
    """
    if LABEL not in apps.app_configs:
        return []
    results: Any = apps.get_model(LABEL, "TaskResult")
    found = results.objects.filter(schedule_id=row.schedule_id).order_by("-date_created")
    return list(found[:count])


def last_results(rows: Iterable[TaskSchedule]) -> dict[str, Any]:
    """The results of the last run of each, by task id, in one query."""
    if LABEL not in apps.app_configs:
        return {}
    results: Any = apps.get_model(LABEL, "TaskResult")
    ids = [row.last_task_id for row in rows if row.last_task_id]
    return {found.task_id: found for found in results.objects.filter(task_id__in=ids)}
