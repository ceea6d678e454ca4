from __future__ import annotations

from datetime import datetime, timezone

import pytest

from django_qstash.devserver.cron import Cron


def fires(text: str, start: str, count: int) -> list[str]:
    cron = Cron.parse(text)
    at = datetime.fromisoformat(start).timestamp()
    found = []
    for _ in range(count):
        at = cron.next(at)
        found.append(datetime.fromtimestamp(at, cron.zone).isoformat())
    return found


def test_utc_unless_a_zone_is_named():
    assert fires("0 9 * * *", "2026-05-01T10:00:00+00:00", 1) == ["2026-05-02T09:00:00+00:00"]
    assert fires("CRON_TZ=Europe/Istanbul 0 9 * * *", "2026-05-01T10:00:00+00:00", 1) == [
        "2026-05-02T09:00:00+03:00"
    ]
    assert fires("  TZ=Asia/Kolkata   0 9 * * 1 ", "2026-05-01T10:00:00+00:00", 1) == [
        "2026-05-04T09:00:00+05:30"
    ]


def test_a_fire_is_later_than_now_even_on_the_minute():
    assert fires("*/5 * * * *", "2026-05-01T10:05:00+00:00", 2) == [
        "2026-05-01T10:10:00+00:00",
        "2026-05-01T10:15:00+00:00",
    ]


def test_the_hour_that_summer_time_leaves_out_does_not_fire():
    assert fires("CRON_TZ=America/New_York 30 2 * * *", "2026-03-07T12:00:00+00:00", 1) == [
        "2026-03-09T02:30:00-04:00"
    ]
    assert fires("CRON_TZ=America/New_York */30 * * * *", "2026-03-08T06:45:00+00:00", 2) == [
        "2026-03-08T03:00:00-04:00",
        "2026-03-08T03:30:00-04:00",
    ]


def test_the_hour_that_winter_time_repeats_fires_twice():
    assert fires("CRON_TZ=America/New_York 30 1 * * *", "2026-10-31T12:00:00+00:00", 3) == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-01T01:30:00-05:00",
        "2026-11-02T01:30:00-05:00",
    ]
    assert fires("CRON_TZ=America/New_York 0 * * * *", "2026-11-01T05:30:00+00:00", 2) == [
        "2026-11-01T01:00:00-05:00",
        "2026-11-01T02:00:00-05:00",
    ]


def test_a_leap_day_and_names():
    assert fires("0 0 29 2 *", "2026-05-01T00:00:00+00:00", 1) == ["2028-02-29T00:00:00+00:00"]
    assert fires("0 0 * jan,JUL mon-fri", "2026-05-01T00:00:00+00:00", 1) == [
        "2026-07-01T00:00:00+00:00"
    ]
    assert fires("@hourly", "2026-05-01T00:20:00+00:00", 1) == ["2026-05-01T01:00:00+00:00"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "*/0 * * * *",
        "a b c d e",
        "h h * * *",
        "R * * * *",
        "0 0 30 2 *",
        "@reboot",
        "@nonsense",
        "CRON_TZ=Mars/Olympus * * * * *",
        "CRON_TZ=../../etc/passwd * * * * *",
        "CRON_TZ=UTC",
        "* * * * *; drop",
        "\x00 * * * *",
    ],
)
def test_what_is_no_cron_expression_is_refused(text):
    with pytest.raises(ValueError, match=r"\w"):
        Cron.parse(text)


def test_time_is_kept_for_a_year_of_days_in_a_zone_with_summer_time():
    found = fires("CRON_TZ=Europe/Berlin 15 2 * * *", "2026-01-01T12:00:00+00:00", 365)
    days = {text[:10] for text in found}
    # 29 March has no 02:15; 25 October has two.
    assert "2026-03-29" not in days
    assert len(found) - len(days) == 1
    assert all(text[11:16] == "02:15" for text in found)
    assert datetime.fromisoformat(found[-1]).astimezone(timezone.utc).year in (2026, 2027)
