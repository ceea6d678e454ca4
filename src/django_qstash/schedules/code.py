"""Schedules that stand in code: ``cron=`` on tasks, and ``beat_schedule`` in Celery's shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import partial
from typing import Any

from django.utils.timezone import get_default_timezone

from django_qstash import serialization
from django_qstash.application import current, periodic
from django_qstash.exceptions import (
    DjangoQStashError,
    ImproperlyConfigured,
    NotRegistered,
    ResultsNotInstalled,
)
from django_qstash.schedules.intervals import BaseSchedule, schedule
from django_qstash.schedules.models import TaskSchedule
from django_qstash.schedules.timetable import Timetable, timetable_of
from django_qstash.sql.fields import json_text
from django_qstash.tasks import options as call_options
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import get_store
from django_qstash.tasks.triggers import ALLOW, CronTrigger, check_overlap, triggers
from django_qstash.transport.address import webhook_url
from django_qstash.wire.cron import UTC

#: What an entry of ``beat_schedule`` may say. Beat's own memory of runs is passed over.
_ENTRY = frozenset({"task", "schedule", "args", "kwargs", "options", "relative", "name"})
_IGNORED = frozenset({"last_run_at", "total_run_count", "app"})
#: Options of one call that a schedule's calls cannot have, and why.
_NOT_HERE = {
    "args": "write it beside 'options'",
    "kwargs": "write it beside 'options'",
    "content_based_deduplication": "every fire of a schedule says the same, and is to run",
    "deduplication_id": "every fire would have the same, and is to run",
    "task_id": "each fire has an id of its own",
    "using": "QStash sends it, and no transaction of yours",
}
_WRONG = (DjangoQStashError, ImproperlyConfigured, NotRegistered, TypeError, ValueError)


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
    #: ``None``: code does not say, so the admin does.
    overlap: str | None = None
    problem: str = ""
    #: True if that is an overlap for which results are missing.
    needs_results: bool = False


def declared() -> list[Declared]:
    """Everything that the code of this site asks for, in a lasting order."""
    found = [*_of_tasks(), *_of_beat()]
    return sorted(found, key=lambda each: each.key)


def _of_tasks() -> Iterator[Declared]:
    for name, task in tasks.items():
        # A workflow has one input, which its body may take by name; a plain task has arguments.
        single = hasattr(task, "bind_data")
        named = single and bool(task.signature_of_run().parameters)
        try:
            found = triggers(task.cron, task.timezone, task.overlap)
        except _WRONG as error:  # of a class; a decorator refuses it where it stands
            yield Declared(key=f"task:{name}", name=name, problem=str(error))
            continue
        for index, trigger in enumerate(found):
            tag = trigger.id or (str(index) if index else "")
            arguments = trigger.arguments(single=single, named=named)
            yield _tried(
                partial(_trigger, trigger, task=name, arguments=arguments),
                key=f"task:{name}" + (f"#{tag}" if tag else ""),
                name=f"{name} ({tag})" if tag else name,
            )


def _trigger(trigger: CronTrigger, task: str, arguments: Any, **named: Any) -> Declared:
    args, kwargs = arguments
    return Declared(
        task=task,
        timetable=Timetable.parse(trigger.expression, trigger.timezone or ""),
        args=args,
        kwargs=kwargs,
        overlap=trigger.overlap,
        **named,
    )


def _of_beat() -> Iterator[Declared]:
    for name, entry in periodic.entries().items():
        yield _tried(partial(_entry, entry), key=f"beat:{name}", name=str(name))


def _tried(make: Callable[..., Declared], **named: Any) -> Declared:
    """What ``make`` says, or what is wrong with that."""
    try:
        found = make(**named)
        json_text([found.args, found.kwargs, found.options], what="What it is called with")
        if found.overlap not in (None, ALLOW) and not get_store().durable:
            raise ResultsNotInstalled(f"Schedules with overlap={found.overlap!r}")
    except _WRONG as error:
        missing = isinstance(error, ResultsNotInstalled)
        return Declared(problem=str(error), needs_results=missing, **named)
    return found


def misfit(each: Declared) -> str:
    """In what its arguments do not fit its task, so that every fire would fail; or nothing."""
    try:
        tasks.find(each.task).check_arguments(each.args, each.kwargs)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def _entry(entry: Any, **named: Any) -> Declared:
    if not isinstance(entry, Mapping):
        # Celery's own ScheduleEntry has the same names as attributes.
        entry = {each: getattr(entry, each) for each in _ENTRY if hasattr(entry, each)}
    unknown = sorted(map(str, set(entry) - _ENTRY - _IGNORED))
    if unknown:
        raise TypeError(f"an entry knows {', '.join(sorted(_ENTRY))}, not {', '.join(unknown)}")
    if entry.get("task") is None or entry.get("schedule") is None:
        raise TypeError("an entry needs 'task' and 'schedule'")
    task = entry["task"]
    args, kwargs = entry.get("args") or (), entry.get("kwargs") or {}
    if not isinstance(args, (list, tuple)):
        raise TypeError(f"'args' must be a list or a tuple, such as (2, 3), not {args!r}")
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"'kwargs' must be a mapping, such as {{'x': 2}}, not {kwargs!r}")
    options, overlap = _options(entry.get("options") or {})
    return Declared(
        task=tasks.find(task if isinstance(task, str) else task.name).name,
        timetable=timetable_of(_schedule(entry), site_zone()),
        args=list(args),
        kwargs=dict(kwargs),
        options=options,
        overlap=overlap,
        **named,
    )


def _options(given: Any) -> tuple[dict[str, Any], str | None]:
    """The options of each call, and the schedule's overlap. Refused here rather than at a fire."""
    if not isinstance(given, Mapping):
        raise TypeError(f"'options' must be a mapping, such as {{'expires': 60}}, not {given!r}")
    options = {option: value for option, value in given.items() if value is not None}
    overlap = check_overlap(options.pop("overlap", None))
    for option in sorted(options.keys() & _NOT_HERE.keys()):
        raise TypeError(f"'options' cannot hold {option!r}: {_NOT_HERE[option]}")
    celery, _delivery, own = call_options.split(options)
    if own:
        raise TypeError(
            f"'options' holds {', '.join(sorted(own))}, which apply_async does not know"
        )
    call_options.due(celery)
    call_options.expiry(celery.get("expires"))
    return options, overlap


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
    said = {} if each.overlap is None else {"overlap": each.overlap}
    return {
        **said,
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
    # Two deployments that sync at once make one row, and one schedule.
    digest = hashlib.sha256(f"{webhook_url()}\0{each.key}".encode()).hexdigest()[:24]
    kind = each.key.partition(":")[0]
    names = (each.name[:255], f"{each.name[:240]} ({kind})", f"{each.name[:220]} ({digest})")
    taken = set(rows.filter(name__in=names).values_list("name", flat=True))
    name = next((name for name in names if name not in taken), names[-1])
    return TaskSchedule(
        name=name, code_key=_column(each.key), schedule_id=f"djq_{digest}", **fields_of(each)
    )


def _column(key: str) -> str:
    """A key as its column holds it: one that is too long by its digest."""
    if len(key) <= 190:
        return key
    return f"{key[:120]}~{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def overlap_of(row: TaskSchedule) -> str | None:
    """What the code of a row says of its overlap; ``None``: nothing."""
    each = None if row.code_key is None else keys().get(row.code_key)
    return None if each is None else each.overlap


def keys() -> dict[str, Declared]:
    """What code declares, by the keys of the rows."""
    return {_column(each.key): each for each in declared()}
