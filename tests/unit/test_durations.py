"""Durations and instants mean one thing each, however they are written."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_qstash import durations

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


class TestSeconds:
    @pytest.mark.parametrize(
        ("written", "seconds"),
        [
            (0, 0),
            (90, 90),
            (0.5, 0.5),
            ("90", 90),
            ("90.5", 90.5),
            (" 90s ", 90),
            ("90s", 90),
            ("1.5h", 5400),
            ("2m", 120),
            ("1d10h30m", 124200),
            ("1h30m3s", 5403),
            ("6m5s", 365),
            ("30m1h", 5400),
            ("500ms", 0.5),
            ("1s1ms", 1.001),
            ("10us", 1e-5),
            ("10µs", 1e-5),
            ("10\u03bcs", 1e-5),
            ("10ns", 1e-8),
            (timedelta(minutes=2), 120),
            (timedelta(0), 0),
        ],
    )
    def test_every_way_of_writing_one_is_understood(self, written, seconds):
        assert durations.seconds(written) == pytest.approx(seconds)

    @pytest.mark.parametrize(
        "written",
        [
            "",
            " ",
            "soon",
            "s",
            "-5",
            "-5s",
            "+5s",
            "5 s",
            "5s 3m",
            "1d,2h",
            "5x",
            "5S",
            "1e3",
            "1_000",
            "٣s",
            "inf",
            "nan",
            "5s\n3",
            "9" * 400,
            -1,
            -0.1,
            math.inf,
            math.nan,
            10**400,
            True,
            None,
            b"5s",
            Decimal(5),
            timedelta(seconds=-1),
            datetime(2026, 1, 1),
            [5],
        ],
        ids=lambda written: repr(written)[:20],
    )
    def test_anything_else_is_refused_with_a_sentence(self, written):
        with pytest.raises(ValueError, match="is not a duration"):
            durations.seconds(written)

    @given(st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 10**6), min_size=1))
    def test_units_add_up(self, parts):
        written = "".join(f"{number}{unit}" for unit, number in parts.items())

        total = sum(number * UNITS[unit] for unit, number in parts.items())

        assert durations.seconds(written) == pytest.approx(total)

    @given(st.timedeltas(min_value=timedelta(0)))
    def test_a_timedelta_is_its_seconds(self, delta):
        assert durations.seconds(delta) == delta.total_seconds()


class TestHeader:
    @pytest.mark.parametrize(
        ("written", "text"),
        [(0, "0s"), (90, "90s"), ("1d10h30m", "124200s"), (0.1, "1s"), (1.0000001, "1s")],
    )
    def test_it_is_whole_seconds(self, written, text):
        assert durations.header(written) == text

    @given(st.floats(0, 1e15))
    def test_it_is_never_early_and_less_than_a_second_late(self, seconds):
        whole = durations.whole_seconds(seconds)

        assert -1e-6 <= whole - seconds < 1 or math.isclose(whole, seconds)

    @given(st.integers(0, 10**12))
    def test_a_header_read_again_says_the_same(self, seconds):
        assert durations.header(durations.header(seconds)) == f"{seconds}s"


class TestTimestamp:
    @pytest.mark.parametrize(
        ("written", "moment"),
        [
            (1_800_000_000, 1_800_000_000.0),
            (1.5, 1.5),
            (-1, -1.0),
            ("1800000000", 1_800_000_000.0),
            (" 1800000000.25 ", 1_800_000_000.25),
            ("-5", -5.0),
            ("1970-01-02", 86400.0),
            ("1970-01-01T00:01:00", 60.0),
            ("1970-01-01T00:01:00Z", 60.0),
            ("1970-01-01T01:01:00+01:00", 60.0),
            ("1970-01-01 00:01:00.500000", 60.5),
            (datetime(1970, 1, 1, 0, 1), 60.0),
            (datetime(1970, 1, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 60.0),
        ],
    )
    def test_every_way_of_writing_one_is_understood(self, written, moment):
        assert durations.timestamp(written) == moment

    @pytest.mark.parametrize(
        "written",
        ["", "tomorrow", "12:30", "nan", "1e9", math.nan, math.inf, 10**400, True, None, b"1", [1]],
        ids=lambda written: repr(written)[:20],
    )
    def test_anything_else_is_refused_with_a_sentence(self, written):
        with pytest.raises(ValueError, match="is not an instant"):
            durations.timestamp(written)

    @given(
        st.datetimes(
            min_value=datetime(1970, 1, 2),
            max_value=datetime(9999, 12, 30),
            timezones=st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m))),
        )
    )
    def test_an_instant_and_its_text_are_the_same(self, moment):
        assert durations.timestamp(moment) == durations.timestamp(moment.isoformat())
