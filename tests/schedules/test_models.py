"""Rows: what is taken, what is refused, and that nobody is called unasked."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import transaction

from django_qstash.exceptions import (
    CronError,
    EncodeError,
    NotRegistered,
    OptionError,
    PayloadTooLarge,
    ResultsNotInstalled,
)
from django_qstash.schedules.models import DeletedSchedule, TaskSchedule
from tests.shop import tasks
from tests.transports import Down

NOTE = "tests.shop.tasks.note"


def make(**fields):
    values = {"name": "nightly", "cron": "0 3 * * *", "task_name": NOTE, "args": ["x"]}
    return TaskSchedule.objects.create(**{**values, **fields})


@pytest.mark.django_db
class TestSave:
    def test_it_just_works(self, outbox):
        row = TaskSchedule.objects.create(
            name="nightly", cron="0 3 * * *", task_name=NOTE, args=["x"], kwargs={}
        )
        row.refresh_from_db()
        assert (row.task_name, row.args, row.is_active) == (NOTE, ["x"], True)
        assert row.words == "At 03:00 every day"

    @pytest.mark.parametrize(
        "name",
        [
            "django_qstash.results.clear_stale_results_task",
            "django_qstash.results.tasks.clear_stale_results_task",
        ],
    )
    def test_the_built_in_task_by_either_name(self, outbox, name):
        row = make(task_name=name, args=[], kwargs={"since": 60})
        assert row.task_name == "django_qstash.results.tasks.clear_stale_results_task"

    @pytest.mark.parametrize(
        ("column", "value", "kept"),
        [
            ("timeout", timedelta(seconds=90), "90s"),
            ("timeout", 90, "90s"),
            ("delay", timedelta(minutes=2), "120s"),
            ("label", ["a", "b"], "a,b"),
            ("retry_delay", 500, "500"),
        ],
    )
    def test_options_that_are_no_text_are_kept_as_one(self, outbox, column, value, kept):
        row = make(**{column: value})
        row.refresh_from_db()
        assert getattr(row, column) == kept
        assert row.problems() == {}

    @pytest.mark.parametrize(
        ("column", "value", "words"),
        [
            ("name", "x" * 256, "name has 256 characters, and 255 are the most"),
            ("cron", "0 9 * * *" + " " * 300, "cron has 309 characters"),
            ("label", "x" * 300, "label has 300 characters"),
            ("name", "a\0", "name holds a NUL character"),
            ("timezone", None, "timezone must be a text, not None"),
            ("redact", {"body": True}, "redact must be a text"),
            ("is_active", None, "is_active must be True or False"),
            ("retries", 40000, "32767 are the most"),
        ],
    )
    def test_what_a_database_would_refuse_is_refused_by_each(self, outbox, column, value, words):
        with pytest.raises(ValueError, match=words):
            make(**{column: value})
        assert not TaskSchedule.objects.exists()

    def test_a_task_may_be_given_for_its_name(self, outbox):
        row = TaskSchedule.objects.create(name="n", cron="@daily", task=tasks.note, args=["x"])
        assert row.task_name == row.task == NOTE

    @pytest.mark.parametrize(
        ("fields", "error", "words"),
        [
            ({"cron": "0 25 * * *"}, CronError, "character 3: the hour is 0 to 23, not 25"),
            ({"cron": "@reboot"}, CronError, "QStash knows no '@reboot'"),
            ({"timezone": "Mars/Base"}, CronError, "not a time zone"),
            ({"task_name": "tests.shop.tasks.not"}, NotRegistered, "Did you mean"),
            ({"task_name": ""}, ValueError, "needs the name of a task"),
            ({"name": " "}, ValueError, "needs a name"),
            ({"args": {"a": 1}}, ValueError, "args must be a list"),
            ({"kwargs": [1]}, ValueError, "kwargs must be an object"),
            ({"args": [object()]}, EncodeError, "args of the schedule 'nightly'"),
            ({"timeout": "soon"}, OptionError, "timeout='soon'"),
            ({"retries": -1}, OptionError, "retries=-1"),
            ({"label": "two words"}, OptionError, "label='two words'"),
            ({"callback": "example.com"}, OptionError, "callback='example.com'"),
            ({"flow_control": {"rate": 1}}, OptionError, "flow_control"),
            ({"headers": [1]}, ValueError, "headers must be an object"),
            ({"overlap": "never"}, ValueError, "overlap must be one of"),
            ({"args": ["x" * 2_000_000]}, PayloadTooLarge, "DJANGO_QSTASH_MAX_PAYLOAD_SIZE"),
        ],
    )
    def test_what_cannot_be_is_refused_and_not_written(self, outbox, fields, error, words):
        with pytest.raises(error, match=words):
            make(**fields)
        assert not TaskSchedule.objects.exists()

    def test_a_form_hears_of_each_field(self):
        row = TaskSchedule(name="n", cron="x", task_name="no.such.task", args=[])
        with pytest.raises(ValidationError) as raised:
            row.full_clean()
        assert {"cron", "task_name"} == set(raised.value.message_dict)

    def test_arguments_need_not_fit_the_signature(self, outbox):
        assert make(args=[1, 2, 3], kwargs={"no": "such"}).pk

    def test_a_row_whose_task_is_gone_can_still_be_paused_and_renamed(self, outbox):
        row = make()
        TaskSchedule.objects.update(task_name="tests.shop.tasks.gone")
        row = TaskSchedule.objects.get()
        row.is_active, row.name = False, "old"
        row.save()
        with pytest.raises(NotRegistered):
            make(name="another", task_name="tests.shop.tasks.gone")

    @pytest.mark.parametrize("overlap", ["skip", "queue"])
    def test_overlap_needs_results(self, settings, outbox, overlap):
        make(name="with", overlap=overlap)
        settings.INSTALLED_APPS = [
            app for app in settings.INSTALLED_APPS if app != "django_qstash.results"
        ]
        with pytest.raises(ResultsNotInstalled, match=f"overlap='{overlap}'"):
            make(name="without", overlap=overlap)
        make(name="allowed", overlap="allow")

    def test_names_are_unique(self, outbox):
        from django.db import IntegrityError

        make()
        with pytest.raises(IntegrityError), transaction.atomic():
            make()

    def test_values_that_json_has_no_word_for_come_back(self, outbox):
        from datetime import date
        from decimal import Decimal

        row = make(args=[date(2026, 1, 1)], kwargs={"price": Decimal("1.50")})
        row.refresh_from_db()
        assert row.args == [date(2026, 1, 1)]
        assert row.kwargs == {"price": Decimal("1.50")}


class TestNobodyIsCalledUnasked:
    @pytest.mark.django_db
    def test_not_before_the_commit(self, kept, django_capture_on_commit_callbacks):
        with django_capture_on_commit_callbacks(execute=True):
            row = make()
            assert kept.schedules == {}
        assert set(kept.schedules) == {row.schedule_id}

    @pytest.mark.django_db(transaction=True)
    def test_not_for_what_is_rolled_back(self, kept):
        self.roll_back(make)
        assert kept.schedules == {}
        row = make()
        self.roll_back(row.delete)
        assert set(kept.schedules) == {row.schedule_id}
        assert not DeletedSchedule.objects.exists()

    def roll_back(self, act):
        with transaction.atomic():
            act()
            transaction.set_rollback(True)

    @pytest.mark.django_db(transaction=True)
    def test_not_by_loaddata_or_in_bulk(self, kept, tmp_path):
        make()
        text = tmp_path / "rows.json"
        call_command("dumpdata", "django_qstash_schedules.TaskSchedule", output=str(text))
        TaskSchedule.objects.all()._raw_delete("default")
        kept.schedules.clear()

        call_command("loaddata", str(text), verbosity=0)
        TaskSchedule.objects.filter(name="nightly").update(cron="0 4 * * *")
        TaskSchedule.objects.bulk_create([TaskSchedule(name="bulk", cron="@daily", task_name=NOTE)])

        assert kept.schedules == {}
        assert json.loads(text.read_text())[0]["fields"]["args"] == ["x"]
        row = TaskSchedule.objects.get(name="nightly")
        assert row.args == ["x"]

    @pytest.mark.django_db(transaction=True)
    def test_not_over_a_network_in_tests(self, settings):
        """Any other address than this machine's is left alone while tests run."""
        settings.DJANGO_QSTASH_TRANSPORT = f"{Down.__module__}.Down"
        row = make()
        row.refresh_from_db()
        assert (row.sync_error, row.synced_at) == ("", None)
        settings.QSTASH_URL = "http://127.0.0.1:9"
        row.save()
        row.refresh_from_db()
        assert "cannot be reached" in row.sync_error

    @pytest.mark.django_db(transaction=True)
    def test_not_where_tasks_are_eager(self, kept, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True
        make()
        assert kept.schedules == {}
