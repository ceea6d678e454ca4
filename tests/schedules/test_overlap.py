"""A fire comes while the run before it is at work: beside it, not at all, or after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, connections

from django_qstash import clock, conf
from django_qstash.results.models import Phase, TaskResult
from django_qstash.schedules import sync
from django_qstash.schedules.models import TaskSchedule
from django_qstash.workflows import cancel_workflow
from django_qstash.workflows.models import WorkflowRun
from tests.schedules.test_delivery import knock, outcome
from tests.schedules.test_models import make
from tests.shop import workflows as w
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = 3600
ROOT = str(Path(__file__).resolve().parents[2])


class TestTurns:
    def begin(self, row, message_id="msg_1", **columns):
        """A run that has begun and not ended, in another process."""
        knock(row, message_id)
        Effect.objects.all().delete()
        TaskResult.rows.update(phase=Phase.OPEN, status="STARTED", **columns)

    def test_allowed_runs_stand_side_by_side(self, outbox):
        row = make()
        self.begin(row)
        assert outcome(knock(row, "msg_2")) == (200, "success")

    def test_a_run_is_skipped_while_the_one_before_it_is_at_work(self, outbox):
        row = make(overlap="skip")
        self.begin(row)
        assert outcome(knock(row, "msg_2")) == (200, "skipped")
        row.refresh_from_db()
        assert row.skipped_at is not None
        assert not Effect.objects.exists()
        TaskResult.rows.update(phase=Phase.DONE)
        assert outcome(knock(row, "msg_3")) == (200, "success")

    def test_one_that_waits_for_its_retry_is_still_at_work(self, outbox):
        row = make(overlap="skip")
        self.begin(row)
        TaskResult.rows.update(phase=Phase.RETRY, status="RETRY")
        assert outcome(knock(row, "msg_2")) == (200, "skipped")

    def test_a_redelivery_of_the_run_itself_is_not_skipped(self, outbox):
        row = make(overlap="skip")
        self.begin(row, lease_token=None)
        assert outcome(knock(row, "msg_1")) == (200, "success")

    def test_one_that_was_let_in_and_has_not_begun_counts_for_a_while(self, outbox):
        row = make(overlap="skip")
        now = clock.now()
        TaskSchedule.objects.update(last_task_id="just-now", last_fire_at=now)
        assert outcome(knock(row, "msg_2")) == (200, "skipped")
        # Its process died before it could begin, and nobody will deliver it again.
        late = now - timedelta(seconds=conf.settings.DJANGO_QSTASH_LEASE + 1)
        TaskSchedule.objects.update(last_fire_at=late)
        assert outcome(knock(row, "msg_3")) == (200, "success")

    def test_a_run_waits_until_the_one_before_it_is_done(self, outbox):
        row = make(overlap="queue")
        self.begin(row)
        outbox.sent.clear()
        assert outcome(knock(row, "msg_2")) == (200, "waiting")
        (copy,) = outbox.sent
        assert copy.options["delay"] == "10s"
        waiting = json.loads(copy.body)
        assert (waiting["fire"], waiting["p"]) == ("msg_2", 1)
        # Each copy has a message id of its own, and is still the same fire.
        assert outcome(knock(row, "msg_7", body=waiting)) == (200, "waiting")
        assert outbox.sent[1].options["delay"] == "20s"
        TaskResult.rows.update(phase=Phase.DONE)
        assert outcome(knock(row, "msg_8", body=json.loads(outbox.sent[1].body)))[1] == "success"
        assert outcome(knock(row, "msg_2"))[1] == "duplicate"
        assert Effect.objects.count() == 1

    def test_a_wait_that_cannot_be_published_is_delivered_again(self, outbox, settings):
        row = make(overlap="queue")
        self.begin(row)
        settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
        assert knock(row, "msg_2").status_code == 503


class TestTheDead:
    """A run that never ends does not keep its schedule from running for ever."""

    @pytest.fixture
    def dead(self, virtual, outbox):
        """The process of a run has died, and QStash has delivered it for the last time."""

        def dead(overlap):
            row = make(overlap=overlap)
            knock(row, "msg_1")
            Effect.objects.all().delete()
            now = int(clock.time() * 1000)
            TaskResult.rows.update(
                phase=Phase.OPEN, status="STARTED", lease_token="x", lease_until=now + 60_000
            )
            return row

        return dead

    @pytest.mark.parametrize(("overlap", "meanwhile"), [("skip", "skipped"), ("queue", "waiting")])
    def test_it_counts_for_a_while_after_its_lease(self, dead, virtual, overlap, meanwhile):
        row = dead(overlap)
        virtual.advance(60 + HOUR - 1)
        assert outcome(knock(row, "msg_2")) == (200, meanwhile)
        virtual.advance(1)
        assert outcome(knock(row, "msg_3")) == (200, "success")
        assert Effect.objects.count() == 1

    def test_the_while_is_a_setting(self, dead, virtual, settings):
        settings.DJANGO_QSTASH_OVERLAP_LIMIT = 10
        row = dead("skip")
        virtual.advance(70)
        assert outcome(knock(row, "msg_2")) == (200, "success")

    def test_a_lease_that_is_renewed_holds_for_any_time(self, dead, virtual):
        row = dead("skip")
        virtual.advance(5 * HOUR)
        TaskResult.rows.update(lease_until=int(clock.time() * 1000) + 60_000)
        assert outcome(knock(row, "msg_2")) == (200, "skipped")

    def test_a_retry_counts_until_it_was_due(self, virtual, outbox):
        row = make(task_name="tests.shop.tasks.later", args=[8 * HOUR], overlap="skip")
        assert outcome(knock(row, "msg_1")) == (200, "retry")
        virtual.advance(8 * HOUR + HOUR - 1)
        assert outcome(knock(row, "msg_2")) == (200, "skipped")
        virtual.advance(1)
        assert outcome(knock(row, "msg_3")) == (200, "retry")


class TestWorkflows:
    """Their results are written at their end, and until then they are at work."""

    def test_a_run_that_waits_is_at_work_however_long(self, virtual, outbox):
        row = make(task_name=w.approval.name, args=[], overlap="skip")
        assert knock(row, "msg_1").status_code == 200
        virtual.advance(100 * HOUR)
        assert outcome(knock(row, "msg_2")) == (200, "skipped")
        cancel_workflow(WorkflowRun.objects.get().run_id)
        assert knock(row, "msg_3").status_code == 200
        assert WorkflowRun.objects.count() == 2

    def test_one_that_sleeps_counts_until_it_should_have_woken(self, virtual, outbox):
        row = make(task_name=w.sleepy.name, args=[8 * HOUR], overlap="skip")
        knock(row, "msg_1")
        virtual.advance(8 * HOUR + HOUR - 1)
        assert outcome(knock(row, "msg_2")) == (200, "skipped")
        virtual.advance(1)
        knock(row, "msg_3")
        assert WorkflowRun.objects.count() == 2

    def test_one_whose_process_died_counts_for_a_while(self, virtual, outbox):
        row = make(task_name=w.sleepy.name, args=[1], overlap="skip")
        knock(row, "msg_1")
        WorkflowRun.objects.update(
            status="running",
            wake_at=None,
            lease_token="x",
            lease_until=int(clock.time() * 1000) + 60_000,
        )
        virtual.advance(60 + HOUR - 1)
        assert outcome(knock(row, "msg_2")) == (200, "skipped")
        virtual.advance(1)
        knock(row, "msg_3")
        assert WorkflowRun.objects.count() == 2

    def test_its_own_redelivery_goes_on_with_it(self, virtual, outbox):
        row = make(task_name=w.sleepy.name, args=[60], overlap="skip")
        knock(row, "msg_1")
        TaskSchedule.objects.update(last_task_id="another")
        assert knock(row, "msg_1", retried=1).status_code == 200
        assert WorkflowRun.objects.count() == 1
        row.refresh_from_db()
        assert row.skipped_at is None


#: A process that delivers one fire when it is told to.
PROCESS = """
import sys
import django
django.setup()
from django.db import connection
from tests import door
connection.ensure_connection()
body = sys.argv[1].encode()
sys.stdout.write("ready\\n")
sys.stdout.flush()
sys.stdin.readline()
sys.stdout.write(door.knock(body, message_id=sys.argv[2]).content.decode())
"""


class TestAtOnce:
    """Real connections, on whichever database the suite runs on."""

    def in_threads(self, row, ids):
        body = sync.envelope_of(row).body
        answers, barrier = {}, threading.Barrier(len(ids))

        def deliver(message_id):
            try:
                barrier.wait(10)
                answers[message_id] = outcome(knock(row, message_id, body=json.loads(body)))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=deliver, args=(each,)) for each in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return Counter(status for code, status in answers.values() if code == 200)

    @pytest.mark.parametrize(("overlap", "other"), [("skip", "skipped"), ("queue", "waiting")])
    def test_of_fires_in_several_threads_one_runs(self, outbox, overlap, other):
        for number in range(5):
            # It is at work for as long as the others need to see it there.
            row = make(
                name=str(number),
                overlap=overlap,
                task_name="tests.shop.tasks.slow",
                args=[str(number), 0.5],
            )
            answers = self.in_threads(row, [f"msg_{number}_{each}" for each in range(3)])
            assert answers == {"success": 1, other: 2}
            assert Effect.objects.filter(name=str(number)).count() == 1

    @pytest.mark.parametrize(("overlap", "other"), [("skip", "skipped"), ("queue", "waiting")])
    def test_of_fires_in_two_processes_one_runs(self, outbox, overlap, other):
        row = make(overlap=overlap, task_name="tests.shop.tasks.slow", args=["x", 0.5])
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "TESTS_DATABASE": str(connection.settings_dict["NAME"]),
            "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")])),
        }
        body = sync.envelope_of(row).body.decode()
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PROCESS, body, message_id],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for message_id in ("msg_1", "msg_2")
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [
            json.loads(process.communicate(timeout=30)[0])["status"] for process in processes
        ]
        assert sorted(answers) == sorted(["success", other])
        assert Effect.objects.count() == 1
