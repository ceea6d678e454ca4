"""Runs from outside: started once, listed, replayed, in canvases."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_qstash import AsyncResult, chain, chord, group
from django_qstash.exceptions import (
    IdempotencyConflict,
    InputValidationError,
    PublishError,
    RunFailed,
    RunTimeout,
    UnknownWorkflowError,
    WorkflowError,
)
from django_qstash.workflows import (
    get_run_steps,
    get_stats,
    get_workflow_meta,
    list_runs,
    list_workflows,
    run_workflow,
    start_workflow,
    wait_workflow,
)
from django_qstash.workflows.models import DeadLetterEntry, WorkflowRun
from tests.shop import tasks
from tests.shop import workflows as w
from tests.workflows.deliver import deliver, rolled_back

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broken_transport(settings):
    settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"


class TestStarting:
    def test_by_name_with_a_value_or_keywords(self, loopback):
        assert wait_workflow(start_workflow("shop.plain", 7), 1) == {"got": 7}
        assert start_workflow(w.add_up, a=1, b=2).result(1) == 3
        with pytest.raises(TypeError, match="not both"):
            start_workflow("shop.plain", 1, a=2)
        with pytest.raises(UnknownWorkflowError, match="No workflow"):
            start_workflow("shop.nothing")
        with pytest.raises(UnknownWorkflowError, match="is a task"):
            start_workflow("tests.shop.tasks.add")

    def test_the_same_id_is_the_same_run(self, outbox):
        first = w.add_up.trigger({"a": 1}, run_id="order-1")
        second = w.add_up.trigger({"a": 1}, run_id="order-1")

        assert first == second == "order-1"
        assert len(outbox.sent) == 1
        with pytest.raises(IdempotencyConflict, match="started with other data"):
            w.add_up.trigger({"a": 2}, run_id="order-1")
        with pytest.raises(IdempotencyConflict, match="belongs to a run of"):
            w.late.trigger(run_id="order-1")

    def test_an_idempotency_key_is_its_workflows(self, outbox):
        first = w.add_up.trigger({"a": 1}, idempotency_key="order 1")

        assert w.add_up.trigger({"a": 1}, idempotency_key="order 1") == first
        assert w.late.trigger(idempotency_key="order 1") != first
        with pytest.raises(IdempotencyConflict, match="other data"):
            w.add_up.trigger({"a": 3}, idempotency_key="order 1")

    def test_it_may_begin_later(self, outbox):
        run = w.add_up.trigger({"a": 1}, delay="5m")

        assert outbox.sent[0].options["delay"] in ("300s", "299s")
        assert deliver(outbox).json()["status"] == "busy"
        assert run.status == "pending"

    def test_qstash_away_means_no_run(self, broken_transport):
        with pytest.raises(PublishError):
            w.add_up.trigger({"a": 1})
        assert WorkflowRun.objects.count() == 0

    def test_it_is_sent_when_the_transaction_commits(self, outbox):
        with transaction.atomic():
            w.add_up.trigger({"a": 1})
            assert not outbox.sent
        assert len(outbox.sent) == 1
        with rolled_back():
            w.add_up.trigger({"a": 1})
        assert (len(outbox.sent), WorkflowRun.objects.count()) == (1, 1)

    def test_options_of_one_run_are_those_of_its_letters(self, outbox):
        w.sleepy.trigger({}, label="nightly", flow_control={"key": "k", "parallelism": 2})
        deliver(outbox)

        assert [envelope.options["label"] for envelope in outbox.sent] == ["nightly"] * 2

    def test_data_that_json_cannot_carry_is_refused(self, outbox):
        with pytest.raises(TypeError, match="The input of shop.plain"):
            w.plain.trigger(object())
        assert not outbox.sent

    def test_it_may_be_called_as_a_function(self, effects):
        assert w.add_up(2, b=5) == 7
        assert w.parent() == 42
        assert w.mapped([1, 2]) == [2, 4]
        assert w.errand(1, 2) == 3
        assert WorkflowRun.objects.count() == 0
        with pytest.raises(WorkflowError, match="nobody can send"):
            w.approval()

    def test_without_its_app_a_letter_of_a_canvas_runs_all_the_same(self, settings, loopback):
        apps = [app for app in settings.INSTALLED_APPS if app != "django_qstash.workflows"]
        settings.INSTALLED_APPS = apps
        result = chain(tasks.add.si(1, 2), w.late.si())()

        assert result.get(timeout=1) == "late"

    def test_a_template_that_names_one_does_not_run_it(self, effects):
        from django.template import Context, Template

        shown = Template("{{ flow }} {{ task }}").render(
            Context({"flow": w.add_up, "task": tasks.add})
        )

        assert "add_up" in shown
        assert not effects

    def test_a_caller_may_drive_its_own_run(self, outbox, effects):
        assert run_workflow(w.sleepy, {"seconds": 0.3}, timeout=5) == "slept"
        assert effects == {"before": 1, "after": 1}
        with pytest.raises(RunFailed):
            run_workflow("tests.shop.workflows.broken")
        with pytest.raises(RunTimeout):
            run_workflow(w.approval, timeout=0.2)


class TestReading:
    def test_pages(self, outbox):
        made = [w.late.trigger() for _ in range(5)]

        first = list_runs(w.late, limit=2)
        second = list_runs("shop.late", limit=2, cursor=first.cursor)
        third = list_runs(limit=2, cursor=second.cursor)

        found = [run.run_id for page in (first, second, third) for run in page]
        assert found == made[::-1]
        assert third.cursor is None
        assert len(list_runs(status="completed")) == 0
        with pytest.raises(ValueError, match="status="):
            list_runs(status="gone")
        with pytest.raises(ValueError, match="cursor="):
            list_runs(cursor="x")

    def test_counts_and_descriptions(self, loopback):
        w.late.delay()
        w.approval.delay()

        stats = get_stats()
        assert stats["shop.late"]["completed"] == 1
        assert stats["tests.shop.workflows.approval"]["waiting"] == 1
        names = [meta["name"] for meta in list_workflows()]
        assert "shop.plain" in names
        meta = get_workflow_meta("tests.shop.workflows.add_up")
        assert [(p["name"], p["required"]) for p in meta["parameters"]] == [
            ("a", True),
            ("b", False),
        ]

    def test_steps(self, loopback):
        run = w.add_up.delay(1)
        assert [step.step_id for step in get_run_steps(run)] == ["first", "second"]
        with pytest.raises(WorkflowError, match="There is no run"):
            get_run_steps("nobody")

    def test_waiting_is_refused_inside_a_task_or_run(self, loopback):
        run = w.waits_for_another.delay()

        with pytest.raises(RunFailed, match="must not wait"):
            run.result(1)


class TestDeadLetters:
    def test_replay_starts_from_the_beginning_once(self, loopback, effects):
        run = w.broken.delay()
        (dead,) = DeadLetterEntry.objects.all()

        again = dead.replay()

        assert again != run
        assert effects == {"fine": 2, "explode": 2}
        with pytest.raises(WorkflowError, match="was started again already"):
            dead.replay()
        assert dead.replayed_as == again

    def test_resume_goes_on_at_the_step_that_failed(self, loopback, effects):
        w.broken.delay()
        (dead,) = DeadLetterEntry.objects.all()

        again = dead.resume()

        assert effects == {"fine": 1, "explode": 2}
        assert again.status == "failed"
        with pytest.raises(WorkflowError, match="was started again already"):
            dead.resume()


class TestInCanvases:
    def test_a_run_has_a_result(self, loopback):
        run = w.add_up.delay(1, b=2)

        result = AsyncResult(run)
        assert (result.state, result.result) == ("SUCCESS", 3)

    def test_a_failed_run_has_its_exception(self, loopback):
        result = AsyncResult(w.broken.delay())

        assert result.state == "FAILURE"
        assert "out of paper" in str(result.result)

    def test_in_a_chain(self, loopback):
        result = chain(tasks.add.s(1, 2), w.add_up.s(b=10), tasks.add.s(100))()

        assert result.get(timeout=1) == 113

    def test_in_a_chord(self, loopback):
        header = group(w.add_up.s(1, b=n) for n in range(3))
        result = chord(header, w.mapped.s())()

        assert result.get(timeout=1) == [2, 4, 6]

    def test_one_that_sleeps_in_a_chain(self, loopback):
        result = chain(w.sleepy.si(100), w.plain.s())()

        assert result.get(timeout=1) == {"got": "slept"}

    def test_input_that_does_not_fit_is_the_tasks_failure(self, loopback):
        result = chain(tasks.add.s(1, 2), w.late_input.s("too", "many"))()

        with pytest.raises(TypeError):
            result.get(timeout=1)

    def test_the_same_letter_twice_is_one_run(self, outbox, effects):
        chain(w.add_up.s(1), tasks.add.s(1)).delay()
        deliver(outbox, 0)
        deliver(outbox, 0)

        assert effects == {"first": 1, "second": 1}
        assert WorkflowRun.objects.count() == 1

    def test_revoking_its_result_cancels_it(self, loopback):
        run = w.approval.delay()
        AsyncResult(run).revoke()

        assert run.status == "canceled"
        assert AsyncResult(run).state == "REVOKED"


class TestInput:
    def test_is_checked_at_the_call(self, loopback):
        assert w.validated.trigger({"amount": "3"}).result(1) == 3
        with pytest.raises(InputValidationError, match="refused"):
            w.validated.trigger({"amount": "x"})
        assert WorkflowRun.objects.count() == 1
