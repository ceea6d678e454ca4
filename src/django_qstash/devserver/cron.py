"""Cron expressions: five fields, UTC, or another zone after ``CRON_TZ=``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

MACROS = frozenset(
    {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
)
_ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S+)\s+(.*)", re.DOTALL)
#: Digits and the names of months and weekdays; without croniter's random "r" and hashed "h".
_FIELD = (
    r"(?:[0-9*,/?#-]|l(?![a-z])|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
    r"|sun|mon|tue|wed|thu|fri|sat)+"
)
_FIELDS = re.compile(f"{_FIELD}(?: {_FIELD}){{4}}", re.IGNORECASE)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """One expression, checked; ``text`` is as it was written, without outer blanks."""

    text: str
    fields: str
    zone: tzinfo

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Raises ``ValueError`` with a sentence for what QStash would refuse."""
        text = text.strip()
        zone: tzinfo = timezone.utc
        fields = text
        match = _ZONE.fullmatch(text)
        if match is not None:
            fields = match[2]
            zone = _zone(match[1])
        fields = " ".join(fields.split())
        if fields.startswith("@"):
            fields = fields.lower()
            if fields not in MACROS:
                raise ValueError(f"{fields} is not known; write five fields")
        elif not _FIELDS.fullmatch(fields):
            raise ValueError("expected five fields: minute hour day month weekday")
        cron = cls(text, fields, zone)
        try:
            cron.next(0.0)
        except (ValueError, KeyError, IndexError, OverflowError) as error:
            raise ValueError(str(error)) from None
        return cron

    def next(self, after: float) -> float:
        """The first moment later than ``after`` at which a clock on the wall of the zone matches.

        Times that a change to summer time leaves out do not fire, those that the change back
        repeats fire twice, as in robfig/cron, whose ``CRON_TZ=`` prefix QStash's expressions bear.
        """
        start = datetime.fromtimestamp(after, timezone.utc)
        since = start
        while True:
            offset = since.astimezone(self.zone).utcoffset() or timedelta()
            # From the second change on, the moment of the change itself may match.
            wall = (since if since is start else since - _SECOND) + offset
            found = croniter(
                self.fields, wall.replace(tzinfo=None), max_years_between_matches=28
            ).get_next(datetime)
            match = (found - offset).replace(tzinfo=timezone.utc)
            change = self._change(since, match, offset)
            if change is None:
                return match.timestamp()
            since = change

    def _change(self, start: datetime, end: datetime, offset: timedelta) -> datetime | None:
        """The first second in ``(start, end]`` at which the zone's offset is another."""
        if self.zone is timezone.utc:
            return None
        low = start
        while low < end:
            high = min(low + _DAY, end)
            if high.astimezone(self.zone).utcoffset() != offset:
                while high - low > _SECOND:
                    middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
                    if middle.astimezone(self.zone).utcoffset() == offset:
                        low = middle
                    else:
                        high = middle
                return high
            low = high
        return None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name!r} is not a time zone; write one such as Europe/Istanbul"
        ) from None
