"""A fire arrives: run once, in its turn, on its day, or not at all."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone

import pytest
from django.db import connection

from django_qstash import clock
from django_qstash.clock import VirtualClock
from django_qstash.results.models import Phase, TaskResult
from django_qstash.schedules import runs, sync
from django_qstash.schedules.letter import ScheduleLetter, task_id_of
from django_qstash.schedules.models import TaskSchedule
from tests import door
from tests.schedules.test_models import NOTE, make
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


def letter(row):
    return ScheduleLetter.from_dict(json.loads(sync.envelope_of(row).body))


def knock(row, message_id="msg_1", **kwargs):
    body = kwargs.pop("body", None) or json.loads(sync.envelope_of(row).body)
    return door.knock(body, message_id=message_id, **kwargs)


def outcome(response):
    return response.status_code, json.loads(response.content)["status"]


class TestIdentity:
    def test_a_redelivered_fire_runs_once_and_the_next_one_again(self, outbox):
        row = make()
        assert outcome(knock(row, "msg_1")) == (200, "success")
        assert outcome(knock(row, "msg_1", retried=1)) == (200, "success")
        assert Effect.objects.count() == 1
        assert outcome(knock(row, "msg_2")) == (200, "success")
        assert Effect.objects.count() == 2
        assert set(TaskResult.objects.values_list("schedule_name", flat=True)) == {"nightly"}

    def test_two_schedules_of_one_task_do_not_share_their_fires(self, outbox):
        one, two = make(name="one"), make(name="two")
        knock(one, "msg_1"), knock(two, "msg_1")
        assert Effect.objects.count() == 2

    def test_a_mistake_of_ours_is_no_bad_message(self, outbox, monkeypatch):
        row = make(overlap="skip")
        knock(row, "msg_1")

        def wrong(*args):
            raise TypeError("a mistake of ours")

        monkeypatch.setattr(runs, "is_open", wrong)
        # QStash would never deliver a bad message again.
        assert knock(row, "msg_2").status_code == 500

    def test_without_its_message_id_a_fire_is_refused_and_says_why(self, outbox):
        response = knock(make(), "")
        assert response.status_code == 489
        assert "Upstash-Message-Id is missing" in response.content.decode()
        assert not Effect.objects.exists()

    def test_an_unsigned_fire_is_refused(self, outbox):
        assert knock(make(), key="sig_wrong" * 5).status_code == 401

    def test_a_body_that_is_no_schedule_is_refused(self, outbox):
        for body in ({}, {"id": "x"}, {"id": "x", "task": 1}, {"id": "x", "task": "y", "p": True}):
            assert knock(None, body={"v": 1, "kind": "schedule", **body}).status_code == 489

    def test_the_task_sees_an_ordinary_request(self, outbox):
        row = make(task_name="tests.shop.tasks.whoami", args=[], headers={"X-Shop": "1"})
        knock(row, "msg_1")
        result = TaskResult.objects.get()
        assert result.task_id == task_id_of(row.schedule_id, "msg_1")
        assert result.result == {"id": result.task_id, "retries": 0, "headers": {"X-Shop": "1"}}

    def test_an_unknown_task_waits_for_its_deployment(self, outbox):
        row = make()
        body = {**json.loads(sync.envelope_of(row).body), "task": "tests.shop.tasks.new"}
        assert knock(row, body=body).status_code == 404

    def test_a_task_that_fails_is_recorded_with_its_schedule(self, outbox):
        row = make(task_name="tests.shop.tasks.fail", args=[])
        assert knock(row).status_code == 489
        assert TaskResult.objects.get().status == "FAILURE"
        assert TaskResult.objects.get().schedule_name == "nightly"

    def test_a_row_knows_its_last_run(self, outbox):
        row = make()
        knock(row, "msg_1")
        row.refresh_from_db()
        assert row.last_task_id == task_id_of(row.schedule_id, "msg_1")
        assert row.last_fire_at is not None
        assert row.last_outcome == "SUCCESS"
        assert make(name="another").last_outcome == ""

    def test_a_row_knows_its_next_run_unless_it_is_paused(self, outbox):
        with clock.use(VirtualClock(1_800_000_000)):
            row = make(cron="0 9 * * *", timezone="Europe/Berlin")
            assert row.next_fire_at == datetime(2027, 1, 15, 8, tzinfo=timezone.utc) + DAY
            row.is_active = False
            assert row.next_fire_at is None

    def test_without_results_every_delivery_runs(self, outbox, settings):
        settings.INSTALLED_APPS = [
            app for app in settings.INSTALLED_APPS if app != "django_qstash.results"
        ]
        row = make()
        assert outcome(knock(row)) == (200, "success")
        assert Effect.objects.count() == 1


class TestNotToRun:
    def test_a_paused_one_is_dropped_even_where_qstash_was_not_told(self, outbox):
        row = make()
        body = json.loads(sync.envelope_of(row).body)
        TaskSchedule.objects.update(is_active=False)
        assert outcome(knock(row, body=body)) == (200, "paused")
        assert not Effect.objects.exists()

    def test_one_that_began_before_the_pause_is_finished(self, outbox):
        row = make()
        knock(row, "msg_1")
        TaskSchedule.objects.update(is_active=False)
        TaskResult.rows.update(phase=Phase.OPEN, status="STARTED", lease_token=None)
        assert outcome(knock(row, "msg_1")) == (200, "success")

    def test_a_deleted_one_is_dropped(self, outbox):
        row = make()
        body = json.loads(sync.envelope_of(row).body)
        row.delete()
        assert outcome(knock(None, body=body)) == (200, "deleted")

    def test_one_that_this_database_never_knew_runs(self, outbox):
        row = make()
        body = json.loads(sync.envelope_of(row).body)
        TaskSchedule.objects.all()._raw_delete("default")
        assert outcome(knock(None, body=body)) == (200, "success")

    @pytest.mark.parametrize(
        ("moment", "became"),
        [
            # 13 November 2026 is a Friday, 13 December a Sunday.
            (datetime(2026, 11, 13, 9), "success"),
            (datetime(2026, 12, 13, 9), "not today"),
            # A retry that comes after midnight belongs to the day of the fire.
            (datetime(2026, 11, 14, 1), "success"),
            # QStash's clock may be ahead.
            (datetime(2026, 11, 13, 8, 59, 50), "success"),
        ],
    )
    def test_of_two_days_both_have_to_fit(self, outbox, moment, became):
        row = make(cron="0 9 13 * *", only_on="* * * * fri")
        with clock.use(VirtualClock(moment.replace(tzinfo=timezone.utc).timestamp())):
            assert outcome(knock(row)) == (200, became)


class TestGivenUp:
    def account(self, row, body=None, **fields):
        """QStash tells that it gave a fire up."""
        source = sync.envelope_of(row).body if body is None else body
        return door.knock(
            {
                "status": 503,
                "retried": 3,
                "maxRetries": 3,
                "sourceMessageId": "msg_1",
                "sourceBody": base64.b64encode(source).decode(),
                **fields,
            },
            query="callback=given-up",
            message_id="msg_callback",
        )

    def test_a_fire_that_never_began_is_sent_again_and_then_failed(self, outbox):
        row = make()
        body = None
        for life in (1, 2):
            outbox.sent.clear()
            assert outcome(self.account(row, body)) == (200, "sent again")
            body = outbox.sent[0].body
            assert json.loads(body)["life"] == life
        assert not TaskResult.rows.exists()
        self.account(row, body)
        result = TaskResult.objects.get()
        assert (result.status, result.schedule_name) == ("FAILURE", "nightly")
        assert result.task_id == task_id_of(row.schedule_id, "msg_1")

    def test_what_is_sent_again_is_the_same_fire(self, outbox):
        row = make()
        self.account(row)
        outbox.sent.clear()
        knock(row, "msg_1")
        self.account(row)
        (again,) = outbox.sent
        assert door.knock(again.body and json.loads(again.body)).status_code == 200
        assert Effect.objects.count() == 1

    def test_one_that_failed_for_good_is_left_alone(self, outbox):
        assert outcome(self.account(make(), status=489)) == (200, "failed already")

    def test_an_account_without_a_message_id_is_refused(self, outbox):
        assert self.account(make(), sourceMessageId=None).status_code == 489


def test_options_of_the_call_hold_for_every_run(outbox):
    row = make(options={"expires": 60, "priority": 3})
    with clock.use(VirtualClock(1_800_000_000)):
        message = letter(row).message("msg_1")
        assert message.expires.startswith("2027-01-15T08:01:00")
        assert message.priority == 3
        assert message.task == NOTE


def test_a_retry_is_a_run_of_the_same_schedule(outbox):
    row = make(task_name="tests.shop.tasks.whoami", args=[])
    message = letter(row).message("msg_1")
    assert message.but(retries=1).as_dict()["schedule"] == "nightly"


class TestHistory:
    """What has become of a schedule's runs, by its id."""

    def shown(self, row):
        return [result.message_id for result in runs.history(row)]

    def test_a_new_name_takes_its_runs_along(self, outbox):
        row = make()
        body = json.loads(sync.envelope_of(row).body)
        knock(row, "msg_1")
        row.name = "every night"
        row.save()
        # QStash was not told yet, or its message was on the way.
        knock(row, "msg_2", body=body)
        knock(row, "msg_3")
        assert self.shown(row) == ["msg_3", "msg_2", "msg_1"]

    def test_who_gets_its_name_does_not_get_its_runs(self, outbox):
        row = make()
        knock(row, "msg_1")
        row.delete()
        assert self.shown(make()) == []

    def test_a_run_at_once_and_the_retries_are_among_them(self, loopback):
        row = make(task_name="tests.shop.tasks.whoami", args=[])
        runs.run_now(row)
        assert [result.task_id for result in runs.history(row)] == [
            TaskSchedule.objects.get().last_task_id
        ]

    def test_a_payload_of_before_is_found_by_what_qstash_says(self, outbox):
        row = make()
        old = {
            "function": "note",
            "module": "tests.shop.tasks",
            "args": ["old"],
            "kwargs": {},
            "task_name": "Take a note",
            "options": {},
        }
        door.knock(old, HTTP_UPSTASH_SCHEDULE_ID=row.schedule_id)
        assert self.shown(row) == ["msg_1"]

    def test_it_is_found_by_an_index_that_others_do_not_pay_for(self):
        (index,) = TaskResult._meta.indexes
        with connection.schema_editor(collect_sql=True) as editor:
            sql = str(index.create_sql(TaskResult, editor))
        assert ("IS NOT NULL" in sql) is connection.features.supports_partial_indexes
        if connection.vendor == "sqlite":
            found = TaskResult.objects.filter(schedule_id="x").order_by("-date_created")
            assert index.name in found.explain()
