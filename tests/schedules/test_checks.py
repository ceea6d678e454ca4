"""What code says of times, and nobody is there to see to it, is said by a check."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks

from django_qstash import Celery, shared_task, workflow
from django_qstash.application import current
from django_qstash.schedules.crontab import crontab
from django_qstash.tasks.registry import tasks

ENTRY = {"task": "tests.shop.tasks.note", "schedule": crontab(), "args": ["x"]}


@pytest.fixture
def without(settings):
    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if app != "django_qstash.schedules"
    ]


def told():
    found = run_checks(tags=["django_qstash"])
    return [each for each in found if each.id == "django_qstash.W015"]


@pytest.fixture(params=[shared_task, workflow], ids=["task", "workflow"])
def timed(request):
    made = request.param(name="timed", cron="0 9 * * *")(lambda ctx=None: None)
    yield made
    tasks.unregister(made)


def test_a_cron(timed, without):
    (warning,) = told()
    assert "cron= of timed" in warning.msg
    assert "task_schedules --sync" in warning.hint


def test_the_setting(without, settings):
    settings.DJANGO_QSTASH_BEAT_SCHEDULE = {"nightly": ENTRY}
    (warning,) = told()
    assert "nightly" in warning.msg


def test_a_periodic_task_of_a_celery_object(without):
    with current.preserved():
        app = Celery("timed")
        app.add_periodic_task(60.0, tasks["tests.shop.tasks.note"].s("x"), name="minutely")
        try:
            (warning,) = told()
        finally:
            app.close()
            current.forget(app)
    assert "minutely" in warning.msg


def test_nothing_is_said_where_there_is_nothing_or_the_app_is(without, settings, request):
    assert told() == []
    request.getfixturevalue("timed_here")
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_qstash.schedules"]
    settings.DJANGO_QSTASH_BEAT_SCHEDULE = {"nightly": ENTRY}
    assert told() == []


@pytest.fixture
def timed_here():
    made = shared_task(name="timed.here", cron="0 9 * * *")(lambda: None)
    yield
    tasks.unregister(made)
