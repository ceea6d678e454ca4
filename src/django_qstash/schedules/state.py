"""How a schedule stands with QStash, in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import gettext as _

from django_qstash.exceptions import NotRegistered
from django_qstash.tasks.registry import tasks

if TYPE_CHECKING:
    from django_qstash.schedules.models import TaskSchedule


class State(NamedTuple):
    """``kind`` is ``active``, ``paused``, ``waiting``, ``error`` or ``gone``."""

    kind: str
    label: str
    #: What is wrong, and what to do; empty if nothing is.
    problem: str = ""


def state_of(row: TaskSchedule) -> State:
    """As far as the row knows: only ``task_schedules`` asks QStash."""
    try:
        tasks.find(row.task_name)
    except NotRegistered as error:
        return State("gone", _("Task is gone"), str(error))
    if row.sync_error:
        return State("error", _("Not in step with QStash"), row.sync_error)
    if row.synced_at is None:
        return State(
            "waiting",
            _("Not sent to QStash"),
            _("It does not run yet. Save it, or choose “Send to QStash again” in the list."),
        )
    if not row.is_active:
        return State("paused", _("Paused"))
    return State("active", _("Active"))
