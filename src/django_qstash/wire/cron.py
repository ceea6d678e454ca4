"""QStash's cron expressions: read with the place of every mistake, and turned into instants.

Five fields, in UTC or in the zone of a ``CRON_TZ=`` before them. QStash fires whenever the clock on
the wall of that zone shows a time that matches: a time that a change to summer time leaves out
does not come, one that the change back repeats comes twice.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django_qstash.exceptions import CronError

UTC = "UTC"
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: The most days that a month may have.
DAYS_IN = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_PREFIX = re.compile(r"\s*(?:CRON_TZ|TZ)=(\S*)\s*")
_ITEM = re.compile(r"(?P<low>[^-/]*)(?:-(?P<high>[^/]*))?(?:/(?P<step>.*))?", re.DOTALL)
_DAY = 86400
#: Days that are looked at for the next match: 29 February may be eight years away.
_HORIZON = 8 * 366 + 2


@dataclass(frozen=True, slots=True)
class Field:
    """One of the five: its name, its range, and the words that stand for numbers."""

    name: str
    low: int
    high: int
    words: Sequence[str] = ()

    @property
    def every(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day of the week", 0, 6, WEEKDAYS),
)


#: Of these two, one is enough where both are restricted.
_DAY_FIELDS = (FIELDS[2].name, FIELDS[4].name)


@dataclass(frozen=True, slots=True)
class Cron:
    """One expression. Two are equal if they fire at the same times."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    #: The IANA name of the zone.
    zone: str = UTC

    @classmethod
    def parse(cls, text: str, zone: str = "") -> Cron:
        """Read an expression; ``zone`` is where it holds if it bears no ``CRON_TZ=`` itself.

        Raises :class:`CronError` for what QStash would refuse, and for two zones that differ.
        """
        fields, named, at = _split(text)
        if named and zone and named != zone:
            raise CronError(
                f"it names the time zone {named}, and {zone} is given beside it", text, 0
            )
        zone = named or zone or UTC
        check_zone(zone, text if named else "", text.find(named) if named else 0)
        if fields.startswith("@"):
            if fields.lower() not in MACROS:
                known = ", ".join(MACROS)
                reason = (
                    f"QStash knows no {fields.split()[0]!r}; write five fields, or one of {known}"
                )
                raise CronError(reason, text, at)
            fields, at = MACROS[fields.lower()], 0
            parts = _parts(fields, at, fields)
        else:
            parts = _parts(fields, at, text)
        minutes, hours, days, months, weekdays = (
            _Reader(text, field).read(part, place)
            for field, (part, place) in zip(FIELDS, parts, strict=True)
        )
        cron = cls(minutes, hours, days, months, weekdays, zone)
        cron._check_dates(text, parts[2][1])
        return cron

    def __str__(self) -> str:
        """The expression as QStash gets it."""
        prefix = "" if self.zone == UTC else f"CRON_TZ={self.zone} "
        return prefix + self.fields

    @property
    def fields(self) -> str:
        """The five fields, each in its shortest form that every cron reads alike.

        A field that holds every value is a star: cron takes days of the month and of the week
        together only where one of them is.
        """
        return " ".join(
            _written(values, field) for values, field in zip(self._sets(), FIELDS, strict=True)
        )

    @property
    def all_days(self) -> bool:
        return self.days == FIELDS[2].every

    @property
    def all_weekdays(self) -> bool:
        return self.weekdays == FIELDS[4].every

    def falls_on(self, day: date) -> bool:
        """True if it fires on this date. Of two restrictions of the day, one is enough."""
        if day.month not in self.months:
            return False
        on_day = day.day in self.days
        on_weekday = day.isoweekday() % 7 in self.weekdays
        if self.all_days or self.all_weekdays:
            return on_day and on_weekday
        return on_day or on_weekday

    def next(self, after: float) -> float | None:
        """The first fire later than ``after``, in seconds since the epoch; ``None``: never."""
        return next(self.fires(after), None)

    def fires(self, after: float) -> Iterator[float]:
        """The fires later than ``after``, in their order."""
        zone = zone_of(self.zone)
        # A day early: a change of the clock may lead back over midnight.
        day = datetime.fromtimestamp(after, zone).date() - timedelta(days=1)
        silent = 0
        while silent < _HORIZON:
            instants = self._instants(day, zone) if self.falls_on(day) else ()
            begin = bisect_right(instants, after)
            for instant in instants[begin:]:
                after = instant
                yield instant
            silent = 0 if begin < len(instants) else silent + 1
            day += timedelta(days=1)

    def last(self, until: float) -> float | None:
        """The last fire that is not later than ``until``."""
        zone = zone_of(self.zone)
        day = datetime.fromtimestamp(until, zone).date() + timedelta(days=1)
        for _ in range(_HORIZON):
            if self.falls_on(day):
                instants = self._instants(day, zone)
                found = bisect_right(instants, until)
                if found:
                    return instants[found - 1]
            day -= timedelta(days=1)
        return None

    def _instants(self, day: date, zone: tzinfo) -> list[float]:
        """When it fires on a day of its own, in order, whether or not it falls on that day."""
        midnight = datetime.combine(day, time(), zone)
        begin = midnight.timestamp()
        morrow = datetime.combine(day + timedelta(days=1), time(), zone)
        seconds = (
            hour * 3600 + minute * 60
            for hour in sorted(self.hours)
            for minute in sorted(self.minutes)
        )
        if morrow.timestamp() - begin == _DAY and _steady(begin, zone):
            return [begin + passed for passed in seconds]
        found: set[float] = set()
        for passed in seconds:
            wall = datetime.combine(day, time()) + timedelta(seconds=passed)
            for fold in (0, 1):
                instant = wall.replace(tzinfo=zone, fold=fold).timestamp()
                if datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0) == wall:
                    found.add(instant)
        return sorted(found)

    def _sets(self) -> tuple[frozenset[int], ...]:
        return self.minutes, self.hours, self.days, self.months, self.weekdays

    def _check_dates(self, text: str, at: int) -> None:
        # A restricted weekday comes in every month, and is enough.
        if not self.all_weekdays or any(
            day <= DAYS_IN[month - 1] for month in self.months for day in self.days
        ):
            return
        months = " or ".join(MONTHS[month - 1].capitalize() for month in sorted(self.months))
        raise CronError(f"{months} has no day {min(self.days)}, so it would never run", text, at)


