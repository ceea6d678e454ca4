"""``crontab``: at these minutes of these hours of these days. Celery: ``celery.schedules``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, tzinfo
from typing import Any

from django_qstash.application.times import weekday
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.schedules.intervals import BaseSchedule
from django_qstash.wire.cron import DAYS_IN, MONTHS, UTC, Cron

_RANGE = re.compile(r"(\w+)-(\w+)(?:/(\w+))?")
_STAR = re.compile(r"\*(?:/(\w+))?")

Spec = int | str | Iterable[int] | None


class ParseException(Exception):
    """What is written in a field of a crontab cannot be read."""


class crontab_parser:  # noqa: N801 - Celery's name
    """Reads one field: numbers, names of days and months, ranges, steps, and lists of them.

    ``max_`` is how many values there are, ``min_`` the least of them. A range may go past the end:
    ``"22-2"`` of hours is 22, 23, 0, 1, 2.
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """The values. Raises :class:`ParseException` and ``ValueError``."""
        values: set[int] = set()
        for part in spec.split(","):
            if not part:
                raise ParseException("empty part")
            values.update(self._part(part))
        return values

    def _part(self, part: str) -> list[int]:
        every = list(range(self.min_, self.min_ + self.max_))
        if star := _STAR.fullmatch(part):
            return every[:: self._step(star[1])]
        if found := _RANGE.fullmatch(part):
            low, high = self._number(found[1]), self._number(found[2])
            values = every[low - self.min_ : high - self.min_ + 1]
            if high < low:
                values = every[low - self.min_ :] + every[: high - self.min_ + 1]
            return values[:: self._step(found[3])]
        return [self._number(part)]

    def _step(self, text: str | None) -> int:
        if text is None:
            return 1
        if not text.isdecimal() or int(text) < 1:
            raise ParseException(f"a step is a number above zero, not {text!r}")
        return int(text)

    def _number(self, text: str) -> int:
        if text[0] == "-":
            raise ParseException("negative numbers not supported")
        try:
            value = int(text)
        except ValueError:
            value = _named(text)
        last = self.min_ + self.max_ - 1
        if not self.min_ <= value <= last:
            raise ValueError(f"{text!r} is not between {self.min_} and {last}.")
        return value


def _named(text: str) -> int:
    """A month's number, or a day's of the week; three letters are enough."""
    if text[:3].lower() in MONTHS:
        return MONTHS.index(text[:3].lower()) + 1
    try:
        return weekday(text)
    except KeyError:
        raise ValueError(f"{text!r} is no number, no month and no day of the week.") from None


class crontab(BaseSchedule):  # noqa: N801 - Celery's name
    """At the times that fit all five fields.

    A field is a number, a text such as ``"*/15"``, ``"mon-fri"`` or ``"1-7,15"``, or several
    numbers. Where both days are restricted both have to fit, as in Celery; in cron one is enough.
    The times are those of the ``Celery`` object's time zone.

    Raises ``ValueError`` for what is out of range or never comes, :class:`ParseException`, and
    ``TypeError``. Celery: ``crontab``.
    """

    def __init__(
        self,
        minute: Spec = "*",
        hour: Spec = "*",
        day_of_week: Spec = "*",
        day_of_month: Spec = "*",
        month_of_year: Spec = "*",
        *,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
    ) -> None:
        self._written = tuple(
            "*" if each is None else each
            for each in (minute, hour, day_of_week, day_of_month, month_of_year)
        )
        self.minute = _values("minute", self._written[0], 60)
        self.hour = _values("hour", self._written[1], 24)
        self.day_of_week = _values("day_of_week", self._written[2], 7)
        self.day_of_month = _values("day_of_month", self._written[3], 31, 1)
        self.month_of_year = _values("month_of_year", self._written[4], 12, 1)
        if not any(
            day <= DAYS_IN[month - 1] for month in self.month_of_year for day in self.day_of_month
        ):
            raise ValueError(
                f"crontab(day_of_month={self._written[3]!r}, month_of_year={self._written[4]!r}): "
                "there is no such date."
            )
        super().__init__(nowfun, app)

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """``"minute hour day-of-month month day-of-week"``, as cron writes it."""
        fields = crontab.split()
        if len(fields) != 5:
            raise ValueError(f"{crontab!r} has {len(fields)} fields; a crontab has five.")
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def next_after(self, moment: datetime) -> datetime | None:
        found = self.cron().next(moment.timestamp())
        return None if found is None else datetime.fromtimestamp(found, self.tz)

    def cron(self) -> Cron:
        """The same times as a cron expression that knows that both days have to fit."""
        return _BothDays(
            self.minute,
            self.hour,
            self.day_of_month,
            self.month_of_year,
            self.day_of_week,
            _name_of(self.tz),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, crontab) and self._sets() == other._sets()

    __hash__ = None

    def _sets(self) -> tuple[frozenset[int], ...]:
        return self.minute, self.hour, self.day_of_week, self.day_of_month, self.month_of_year

    def __repr__(self) -> str:
        minute, hour, day_of_week, day_of_month, month_of_year = self._written
        return (
            f"<crontab: {minute} {hour} {day_of_month} {month_of_year} {day_of_week} (m/h/dM/MY/d)>"
        )

    def __reduce__(self) -> Any:
        return type(self), self._written


class _BothDays(Cron):
    """A cron expression in which a day of the month has to be a day of the week, too."""

    __slots__ = ()

    def falls_on(self, day: date) -> bool:
        return (
            day.month in self.months
            and day.day in self.days
            and day.isoweekday() % 7 in self.weekdays
        )


def _values(name: str, spec: Any, count: int, least: int = 0) -> frozenset[int]:
    if isinstance(spec, str):
        return frozenset(crontab_parser(count, least).parse(spec))
    given = [spec] if isinstance(spec, int) else spec
    if not isinstance(given, Iterable):
        raise TypeError(f"crontab({name}={spec!r}): write a number, a text, or several numbers.")
    values = frozenset(given)
    for value in values:
        if not least <= value < least + count:
            raise ValueError(
                f"crontab({name}={spec!r}): {value!r} is not between {least} and "
                f"{least + count - 1}."
            )
    return values


def _name_of(zone: tzinfo) -> str:
    name = str(getattr(zone, "key", None) or zone)
    if name != UTC and not hasattr(zone, "key"):
        raise ImproperlyConfigured(
            f"timezone={zone!r} has no name; write one such as 'Europe/Berlin'."
        )
    return name
