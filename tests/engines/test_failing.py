"""Rows about what fails: how often it is tried, who hears of it, how it goes on."""

from __future__ import annotations

import pytest

from django_qstash import (
    NonRetryableError,
    RetryAfter,
    RetryPolicy,
    RunFailed,
    workflow,
)
from django_qstash.testing import QStashSandbox
from django_qstash.workflows.dlq import DeadLetterEntry
from tests.differences import shows

pytestmark = pytest.mark.django_db(transaction=True)


def attempts(error, effects, **options):
    """How often a step is tried that raises always, as its workflow says."""
    effects.clear()

    def fail():
        effects["fail"] += 1
        raise error

    @workflow("fails", **options)
    def fails(ctx):
        ctx.step.run("fail", fail)

    run = fails.trigger()
    assert run.status == "failed"
    from django_qstash.tasks.registry import tasks

    tasks.unregister(fails)
    return effects["fail"]


@shows("hookflow:retry", "durable:policy")
def test_a_policy_says_how_often_and_when(loopback, effects):
    policy = RetryPolicy(
        max_attempts=4, initial=1, maximum=300, backoff=2, jitter=0, non_retryable=(OSError,)
    )

    assert [policy.delay(number) for number in (1, 2, 3, 9, 20)] == [1, 2, 4, 256, 300]
    assert attempts(RuntimeError(), effects, retry=policy) == 4
    assert attempts(OSError(), effects, retry=policy) == 1
    assert attempts(RuntimeError(), effects) == 4
    assert RetryPolicy().max_attempts == 4


@shows("upstash:retries", "redflow:max-attempts")
def test_a_number_says_how_often(loopback, effects):
    assert attempts(RuntimeError(), effects, retries=3) == 4
    assert attempts(RuntimeError(), effects, max_attempts=3) == 3


@shows("redflow:max-attempts")
def test_attempts_are_those_of_each_step_and_of_the_body(loopback, effects):
    def flaky(name):
        effects[name] += 1
        if effects[name] < 3:
            raise RuntimeError(name)

    @workflow("order", max_attempts=3)
    def order(ctx):
        ctx.step.run("one", flaky, "one")
        ctx.step.run("two", flaky, "two")
        effects["body"] += 1
        if effects["body"] < 3:
            raise RuntimeError("body")
        return "done"

    assert order.trigger().result(1) == "done"
    assert dict(effects) == {"one": 3, "two": 3, "body": 3}


@shows("hookflow:permanent", "upstash:non-retryable", "redflow:non-retriable")
def test_what_is_final_at_once(loopback, effects):
    assert attempts(ValueError("out of paper"), effects) == 1
    assert attempts(NonRetryableError("no"), effects) == 1
    # What its message says does not count.
    assert attempts(RuntimeError("not found, invalid, forbidden"), effects) == 4


@shows("redflow:should-retry")
def test_a_function_decides(loopback, effects):
    policy = RetryPolicy(should_retry=lambda error: "busy" in str(error))

    assert attempts(RuntimeError("busy"), effects, retry=policy) == 4
    assert attempts(RuntimeError("broken"), effects, retry=policy) == 1


@shows("upstash:retry-after", "redflow:retry-after")
def test_an_error_says_when_to_come_again(effects):
    def busy():
        effects["busy"] += 1
        if effects["busy"] == 1:
            raise RetryAfter(60)
        return "done"

    @workflow("order")
    def order(ctx):
        return ctx.step.run("busy", busy)

    with QStashSandbox() as qstash:
        run = order.trigger()
        qstash.advance(59)
        assert effects["busy"] == 1
        qstash.advance(1)
        assert run.result(1) == "done"


@shows("upstash:failure", "redflow:on-failure")
def test_a_function_hears_of_a_failed_run(loopback):
    heard = []

    @workflow("order", retries=0, on_failure=heard.append)
    def order(ctx, item):
        ctx.step.run("charge", int, "no number")

    run = order.trigger({"item": "poster"})

    (ctx,) = heard
    assert (ctx.data, ctx.input) == ({"item": "poster"}, {"item": "poster"})
    assert (ctx.run.id, ctx.failed_step) == (str(run), "charge")
    assert "no number" in str(ctx.error)


@shows("upstash:failure-url")
def test_an_address_hears_of_a_failed_run(outbox):
    from tests.workflows.deliver import deliver

    @workflow("order", retries=0, failure_url="https://elsewhere.example.com/")
    def order(ctx):
        raise RuntimeError("no paper")

    order.trigger()
    deliver(outbox)

    assert outbox.sent[-1].url == "https://elsewhere.example.com/"


@shows("hookflow:replay", "upstash:dlq")
def test_a_dead_letter_starts_again_from_the_beginning_or_from_the_failed_step(loopback, effects):
    @workflow("order", retries=0)
    def order(ctx):
        ctx.step.run("reserve", effects.update, ["reserve"])
        if ctx.data["broken"]:
            ctx.step.run("press", int, "broken")
        return effects["reserve"]

    for again, times in (("replay", 2), ("resume", 1)):
        effects.clear()
        with pytest.raises(RunFailed):
            order.trigger({"broken": True}).result(1)
        entry = DeadLetterEntry.objects.get(is_replayed=False)
        assert entry.step_id == "press"
        entry.payload = {"broken": False}
        entry.save()
        run = getattr(entry, again)()
        if again == "replay":
            assert run.result(1) == times
        else:
            assert effects["reserve"] == times
            assert run.status == "completed"
