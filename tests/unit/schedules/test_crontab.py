"""``crontab`` and ``schedule``: the same times as Celery's, asked for side by side."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta, timezone

import pytest

from django_qstash import Celery, clock
from django_qstash.application import current
from django_qstash.exceptions import ImproperlyConfigured
from django_qstash.schedules.crontab import ParseException, crontab, crontab_parser
from django_qstash.schedules.intervals import maybe_schedule, schedule, solar

UTC = timezone.utc
#: Fields as keywords: every form of each.
EXPRESSIONS = [
    {},
    {"minute": 0},
    {"minute": "*/15"},
    {"minute": "5,10-20/5,59"},
    {"minute": 30, "hour": "*/7"},
    {"minute": 0, "hour": "22-2"},
    {"minute": [0, 30], "hour": range(8, 18), "day_of_week": "mon-fri"},
    {"minute": 0, "hour": 0, "day_of_week": "sunday"},
    {"minute": 0, "hour": 7, "day_of_week": "fri-mon"},
    {"minute": 0, "hour": 12, "day_of_month": "2-30/3"},
    {"minute": 0, "hour": 0, "day_of_month": 31},
    {"minute": 0, "hour": 0, "day_of_month": "1-7", "day_of_week": "mon"},
    {"minute": 0, "hour": 0, "day_of_month": 13, "day_of_week": 5},
    {"minute": 0, "hour": 0, "day_of_month": 29, "month_of_year": 2},
    {"minute": 0, "hour": 0, "day_of_month": 1, "month_of_year": "*/3"},
    {"minute": 15, "hour": 3, "month_of_year": "jan,jul"},
    {"minute": 15, "hour": 3, "month_of_year": "nov-feb"},
]
MOMENTS = [
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 2, 28, 23, 59, 30, tzinfo=UTC),
    datetime(2026, 5, 31, 12, 30, tzinfo=UTC),
    datetime(2026, 10, 31, 7, 0, 1, tzinfo=UTC),
    datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC),
]


@pytest.fixture(autouse=True)
def app():
    with current.preserved():
        app = Celery("proj", timezone="UTC")
        yield app
        app.close()


@pytest.fixture
def theirs():
    celery = pytest.importorskip("celery")
    app = celery.Celery("theirs", set_as_current=False)
    app.conf.timezone = "UTC"
    schedules = pytest.importorskip("celery.schedules")
    return lambda kind, *args, **kwargs: getattr(schedules, kind)(*args, **kwargs, app=app)


@pytest.mark.parametrize("fields", EXPRESSIONS, ids=str)
class TestBesideCelery:
    def test_the_values_are_the_same(self, fields, theirs):
        ours, other = crontab(**fields), theirs("crontab", **fields)

        for name in ("minute", "hour", "day_of_week", "day_of_month", "month_of_year"):
            assert getattr(ours, name) == getattr(other, name)

    @pytest.mark.parametrize("moment", MOMENTS, ids=str)
    def test_the_next_twenty_times_are_the_same(self, fields, moment, theirs):
        now = [moment]
        ours = crontab(**fields, nowfun=lambda: now[0])
        other = theirs("crontab", **fields, nowfun=lambda: now[0])

        for _ in range(20):
            assert ours.remaining_estimate(now[0]) == other.remaining_estimate(now[0])
            now[0] += ours.remaining_estimate(now[0])

    def test_it_is_due_when_celerys_is(self, fields, theirs):
        last = datetime(2026, 3, 1, 11, 59, 30, tzinfo=UTC)
        for later in (timedelta(seconds=1), timedelta(minutes=2), timedelta(days=400)):
            now = last + later
            ours, other = (
                make(nowfun=lambda now=now: now, **fields).is_due(last)
                for make in (crontab, lambda **kw: theirs("crontab", **kw))
            )

            assert ours[0] is other.is_due
            assert ours[1] == pytest.approx(other.next)


class TestCrontab:
    def test_as_text_and_back(self):
        one = crontab.from_string("0 9 1-7 jan mon")

        assert repr(one) == "<crontab: 0 9 1-7 jan mon (m/h/dM/MY/d)>"
        assert one == crontab(0, 9, "mon", "1-7", "jan")
        assert one != crontab(0, 9)
        assert one != "0 9 1-7 jan mon"
        assert pickle.loads(pickle.dumps(one)) == one
        assert copy.deepcopy(one) == one

    def test_none_is_every(self):
        assert crontab(minute=None) == crontab()

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"minute": 60}, "60 is not between 0 and 59"),
            ({"minute": "60"}, "'60' is not between 0 and 59"),
            ({"day_of_month": 0}, "0 is not between 1 and 31"),
            ({"day_of_week": 7}, "7 is not between 0 and 6"),
            ({"hour": {24}}, "24 is not between 0 and 23"),
            ({"day_of_week": "someday"}, "'someday' is no number, no month"),
            ({"day_of_month": 31, "month_of_year": 2}, "there is no such date"),
            ({"day_of_month": 31, "month_of_year": "4,6,9,11"}, "there is no such date"),
        ],
        ids=str,
    )
    def test_what_cannot_be(self, fields, error):
        with pytest.raises(ValueError, match=error):
            crontab(**fields)

    @pytest.mark.parametrize("text", ["", "1,", "*/0", "*/x", "-5", "1-5/0"])
    def test_what_cannot_be_read(self, text):
        with pytest.raises((ParseException, ValueError)):
            crontab(minute=text)
        with pytest.raises((crontab_parser.ParseException, ValueError)):
            crontab_parser(60).parse(text)

    def test_other_types_and_other_numbers_of_fields(self):
        with pytest.raises(TypeError, match="write a number, a text"):
            crontab(minute=1.5)
        with pytest.raises(ValueError, match="has 4 fields; a crontab has five"):
            crontab.from_string("0 0 * *")

    def test_the_hours_are_those_of_the_objects_zone(self, app):
        app.conf.timezone = "Europe/Berlin"
        noon = crontab(0, 12)

        with clock.use(clock.VirtualClock(datetime(2026, 7, 1, 8, tzinfo=UTC).timestamp())):
            assert noon.remaining_estimate(noon.now()) == timedelta(hours=2)
        with clock.use(clock.VirtualClock(datetime(2026, 12, 1, 8, tzinfo=UTC).timestamp())):
            assert noon.remaining_estimate(noon.now()) == timedelta(hours=3)

    def test_over_a_change_of_the_clock(self, app):
        """The night of 25 October is an hour longer in Berlin."""
        app.conf.timezone = "Europe/Berlin"
        six = crontab(0, 6, nowfun=lambda: datetime(2026, 10, 24, 4, tzinfo=UTC))

        assert six.remaining_estimate(six.now()) == timedelta(hours=25)

    def test_a_zone_without_a_name(self, app):
        app.conf.timezone = timezone(timedelta(hours=2))

        with pytest.raises(ImproperlyConfigured, match="has no name; write one such as"):
            crontab().is_due(datetime(2026, 1, 1, tzinfo=UTC))


class TestSchedule:
    @pytest.mark.parametrize("relative", [False, True])
    @pytest.mark.parametrize("seconds", [0.5, 10, 90, 3600, 7200, 86400, 3 * 86400])
    @pytest.mark.parametrize("later", [0, 5, 95, 4000, 90000])
    def test_it_is_due_when_celerys_is(self, relative, seconds, later, theirs):
        last = datetime(2026, 3, 1, 11, 59, 30, tzinfo=UTC)
        now = last + timedelta(seconds=later)

        ours = schedule(seconds, relative, nowfun=lambda: now).is_due(last)
        other = theirs("schedule", seconds, relative, nowfun=lambda: now).is_due(last)

        assert ours[0] is other.is_due
        assert ours[1] == pytest.approx(other.next)

    def test_its_words(self):
        one = schedule(timedelta(minutes=90))

        assert one.seconds == 5400
        assert one.human_seconds == "1.50 hours"
        assert repr(one) == "<freq: 1.50 hours>"
        assert one == schedule(5400) == timedelta(minutes=90)
        assert one != schedule(5400, relative=True)
        assert pickle.loads(pickle.dumps(one)) == one

    @pytest.mark.parametrize("every", [None, "60", -1, timedelta(-1)], ids=str)
    def test_what_is_no_interval(self, every):
        with pytest.raises(ValueError, match="write seconds, or a timedelta"):
            schedule(every)


def test_numbers_become_schedules(app):
    other = Celery("other", set_as_current=False)
    one = crontab()

    assert maybe_schedule(10) == schedule(10)
    assert maybe_schedule(timedelta(1), relative=True) == schedule(86400, relative=True)
    assert maybe_schedule(one) is one
    assert one.app is app
    assert maybe_schedule(one, app=other).app is other
    assert maybe_schedule(None) is None


def test_the_sun_is_not_known():
    with pytest.raises(ImproperlyConfigured, match="knows no sunrise"):
        solar("sunrise", 52.5, 13.4)


def test_the_app_may_be_given():
    other = Celery("other", set_as_current=False, timezone="Asia/Tokyo")

    assert str(crontab(app=other).tz) == "Asia/Tokyo"
