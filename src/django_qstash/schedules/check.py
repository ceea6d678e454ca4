"""What a row may not say: one check for each column, and one for all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.db.models import CharField

from django_qstash import clock
from django_qstash.exceptions import (
    CronError,
    EncodeError,
    ImproperlyConfigured,
    NotRegistered,
    OptionError,
    PayloadTooLarge,
    ResultsNotInstalled,
)
from django_qstash.sql.fields import json_text
from django_qstash.tasks import options as call_options
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import get_store
from django_qstash.tasks.triggers import ALLOW, OVERLAPS
from django_qstash.wire import options as wire
from django_qstash.wire.cron import check_zone

if TYPE_CHECKING:
    from django_qstash.schedules.models import TaskSchedule

#: Columns that hold QStash's delivery options under their own names.
DELIVERY = (
    "retries",
    "timeout",
    "retry_delay",
    "label",
    "callback",
    "callback_headers",
    "failure_callback",
    "failure_callback_headers",
    "flow_control",
    "redact",
)
#: The most that a small integer of every database holds.
MOST_RETRIES = 32767


def problems(row: TaskSchedule, names: Iterable[str]) -> dict[str, Exception]:
    """What is wrong with which of these columns, as the errors that saving raises."""
    wanted = frozenset(names)
    found: dict[str, Exception] = {}
    for name in filter(wanted.__contains__, _CHECKS):
        try:
            _CHECKS[name](row)
            _check_text(row, name)
        except _WRONG as error:
            found[name] = error
    if wanted and not found:
        try:
            _check_call(row)
        except _WRONG as error:
            found[NON_FIELD_ERRORS] = error
    return found


def _check_text(row: TaskSchedule, name: str) -> None:
    """That a column of text holds one, which every database takes."""
    column, value = row._meta.get_field(name), getattr(row, name)  # noqa: SLF001
    if not isinstance(column, CharField):
        return
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {value!r}.")
    if column.max_length is not None and len(value) > column.max_length:
        raise ValueError(
            f"{name} has {len(value)} characters, and {column.max_length} are the most."
        )
    if "\0" in value:
        raise ValueError(f"{name} holds a NUL character.")


def _check_name(row: TaskSchedule) -> None:
    if not row.name or not row.name.strip():
        raise ValueError("A schedule needs a name.")


def _check_task(row: TaskSchedule) -> None:
    if not row.task_name:
        raise ValueError("A schedule needs the name of a task.")
    try:
        row.task_name = tasks.find(row.task_name).name
    except NotRegistered:
        # A task may go from the code, and its row must still be paused, and renamed.
        kept = type(row).objects.filter(pk=row.pk, task_name=row.task_name)
        if not kept.exists():
            raise


def _check_timezone(row: TaskSchedule) -> None:
    if row.timezone:
        check_zone(row.timezone)


def _check_cron(row: TaskSchedule) -> None:
    row.__dict__.pop("timetable", None)
    if row.timezone:
        try:
            check_zone(row.timezone)
        except CronError:
            return  # said beside the time zone
    if row.timetable.next(clock.time()) is None:
        raise CronError("it never runs", row.cron, 0)


def _check_args(row: TaskSchedule) -> None:
    if isinstance(row.args, tuple):
        row.args = list(row.args)
    if not isinstance(row.args, list):
        raise ValueError(f"args must be a list such as [1, 2], not {row.args!r}.")
    _check_json(row.args, "args", row)


def _check_kwargs(row: TaskSchedule) -> None:
    if not isinstance(row.kwargs, Mapping):
        raise ValueError(f'kwargs must be an object such as {{"x": 1}}, not {row.kwargs!r}.')
    _check_json(row.kwargs, "kwargs", row)


def _check_json(value: Any, name: str, row: TaskSchedule) -> None:
    json_text(value, what=f"{name} of the schedule {row.name!r}")


def _check_overlap(row: TaskSchedule) -> None:
    if row.overlap not in OVERLAPS:
        known = ", ".join(OVERLAPS)
        raise ValueError(f"overlap must be one of {known}, not {row.overlap!r}.")
    if row.overlap != ALLOW and not get_store().durable:
        raise ResultsNotInstalled(f"Schedules with overlap={row.overlap!r}")


def _check_option(name: str) -> Any:
    def check(row: TaskSchedule) -> None:
        value = getattr(row, name)
        if value in ("", None, {}, []):
            return
        cleaned = wire.clean_one(name, value)
        if not isinstance(value, (str, Mapping)):
            # Seconds, a timedelta, or a list of labels, as its column holds it.
            setattr(row, name, cleaned)

    return check


def _check_retries(row: TaskSchedule) -> None:
    _check_option("retries")(row)
    if row.retries is not None and int(row.retries) > MOST_RETRIES:
        raise ValueError(f"retries={row.retries}: {MOST_RETRIES} are the most that can be kept.")


def _check_headers(row: TaskSchedule) -> None:
    if not isinstance(row.headers, Mapping):
        raise ValueError(f"headers must be an object of names and texts, not {row.headers!r}.")


def _check_active(row: TaskSchedule) -> None:
    if row.is_active not in (True, False):
        raise ValueError(f"is_active must be True or False, not {row.is_active!r}.")


def _check_queue(row: TaskSchedule) -> None:
    call_options.check_queue(row.queue or None)


def _check_call(row: TaskSchedule) -> None:
    """What holds for the call as a whole: options that exclude each other, and its size."""
    from django_qstash.schedules.envelope import envelope_of

    # A site without an address can have schedules, and be told of that when they are sent.
    with suppress(ImproperlyConfigured):
        envelope_of(row)


#: What a check may raise.
_WRONG = (
    CronError,
    OptionError,
    NotRegistered,
    EncodeError,
    PayloadTooLarge,
    ResultsNotInstalled,
    TypeError,
    ValueError,
)
_CHECKS: dict[str, Any] = {
    "name": _check_name,
    "task_name": _check_task,
    "timezone": _check_timezone,
    "cron": _check_cron,
    "args": _check_args,
    "kwargs": _check_kwargs,
    "overlap": _check_overlap,
    "headers": _check_headers,
    "queue": _check_queue,
    "is_active": _check_active,
    **{name: _check_option(name) for name in (*DELIVERY, "delay")},
    "retries": _check_retries,
}
