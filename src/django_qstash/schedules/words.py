"""A timetable as a person would say it: "At 09:00, Monday to Friday (Europe/Berlin)"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django_qstash.wire.cron import UTC, Cron

if TYPE_CHECKING:
    from django_qstash.schedules.timetable import Timetable

_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
#: More times a day than these are said as minutes and hours.
_SPELLED = 6


def in_words(timetable: Timetable) -> str:
    """One sentence, in English, without its full stop. A zone other than UTC stands behind it."""
    cron, only_on = timetable.cron, timetable.only_on
    said = _times(cron) + _days(cron)
    if only_on is not None:
        said += f", only {_day_words(only_on)}"
    return said if cron.zone == UTC else f"{said} ({cron.zone})"


# --- the time of day -------------------------------------------------------------------------


def _times(cron: Cron) -> str:
    minutes, hours = sorted(cron.minutes), sorted(cron.hours)
    if len(hours) == 24:
        return _minutes(minutes)
    if minutes == [0] and (_step(hours, 24) or _is_run(hours)):
        return _of_hours(hours)
    if len(minutes) == 1 or len(minutes) * len(hours) <= _SPELLED:
        times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
        every_day = " every day" if cron.all_days and cron.all_weekdays else ""
        return f"At {_listed(times)}{every_day if len(cron.months) == 12 else ''}"
    return f"{_minutes(minutes)}, {_hours(hours)}"


def _minutes(minutes: Sequence[int]) -> str:
    step = _step(minutes, 60)
    if step == 1:
        return "Every minute"
    if step and minutes[0] == 0:
        return f"Every {step} minutes"
    if minutes == [0]:
        return "Every hour"
    if step:
        return f"Every {step} minutes from minute {minutes[0]} of the hour"
    if _is_run(minutes):
        return f"Every minute from {minutes[0]} to {minutes[-1]} past the hour"
    unit = "minute" if minutes == [1] else "minutes"
    return f"At {_listed(list(map(str, minutes)))} {unit} past the hour"


def _of_hours(hours: Sequence[int]) -> str:
    step = _step(hours, 24)
    if step:
        start = "" if hours[0] == 0 else f" from {hours[0]:02}:00"
        return f"Every {step} hours{start}"
    return f"Every hour {_span_of_hours(hours)}"


def _hours(hours: Sequence[int]) -> str:
    step = _step(hours, 24)
    if step and hours[0] == 0:
        return f"in every {_ordinal(step)} hour"
    return _span_of_hours(hours, minutes=True)


def _span_of_hours(hours: Sequence[int], *, minutes: bool = False) -> str:
    last = 59 if minutes else 0
    parts = [
        f"from {run[0]:02}:00 to {run[-1]:02}:{last:02}"
        if len(run) > 1 or minutes
        else f"at {run[0]:02}:00"
        for run in _runs(hours)
    ]
    return _listed(parts)


# --- the day ---------------------------------------------------------------------------------


def _days(cron: Cron) -> str:
    months = "" if len(cron.months) == 12 else f" in {_in_months(cron.months)}"
    if cron.all_days and cron.all_weekdays:
        return f", every day{months}" if months else ""
    return f", {_day_words(cron)}{months}"


def _day_words(cron: Cron) -> str:
    """The days of the month, of the week, or both, of which cron takes either."""
    parts = []
    if not cron.all_days:
        parts.append(_days_of_month(sorted(cron.days)))
    if not cron.all_weekdays:
        parts.append(_weekdays(cron))
    return " and ".join(parts)


def _days_of_month(days: Sequence[int]) -> str:
    step = _step(days, 31, low=1)
    if step and step > 1:
        return f"every {_ordinal(step)} day of the month from the {_ordinal(days[0])}"
    parts = [
        f"the {_ordinal(run[0])} to the {_ordinal(run[-1])}"
        if len(run) > 2
        else _listed([f"the {_ordinal(day)}" for day in run])
        for run in _runs(days)
    ]
    return f"on {_listed(parts)} of the month"


def _weekdays(cron: Cron) -> str:
    """``Monday to Friday``, or ``on Saturdays and Sundays``; the week begins on Monday."""
    runs = _runs(sorted(7 if day == 0 else day for day in cron.weekdays))
    if len(runs) == 1 and len(runs[0]) > 2:
        return f"{_WEEKDAYS[runs[0][0]]} to {_WEEKDAYS[runs[0][-1] % 7]}"
    return f"on {_listed([f'{_WEEKDAYS[day % 7]}s' for run in runs for day in run])}"


def _in_months(months: frozenset[int]) -> str:
    parts: list[str] = []
    for run in _runs(sorted(months)):
        shown = [_MONTHS[month - 1] for month in run]
        parts += [f"{shown[0]} to {shown[-1]}"] if len(shown) > 2 else shown
    return _listed(parts)


# --- lists and numbers -----------------------------------------------------------------------


def _step(values: Sequence[int], count: int, low: int = 0) -> int:
    """The distance that all have, if they go on in it to the end of the range; else 0."""
    if len(values) < 2:
        return 0
    step = values[1] - values[0]
    whole = list(range(values[0], low + count, step))
    return step if list(values) == whole and values[0] - low < step else 0


def _is_run(values: Sequence[int]) -> bool:
    return len(values) > 2 and values[-1] - values[0] == len(values) - 1


def _runs(values: Sequence[int]) -> list[list[int]]:
    """The values, those that follow each other together."""
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][-1] + 1 == value:
            runs[-1].append(value)
        else:
            runs.append([value])
    return runs


def _ordinal(number: int) -> str:
    ending = (
        "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    )
    return f"{number}{ending}"


def _listed(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
