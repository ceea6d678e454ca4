"""A hundred crontabs over a year: their next runs are those that Celery's beat would make."""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from django_qstash.schedules.crontab import crontab
from django_qstash.schedules.timetable import timetable_of

celery = pytest.importorskip("celery.schedules")
NAMES = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
YEAR = 366
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
BERLIN = ZoneInfo("Europe/Berlin")


class App:
    """What Celery's crontab asks of an app."""

    def __init__(self, zone):
        self.timezone = zone
        self.conf = type("conf", (), {"enable_utc": True})()


def a_field(draw, low, high, words=()):
    kind = draw.randrange(8)
    value = lambda: draw.randint(low, high)  # noqa: E731
    if kind < 3:
        return "*"
    if kind == 3:
        return f"*/{draw.randint(1, high)}"
    if kind == 4:
        return f"{value()}-{value()}"
    if kind == 5:
        return f"{value()}-{value()}/{draw.randint(1, 5)},{value()}"
    if kind == 6 and words:
        return f"{draw.choice(words)},{draw.choice(words)}"
    return ",".join(str(value()) for _ in range(draw.randint(1, 4)))


def crontabs():
    """Those that projects write, and a hundred and more by a seeded die."""
    yield from (
        {},
        {"minute": 0, "hour": 0},
        {"minute": "*/15", "hour": "9-17", "day_of_week": "mon-fri"},
        {"minute": 30, "hour": 7, "day_of_week": 1},
        {"minute": 0, "hour": 9, "day_of_month": "1-7", "day_of_week": "mon"},
        {"minute": 0, "hour": 12, "day_of_month": 13, "day_of_week": "fri"},
        {"minute": 0, "hour": 0, "day_of_month": 31},
        {"minute": 0, "hour": 0, "day_of_month": "28-31", "month_of_year": "2,4"},
        {"minute": 0, "hour": "*/3", "day_of_week": "sun,sat"},
        {"minute": 15, "hour": "22-2", "month_of_year": "*/3"},
    )
    draw = random.Random(20260101)
    made = 0
    while made < 100:
        fields = {
            "minute": a_field(draw, 0, 59),
            "hour": a_field(draw, 0, 23),
            "day_of_month": a_field(draw, 1, 31),
            "month_of_year": a_field(draw, 1, 12),
            "day_of_week": a_field(draw, 0, 6, ("sun", "monday", "Tue", "fri")),
        }
        try:
            celery.crontab(**fields)
        except ValueError:
            with pytest.raises(ValueError, match="no such date"):
                crontab(**fields)
            continue
        made += 1
        yield fields


def next_of_celery(theirs, last):
    begin, delta, _now = theirs.remaining_delta(last)
    return begin + delta


@pytest.mark.parametrize("fields", list(crontabs()), ids=str)
def test_next_runs_are_celerys(fields):
    app = App(timezone.utc)
    theirs = celery.crontab(**fields, nowfun=lambda: BEGIN, app=app)
    mine = crontab(**fields, nowfun=lambda: BEGIN, app=app)
    assert [getattr(mine, name) for name in NAMES] == [set(getattr(theirs, name)) for name in NAMES]
    draw = random.Random(repr(fields))
    for _ in range(15):
        last = BEGIN + timedelta(seconds=draw.randrange(YEAR * 86400))
        for _ in range(3):
            expected = next_of_celery(theirs, last)
            assert timetable_of(mine, timezone.utc).next(last.timestamp()) == expected.timestamp()
            assert mine.remaining_estimate(last) == theirs.remaining_estimate(last)
            last = expected


def test_every_run_of_a_year_in_a_zone_with_summer_time():
    """Where no run falls into the hours that a change takes away or repeats, as most do not."""
    app = App(BERLIN)
    for fields in (
        {"minute": 0, "hour": 9, "day_of_week": "mon-fri"},
        {"minute": "*/20", "hour": "5-6"},
        {"minute": 30, "hour": 23, "day_of_month": "1-7", "day_of_week": "sun"},
    ):
        theirs = celery.crontab(**fields, nowfun=lambda: BEGIN, app=app)
        mine = crontab(**fields, nowfun=lambda: BEGIN, app=app)
        last = BEGIN.astimezone(BERLIN)
        fires = timetable_of(mine, BERLIN).fires(last.timestamp())
        while (last := next_of_celery(theirs, last)) < BEGIN + timedelta(days=YEAR):
            assert next(fires) == last.timestamp()


def test_celerys_own_crontab_is_understood():
    theirs = celery.crontab(minute=0, hour=9, day_of_month=13, day_of_week="fri")
    timetable = timetable_of(theirs, BERLIN)
    assert str(timetable.cron) == "CRON_TZ=Europe/Berlin 0 9 13 * *"
    assert str(timetable.only_on) == "* * * * 5"
    assert str(timetable_of(celery.schedule(300), BERLIN).cron) == "*/5 * * * *"