def check_zone(name: str, text: str = "", position: int = 0) -> None:
    """Raises :class:`CronError` for what is no IANA name of a time zone."""
    try:
        zone_of(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CronError(
            f"{name!r} is not a time zone; write one such as Europe/Berlin",
            text or name,
            position,
        ) from None


def zone_of(name: str) -> tzinfo:
    """The zone of this name. Raises ``ValueError``, ``OSError`` or ``ZoneInfoNotFoundError``."""
    return timezone.utc if name == UTC else ZoneInfo(name)


@lru_cache(maxsize=256)
def _steady(begin: float, zone: tzinfo) -> bool:
    """True if the clock of the zone does not change within the 24 hours from ``begin``."""
    offsets = {
        datetime.fromtimestamp(begin + hours * 3600, zone).utcoffset() for hours in range(25)
    }
    return len(offsets) == 1


# --- reading -------------------------------------------------------------------------------------


def _split(text: str) -> tuple[str, str, int]:
    """The fields, the zone before them (or ``""``), and where the fields begin."""
    if not isinstance(text, str):
        raise CronError("it is not a text", str(text), 0)
    prefix = _PREFIX.match(text)
    start = prefix.end() if prefix else len(text) - len(text.lstrip())
    if prefix and not prefix[1]:
        raise CronError("a time zone is missing after the '='", text, prefix.end(1))
    fields = text[start:].rstrip()
    if not fields:
        raise CronError("write five fields: minute, hour, day, month, day of the week", text, start)
    return fields, prefix[1] if prefix else "", start


def _parts(fields: str, at: int, text: str) -> list[tuple[str, int]]:
    """The five parts and their places in the whole text."""
    parts = [(match[0], at + match.start()) for match in re.finditer(r"\S+", fields)]
    if len(parts) > len(FIELDS):
        raise CronError(
            f"it has {len(parts)} fields, and five are wanted: minute, hour, day, month, day of "
            "the week (there are no seconds)",
            text,
            parts[len(FIELDS)][1],
        )
    if len(parts) < len(FIELDS):
        raise CronError(
            f"it ends before the {FIELDS[len(parts)].name}; five fields are wanted: minute, hour, "
            "day, month, day of the week",
            text,
            at + len(fields),
        )
    return parts


class _Reader:
    """Reads one field of a text, and knows which place of the text is to blame."""

    def __init__(self, text: str, field: Field) -> None:
        self.text = text
        self.field = field

    def read(self, part: str, at: int) -> frozenset[int]:
        """The values that the field stands for. Raises :class:`CronError`."""
        values: set[int] = set()
        for item in part.split(","):
            if not item:
                raise self._error(f"something is missing in the {self.field.name}", at)
            values |= self._item(item, at)
            at += len(item) + 1
        return frozenset(values)

    def _item(self, item: str, at: int) -> set[int]:
        match = _ITEM.fullmatch(item)
        assert match is not None  # noqa: S101 - the pattern takes any text
        field, low, high = self.field, match["low"], match["high"]
        step = 1
        if match["step"] is not None:
            step = self._step(match["step"], at + match.start("step"))
        if low in ("*", "?"):
            if high is not None:
                raise self._error(f"{low!r} begins no range", at)
            if low == "?" and field.name not in _DAY_FIELDS:
                raise self._error("'?' stands for any day, and not elsewhere", at)
            return set(range(field.low, field.high + 1, step))
        first = self._value(low, at)
        if high is None:
            # As every cron reads it: "5/15" goes on to the end.
            last = first if match["step"] is None else field.high
        else:
            last = self._value(high, at + match.start("high"))
            if last == 0 and first > 0 and field.words is WEEKDAYS:
                last = 7  # sat-sun
            if last < first:
                raise self._error(
                    f"the range {low}-{high} runs backwards; write {low}-{field.high},"
                    f"{field.low}-{high} if it is to go on from the start",
                    at,
                )
        found = range(first, last + 1, step)
        return {value % 7 for value in found} if field.words is WEEKDAYS else set(found)

    def _value(self, word: str, at: int) -> int:
        field = self.field
        lower = word.lower()
        if field.words and lower in field.words:
            return field.words.index(lower) + field.low
        if not word:
            raise self._error(f"a number is missing in the {field.name}", at)
        if not (word.isascii() and word.isdigit()):
            raise self._error(self._unknown(word), at)
        number = int(word)
        # Sunday is 7 for many; QStash knows it as 0, and gets it as that.
        high = 7 if field.words is WEEKDAYS else field.high
        if not field.low <= number <= high:
            raise self._error(f"the {field.name} is {field.low} to {field.high}, not {word}", at)
        return number

    def _step(self, word: str, at: int) -> int:
        field = self.field
        if not (word.isascii() and word.isdigit()) or int(word) == 0:
            raise self._error(f"a step is a number from 1, not {word!r}", at)
        if int(word) > field.high:
            raise self._error(
                f"a step of {word} is beyond the {field.name}s, which end at {field.high}", at
            )
        return int(word)

    def _unknown(self, word: str) -> str:
        field = self.field
        lower = word.lower()
        close = [name for name in field.words if lower.startswith(name)]
        if close:
            return f"write {close[0]!r} for {word!r}"
        if "#" in word or lower.rstrip("w0123456789") in ("l", "r", "h", ""):
            return f"QStash knows no {word!r} in the {field.name}"
        names = f" or a name such as {field.words[1]!r}" if field.words else ""
        return f"the {field.name} is a number{names}, not {word!r}"

    def _error(self, reason: str, at: int) -> CronError:
        return CronError(reason, self.text, at)


# --- writing -------------------------------------------------------------------------------------


def _written(values: frozenset[int], field: Field) -> str:
    if values == field.every:
        return "*"
    ordered = sorted(values)
    # Crons disagree whether "*/2" restricts a day; "1-31/2" does for all of them.
    if field.name not in _DAY_FIELDS and len(ordered) > 2 and ordered[0] == field.low:
        step = ordered[1] - ordered[0]
        if ordered == list(range(field.low, field.high + 1, step)):
            return f"*/{step}"
    return ",".join(_runs(ordered))


def _runs(ordered: Sequence[int]) -> Iterator[str]:
    """``[1, 2, 3, 7]`` as ``1-3``, ``7``; and ``[0, 10, 20]`` as ``0-20/10``."""
    rest = list(ordered)
    while rest:
        length, step = 1, 1
        if len(rest) > 1:
            step = rest[1] - rest[0]
            while length < len(rest) and rest[length] - rest[length - 1] == step:
                length += 1
        if length > 2:
            yield f"{rest[0]}-{rest[length - 1]}" + (f"/{step}" if step > 1 else "")
        else:
            length = 1
            yield str(rest[0])
        rest = rest[length:]
