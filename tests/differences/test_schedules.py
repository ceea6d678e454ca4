"""Rows about schedules."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_qstash import Celery
from django_qstash.celery.schedules import crontab
from django_qstash.devserver.embedded import EmbeddedServer
from django_qstash.schedules.models import TaskSchedule
from tests.differences import shows

pytestmark = pytest.mark.django_db

ADD = "tests.shop.tasks.add"


@pytest.fixture
def qstash(settings):
    with EmbeddedServer() as server:
        settings.QSTASH_URL, settings.QSTASH_TOKEN = server.url, server.token
        settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
        yield server


def crons(server):
    return server.ask(lambda state: sorted(each.cron.text for each in state.schedules))


def sync():
    out = StringIO()
    call_command("task_schedules", "--sync", "--no-input", stdout=out, stderr=out)
    return out.getvalue()


@shows("beat")
def test_the_command_tells_qstash_what_the_code_says(qstash):
    app = Celery("proj")
    app.conf.beat_schedule = {"seven": {"task": ADD, "schedule": crontab(0, 7), "args": (1, 2)}}
    app.add_periodic_task(600, app.tasks[ADD].s(1, 2), name="often")
    assert crons(qstash) == []

    sync()

    assert crons(qstash) == ["*/10 * * * *", "0 7 * * *"]


@shows("intervals")
def test_an_interval_that_no_cron_can_keep_is_refused(qstash):
    app = Celery("proj")
    app.conf.beat_schedule = {"odd": {"task": ADD, "schedule": 7 * 60, "args": (1, 2)}}

    out = StringIO()
    with pytest.raises(CommandError):
        call_command("task_schedules", "--sync", "--no-input", stdout=out, stderr=out)

    assert "odd" in out.getvalue()
    assert "6 minutes" in out.getvalue()
    assert crons(qstash) == []


@shows("django-celery-beat")
def test_a_row_is_a_cron_expression(qstash):
    made = TaskSchedule.objects.create(
        name="morning",
        task_name=ADD,
        cron="30 7 * * mon-fri",
        timezone="Europe/Berlin",
        args=[1, 2],
    )

    assert (made.cron, made.timezone) == ("30 7 * * mon-fri", "Europe/Berlin")
    sync()
    assert crons(qstash) == ["CRON_TZ=Europe/Berlin 30 7 * * 1-5"]
