"""Cron in words that a person understands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from django_qstash.exceptions import CronError
from django_qstash.schedules.timetable import Timetable
from django_qstash.schedules.words import in_words
from tests.unit.test_wire_cron import field, st

SAID = [
    ("* * * * *", "Every minute"),
    ("*/5 * * * *", "Every 5 minutes"),
    ("0 * * * *", "Every hour"),
    ("15 * * * *", "At 15 minutes past the hour"),
    ("0,30 * * * *", "Every 30 minutes"),
    ("5-55/10 * * * *", "Every 10 minutes from minute 5 of the hour"),
    ("10-20 * * * *", "Every minute from 10 to 20 past the hour"),
    ("0 9 * * *", "At 09:00 every day"),
    ("0 9 * * mon-fri", "At 09:00, Monday to Friday"),
    ("30 7,19 * * sat,sun", "At 07:30 and 19:30, on Saturdays and Sundays"),
    ("*/15 9-17 * * mon-fri", "Every 15 minutes, from 09:00 to 17:59, Monday to Friday"),
    ("0 9-17 * * *", "Every hour from 09:00 to 17:00"),
    ("0 */2 * * *", "Every 2 hours"),
    ("30 */4 * * *", "At 00:30, 04:30, 08:30, 12:30, 16:30 and 20:30 every day"),
    ("0 0 1 * *", "At 00:00, on the 1st of the month"),
    ("0 0 1,15 * *", "At 00:00, on the 1st and the 15th of the month"),
    ("0 12 13 * fri", "At 12:00, on the 13th of the month and on Fridays"),
    ("0 0 1 1 *", "At 00:00, on the 1st of the month in January"),
    ("0 0 29 2 *", "At 00:00, on the 29th of the month in February"),
    ("@weekly", "At 00:00, on Sundays"),
    (
        "CRON_TZ=Europe/Berlin 0 9 * 6-8 mon",
        "At 09:00, on Mondays in June to August (Europe/Berlin)",
    ),
    ("*/10 */3 * * *", "Every 10 minutes, in every 3rd hour"),
    ("0 1-23/2 * * *", "Every 2 hours from 01:00"),
    ("0 0 */2 * *", "At 00:00, every 2nd day of the month from the 1st"),
    ("0 0 1-7 * *", "At 00:00, on the 1st to the 7th of the month"),
    ("* 9 * * *", "Every minute, from 09:00 to 09:59"),
    ("0,20,40 8,10-12 * * *", "Every 20 minutes, from 08:00 to 08:59 and from 10:00 to 12:59"),
    ("1 * * * *", "At 1 minute past the hour"),
    ("0 9 1-7 * mon", "At 09:00, on the 1st to the 7th of the month and on Mondays"),
    ("0 0,6 * 1,3,5 *", "At 00:00 and 06:00, every day in January, March and May"),
    ("5 4 * * sun", "At 04:05, on Sundays"),
    ("0 8-10,14 * * *", "At 08:00, 09:00, 10:00 and 14:00 every day"),
    ("17 3,4,5,6,7,8,9 * * *", "At 03:17, 04:17, 05:17, 06:17, 07:17, 08:17 and 09:17 every day"),
    ("0 0 * * 1,3,5", "At 00:00, on Mondays, Wednesdays and Fridays"),
    ("0 0 * * 5-7", "At 00:00, Friday to Sunday"),
    ("0 12 * * 0-6", "At 12:00 every day"),
    ("7,12 * * * *", "At 7 and 12 minutes past the hour"),
]


@pytest.mark.parametrize(("cron", "words"), SAID)
def test_it_is_said(cron, words):
    assert in_words(Timetable.parse(cron)) == words


def test_a_condition_is_said_as_well():
    friday = Timetable.parse("0 9 13 * *", only_on="* * * * fri")
    assert in_words(friday) == "At 09:00, on the 13th of the month, only on Fridays"
    monday = Timetable.parse("0 9 * * 1", only_on="* * 1-7 * *")
    assert in_words(monday) == "At 09:00, on Mondays, only on the 1st to the 7th of the month"


@settings(max_examples=200, deadline=None)
@given(st.tuples(*map(field, range(5))).map(" ".join))
def test_every_expression_has_words_and_equal_times_have_equal_ones(fields):
    try:
        timetable = Timetable.parse(fields)
    except CronError:
        return
    words = in_words(timetable)
    assert words[0].isupper()
    assert "  " not in words
    assert words == in_words(Timetable.parse(str(timetable.cron)))
