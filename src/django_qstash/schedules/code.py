"""Schedules that stand in code: ``cron=`` on tasks, and ``beat_schedule`` in Celery's shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from django.utils.timezone import get_default_timezone

from django_qstash import serialization
from django_qstash.application import current, periodic
from django_qstash.exceptions import DjangoQStashError, ImproperlyConfigured, NotRegistered
from django_qstash.schedules.intervals import BaseSchedule, schedule
from django_qstash.schedules.models import TaskSchedule
from django_qstash.schedules.timetable import Timetable, timetable_of
from django_qstash.tasks import options as call_options
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.triggers import triggers
from django_qstash.transport.address import webhook_url
from django_qstash.wire.cron import UTC

#: What an entry of ``beat_schedule`` may say. Beat's own memory of runs is passed over.
_ENTRY = frozenset({"task", "schedule", "args", "kwargs", "options", "relative", "name"})
_IGNORED = frozenset({"last_run_at", "total_run_count", "app"})


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One schedule that code asks for; ``problem`` says why it cannot be had."""

    key: str
    name: str
    task: str = ""
    timetable: Timetable | None = None
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def declared() -> list[Declared]:
    """Everything that the code of this site asks for, in a lasting order."""
    found = [*_of_tasks(), *_of_beat()]
    return sorted(found, key=lambda each: each.key)


def _of_tasks() -> Iterator[Declared]:
    for name, task in tasks.items():
        # A workflow has one input, which its body may take by name; a plain task has arguments.
        single = hasattr(task, "bind_data")
        named = single and bool(task.signature_of_run().parameters)
        for index, trigger in enumerate(triggers(task.cron, task.timezone)):
            tag = trigger.id or (str(index) if index else "")
            args, kwargs = trigger.arguments(single=single, named=named)
            yield Declared(
                key=f"task:{name}" + (f"#{tag}" if tag else ""),
                name=f"{name} ({tag})" if tag else name,
                task=name,
                timetable=Timetable.parse(trigger.expression, trigger.timezone or ""),
                args=args,
                kwargs=kwargs,
            )


def _of_beat() -> Iterator[Declared]:
    for name, entry in periodic.entries().items():
        key = f"beat:{name}"
        try:
            yield _entry(key, str(name), entry)
        except (DjangoQStashError, ImproperlyConfigured, NotRegistered, TypeError, ValueError) as e:
            yield Declared(key=key, name=str(name), problem=str(e))


def _entry(key: str, name: str, entry: Any) -> Declared:
    if not isinstance(entry, Mapping):
        # Celery's own ScheduleEntry has the same names as attributes.
        entry = {each: getattr(entry, each) for each in _ENTRY if hasattr(entry, each)}
    unknown = sorted(map(str, set(entry) - _ENTRY - _IGNORED))
    if unknown:
        raise TypeError(f"an entry knows {', '.join(sorted(_ENTRY))}, not {', '.join(unknown)}")
    if entry.get("task") is None or entry.get("schedule") is None:
        raise TypeError("an entry needs 'task' and 'schedule'")
    task = entry["task"]
    options = {
        option: value
        for option, value in dict(entry.get("options") or {}).items()
        if value is not None
    }
    # Refused here rather than at each fire.
    own = call_options.split(options)[2]
    if own:
        raise TypeError(
            f"'options' holds {', '.join(sorted(own))}, which apply_async does not know"
        )
    return Declared(
        key=key,
        name=name,
        task=tasks.find(task if isinstance(task, str) else task.name).name,
        timetable=timetable_of(_schedule(entry), site_zone()),
        args=list(entry.get("args") or ()),
        kwargs=dict(entry.get("kwargs") or {}),
        options=options,
    )


def _schedule(entry: Mapping[str, Any]) -> Any:
    when = entry["schedule"]
    if entry.get("relative") and not isinstance(when, BaseSchedule) and not hasattr(when, "minute"):
        return schedule(getattr(when, "run_every", when), relative=True)
    return when


def site_zone() -> tzinfo:
    """Where the times of code hold: in the Celery object's zone, else in Django's."""
    app = current.existing()
    return get_default_timezone() if app is None else app.timezone


# --- rows --------------------------------------------------------------------------------------


def fields_of(each: Declared) -> dict[str, Any]:
    """The columns of the row that a declaration owns; its name and id are chosen once."""
    assert each.timetable is not None  # noqa: S101 - those with a problem have no row
    cron, only_on = each.timetable.cron, each.timetable.only_on
    return {
        "task_name": each.task,
        "cron": cron.fields,
        "timezone": "" if cron.zone == UTC else cron.zone,
        "only_on": "" if only_on is None else only_on.fields,
        "args": each.args,
        "kwargs": each.kwargs,
        "options": each.options,
    }


def differences(row: TaskSchedule, each: Declared) -> list[str]:
    """The columns in which a row is not what its code says now."""
    wanted = fields_of(each)
    return [name for name, value in wanted.items() if _text(getattr(row, name)) != _text(value)]


def _text(value: Any) -> str:
    """Equal for what the database may give back: lists for tuples, and keys in its own order."""
    return json.dumps(json.loads(serialization.dumps(value)), sort_keys=True)


def make(each: Declared, using: str) -> TaskSchedule:
    """The row of a declaration that has none yet, not yet written."""
    rows = TaskSchedule.objects.using(using)
    name = each.name[:255]
    if rows.filter(name=name).exists():
        name = f"{each.name[:240]} ({each.key.partition(':')[0]})"
    # Two deployments that sync at once make one row, and one schedule.
    digest = hashlib.sha256(f"{webhook_url()}\0{each.key}".encode()).hexdigest()[:24]
    return TaskSchedule(
        name=name, code_key=_column(each.key), schedule_id=f"djq_{digest}", **fields_of(each)
    )


def _column(key: str) -> str:
    """A key as its column holds it: one that is too long by its digest."""
    if len(key) <= 190:
        return key
    return f"{key[:120]}~{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def keys() -> dict[str, Declared]:
    """What code declares, by the keys of the rows."""
    return {_column(each.key): each for each in declared()}
