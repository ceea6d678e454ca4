"""The check that bodies call no clock, no chance and no network outside of their steps."""

from __future__ import annotations

import datetime  # noqa: ICN001 - one of the ways to say it
import functools
import random as r
import secrets
import socket
import time
import urllib.request
import uuid
from datetime import datetime as dt
from os import urandom

import httpx
import pytest
from django.core import checks
from django.test import override_settings
from django.utils import timezone
from httpx import get

from django_qstash.tasks.registry import tasks
from django_qstash.workflows import define_workflow, purity
from django_qstash.workflows.checks import check_bodies

moment = timezone.now
generator = r.Random(7)
client = httpx.Client()


def kinds(function):
    """The calls that are found, and what they depend on."""
    return [(call.text, call.kind) for call in purity.calls(function)]


def clocks(ctx):
    time.time()
    dt.now()
    datetime.datetime.utcnow().isoformat()
    datetime.date.today()
    timezone.now()
    moment()
    ctx.step.run("one", print, time.monotonic())
    return [time.localtime() for _ in range(3)]


def chance(ctx):
    if r.random() < 0.5:
        uuid.uuid4()
    urandom(8)
    secrets.token_hex()
    r.Random()
    return generator.choice([1, 2])


def network(ctx):
    httpx.get("https://example.com")
    get("https://example.com")
    client.post("https://example.com")
    with urllib.request.urlopen("https://example.com") as answer, socket.socket():
        return answer


def pauses(ctx):
    time.sleep(1)


def imports(ctx):
    import random
    import time as clock

    from django.utils.timezone import now

    return random.randint(1, 2), clock.time(), now()


def helper(ctx):
    def stamp():
        return time.time()

    return stamp()


async def in_async(ctx):
    import asyncio

    await asyncio.sleep(1)


def pure(ctx, uuid, requests=None):
    """Everything here stands in a step, or only shares a name."""

    def stamp():
        return time.time()

    class Clock:
        def now(self):
            return "noon"

    datetime = Clock()
    ctx.step.run("a", time.time)
    ctx.step.run("b", lambda: r.random() + 1)
    ctx.step.run("c", stamp)
    ctx.step.run("d", functools.partial(r.randint, 1, 6))
    ctx.step.start("e", lambda: httpx.get("https://example.com"))
    ctx.now(), ctx.step.uuid(), ctx.random(), uuid.uuid4(), requests.get("/"), datetime.now()
    time.localtime(0), timezone.localtime(ctx.now()), r.Random(7)
    dt.fromtimestamp(0), dt.fromisoformat("2026-01-01"), datetime.now.time()
    time.strftime("%Y"), httpx.URL("https://example.com"), socket.inet_aton("127.0.0.1")
    random = ctx.step.random
    return [random("n") for time in range(3)]


def closed_over():
    clock = time.time

    def body(ctx):
        return clock()

    return body


def wrapped(function):
    @functools.wraps(function)
    def outer(*args):
        return function(*args)

    return outer


TIME, PAUSE, CHANCE, NETWORK = purity.CLOCK, purity.PAUSE, purity.CHANCE, purity.NETWORK


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            clocks,
            [
                ("time.time", TIME),
                ("dt.now", TIME),
                ("datetime.datetime.utcnow", TIME),
                ("datetime.date.today", TIME),
                ("timezone.now", TIME),
                ("moment", TIME),
                ("time.monotonic", TIME),
                ("time.localtime", TIME),
            ],
        ),
        (
            chance,
            [
                ("r.random", CHANCE),
                ("uuid.uuid4", CHANCE),
                ("urandom", CHANCE),
                ("secrets.token_hex", CHANCE),
                ("r.Random", CHANCE),
                ("generator.choice", CHANCE),
            ],
        ),
        (
            network,
            [
                ("httpx.get", NETWORK),
                ("get", NETWORK),
                ("client.post", NETWORK),
                ("urllib.request.urlopen", NETWORK),
                ("socket.socket", NETWORK),
            ],
        ),
        (pauses, [("time.sleep", PAUSE)]),
        (imports, [("random.randint", CHANCE), ("clock.time", TIME), ("now", TIME)]),
        (helper, [("time.time", TIME)]),
        (in_async, [("asyncio.sleep", PAUSE)]),
        (closed_over(), [("clock", TIME)]),
        (wrapped(pauses), [("time.sleep", PAUSE)]),
        (lambda ctx: time.time(), [("time.time", TIME)]),
        (pure, []),
    ],
    ids=[
        "clocks",
        "chance",
        "network",
        "pauses",
        "imports",
        "helper",
        "async",
        "closure",
        "wrapped",
        "lambda",
        "pure",
    ],
)
def test_what_is_found(body, found):
    assert kinds(body) == found


def test_a_body_without_source_is_left_alone():
    made: dict = {"time": time}
    exec("def body(ctx):\n    return time.time()", made)
    assert purity.calls(made["body"]) == []
    assert purity.calls(print) == []


@pytest.fixture
def registered():
    workflow = define_workflow("purity.clocks", handler=pauses)
    yield workflow
    tasks.pop(workflow.name)


def test_the_check_names_the_call_and_what_to_do(registered):
    (told,) = [each for each in check_bodies() if "purity.clocks" in each.msg]
    assert told.id == "django_qstash.W050"
    assert "calls time.sleep() outside of a step" in told.msg
    assert "test_purity.py, line " in told.msg
    assert "ctx.step.sleep" in told.hint


def test_the_check_runs_and_can_be_silenced(registered):
    with override_settings(SILENCED_SYSTEM_CHECKS=["django_qstash.W050"]):
        found = [each for each in checks.run_checks(tags=["django_qstash"]) if "W050" in each.id]
        assert found
        assert all(each.is_silenced() for each in found)


def test_nothing_is_said_of_the_workflows_of_these_tests():
    import tests.workflows.programs
    import tests.workflows.storm  # noqa: F401

    assert check_bodies() == []
