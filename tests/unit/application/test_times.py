"""``celery.utils.time`` by its names."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from django_qstash.application import times

BERLIN = ZoneInfo("Europe/Berlin")
NAIVE = datetime(2026, 7, 1, 12)


def test_seconds_become_a_timedelta():
    assert times.maybe_timedelta(90) == timedelta(seconds=90)
    assert times.maybe_timedelta(1.5) == timedelta(seconds=1.5)
    assert times.maybe_timedelta(timedelta(1)) == timedelta(1)
    assert times.maybe_timedelta(None) is None


@pytest.mark.parametrize(
    ("text", "per_second"),
    [
        ("100/m", 100 / 60),
        ("2/h", 2 / 3600),
        ("0.5/s", 0.5),
        (".5/s", 0.5),
        ("3", 3.0),
        (7, 7.0),
        (None, 0.0),
        ("", 0.0),
        (0, 0.0),
        (" 5 / m ", 5 / 60),
    ],
)
def test_rates(text, per_second):
    assert times.rate(text) == pytest.approx(per_second)


@pytest.mark.parametrize("text", ["often", "10/d", "-1/s"])
def test_what_is_no_rate(text):
    with pytest.raises(ValueError, match="is not a rate such as '10/m'"):
        times.rate(text)


def test_weekdays():
    assert [times.weekday(name) for name in ("sun", "Monday", "SAT")] == [0, 1, 6]
    with pytest.raises(KeyError):
        times.weekday("never")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4 * 86400, "4.00 days"),
        (86400, "1.00 day"),
        (5400, "1.50 hours"),
        (60, "1.00 minute"),
        (30, "30.00 seconds"),
        (0, "now"),
    ],
)
def test_seconds_for_people(seconds, text):
    assert times.humanize_seconds(seconds) == text


def test_seconds_for_people_with_words_around_them():
    assert times.humanize_seconds(30, prefix="in", sep=" ") == "in 30.00 seconds"
    assert times.humanize_seconds(0.2) == "now"
    assert times.humanize_seconds(0.2, microseconds=True) == "0.20 seconds"
    assert times.humanize_seconds(0, now="at once") == "at once"


def test_texts_become_datetimes():
    moment = datetime(2026, 7, 1, 12, tzinfo=timezone.utc)

    assert times.maybe_iso8601("2026-07-01T12:00:00Z") == moment
    assert times.maybe_iso8601("2026-07-01T12:00:00+00:00") == moment
    assert times.maybe_iso8601(moment) is moment
    assert times.maybe_iso8601(None) is None


def test_zones():
    aware = times.make_aware(NAIVE, BERLIN)

    assert times.is_naive(NAIVE)
    assert not times.is_naive(aware)
    assert aware.utcoffset() == timedelta(hours=2)
    assert times.maybe_make_aware(NAIVE).tzinfo is timezone.utc
    assert times.maybe_make_aware(aware) is aware
    assert times.localize(NAIVE, BERLIN).hour == 14
    assert times.to_utc(NAIVE).tzinfo is timezone.utc
    assert times.to_utc(aware) == aware


def test_backoff():
    waits = [times.get_exponential_backoff_interval(2, retries, 600) for retries in range(10)]

    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600]
    assert times.get_exponential_backoff_interval(1, 10_000, 600) == 600
    assert times.get_exponential_backoff_interval(-1, 1, 600) == 0
    jittered = {times.get_exponential_backoff_interval(2, 2, 600, True) for _ in range(300)}
    assert jittered == set(range(9))
