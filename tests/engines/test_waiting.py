"""Rows about what a run waits for, and who tells it."""

from __future__ import annotations

import pytest

from django_qstash import notify, send_signal, signal_workflow, workflow
from django_qstash.testing import QStashSandbox
from tests.differences import shows

pytestmark = pytest.mark.django_db(transaction=True)
DAY = 86400


@shows("upstash:wait", "upstash:notify", "redflow:event", "redflow:emit-event")
def test_an_event_with_its_key(outbox):
    event, key = "paid", 7

    @workflow("order")
    def order(ctx):
        return ctx.step.wait_for_event("wait", f"{event}:{key}", timeout="1d").data

    with QStashSandbox() as qstash:
        run = order.trigger()
        qstash.deliver_due()
        assert notify("paid:8", "another's") == 0
        assert notify(f"{event}:{key}", {"amount": 12}) == 1
        qstash.deliver_due()
        assert run.result(1) == {"amount": 12}


@shows("upstash:wait", "redflow:event")
def test_an_event_that_does_not_come_in_time(outbox):
    @workflow("order")
    def order(ctx):
        event = ctx.step.wait_for_event("wait", "paid", timeout="1d")
        return [bool(event), event.timed_out]

    with QStashSandbox() as qstash:
        run = order.trigger()
        qstash.advance(DAY - 1)
        assert run.status == "waiting"
        qstash.advance(1)
        assert run.result(1) == [False, True]


@shows("redflow:human", "durable:signal", "durable:signal-workflow")
@pytest.mark.parametrize("send", [send_signal, signal_workflow])
def test_a_signal_to_one_run(loopback, send):
    @workflow("order")
    def order(ctx):
        return ctx.step.wait_for_signal("answer", timeout=None).data

    run, other = order.trigger(), order.trigger()
    send(run, "answer", {"ok": True})

    assert run.result(1) == {"ok": True}
    assert other.status == "waiting"


@shows("durable:signal")
def test_a_signal_that_does_not_come_in_time():
    @workflow("order")
    def order(ctx):
        return ctx.step.wait_for_signal("go", timeout=60).timed_out

    with QStashSandbox() as qstash:
        run = order.trigger()
        qstash.advance(60)
        assert run.result(1) is True


@shows("upstash:webhook")
def test_a_view_of_the_sites_own_tells_it(loopback, rf):
    def view(request):
        return notify(f"paid:{request.GET['order']}", request.GET["amount"])

    @workflow("order")
    def order(ctx):
        return ctx.step.wait_for_event("wait", "paid:7").data

    run = order.trigger()

    assert view(rf.post("/paid/?order=7&amount=12")) == 1
    assert run.result(1) == "12"
