"""Runs through the real door, step by step."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from django_qstash.exceptions import RunFailed, RunTimeout, StepFailed
from django_qstash.results.models import TaskResult
from django_qstash.workflows import define_workflow
from django_qstash.workflows.models import DeadLetterEntry, WorkflowRun
from tests.shop import workflows as w
from tests.shop.models import Effect
from tests.workflows.deliver import deliver

pytestmark = pytest.mark.django_db(transaction=True)


def test_steps_run_in_one_delivery_and_are_recorded(loopback, effects):
    run = w.add_up.delay(2, b=3)

    assert run.result(timeout=1) == 5
    assert effects == {"first": 1, "second": 1}
    assert [(step.step_id, step.status) for step in run.steps()] == [
        ("first", "completed"),
        ("second", "completed"),
    ]
    assert len(loopback.answers) == 1


def test_its_task_result_says_when_it_began_and_ended(loopback):
    run = w.sleepy.trigger({"seconds": 600})
    row, result = run.run, TaskResult.objects.get(task_id=run)
    assert (result.date_started, result.date_done - result.date_started) == (
        row.started_at,
        pytest.approx(timedelta(seconds=600), abs=timedelta(seconds=5)),
    )


def test_input_is_one_value(loopback):
    assert w.plain.trigger({"a": [1]}).result(1) == {"got": {"a": [1]}}
    assert w.plain.trigger().result(1) == {"got": None}
    assert w.late.delay().result(1) == "late"


def test_input_is_bound_at_the_call(loopback):
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        w.add_up.delay()
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        w.add_up.trigger({"a": 1, "c": 2})
    assert WorkflowRun.objects.count() == 0


def test_a_sleep_pauses_the_run_and_each_step_runs_once(loopback, effects):
    run = w.sleepy.delay(3600)

    assert run.result(1) == "slept"
    assert effects == {"before": 1, "after": 1}
    assert len(loopback.answers) == 2
    nap = run.steps()[1]
    assert nap.wake_at is not None


def test_a_step_is_tried_again_after_its_delay(loopback, effects):
    run = w.retried.delay()

    assert run.result(1) == 3
    (step,) = run.steps()
    assert (step.attempts, step.status) == (3, "completed")


def test_a_step_that_fails_for_good_fails_the_run_with_its_cause(loopback):
    run = w.retried.delay(failures=9)

    with pytest.raises(RunFailed, match="Step 'flaky' failed after 3 attempts") as raised:
        run.result(1)
    assert isinstance(raised.value.__cause__, StepFailed)
    assert run.state()["failed_step"] == "flaky"
    (dead,) = DeadLetterEntry.objects.all()
    assert (dead.run_id, dead.step_id) == (run, "flaky")


def test_a_failed_step_can_be_compensated(loopback, effects):
    assert "RuntimeError: no" in w.compensates.delay().result(1)
    assert effects == {"explode": 1, "undo": 1}


def test_steps_may_be_functions_of_their_own(loopback, effects):
    run = w.decorated.delay(4)

    assert run.result(1) == 8
    assert [(step.step_id, step.occurrence) for step in run.steps()] == [
        ("charge", 0),
        ("charge", 1),
    ]
    assert w.charge(3) == 3


def test_parallel_steps_have_a_letter_each_and_are_joined(loopback, effects):
    run = w.fan_out.delay(5)

    assert run.result(1) == 10
    assert effects == {"part": 5}
    assert len(loopback.answers) == 7


def test_map_keeps_the_order(loopback):
    assert w.mapped.trigger({"items": [3, 1, 2]}).result(1) == [6, 2, 4]


def test_one_parallel_step_may_fail(loopback):
    found = w.fan_with_failure.delay().result(1)

    assert found[0] == 1
    assert "RuntimeError: bad" in found[1]


def test_a_child_runs_and_its_result_comes_back(loopback, effects):
    assert w.parent.delay(50).result(1) == 42
    assert effects == {"child": 1}


def test_the_failure_of_a_child_is_its_parents(loopback):
    with pytest.raises(RunFailed, match="out of paper"):
        w.bad_parent.delay().result(1)


def test_a_task_is_an_errand(loopback):
    assert w.errand.delay(2, 3).result(1) == 5


def test_a_failed_errand_is_a_failed_step(loopback):
    with pytest.raises(RunFailed, match="Step 'fail' failed: ValueError: no luck"):
        w.bad_errand.delay().result(1)


def test_an_atomic_step_writes_with_its_record(loopback):
    assert w.atomic_note.delay("hello").result(1) == 1
    assert Effect.objects.get().detail == "hello"


def test_async_bodies_have_the_same_steps(loopback, effects):
    assert w.in_async.delay().result(1) == 4
    assert effects == {"first": 1, "part": 3}


def test_on_failure_hears_once(loopback):
    run = w.heard.delay(7)

    with pytest.raises(RunFailed):
        run.result(1)
    assert [(run, "breaks", "StepFailed", {"value": 7})] == w.HEARD
    assert run.run.closing == 0


def test_failure_url_is_told_through_qstash(outbox):
    from tests.workflows.deliver import deliver

    run = w.told.delay()
    deliver(outbox)

    envelope = outbox.sent[-1]
    assert envelope.url == "https://elsewhere.example.com/failed"
    assert run.encode() in envelope.body


def test_a_run_has_its_own_time(loopback):
    run = w.hurried.delay()

    with pytest.raises(RunFailed) as raised:
        run.result(1)
    assert isinstance(raised.value.__cause__, RunTimeout)


def test_recorded_values_stay(loopback):
    run = w.recorded.delay()

    values = run.result(1)
    assert values == [str(step_value(step)) for step in run.steps() if step.kind == "value"]


def step_value(step):
    return step.result


def lets_go(ctx):
    """A step of it closes the connection, as long ones that mind their database do."""
    first = ctx.step.run("first", w.effect, "first", 1)
    ctx.step.run("closes", connection.close)
    return first + ctx.step.run("second", w.effect, "second", 2)


LETS_GO = define_workflow("steps.lets_go", handler=lets_go)


def test_a_step_may_close_the_connection(outbox, effects):
    run = LETS_GO.trigger()
    deliver(outbox)

    assert run.result(1) == 3
    assert [step.status for step in run.steps()] == ["completed"] * 3
