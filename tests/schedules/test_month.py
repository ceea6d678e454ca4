"""A month of cron in seconds: the server's clock, the site's, and both changes to winter time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest

from django_qstash.results.models import TaskResult
from django_qstash.schedules.models import TaskSchedule
from tests.schedules.conftest import BEGIN
from tests.schedules.test_models import make

pytestmark = pytest.mark.django_db(transaction=True)
DAY = 86400
#: Berlin's clocks go back on 25 October, New York's on 1 November.
JOBS = {
    "morning in Berlin": ("0 9 * * mon-fri", "Europe/Berlin"),
    "at night in Berlin": ("30 2 * * *", "Europe/Berlin"),
    "at night in New York": ("30 1 * * *", "America/New_York"),
    "weekly": ("@weekly", "Asia/Tokyo"),
}


def test_a_month_with_changes_of_the_clock(qstash, live_server, settings):
    settings.DJANGO_QSTASH_DOMAIN = live_server.url
    rows = [
        make(name=name, cron=cron, timezone=zone, args=[name])
        for name, (cron, zone) in JOBS.items()
    ]
    friday = make(name="Friday the 13th", cron="0 12 13 * *", only_on="* * * * fri", args=["13"])
    for row in (*rows, friday):
        row.refresh_from_db()
        assert row.sync_error == ""

    qstash.advance(35 * DAY)

    seen = Counter(TaskResult.objects.values_list("schedule_name", flat=True))
    end = BEGIN.timestamp() + 35 * DAY
    for row in (*rows, friday):
        expected = [moment for moment in row.next_runs(400, BEGIN.timestamp()) if moment <= end]
        ran = TaskResult.objects.filter(schedule_name=row.name).order_by("date_started")
        started = [each.timestamp() for each in ran.values_list("date_started", flat=True)]
        assert started == expected
        assert seen[row.name] == len(expected)
    assert seen["morning in Berlin"] == 25
    # The night that is an hour longer has 02:30 twice.
    assert seen["at night in Berlin"] == 36
    assert seen["at night in New York"] == 36
    assert seen["Friday the 13th"] == 1
    hours = {
        datetime.fromtimestamp(row, ZoneInfo("Europe/Berlin")).hour
        for row in map(
            datetime.timestamp,
            TaskResult.objects.filter(schedule_name="morning in Berlin").values_list(
                "date_started", flat=True
            ),
        )
    }
    assert hours == {9}
    assert set(TaskResult.objects.values_list("status", flat=True)) == {"SUCCESS"}


def test_pausing_drops_fires_and_resuming_makes_up_for_none(qstash, live_server, settings):
    settings.DJANGO_QSTASH_DOMAIN = live_server.url
    row = make(cron="0 0 * * *")
    qstash.advance(2 * DAY)
    row.is_active = False
    row.save()
    qstash.advance(5 * DAY)
    row.is_active = True
    row.save()
    qstash.advance(2 * DAY)
    assert TaskResult.objects.filter(schedule_name="nightly").count() == 4
    assert TaskSchedule.objects.get().last_fire_at == datetime(2026, 10, 19, tzinfo=timezone.utc)


def test_every_delivery_twice(qstash, live_server, settings):
    from django_qstash.devserver.faults import Knobs
    from tests.shop.models import Effect

    settings.DJANGO_QSTASH_DOMAIN = live_server.url
    qstash.ask(lambda state: setattr(state.machine.faults, "knobs", Knobs(duplicate=1.0, seed=1)))
    make(cron="0 * * * *")
    qstash.advance(DAY / 2)
    assert Effect.objects.count() == 12
