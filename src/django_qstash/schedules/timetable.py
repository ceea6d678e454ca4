"""When a schedule runs: a cron expression that QStash fires by, and a condition of its days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from django_qstash.application.times import maybe_timedelta
from django_qstash.exceptions import CronError, OptionError
from django_qstash.schedules.intervals import BaseSchedule
from django_qstash.wire.cron import FIELDS, UTC, Cron, zone_of

_MINUTE, _HOUR, _DAY, _WEEK = 60, 3600, 86400, 604800
#: Intervals in seconds that a cron expression can keep up for ever.
INTERVALS = (
    *(minutes * _MINUTE for minutes in range(1, 60) if 60 % minutes == 0),
    *(hours * _HOUR for hours in range(1, 24) if 24 % hours == 0),
    _DAY,
    _WEEK,
)

#: Where a crontab has its numbers, in cron's order.
_SETS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")


@dataclass(frozen=True, slots=True)
class Timetable:
    """The fires of ``cron``, those left out that fall on another day than ``only_on`` allows.

    QStash takes a day of the month and a day of the week as either of them, Celery as both at
    once. So QStash fires by one, and the other is looked at when the fire arrives.
    """

    cron: Cron
    only_on: Cron | None = None

    @classmethod
    def parse(cls, cron: str, zone: str = "", only_on: str = "") -> Timetable:
        """Raises :class:`CronError` for what QStash would refuse, or a condition that is none."""
        parsed = Cron.parse(cron, zone)
        if not only_on:
            return cls(parsed)
        condition = Cron.parse(only_on)
        if condition != Cron.parse(f"* * {condition.fields.split(maxsplit=2)[2]}"):
            raise CronError("a condition names days, no hours or minutes", only_on, 0)
        return cls(parsed, condition)

    @classmethod
    def of_sets(
        cls,
        minutes: frozenset[int],
        hours: frozenset[int],
        days: frozenset[int],
        months: frozenset[int],
        weekdays: frozenset[int],
        zone: str,
    ) -> Timetable:
        """The times at which all five match, as Celery's crontab has it."""
        every_day, every_weekday = FIELDS[2].every, FIELDS[4].every
        if days == every_day or weekdays == every_weekday:
            return cls(Cron(minutes, hours, days, months, weekdays, zone))
        # QStash fires by the rarer of the two, for each fire is a message.
        if len(days) / 31 <= len(weekdays) / 7:
            by, left_days, left_weekdays = (days, every_weekday), every_day, weekdays
        else:
            by, left_days, left_weekdays = (every_day, weekdays), days, every_weekday
        cron = Cron(minutes, hours, by[0], months, by[1], zone)
        every_minute, every_hour, every_month = (FIELDS[each].every for each in (0, 1, 3))
        condition = Cron(every_minute, every_hour, left_days, every_month, left_weekdays)
        return cls(cron, condition)

    def fires(self, after: float) -> Iterator[float]:
        """The instants later than ``after``, in seconds since the epoch, in their order."""
        return filter(self.allows, self.cron.fires(after))

    def next(self, after: float) -> float | None:
        """The first of :meth:`fires`; ``None``: never."""
        return next(self.fires(after), None)

    def last(self, until: float) -> float | None:
        """The last fire of QStash's that is not later than ``until``, whether or not it counts."""
        return self.cron.last(until)

    def allows(self, moment: float) -> bool:
        """True if the day on which QStash fires then is one of those that count."""
        if self.only_on is None:
            return True
        return self.only_on.falls_on(datetime.fromtimestamp(moment, zone_of(self.cron.zone)).date())


def timetable_of(when: Any, zone: tzinfo) -> Timetable:
    """The times of a crontab, an interval, seconds or a timedelta; Celery's own classes do as well.

    ``zone`` holds for Celery's own, and for numbers. Raises :class:`OptionError` for an interval
    that no cron expression keeps up, ``TypeError`` for what is no schedule.
    """
    own = getattr(when, "tz", None) if isinstance(when, BaseSchedule) else None
    zone = own or zone
    if all(isinstance(getattr(when, name, None), (set, frozenset)) for name in _SETS):
        minutes, hours, days, months, weekdays = (frozenset(getattr(when, each)) for each in _SETS)
        return Timetable.of_sets(minutes, hours, days, months, weekdays, zone_name(zone))
    interval = maybe_timedelta(getattr(when, "run_every", when))
    if isinstance(when, bool) or not isinstance(interval, timedelta):
        raise TypeError(f"{when!r} is no schedule: give a crontab, a timedelta or seconds.")
    # Counted from midnight of the zone if that is asked for; else evenly, whatever clocks do.
    relative = getattr(when, "relative", False)
    return every(interval, zone_name(zone)) if relative else every(interval)


def every(interval: timedelta, zone: str = UTC) -> Timetable:
    """An interval as a cron expression, beginning at the full hour, at midnight or on Sunday.

    Raises :class:`OptionError` for one that no cron expression keeps up, naming the nearest.
    """
    seconds = interval.total_seconds()
    if seconds in INTERVALS:
        return Timetable(Cron.parse(_cron_of(int(seconds)), zone))
    shorter = max((each for each in INTERVALS if each < seconds), default=None)
    longer = min((each for each in INTERVALS if each > seconds), default=None)
    nearest = " and ".join(_spoken(each) for each in (shorter, longer) if each is not None)
    raise OptionError(
        f"Every {_spoken(seconds)}: QStash's schedules are cron expressions, which keep up "
        "intervals that divide an hour into minutes or a day into hours evenly, a day, and a week. "
        f"The nearest: {nearest}. Or write a crontab."
    )


def zone_name(zone: tzinfo) -> str:
    """The IANA name of a time zone object. Raises :class:`OptionError` for one that has none."""
    name = getattr(zone, "key", None) or getattr(zone, "zone", None) or str(zone)
    try:
        zone_of(name)
    except (ValueError, OSError, KeyError):
        raise OptionError(
            f"{zone!r} has no name that QStash knows; use a zone such as Europe/Berlin."
        ) from None
    return str(name)


def _cron_of(seconds: int) -> str:
    if seconds < _HOUR:
        return f"*/{seconds // _MINUTE} * * * *"
    if seconds < _DAY:
        return f"0 */{seconds // _HOUR} * * *"
    return "0 0 * * *" if seconds == _DAY else "0 0 * * 0"


def _spoken(seconds: float) -> str:
    for size, unit in ((_WEEK, "week"), (_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"
