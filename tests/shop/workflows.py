"""Workflows that the tests run. ``EFFECTS`` counts what their steps did outside of the database."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from django_qstash.exceptions import WorkflowError
from django_qstash.workflows import RetryPolicy, define_workflow, step, workflow
from tests.shop.models import Effect
from tests.shop.tasks import add, fail

EFFECTS: Counter[str] = Counter()


def effect(name: str, value: Any = None) -> Any:
    EFFECTS[name] += 1
    return value


def note(text: str) -> int:
    Effect.objects.create(name="note", detail=text)
    return Effect.objects.count()


@workflow
def add_up(ctx, a, b=1):
    first = ctx.step.run("first", effect, "first", a)
    second = ctx.step.run("second", effect, "second", b)
    return first + second


@workflow("shop.plain")
def plain(ctx):
    return {"got": ctx.step.run("echo", lambda: ctx.data)}


@workflow
def keyed_child(ctx):
    return ctx.step.run_workflow("child", add_up, {"a": 1, "b": 2}, idempotency_key="sum")


@workflow
def sleepy(ctx, seconds=60):
    ctx.step.run("before", effect, "before")
    ctx.step.sleep("nap", seconds)
    ctx.step.run("after", effect, "after")
    return "slept"


@workflow
def approval(ctx, timeout=None):
    ctx.step.run("ask", effect, "ask")
    answer = ctx.step.wait_for_signal("approved", timeout=timeout)
    if not answer:
        return "nobody"
    return answer.data


@workflow
def two_signals(ctx):
    return [ctx.step.wait_for_signal("word").data for _ in range(2)]


@workflow
def hears(ctx, key, times=1, timeout=None):
    heard = []
    for _ in range(times):
        event = ctx.step.wait_for_event("hear", key, timeout=timeout)
        heard.append(event.data if event else "nothing")
    return heard


@workflow
def parent(ctx, seconds=0):
    return ctx.step.run_workflow("child", child, {"seconds": seconds}) + 1


@workflow
def child(ctx, seconds=0):
    if seconds:
        ctx.step.sleep("nap", seconds)
    return ctx.step.run("answer", effect, "child", 41)


@workflow
def bad_parent(ctx):
    return ctx.step.run_workflow("child", broken)


@workflow(retries=0)
def broken(ctx):
    ctx.step.run("fine", effect, "fine")
    ctx.step.run("breaks", explode, "out of paper")


def explode(message):
    EFFECTS["explode"] += 1
    raise RuntimeError(message)


def flaky(name, failures):
    EFFECTS[name] += 1
    if EFFECTS[name] <= failures:
        raise ConnectionError(f"{name} is away")
    return EFFECTS[name]


@workflow(retry=RetryPolicy(max_attempts=3, initial=10, jitter=0))
def retried(ctx, failures=2):
    return ctx.step.run("flaky", flaky, "flaky", failures)


@workflow
def compensates(ctx):
    try:
        ctx.step.options(retries=0).run("breaks", explode, "no")
    except Exception as error:
        return ctx.step.run("undo", effect, "undo", str(error))


@workflow
def fan_out(ctx, count=3):
    handles = [ctx.step.start(f"part-{n}", effect, "part", n) for n in range(count)]
    return sum(ctx.step.gather(*handles))


@workflow
def mapped(ctx, items):
    return ctx.step.map("double", lambda item: effect("double", item * 2), items)


@workflow
def fan_with_failure(ctx):
    good = ctx.step.start("good", effect, "good", 1)
    bad = ctx.step.start("bad", explode, "bad", retries=0)
    found = ctx.step.gather(good, bad, return_exceptions=True)
    return [found[0], str(found[1])]


@workflow
def errand(ctx, a, b):
    return ctx.step.task("add", add, a, b)


@workflow(retries=0)
def bad_errand(ctx):
    return ctx.step.task("fail", fail, "no luck")


@workflow
def atomic_note(ctx, text):
    return ctx.step.options(atomic=True).run("note", note, text)


@workflow
async def in_async(ctx, seconds=5):
    first = await ctx.step.run("first", async_effect, "first", 1)
    await ctx.step.sleep("nap", seconds)
    handles = [ctx.step.start(f"part-{n}", effect, "part", n) for n in range(3)]
    parts = await ctx.step.gather(*handles)
    return first + sum(parts)


async def async_effect(name, value):
    await asyncio.sleep(0)
    return effect(name, value)


@step(retries=1)
def charge(amount):
    return effect("charge", amount)


@workflow
def decorated(ctx, amount):
    return charge(amount) + charge(amount)


HEARD: list[Any] = []


def hear(ctx):
    HEARD.append((ctx.run_id, ctx.failed_step, type(ctx.error).__name__, ctx.data))


@workflow(retries=0, on_failure=hear)
def heard(ctx, value=1):
    ctx.step.run("breaks", explode, "heard")


@workflow(retries=0, failure_url="https://elsewhere.example.com/failed")
def told(ctx):
    raise RuntimeError("told")


@workflow(timeout=100)
def hurried(ctx):
    ctx.step.sleep("long", 1000)


@workflow
def recorded(ctx):
    moments = [ctx.now(), ctx.uuid(), ctx.random()]
    ctx.step.sleep("nap", 10)
    return [str(moment) for moment in moments]


@workflow
def many(ctx, count):
    return sum(ctx.step.run("one", effect, "one", 1) for _ in range(count))


late = define_workflow("shop.late", handler=lambda ctx: "late")


@workflow
def waits_for_another(ctx):
    return late.trigger().result(1)


@workflow
def late_input(ctx, one):
    return one


def amount_of(data):
    return {"amount": int(data["amount"])}


@workflow(input=amount_of)
def validated(ctx):
    return ctx.data["amount"]


@workflow(retry=RetryPolicy(max_attempts=4, jitter=0))
def calls(ctx, url, options=None):
    answer = ctx.step.call("call", url, **(options or {}))
    return [answer.status_code, answer["data"], answer["status_code"]]


@workflow
def call_at_most_once(ctx, url):
    return ctx.step.options(retries=0).call("call", url, via="qstash").status_code


@workflow(timeout=60)
def hurried_call(ctx, url):
    return ctx.step.call("call", url, via="qstash").status_code


@workflow
def calls_with_secret(ctx, url):
    headers = {"Authorization": "Bearer secret", "Idempotency-Key": "mine"}
    return ctx.step.call("call", url, headers=headers).status_code


@workflow("shop.changing")
def changing(ctx):
    """The tests give it one body after another."""


@workflow("shop.typed")
def typed(ctx, copies: int, name: str, express: bool = False, lines=None, **more):
    return copies


@workflow
def says(ctx, text):
    """Says it everywhere: as a step's id, as its error, as the run's."""
    ctx.step.run(text, effect, "says", text)
    ctx.step.options(retries=0).run("explode", explode, text)


@workflow
def waits_for_child(ctx):
    try:
        return ctx.step.run_workflow("child", approval)
    except WorkflowError as error:
        return type(error).__name__


@workflow
def starts_child(ctx):
    handle = ctx.step.start_workflow("child", child)
    ctx.step.wait_for_signal("go")
    return handle.result()
