"""Rows about what a body asks for: functions, pauses, calls, children, branches."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime, timezone

import pytest

from django_qstash import RunCanceled, RunFailed, StepFailed, cancel_workflow, step, workflow
from django_qstash.testing import QStashSandbox
from tests.differences import shows
from tests.door import knock
from tests.workflows.deliver import deliver
from tests.workflows.test_calls import service  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = 3600


@shows("hookflow:context", "upstash:run-id", "upstash:payload", "redflow:input")
def test_what_a_body_knows_of_its_run(loopback):
    @workflow("order")
    def order(ctx):
        return [ctx.data, ctx.input, ctx.run_id, ctx.workflow_id]

    @workflow("by name")
    def by_name(ctx, item):
        return item

    run = order.trigger({"item": "poster"})

    assert run.result(1) == [{"item": "poster"}, {"item": "poster"}, str(run), "order"]
    assert by_name.trigger({"item": "poster"}).result(1) == "poster"


@shows("redflow:run-info")
def test_what_ctx_run_says(loopback):
    @workflow("order", queue="default", max_attempts=3)
    def order(ctx):
        run = ctx.run
        return [run.id, run.workflow, run.queue, run.attempt, run.max_attempts]

    run = order.trigger()

    assert run.result(1) == [str(run), "order", "default", 1, 3]


@shows("hookflow:run", "upstash:run", "redflow:run")
def test_a_step_takes_arguments_and_is_done_once(loopback, effects):
    def charge(amount, currency="EUR"):
        effects["charge"] += 1
        return f"{amount} {currency}"

    @workflow("order")
    def order(ctx):
        charged = ctx.step.run("charge", charge, 12, currency="SEK", timeout=4)
        ctx.step.sleep("pause", 5)
        return charged

    @workflow("async order")
    async def async_order(ctx):
        return await ctx.step.run("charge", charge, 12)

    assert order.trigger().result(1) == "12 SEK"
    assert effects["charge"] == 1
    assert async_order.trigger().result(1) == "12 EUR"


@shows("durable:activity", "durable:run-activity")
def test_a_function_may_say_itself_that_it_is_a_step(loopback, effects):
    @step(retries=5)
    def charge(amount):
        effects["charge"] += 1
        return amount

    @workflow("order")
    def order(ctx):
        found = [charge(12), ctx.step.run("plain", abs, -3)]
        ctx.step.sleep("pause", 5)
        return found

    run = order.trigger()

    assert run.result(1) == [12, 3]
    assert effects["charge"] == 1
    assert [each.step_id for each in run.steps()] == ["charge", "plain", "pause"]


@shows("hookflow:sleep", "upstash:sleep", "redflow:wait-for", "durable:sleep")
@pytest.mark.parametrize(
    ("pause", "units", "seconds"),
    [
        ((60,), {}, 60),
        ((), {"seconds": 60}, 60),
        ((), {"minutes": 5}, 300),
        (("5m",), {}, 300),
        (("1h",), {}, HOUR),
        (("3d",), {}, 72 * HOUR),
    ],
    ids=json.dumps,
)
def test_a_run_sleeps_for_so_long(pause, units, seconds):
    @workflow("order")
    def order(ctx):
        ctx.step.sleep("pause", *pause, **units)
        return "awake"

    with QStashSandbox() as qstash:
        run = order.trigger()
        qstash.advance(seconds - 1)
        assert run.status == "waiting"
        qstash.advance(1)
        assert run.result(1) == "awake"


@shows("upstash:sleep", "redflow:wait-for")
def test_a_run_sleeps_until_then():
    morning = datetime(2030, 1, 1, 9, tzinfo=timezone.utc)

    @workflow("order")
    def order(ctx):
        ctx.step.sleep_until("pause", morning)
        return "awake"

    with QStashSandbox() as qstash:
        run = order.trigger()
        qstash.deliver_due()
        assert run.state()["wake_at"] == morning
        qstash.advance(morning.timestamp() - qstash.clock.time())
        assert run.result(1) == "awake"


@shows("hookflow:call")
def test_an_http_call(service, loopback):  # noqa: F811
    @workflow("order")
    def order(ctx):
        found = ctx.step.call(
            "charge",
            url=f"{service}/200",
            method="POST",
            body={"amount": 12},
            headers={"X-Shop": "1"},
            verify=True,
        )
        return [found["status_code"], found["data"], "content-type" in found["headers"]]

    assert order.trigger().result(5) == [200, {"heard": '{"amount": 12}'}, True]


@shows("upstash:call")
def test_an_http_call_that_qstash_makes(outbox):
    @workflow("order")
    def order(ctx):
        found = ctx.step.call("charge", url="https://api.example.com/", via="qstash")
        return [found.status_code, found.data, found.headers["x-paid"]]

    run = order.trigger()
    deliver(outbox)
    call = outbox.sent[1]
    assert call.url == "https://api.example.com/"
    knock(
        {
            "status": 200,
            "body": b64encode(b'{"ok": true}').decode(),
            "header": {"X-Paid": ["yes"]},
        },
        query=call.options["callback"].partition("?")[2],
    )
    deliver(outbox)

    assert run.result(1) == [200, {"ok": True}, "yes"]


@pytest.fixture
def child():
    @workflow("child")
    def child(ctx, n=0):
        if n < 0:
            ctx.step.options(retries=0).run("fail", int, "x")
        return n + 1

    return child


@shows("upstash:invoke", "redflow:child", "durable:child")
def test_a_child_and_its_result(loopback, child):
    @workflow("parent")
    def parent(ctx, n):
        found = ctx.step.run_workflow("one", child, {"n": n}, timeout="1h", idempotency_key="k")
        return [found, ctx.step.run_workflow("two", "child", {"n": 5}, timeout=60)]

    assert parent.trigger({"n": 1}).result(1) == [2, 6]


@shows("upstash:invoke")
def test_a_child_that_failed_or_was_canceled(loopback, child):
    @workflow("canceled")
    def canceled(ctx):
        cancel_workflow(ctx.run_id)
        ctx.step.sleep("never", 1)

    @workflow("parent")
    def parent(ctx):
        told = []
        for name, error in (("child", RunFailed), ("canceled", RunCanceled)):
            try:
                ctx.step.run_workflow(name, name, {"n": -1} if name == "child" else None)
            except error as found:
                told.append(type(found).__name__)
        return told

    assert parent.trigger().result(1) == ["RunFailed", "RunCanceled"]


@shows("redflow:emit-child", "durable:start-child")
def test_a_child_that_is_started_and_waited_for_later(loopback, child):
    @workflow("parent")
    def parent(ctx):
        run = ctx.step.start_workflow("child", child, {"n": 1})
        own = ctx.step.run("own work", str, run)
        return [own == run.id, run.result()]

    assert parent.trigger().result(1) == [True, 2]


@shows("upstash:parallel", "durable:start-activity")
def test_steps_side_by_side(loopback):
    @workflow("order")
    def order(ctx):
        first, second = ctx.step.start("first", abs, -1), ctx.step.start("second", abs, -2)
        both = ctx.step.gather(first, second)
        third = ctx.step.start("third", abs, -3)
        return [*both, third.result(), *ctx.step.map("each", abs, [-4, -5])]

    assert order.trigger().result(1) == [1, 2, 3, 4, 5]


@shows("durable:failed", "hookflow:error")
def test_what_comes_out_of_a_step_that_has_failed(loopback):
    from django_qstash import WorkflowError

    def charge():
        raise ValueError("no such card")

    @workflow("order")
    def order(ctx):
        try:
            ctx.step.run("charge", charge)
        except WorkflowError as error:
            return [isinstance(error, StepFailed), repr(error.__cause__)]

    assert order.trigger().result(1) == [True, "ValueError('no such card')"]
