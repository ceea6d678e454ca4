"""Rows about starting runs, asking for them, and ending them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

import django_qstash
from django_qstash import (
    RunCanceled,
    RunFailed,
    RunHandle,
    RunTimeout,
    UnknownWorkflowError,
    WorkflowError,
    cancel_workflow,
    get_run,
    get_run_steps,
    get_stats,
    get_workflow_meta,
    list_runs,
    list_workflows,
    run_workflow,
    start_workflow,
    wait_workflow,
    workflow,
)
from django_qstash.exceptions import IdempotencyConflict
from django_qstash.testing import QStashSandbox
from django_qstash.workflows.models import STATUSES, StepExecution, WorkflowRun
from tests.differences import shows

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def order():
    @workflow("order")
    def order(ctx, n=1):
        return ctx.step.run("count", abs, -n)

    return order


@pytest.fixture
def waiting():
    @workflow("waiting")
    def waiting(ctx):
        return ctx.step.wait_for_signal("go").data

    return waiting


@shows("hookflow:trigger")
def test_a_run_of_an_id_of_ones_own(loopback, order, waiting):
    run = order.trigger(data={"n": 7}, run_id="order-7")

    assert run == "order-7"
    assert isinstance(run, str)
    assert (run.result(1), run.status) == (7, "completed")
    assert order.trigger(data={"n": 7}, run_id="order-7") == run
    assert WorkflowRun.objects.count() == 1
    assert waiting.trigger(data=None).cancel()


@shows("upstash:trigger", "redflow:run-at")
def test_a_run_for_later(order):
    with QStashSandbox() as qstash:
        then = datetime.fromtimestamp(qstash.clock.time() + 60, timezone.utc)
        runs = [
            order.trigger({"n": 1}, run_id="one", delay="60s", label="later"),
            order.trigger({"n": 1}, run_id="two", run_at=then),
            order.trigger({"n": 1}, run_id="three", delay=timedelta(minutes=1)),
        ]
        assert runs == ["one", "two", "three"]
        qstash.advance(58)
        assert {run.status for run in runs} == {"pending"}
        qstash.advance(2)
        assert {run.status for run in runs} == {"completed"}


@shows("redflow:trigger", "durable:start")
def test_a_run_by_name_or_by_the_function(loopback, order):
    runs = [
        order.trigger({"n": 2}),
        start_workflow("order", {"n": 2}),
        start_workflow(order, n=2),
        order.delay(n=2),
    ]

    assert [wait_workflow(run, timeout=1) for run in runs] == [2, 2, 2, 2]


@shows("durable:run")
def test_a_run_here_and_now(outbox, order):
    assert run_workflow(order, {"n": 3}) == 3


@shows("redflow:idempotency")
def test_a_key_leads_to_the_first_run_and_takes_no_other_data(loopback, order):
    first = order.trigger({"n": 1}, idempotency_key="cart-1")

    assert order.trigger({"n": 1}, idempotency_key="cart-1") == first
    with pytest.raises(IdempotencyConflict):
        order.trigger({"n": 2}, idempotency_key="cart-1")


@shows("redflow:handle")
def test_a_handle(loopback, order):
    run = RunHandle(str(order.trigger({"n": 1})))

    assert (run.id, run.result(timeout=30)) == (str(run), 1)
    assert run.state()["status"] == "completed"


@shows("redflow:errors")
def test_what_waiting_for_a_run_may_raise(loopback, waiting):
    @workflow("fails", retries=0)
    def fails(ctx):
        raise RuntimeError("no paper")

    with pytest.raises(RunFailed, match="no paper"):
        fails.trigger().result(1)
    with pytest.raises(RunTimeout):
        waiting.trigger().result(0.01)
    run = waiting.trigger()
    run.cancel()
    with pytest.raises(RunCanceled):
        run.result(1)
    with pytest.raises(UnknownWorkflowError):
        start_workflow("nobody")
    assert all(issubclass(each, WorkflowError) for each in (RunFailed, RunCanceled, RunTimeout))


@shows("upstash:cancel", "redflow:cancel", "durable:cancel")
def test_a_run_is_canceled(loopback, waiting):
    run = waiting.trigger()

    assert cancel_workflow(str(run), "out of paper")
    assert run.status == "canceled"
    assert "out of paper" in run.state()["error"]


@shows("redflow:signal")
def test_a_step_that_takes_long_sees_that_its_run_was_canceled(loopback):
    @workflow("order")
    def order(ctx):
        seen.append(ctx.canceled.is_set())
        cancel_workflow(ctx.run_id)
        seen.append(ctx.canceled.wait(5))

    seen = []
    order.trigger()

    assert seen[-1] is True
    assert seen[0] is False


@shows("upstash:logs", "redflow:inspect")
def test_runs_are_rows(loopback, order, waiting):
    run, other = order.trigger({"n": 1}), waiting.trigger()

    assert get_run(run).status == "completed"
    assert [step.step_id for step in get_run_steps(run)] == ["count"]
    assert [found.run_id for found in list_runs(status="waiting")] == [other]
    assert [found.run_id for found in list_runs(order)] == [run]
    assert {"order", "waiting"} <= {each["name"] for each in list_workflows()}
    assert get_workflow_meta("order")["name"] == "order"
    assert get_stats()["order"]["completed"] == 1


@shows("redflow:statuses", "durable:statuses")
def test_the_statuses():
    assert list(STATUSES) == ["pending", "running", "waiting", "completed", "failed", "canceled"]


@shows("durable:statuses")
def test_a_run_that_is_out_of_time_has_failed():
    @workflow("order", timeout=60)
    def order(ctx):
        ctx.step.sleep("long", 120)

    with QStashSandbox() as qstash:
        run = order.trigger()
        qstash.advance(60)
        assert run.status == "failed"


@shows("hookflow:models", "durable:models")
def test_the_models_and_their_columns(loopback, order):
    order.trigger({"n": 1}, run_id="one")

    run = WorkflowRun.objects.values(
        *("run_id", "workflow_id", "status", "data", "result", "error_message"),
        *("created_at", "completed_at"),
    ).get()
    step = StepExecution.objects.values("step_id", "result", "executed_at").get()
    assert (run["run_id"], run["workflow_id"], run["status"]) == ("one", "order", "completed")
    assert (run["data"], run["result"], run["error_message"]) == ({"n": 1}, 1, "")
    assert (step["step_id"], step["result"]) == ("count", 1)
    assert run["created_at"] <= step["executed_at"] <= run["completed_at"]


def test_every_name_in_the_tables_is_a_name_of_ours():
    """Names in backticks that begin like ours are there to be imported."""
    import re

    from tests.engines.words import PAGES

    text = " ".join(word.ours for words in PAGES.values() for word in words)
    names = set(
        re.findall(
            r"`((?:Run|Retry|Step|NonRetryable|InputValidation)\w+|\w+_workflow|notify)\b", text
        )
    )

    assert names >= {"RunFailed", "RetryAfter", "cancel_workflow", "notify"}
    for name in names - {"StepExecution"}:
        assert hasattr(django_qstash, name), name
