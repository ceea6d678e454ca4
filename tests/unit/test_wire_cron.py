"""Cron expressions: what is read, where the mistake is, and when they fire."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_qstash.devserver.cron import Cron as ServersCron
from django_qstash.exceptions import CronError
from django_qstash.wire.cron import FIELDS, MACROS, Cron

BERLIN = ZoneInfo("Europe/Berlin")


def at(*parts, zone=timezone.utc, fold=0):
    return datetime(*parts, tzinfo=zone, fold=fold).timestamp()


def fires(text, since, count, zone="UTC"):
    """The next fires as they are read on the wall of ``zone``."""
    found = islice(Cron.parse(text).fires(since), count)
    return [
        datetime.fromtimestamp(moment, ZoneInfo(zone)).strftime("%d %H:%M%z") for moment in found
    ]


class TestReading:
    @pytest.mark.parametrize(
        ("text", "sent"),
        [
            ("*/5 * * * *", "*/5 * * * *"),
            ("0 9 * * mon-fri", "0 9 * * 1-5"),
            ("0 9 * JAN,Jul Mon", "0 9 * 1,7 1"),
            ("0-30/5 * * * *", "0-30/5 * * * *"),
            ("5,10-20 3 * * *", "5,10-20 3 * * *"),
            ("0 0 * * 7", "0 0 * * 0"),
            ("0 0 * * sat-sun", "0 0 * * 0,6"),
            ("0 0 * * 5-7", "0 0 * * 0,5,6"),
            ("0 0 * * 1-5,0", "0 0 * * 0-5"),
            ("15/20 * * * *", "15-55/20 * * * *"),
            ("  1   2 3 4 *  ", "1 2 3 4 *"),
            ("0 0 ? * 1", "0 0 * * 1"),
            ("0 0 */2 * 1", "0 0 1-31/2 * 1"),
            ("CRON_TZ=Europe/Berlin 0 9 * * *", "CRON_TZ=Europe/Berlin 0 9 * * *"),
            ("TZ=Europe/Berlin 0 9 * * *", "CRON_TZ=Europe/Berlin 0 9 * * *"),
            ("CRON_TZ=UTC 0 9 * * *", "0 9 * * *"),
            ("@daily", "0 0 * * *"),
            ("CRON_TZ=Asia/Tokyo @Weekly", "CRON_TZ=Asia/Tokyo 0 0 * * 0"),
        ],
    )
    def test_it_reaches_qstash_in_a_form_that_every_cron_reads_alike(self, text, sent):
        assert str(Cron.parse(text)) == sent
        assert Cron.parse(sent) == Cron.parse(text)

    @pytest.mark.parametrize("macro", MACROS)
    def test_macros_are_translated(self, macro):
        assert Cron.parse(macro) == Cron.parse(MACROS[macro])

    def test_a_zone_beside_it_holds_where_it_names_none(self):
        assert str(Cron.parse("0 9 * * *", "Asia/Tokyo")) == "CRON_TZ=Asia/Tokyo 0 9 * * *"
        same = "CRON_TZ=Asia/Tokyo 0 9 * * *"
        assert str(Cron.parse(same, "Asia/Tokyo")) == same

    @pytest.mark.parametrize(
        ("text", "position", "reason"),
        [
            ("", 0, "write five fields"),
            ("   ", 3, "write five fields"),
            ("* * * *", 7, "ends before the day of the week"),
            ("* * * * * *", 10, "6 fields, and five are wanted"),
            ("60 * * * *", 0, "the minute is 0 to 59, not 60"),
            ("* 24 * * *", 2, "the hour is 0 to 23, not 24"),
            ("* * 0 * *", 4, "the day of the month is 1 to 31, not 0"),
            ("* * * 13 *", 6, "the month is 1 to 12, not 13"),
            ("* * * * 8", 8, "the day of the week is 0 to 6, not 8"),
            ("* * * * monday", 8, "write 'mon' for 'monday'"),
            ("* * * * xyz", 8, "a number or a name such as 'mon'"),
            ("1,,2 * * * *", 2, "something is missing in the minute"),
            ("1, * * * *", 2, "something is missing in the minute"),
            ("*/0 * * * *", 2, "a step is a number from 1"),
            ("*/x * * * *", 2, "a step is a number from 1"),
            ("*/70 * * * *", 2, "beyond the minutes"),
            ("5- * * * *", 2, "a number is missing in the minute"),
            ("30-10 * * * *", 0, "runs backwards; write 30-59,0-10"),
            ("*-5 * * * *", 0, "begins no range"),
            ("? * * * *", 0, "stands for any day"),
            ("* * L * *", 4, "QStash knows no 'L'"),
            ("* * 15W * *", 4, "QStash knows no '15W'"),
            ("* * * * 5#2", 8, "QStash knows no '5#2'"),
            ("H * * * *", 0, "QStash knows no 'H'"),
            ("* * 30 2 *", 4, "Feb has no day 30"),
            ("* * 31 4,jun *", 4, "Apr or Jun has no day 31"),
            ("@reboot", 0, "QStash knows no '@reboot'"),
            ("CRON_TZ= * * * * *", 8, "a time zone is missing"),
            ("CRON_TZ=Mars/Base * * * * *", 8, "'Mars/Base' is not a time zone"),
            ("CRON_TZ=UTC 61 * * * *", 12, "the minute is 0 to 59"),
            ("\u0661 * * * *", 0, "the minute is a number"),
            ("<script> * * * *", 0, "the minute is a number"),
        ],
    )
    def test_a_mistake_is_refused_with_its_place(self, text, position, reason):
        with pytest.raises(CronError) as raised:
            Cron.parse(text)
        assert raised.value.position == position
        assert reason in str(raised.value)
        assert raised.value.text == text

    @pytest.mark.parametrize("zone", ["../etc/passwd", "Europe", "Europe/Berlin ", "\0", "/etc"])
    def test_what_is_no_zone_is_refused(self, zone):
        with pytest.raises(CronError, match="not a time zone"):
            Cron.parse("* * * * *", zone)

    def test_two_zones_are_refused(self):
        with pytest.raises(CronError, match="Asia/Tokyo is given beside it"):
            Cron.parse("CRON_TZ=Europe/Berlin * * * * *", "Asia/Tokyo")

    def test_what_is_no_text_is_refused(self):
        with pytest.raises(CronError, match="not a text"):
            Cron.parse(None)


class TestTimes:
    def test_two_days_are_enough_each_by_itself(self):
        # A 13th or a Friday, in November 2026, whose 13th is a Friday.
        assert fires("0 12 13 * fri", at(2026, 11, 1), 3) == [
            "06 12:00+0000",
            "13 12:00+0000",
            "20 12:00+0000",
        ]

    def test_a_leap_day_may_be_eight_years_away(self):
        cron = Cron.parse("0 0 29 2 *")
        assert cron.next(at(2096, 3, 1)) == at(2104, 2, 29)
        assert cron.last(at(2103, 12, 1)) == at(2096, 2, 29)

    def test_the_moment_itself_is_not_later_than_itself(self):
        cron = Cron.parse("0 * * * *")
        assert cron.next(at(2026, 1, 1, 5)) == at(2026, 1, 1, 6)
        assert cron.last(at(2026, 1, 1, 5)) == at(2026, 1, 1, 5)
        assert cron.last(at(2026, 1, 1, 5) - 0.001) == at(2026, 1, 1, 4)

    def test_a_time_that_summer_leaves_out_does_not_come(self):
        # Berlin, 29 March 2026: from 02:00 to 03:00.
        assert fires("CRON_TZ=Europe/Berlin 30 2 * * *", at(2026, 3, 28), 3, "Europe/Berlin") == [
            "28 02:30+0100",
            "30 02:30+0200",
            "31 02:30+0200",
        ]

    def test_a_time_that_the_change_back_repeats_comes_twice(self):
        # Berlin, 25 October 2026: from 03:00 to 02:00.
        assert fires("CRON_TZ=Europe/Berlin 30 2 * * *", at(2026, 10, 24), 4, "Europe/Berlin") == [
            "24 02:30+0200",
            "25 02:30+0200",
            "25 02:30+0100",
            "26 02:30+0100",
        ]

    def test_hours_stay_evenly_apart_over_both_changes(self):
        for day in (at(2026, 3, 29, zone=BERLIN), at(2026, 10, 25, zone=BERLIN)):
            moments = list(islice(Cron.parse("CRON_TZ=Europe/Berlin 0 * * * *").fires(day), 30))
            assert {after - before for before, after in pairwise(moments)} == {3600}

    def test_nine_in_the_morning_stays_nine_in_the_morning(self):
        cron = Cron.parse("0 9 * * *", "Europe/Berlin")
        year = islice(cron.fires(at(2026, 1, 1)), 365)
        shown = [datetime.fromtimestamp(moment, BERLIN) for moment in year]
        assert {(moment.hour, moment.minute) for moment in shown} == {(9, 0)}
        assert len({moment.date() for moment in shown}) == 365

    def test_a_zone_that_changes_by_half_an_hour(self):
        # Lord Howe, 4 October 2026: from 02:00 to 02:30.
        assert fires(
            "CRON_TZ=Australia/Lord_Howe 15,45 2 * * *",
            at(2026, 10, 3, zone=ZoneInfo("Australia/Lord_Howe")),
            3,
            "Australia/Lord_Howe",
        ) == ["03 02:15+1030", "03 02:45+1030", "04 02:45+1100"]

    def test_a_day_that_a_zone_left_out_does_not_come(self):
        # Apia had no 30 December 2011.
        assert fires(
            "CRON_TZ=Pacific/Apia 0 12 * * *", at(2011, 12, 29, 12), 3, "Pacific/Apia"
        ) == ["29 12:00-1000", "31 12:00+1400", "01 12:00+1400"]

    def test_a_change_at_midnight(self):
        # Havana, 8 March 2026: from 00:00 to 01:00.
        assert fires(
            "CRON_TZ=America/Havana 0 0 * * *", at(2026, 3, 7, 12), 2, "America/Havana"
        ) == ["09 00:00-0400", "10 00:00-0400"]


def field(number):
    low, high = FIELDS[number].low, FIELDS[number].high
    value = st.integers(low, high)
    span = st.tuples(value, value).map(lambda pair: "{}-{}".format(*sorted(pair)))
    step = st.integers(1, high).map(lambda step: f"/{step}")
    item = st.one_of(
        value.map(str),
        span,
        st.tuples(span, step).map("".join),
        step.map(lambda step: f"*{step}"),
    )
    return st.one_of(st.just("*"), st.lists(item, min_size=1, max_size=3).map(",".join))


class TestAgainstCroniter:
    """The development server reads them with croniter, so the two check each other."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.tuples(*map(field, range(5))).map(" ".join),
        st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
        st.datetimes(datetime(2025, 1, 1), datetime(2029, 12, 31)),
    )
    def test_the_same_instants_for_what_is_accepted(self, fields, zone, since):
        try:
            cron = Cron.parse(fields, zone)
        except CronError as error:
            assert "so it would never run" in str(error)  # noqa: PT017 - others are made above
            return
        server = ServersCron.parse(str(cron))
        moment = since.replace(tzinfo=timezone.utc).timestamp()
        for expected in islice(cron.fires(moment), 3):
            moment = server.next(moment)
            assert moment == expected

    @settings(max_examples=50, deadline=None)
    @given(
        st.tuples(*map(field, range(5))).map(" ".join),
        st.datetimes(datetime(2025, 1, 1), datetime(2029, 12, 31)),
    )
    def test_the_last_fire_is_the_one_before_the_next(self, fields, since):
        try:
            cron = Cron.parse(fields, "Europe/Berlin")
        except CronError:
            return
        moment = cron.next(since.replace(tzinfo=timezone.utc).timestamp())
        assert cron.last(moment) == moment
        earlier = cron.last(moment - 1)
        assert cron.next(earlier) == moment


def test_a_change_of_the_clock_between_two_fires_is_no_trouble():
    # Every ten minutes through the hour that comes twice: each wall time has two instants.
    cron = Cron.parse("CRON_TZ=Europe/Berlin */10 2 25 10 *")
    moments = list(islice(cron.fires(at(2026, 10, 24)), 12))
    assert moments[0] == at(2026, 10, 25, 0)
    assert moments[-1] == at(2026, 10, 25, 1, 50)
    assert {b - a for a, b in pairwise(moments)} == {timedelta(minutes=10).total_seconds()}
