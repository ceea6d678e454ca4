"""What code says of a schedule is had as it is said, or refused where somebody reads it."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from django.core.checks import run_checks

from django_qstash import Celery, CronTrigger, shared_task, workflow
from django_qstash.application import current
from django_qstash.schedules import code, remote
from django_qstash.schedules.crontab import crontab
from django_qstash.schedules.models import TaskSchedule
from django_qstash.tasks.registry import tasks
from tests.schedules.test_admin import ROOT
from tests.schedules.test_command import make, sync_now
from tests.schedules.test_models import NOTE

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.schedules.urls")]


@pytest.fixture
def declare():
    """Makes tasks or workflows named ``report``, and forgets them after the test."""

    def declare(decorator=shared_task, **options):
        if "report" in tasks:
            tasks.unregister(tasks["report"])
        return decorator(name="report", **options)(lambda ctx=None: None)

    yield declare
    if "report" in tasks:
        tasks.unregister(tasks["report"])


@pytest.fixture
def beat(settings):
    """Sets the entry ``nightly``."""

    def beat(**entry):
        entry = {"task": NOTE, "schedule": crontab(), "args": ["x"], **entry}
        settings.DJANGO_QSTASH_BEAT_SCHEDULE = {"nightly": entry}

    return beat


@pytest.fixture
def without_results(settings):
    def without_results():
        left = [app for app in settings.INSTALLED_APPS if app != "django_qstash.results"]
        settings.INSTALLED_APPS = left

    return without_results


def told(number):
    return [each for each in run_checks(tags=["django_qstash"]) if each.id.endswith(number)]


def at_qstash(row):
    return json.loads(remote.get(row.schedule_id).body).get("overlap", "allow")


class TestOverlap:
    @pytest.mark.parametrize("decorator", [shared_task, workflow], ids=["task", "workflow"])
    @pytest.mark.parametrize(
        "options",
        [
            {"cron": "0 9 * * *", "overlap": "skip"},
            {"cron": CronTrigger("0 9 * * *", overlap="skip")},
            {"cron": [CronTrigger("0 9 * * *", overlap="skip")], "overlap": "queue"},
        ],
        ids=["option", "trigger", "both"],
    )
    def test_beside_a_cron(self, qstash, declare, decorator, options):
        declare(decorator, **options)
        sync_now()
        row = TaskSchedule.objects.get()
        assert (row.overlap, at_qstash(row)) == ("skip", "skip")
        assert sync_now() == "Nothing to do.\n"

    def test_in_the_options_of_an_entry(self, qstash, beat):
        beat(options={"overlap": "queue", "expires": 60})
        sync_now()
        row = TaskSchedule.objects.get()
        assert (row.overlap, row.options) == ("queue", {"expires": 60})
        assert at_qstash(row) == "queue"

    def test_in_add_periodic_task(self, qstash):
        with current.preserved():
            app = Celery("proj")
            app.add_periodic_task(60.0, tasks[NOTE].s("x"), name="minutely", overlap="skip")
            try:
                sync_now()
            finally:
                app.close()
                current.forget(app)
        assert TaskSchedule.objects.get(name="minutely").overlap == "skip"

    def test_code_wins_over_the_row_as_soon_as_it_says_something(self, qstash, declare):
        declare(cron="0 9 * * *")
        sync_now()
        TaskSchedule.objects.update(overlap="queue")
        sync_now()
        assert TaskSchedule.objects.get().overlap == "queue"
        declare(cron="0 9 * * *", overlap="skip")
        assert "its overlap changed in the code" in sync_now()
        assert at_qstash(TaskSchedule.objects.get()) == "skip"

    @pytest.mark.parametrize(("overlap", "writable"), [(None, True), ("skip", False)])
    def test_the_admin_lets_it_be_changed_where_code_is_silent(
        self, qstash, declare, admin_client, overlap, writable
    ):
        declare(cron="0 9 * * *", overlap=overlap)
        sync_now()
        row = TaskSchedule.objects.get()
        page = admin_client.get(f"{ROOT}/{row.pk}/change/").content.decode()
        assert ('name="overlap"' in page) is writable
        assert ("What happens when runs overlap is chosen here." in page) is writable
        assert 'name="is_active"' in page

    @pytest.mark.parametrize("overlap", ["skip", "queue"])
    def test_without_results_it_is_refused_by_check_and_by_sync(
        self, qstash, declare, beat, without_results, overlap
    ):
        declare(cron="0 9 * * *", overlap=overlap)
        beat(options={"overlap": overlap})
        assert told("E010") == []
        without_results()
        assert sorted("nightly" in each.msg for each in told("E010")) == [False, True]
        assert all("add 'django_qstash.results'" in each.msg for each in told("E010"))
        assert "need the results app" in sync_now(fails="2 schedules")
        assert not TaskSchedule.objects.exists()

    def test_allow_needs_no_results(self, qstash, declare, without_results):
        declare(cron="0 9 * * *", overlap="allow")
        without_results()
        assert told("E010") == []
        sync_now()
        assert TaskSchedule.objects.get().overlap == "allow"

    def test_it_needs_a_cron_and_is_one_of_three(self, declare):
        with pytest.raises(ValueError, match="overlap='skip' without cron="):
            declare(overlap="skip")
        with pytest.raises(ValueError, match="it is one of allow, skip, queue"):
            declare(cron="0 9 * * *", overlap="wait")


class TestEntries:
    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ({"options": {"task_id": "x"}}, "each fire has an id of its own"),
            ({"options": {"args": [1]}}, "write it beside 'options'"),
            ({"options": {"kwargs": {"name": 1}}}, "write it beside 'options'"),
            ({"options": {"deduplication_id": "x"}}, "every fire would have the same"),
            ({"options": {"content_based_deduplication": True}}, "says the same"),
            ({"options": {"using": "default"}}, "no transaction of yours"),
            ({"options": {"overlap": "wait"}}, "one of allow, skip, queue"),
            ({"options": {"countdown": 1, "eta": datetime(2030, 1, 1)}}, "both say when"),
            ({"options": {"expires": "soon"}}, "expires='soon'"),
            ({"options": 5}, "'options' must be a mapping"),
            ({"args": "abc"}, "'args' must be a list or a tuple"),
            ({"args": 5}, "'args' must be a list or a tuple"),
            ({"args": [object()]}, "of the type object, which JSON cannot carry"),
            ({"kwargs": [1]}, "'kwargs' must be a mapping"),
            ({"schedule": 420}, "The nearest: 6 minutes and 10 minutes"),
        ],
    )
    def test_what_cannot_be_is_said_by_check_and_by_sync(self, qstash, beat, entry, words):
        beat(**entry)
        (warning,) = told("W016")
        assert words in warning.msg
        assert words in sync_now(fails="1 schedule")
        assert not TaskSchedule.objects.exists()

    def test_arguments_that_do_not_fit_are_said_by_check(self, beat, declare):
        beat(args=[])
        (warning,) = told("W016")
        assert "missing a required argument: 'name'" in warning.msg
        beat()
        assert told("W016") == []
        declare(cron=CronTrigger("@daily", input={"nobody": 1}))
        (warning,) = told("W016")
        assert "nobody" in warning.msg


class TestOthersGoOn:
    """What is wrong with one schedule keeps no other from being brought together."""

    @pytest.fixture
    def other(self, qstash):
        row = make(name="other")
        TaskSchedule.objects.filter(pk=row.pk).update(cron="0 4 * * *")
        return row

    def cron_of(self, row):
        return remote.get(row.schedule_id).cron

    def test_input_that_json_cannot_carry(self, other, declare):
        declare(cron=CronTrigger("0 9 * * *", input=5))
        sync_now()
        TaskSchedule.objects.filter(pk=other.pk).update(cron="0 5 * * *")
        declare(cron=CronTrigger("0 9 * * *", input=object()))
        assert "JSON cannot carry" in sync_now(fails="1 schedule")
        assert self.cron_of(other) == "0 5 * * *"

    def test_names_that_are_all_taken(self, other, beat):
        make(name="nightly"), make(name="nightly (beat)")
        beat()
        assert "2 of 2 done." in sync_now()
        (made,) = TaskSchedule.objects.filter(code_key="beat:nightly")
        assert made.name.startswith("nightly (")

    def test_a_row_whose_overlap_has_lost_its_results(self, other, declare, without_results):
        declare(cron="0 9 * * *")
        sync_now()
        TaskSchedule.objects.update(overlap="skip")
        TaskSchedule.objects.filter(pk=other.pk).update(overlap="allow", cron="0 5 * * *")
        declare(cron="0 10 * * *")
        without_results()
        printed = sync_now(fails="1 schedule")
        assert "need the results app" in printed
        assert "Until then its runs overlap." in printed
        assert self.cron_of(other) == "0 5 * * *"
        assert TaskSchedule.objects.get(code_key="task:report").cron == "0 10 * * *"


def test_a_class_whose_cron_cannot_be_read_is_a_problem_and_no_crash(declare):
    task = declare(cron="0 9 * * *")
    task.cron = "0 99 * * *"
    (found,) = (each for each in code.declared() if each.name == "report")
    assert "the hour is 0 to 23, not 99" in found.problem
