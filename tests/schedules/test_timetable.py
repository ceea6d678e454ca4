"""What Celery calls a schedule becomes what QStash calls one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from django_qstash.exceptions import CronError, OptionError
from django_qstash.schedules.crontab import crontab
from django_qstash.schedules.intervals import schedule
from django_qstash.schedules.timetable import INTERVALS, Timetable, every, timetable_of
from tests.naming import named

UTC = timezone.utc
MORNING = datetime(2026, 1, 1, 8, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")


class App:
    timezone = UTC

    def __init__(self, zone=UTC):
        self.timezone = zone


class TestCrontab:
    @pytest.mark.parametrize(
        ("fields", "cron"),
        [
            ({}, "* * * * *"),
            ({"minute": 0}, "0 * * * *"),
            ({"minute": "*/15", "hour": "9-17", "day_of_week": "mon-fri"}, "*/15 9-17 * * 1-5"),
            ({"minute": 0, "hour": [3, 15]}, "0 3,15 * * *"),
            ({"minute": 0, "hour": "22-3/2"}, "0 0,2,22 * * *"),
            ({"minute": 0, "hour": 0, "day_of_week": "fri-mon"}, "0 0 * * 0,1,5,6"),
            ({"minute": 0, "hour": 0, "month_of_year": "jan,july"}, "0 0 * 1,7 *"),
            ({"minute": 0, "hour": 0, "day_of_month": "*/2"}, "0 0 1-31/2 * *"),
        ],
    )
    def test_it_becomes_a_cron_expression(self, fields, cron):
        timetable = timetable_of(crontab(**fields, app=App()), UTC)
        assert str(timetable.cron) == cron
        assert timetable.only_on is None

    @pytest.mark.parametrize(
        ("fields", "cron", "condition"),
        [
            # The first Monday: seven days a month against four or five.
            ({"day_of_month": "1-7", "day_of_week": "mon"}, "0 9 * * 1", "* * 1-7 * *"),
            ({"day_of_month": 13, "day_of_week": "fri"}, "0 9 13 * *", "* * * * 5"),
            ({"day_of_month": 1, "day_of_week": "mon-fri"}, "0 9 1 * *", "* * * * 1-5"),
        ],
    )
    def test_of_two_days_the_rarer_is_scheduled_and_the_other_looked_at(
        self, fields, cron, condition
    ):
        timetable = timetable_of(crontab(minute=0, hour=9, **fields, app=App()), UTC)
        assert (str(timetable.cron), str(timetable.only_on)) == (cron, condition)

    def test_its_own_zone_holds(self):
        daily = crontab(minute=0, hour=9, app=App(ZoneInfo("Asia/Tokyo")))
        assert str(timetable_of(daily, UTC).cron) == "CRON_TZ=Asia/Tokyo 0 9 * * *"

    def test_a_zone_without_a_name_is_refused(self):
        with pytest.raises(OptionError, match="use a zone such as"):
            timetable_of(crontab(app=App(timezone(timedelta(hours=1)))), UTC)


class TestInterval:
    @pytest.mark.parametrize(
        ("interval", "cron"),
        [
            (60, "* * * * *"),
            (300.0, "*/5 * * * *"),
            (timedelta(minutes=30), "0,30 * * * *"),
            (timedelta(hours=1), "0 * * * *"),
            (schedule(28800, app=App(NEW_YORK)), "0 */8 * * *"),
            (schedule(28800, relative=True, app=App(UTC)), "0 */8 * * *"),
            (
                schedule(28800, relative=True, app=App(NEW_YORK)),
                "CRON_TZ=America/New_York 0 */8 * * *",
            ),
            (timedelta(days=1), "0 0 * * *"),
            (timedelta(weeks=1), "0 0 * * 0"),
        ],
        ids=named,
    )
    def test_one_that_the_clock_repeats(self, interval, cron):
        assert str(timetable_of(interval, NEW_YORK).cron) == cron

    @pytest.mark.parametrize(
        ("interval", "nearest"),
        [
            (10, "Every 10 seconds: .* The nearest: 1 minute"),
            (90, "The nearest: 1 minute and 2 minutes"),
            (timedelta(minutes=7), "Every 7 minutes: .* The nearest: 6 minutes and 10 minutes"),
            (timedelta(minutes=90), "The nearest: 1 hour and 2 hours"),
            (timedelta(hours=5), "The nearest: 4 hours and 6 hours"),
            (timedelta(days=2), "The nearest: 1 day and 1 week"),
            (timedelta(days=30), "The nearest: 1 week"),
            (0.5, "The nearest: 1 minute"),
        ],
    )
    def test_any_other_is_refused_with_the_nearest(self, interval, nearest):
        with pytest.raises(OptionError, match=nearest):
            timetable_of(interval, UTC)

    def test_every_interval_that_is_taken_is_kept_up(self):
        for seconds in INTERVALS:
            moments = islice(every(timedelta(seconds=seconds)).fires(MORNING.timestamp()), 100)
            assert {after - before for before, after in pairwise(moments)} == {seconds}

    @pytest.mark.parametrize("when", [None, "0 9 * * *", True, object()], ids=named)
    def test_what_is_no_schedule_is_refused(self, when):
        with pytest.raises(TypeError, match="is no schedule"):
            timetable_of(when, UTC)


class TestCondition:
    def test_it_names_days_only(self):
        with pytest.raises(CronError, match="names days"):
            Timetable.parse("0 9 * * *", only_on="0 9 13 * *")

    def test_it_holds_in_the_zone_of_the_expression(self):
        # 23:30 in New York on Friday the 13th is Saturday in UTC.
        timetable = Timetable.parse("30 23 13 * *", "America/New_York", "* * * * fri")
        friday = datetime(2026, 11, 13, 23, 30, tzinfo=NEW_YORK).timestamp()
        assert timetable.next(MORNING.timestamp()) == (
            datetime(2026, 2, 13, 23, 30, tzinfo=NEW_YORK).timestamp()
        )
        assert timetable.allows(friday)
        assert not timetable.allows(friday + 30 * 86400)
