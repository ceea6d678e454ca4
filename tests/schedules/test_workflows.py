"""A workflow by the clock: from its ``cron=`` to its result, by way of a QStash server."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from django.core.management import call_command

from django_qstash import AsyncResult, workflow
from django_qstash.devserver.faults import Knobs
from django_qstash.schedules import runs
from django_qstash.schedules.models import TaskSchedule
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.triggers import CronTrigger
from django_qstash.workflows.models import RunStatus, WorkflowRun
from tests.schedules.conftest import there
from tests.shop.models import Effect

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.schedules.urls"),
]
HOUR = 3600


@pytest.fixture
def stocktaking():
    trigger = CronTrigger("0 9 * * *", timezone="Europe/Berlin", input={"shelf": "A"})

    @workflow("tests.stocktaking", cron=[trigger])
    def stocktaking(ctx, shelf):
        counted = ctx.step.run("count", lambda: Effect.objects.create(name=shelf).pk)
        ctx.step.sleep("overnight", minutes=90)
        Effect.objects.create(name="written")
        return {"shelf": shelf, "counted": counted}

    yield stocktaking
    tasks.unregister(stocktaking)


@pytest.fixture
def scheduled(stocktaking, qstash, live_server, settings):
    """Its schedule, as ``task_schedules --sync`` has made it; it is 00:00 in UTC."""
    settings.DJANGO_QSTASH_DOMAIN = live_server.url
    call_command("task_schedules", "--sync", "--no-input", verbosity=0)
    row = TaskSchedule.objects.get()
    (_, cron, destination) = there(qstash)[row.schedule_id]
    assert cron == "CRON_TZ=Europe/Berlin 0 9 * * *"
    assert destination.startswith(live_server.url)
    return row


def shown(client, row):
    """What the admin says of its runs."""
    url = f"/admin/django_qstash_schedules/taskschedule/{row.pk}/change/"
    return client.get(url).content.decode()


def test_it_fires_runs_sleeps_and_completes_once_a_day(scheduled, qstash, admin_client):
    qstash.advance(7 * HOUR)
    (run,) = WorkflowRun.objects.all()
    assert (run.status, run.data) == (RunStatus.WAITING, {"shelf": "A"})
    assert run.created_at == datetime(2026, 10, 10, 7, tzinfo=timezone.utc)

    assert "<td>at work</td>" in shown(admin_client, scheduled)

    qstash.advance(2 * HOUR)
    run.refresh_from_db()
    assert "<td>at work</td>" not in shown(admin_client, scheduled)
    assert (run.status, run.result["shelf"]) == (RunStatus.COMPLETED, "A")
    assert AsyncResult(run.run_id).get() == run.result
    assert [result.task_id for result in runs.history(scheduled)] == [run.run_id]
    scheduled.refresh_from_db()
    assert scheduled.last_task_id == run.run_id

    qstash.advance(24 * HOUR)
    assert WorkflowRun.objects.filter(status=RunStatus.COMPLETED).count() == 2
    assert len(runs.history(scheduled)) == 2
    assert Effect.objects.filter(name="A").count() == 2


def test_a_fire_that_is_delivered_twice_starts_it_once(scheduled, qstash):
    qstash.ask(lambda state: setattr(state.machine.faults, "knobs", Knobs(duplicate=1.0, seed=1)))

    qstash.advance(10 * HOUR)
    assert WorkflowRun.objects.get().status == RunStatus.COMPLETED
    assert Effect.objects.filter(name="A").count() == 1

    qstash.advance(24 * HOUR)
    assert WorkflowRun.objects.count() == 2
    assert Effect.objects.filter(name="A").count() == 2


def test_a_run_that_is_still_asleep_is_not_joined_by_another(scheduled, qstash):
    TaskSchedule.objects.update(overlap="skip", cron="0 * * * *", timezone="")
    call_command("task_schedules", "--sync", "--no-input", verbosity=0)
    # The code owns the row, and has brought its own times back.
    scheduled.refresh_from_db()
    assert (scheduled.cron, scheduled.overlap) == ("0 9 * * *", "skip")

    scheduled.code_key = None
    scheduled.cron, scheduled.timezone = "0 * * * *", ""
    scheduled.save()
    qstash.advance(6 * HOUR + 60)
    # At 1, 3 and 5 o'clock: each run sleeps beyond the next hour, whose fire is left out.
    assert WorkflowRun.objects.count() == 3
    scheduled.refresh_from_db()
    assert scheduled.skipped_at is not None
