"""``manage.py workflows`` and ``cleanup_workflows``, and the tasks that do the same."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_qstash import notify
from django_qstash.workflows import tasks as workflow_tasks
from django_qstash.workflows.models import (
    Closing,
    DeadLetterEntry,
    StepExecution,
    Topic,
    WorkflowEvent,
    WorkflowRun,
)
from tests.shop import workflows as w

pytestmark = pytest.mark.django_db(transaction=True)


def manage(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def workflows(*arguments):
    return manage("workflows", *arguments)


class TestStart:
    def test_it_prints_the_runs_id(self, outbox):
        run_id = workflows("start", "shop.plain", "--input", '{"a": [1]}').strip()
        assert WorkflowRun.objects.get().run_id == run_id
        assert WorkflowRun.objects.get().data == {"a": [1]}

    def test_it_waits_for_the_result(self, loopback):
        said = workflows("start", "shop.plain", "--input", "7", "--wait", "5").splitlines()
        assert json.loads("".join(said[1:])) == {"got": 7}

    def test_a_run_that_fails_is_a_failure_of_the_command(self, loopback):
        with pytest.raises(CommandError, match="out of paper"):
            workflows("start", "tests.shop.workflows.broken", "--wait", "5")
        with pytest.raises(CommandError, match="did not end|is still"):
            workflows("start", "tests.shop.workflows.approval", "--wait", "0.05")

    def test_with_its_options(self, outbox):
        options = ("--run-id", "mine", "--idempotency-key", "k", "--delay", "5m")
        workflows("start", "shop.late", *options)
        assert workflows("start", "shop.late", *options) == "mine\n"
        assert len(outbox.sent) == 1
        assert outbox.sent[0].options["delay"] in ("300s", "299s")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("shop.lat",), "No workflow 'shop.lat' is registered. Did you mean 'shop.late'"),
            (("shop.plain", "--input", "text"), "--input is not JSON"),
            (("tests.shop.workflows.add_up", "--input", '{"c": 1}'), "missing a required argument"),
            (("shop.late", "--delay", "soon"), "soon"),
        ],
    )
    def test_what_is_wrong_is_one_line(self, arguments, said, outbox):
        with pytest.raises(CommandError, match=said):
            workflows("start", *arguments)
        assert not WorkflowRun.objects.exists()


class TestActing:
    def test_a_signal_with_data(self, loopback):
        run = w.approval.delay()
        assert "Sent the signal 'approved'" in workflows(
            "signal", run, "approved", "--input", '{"by": "Ada"}'
        )
        assert run.result(1) == {"by": "Ada"}
        with pytest.raises(CommandError, match="is completed"):
            workflows("signal", run, "approved")

    def test_a_run_is_canceled_once(self, loopback):
        run = w.approval.delay()
        assert workflows("cancel", run, "--reason", "no ink") == f"Canceled {run}.\n"
        assert (run.status, run.run.error_message) == ("canceled", "no ink")
        with pytest.raises(CommandError, match="has ended already"):
            workflows("cancel", run)
        with pytest.raises(CommandError, match="There is no run 'nobody'"):
            workflows("cancel", "nobody")

    @pytest.mark.parametrize(("action", "fine"), [("resume", 1), ("replay", 2)])
    def test_a_failed_run_is_started_again(self, action, fine, loopback, effects):
        run = w.broken.delay()
        again = workflows(action, run).strip()
        assert WorkflowRun.objects.filter(run_id=again, status="failed").exists()
        assert effects["fine"] == fine
        with pytest.raises(CommandError, match="was started again already"):
            workflows(action, run)

    def test_what_did_not_fail_is_not(self, loopback):
        with pytest.raises(CommandError, match="is completed and has no dead letter"):
            workflows("replay", w.late.delay())

    def test_the_sweep_sends_what_is_owed(self, outbox):
        run = w.late.trigger()
        WorkflowRun.objects.update(owed=1)
        outbox.sent.clear()
        assert workflows("sweep") == "1 letter sent again.\n"
        assert len(outbox.sent) == 1
        assert run.run.owed is None


class TestLooking:
    def test_a_list_goes_page_by_page(self, loopback):
        runs = [w.late.delay() for _ in range(3)]
        first = workflows("list", "--limit", "2").splitlines()
        assert [line.split()[0] for line in first[:2]] == [runs[2], runs[1]]
        cursor = first[2].removeprefix("More: --cursor ")
        (last,) = workflows("list", "--limit", "2", "--cursor", cursor).splitlines()
        assert last.split()[0] == runs[0]

    def test_a_list_is_filtered_and_read_by_programs(self, loopback):
        w.late.delay()
        run = w.approval.delay()
        found = json.loads(workflows("list", "--status", "waiting", "--json"))
        assert [row["run_id"] for row in found["runs"]] == [run]
        assert found["runs"][0]["waits_for"] == "signal:approved"
        assert "signal:approved" in workflows("list", "--workflow", run.run.workflow_id)
        assert workflows("list", "--status", "failed") == "No runs.\n"
        with pytest.raises(CommandError, match="is none of pending, running"):
            workflows("list", "--status", "lost")

    def test_a_run_and_its_steps(self, loopback):
        run = w.broken.delay()
        shown = workflows("show", run)
        assert "status        failed" in shown
        assert "  completed fine (run)" in shown
        assert "  failed    breaks (run)" in shown
        assert "RuntimeError: out of paper" in shown
        steps = json.loads(workflows("show", run, "--json"))["steps"]
        assert [(step["id"], step["status"]) for step in steps] == [
            ("fine", "completed"),
            ("breaks", "failed"),
        ]

    def test_counts(self, loopback):
        assert workflows("stats") == "No runs.\n"
        w.late.delay()
        w.late.delay()
        w.approval.delay()
        assert "shop.late: 2 completed\n" in workflows("stats")
        counts = json.loads(workflows("stats", "--workflow", "shop.late", "--json"))
        assert counts["shop.late"]["completed"] == 2


def age(days, *runs):
    """Have runs begin and end so many days ago."""
    then = timezone.now() - timedelta(days=days)
    found = WorkflowRun.objects.filter(run_id__in=runs)
    found.update(created_at=then, born=int(then.timestamp() * 1000))
    found.exclude(completed_at=None).update(completed_at=then)
    WorkflowEvent.objects.filter(run__run_id__in=runs).update(created_at=then)


def left():
    return set(WorkflowRun.objects.values_list("run_id", flat=True))


class TestCleanup:
    def test_what_ended_long_ago_goes_with_all_that_is_its_own(self, loopback):
        old, young = w.approval.delay(), w.late.delay()
        old.signal("approved", "yes")
        age(31, old)
        age(29, young)

        said = manage("cleanup_workflows")

        assert said == "1 run, 0 events and 0 dead letters removed.\n"
        assert left() == {young}
        assert not StepExecution.objects.exclude(workflow_run__run_id=young).exists()
        assert not WorkflowEvent.objects.exists()

    def test_a_long_run_that_ended_yesterday_stays(self, loopback):
        run = w.late.delay()
        then = timezone.now() - timedelta(days=90)
        WorkflowRun.objects.update(created_at=then)
        manage("cleanup_workflows")
        assert left() == {run}

    def test_open_runs_stay_unless_they_are_asked_for(self, outbox):
        waits, sleeps, young = w.late.trigger(), w.late.trigger(delay="90d"), w.late.trigger()
        age(40, waits, sleeps)

        manage("cleanup_workflows")
        assert left() == {waits, sleeps, young}
        assert "1 run," in manage("cleanup_workflows", "--include-running", "--dry-run")
        assert left() == {waits, sleeps, young}
        assert "1 run," in manage("cleanup_workflows", "--include-running")
        assert left() == {sleeps, young}

    def test_a_parent_is_told_that_its_abandoned_child_was_canceled(self, loopback):
        run = w.waits_for_child.delay()
        (child,) = left() - {run}
        age(40, child)

        manage("cleanup_workflows", "--include-running")

        assert run.status == "completed"
        assert run.result(1) == "RunCanceled"

    def test_a_child_stays_as_long_as_its_parent_is_open(self, loopback):
        run = w.starts_child.delay()
        (child,) = left() - {run}
        age(40, child)

        manage("cleanup_workflows")
        assert left() == {run, child}

        run.signal("go")
        assert run.result(1) == 41
        manage("cleanup_workflows")
        assert left() == {run}

    def test_a_run_that_still_owes_its_on_failure_stays(self, loopback):
        run = w.broken.delay()
        age(40, run)
        WorkflowRun.objects.update(closing=Closing.ON_FAILURE)
        manage("cleanup_workflows")
        assert left() == {run}

    def test_dead_letters_go_by_their_age(self, loopback):
        old, young = w.broken.delay(), w.broken.delay()
        then = timezone.now() - timedelta(days=31)
        DeadLetterEntry.objects.filter(run_id=old).update(created_at=then)

        assert "0 dead letters" in manage("cleanup_workflows", "--workflows-only")
        assert "1 dead letter would be" in manage("cleanup_workflows", "--dlq-only", "--dry-run")
        assert "0 runs, 0 events and 1 dead letter removed" in manage(
            "cleanup_workflows", "--dlq-only"
        )
        assert DeadLetterEntry.objects.get().run_id == young

    def test_an_event_stays_while_a_run_may_still_receive_it(self, loopback):
        run = w.approval.delay()
        notify("paid", 1)
        then = timezone.now() - timedelta(days=31)
        stamp = int(then.timestamp() * 1000)
        WorkflowEvent.objects.update(created_at=then, at=stamp)
        Topic.objects.update(touched_at=then)
        age(32, run)

        assert ", 0 events" in manage("cleanup_workflows")
        run.cancel()
        assert ", 1 event " in manage("cleanup_workflows")
        assert not Topic.objects.exists()

    def test_it_goes_in_batches(self, loopback):
        runs = [w.late.delay() for _ in range(5)]
        age(31, *runs)
        assert "5 runs" in manage("cleanup_workflows", "--batch-size", "2")
        assert left() == set()

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--days-old", "-1"), "must be zero or more"),
            (("--batch-size", "0"), "must be at least 1"),
            (("--dlq-only", "--include-running"), "--include-running is about runs"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, arguments, said):
        with pytest.raises(CommandError, match=said):
            manage("cleanup_workflows", *arguments)

    def test_it_can_be_scheduled_as_a_task(self, loopback):
        age(8, w.late.delay())
        done = workflow_tasks.cleanup_workflows_task.delay(days_old=7)
        assert done.get(timeout=1) == {"runs": 1, "events": 0, "dead_letters": 0}
        name = "django_qstash.workflows.tasks.cleanup_workflows_task"
        assert workflow_tasks.cleanup_workflows_task.name == name


@pytest.mark.parametrize("command", [["workflows", "stats"], ["cleanup_workflows"]])
def test_without_the_app_it_says_so(command, settings):
    apps = [app for app in settings.INSTALLED_APPS if app != "django_qstash.workflows"]
    settings.INSTALLED_APPS = apps
    with pytest.raises(CommandError, match="is not in INSTALLED_APPS"):
        manage(*command)
