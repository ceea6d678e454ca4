"""A deployment between any two deliveries of a run: it goes on with the new code, as documented.

What ``workflows check`` says at that moment is what comes true. Every change is tried before each
eighth delivery, and by ``make soak`` before every one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from django_qstash.workflows import workflow
from django_qstash.workflows.forecast import Finding, forecast_all
from django_qstash.workflows.models import FINAL, StepExecution, WorkflowRun
from tests import soak
from tests.shop import workflows as w
from tests.shop.tasks import add
from tests.workflows.storm import TRANSPORT, Storm

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]

Part = Callable[[Any], Any]


@workflow("stories.order", retries=0, time_budget=1e-9)
def order(ctx):
    """Hands over after each step. The tests give it one list of parts after another."""
    for part in PARTS:
        part(ctx)
    return "done"


PARTS: list[Part] = []

#: A step of each kind, under its own id.
KINDS: dict[str, Part] = {
    "one": lambda ctx: ctx.step.run("one", w.effect, "one"),
    "id": lambda ctx: ctx.uuid("id"),
    "nap": lambda ctx: ctx.step.sleep("nap", 60),
    "parts": lambda ctx: ctx.step.map("parts", w.effect, ["part-1", "part-2"]),
    "go": lambda ctx: ctx.step.wait_for_signal("go"),
    "child": lambda ctx: ctx.step.run_workflow("child", w.child),
    "sum": lambda ctx: ctx.step.task("sum", add, 1, 2),
    "call": lambda ctx: ctx.step.call("call", "https://api.example.com/", via="qstash"),
    "two": lambda ctx: ctx.step.run("two", w.effect, "two"),
}
EFFECTS = {"one", "part-1", "part-2", "child", "two"}


def extra(ctx):
    ctx.step.run("extra", w.effect, "extra")


@dataclass
class Story:
    """One run, and what was so when the new code came."""

    status: str
    error: str
    #: ``None``: the run had ended.
    finding: Finding | None
    recorded: set[str]
    effects: dict[str, int]
    deliveries: int


@contextmanager
def weather() -> Iterator[Storm]:
    calm = Storm(random.Random(7))
    calm.elsewhere = lambda url, key: (200, {"ok": True})
    with calm.blowing():
        yield calm


def live(new: list[Part], deploy_at: int) -> Story:
    """A run of the old code, and from the delivery of that number on, of the new."""
    w.EFFECTS.clear()
    WorkflowRun.objects.all().delete()
    PARTS[:] = KINDS.values()
    finding, recorded = None, set()
    with weather() as calm:
        run = order.trigger()
        for number in range(200):
            if number == deploy_at:
                PARTS[:] = new
                recorded = set(StepExecution.objects.values_list("step_id", flat=True))
                finding = next(forecast_all(order.name), None)
            if not calm.messages:
                if run.run.waits != "signal:go":
                    break
                run.signal("go")
            calm.deliver_one()
    row = run.run
    assert row.status in FINAL
    effects = dict(w.EFFECTS)
    return Story(row.status, row.error_message, finding, recorded, effects, number)


@cache
def deliveries() -> int:
    """How many a run takes without a deployment."""
    calm = live(list(KINDS.values()), 10**6)
    assert (calm.status, calm.effects) == ("completed", dict.fromkeys(EFFECTS, 1))
    assert calm.deliveries > 2 * len(KINDS)
    return calm.deliveries


@pytest.fixture
def stories(settings, request):
    """Yields stories of deployments before deliveries of the old code, and one after the last."""
    settings.DJANGO_QSTASH_TRANSPORT = TRANSPORT
    stride = 8 if soak.FACTOR == 1 else 1
    first = soak.drawn(request.node.name).randrange(stride)

    def tell(new):
        last = deliveries()
        for number in (*range(first, last, stride), last):
            yield live(new, number)

    yield tell
    PARTS.clear()


def without(*names):
    return [part for name, part in KINDS.items() if name not in names]


def with_part(place, part):
    """The parts with one more before that of this name."""
    new = []
    for name, old in KINDS.items():
        if name == place:
            new.append(part)
        new.append(old)
    return new


def came_true(story):
    """What the check has said, held against what became of the run."""
    assert (story.status == "failed") == (story.finding is not None and story.finding.breaks)


@pytest.mark.parametrize("place", ["one", "go", "two"])
def test_a_step_is_inserted(stories, place):
    """It is done once, wherever the run is; but not on the way to open parallel steps."""
    for story in stories(with_part(place, extra)):
        came_true(story)
        if story.status == "completed":
            new = {"extra": 1} if story.finding is not None else {}
            assert story.effects == dict.fromkeys(EFFECTS, 1) | new
        else:
            assert place == "one"
            assert "parts" in story.recorded
            assert "the code now asks for 'extra'" in story.error


@pytest.mark.parametrize("name", ["one", "nap", "parts", "go", "child"])
def test_a_step_is_removed(stories, name):
    gone = {"parts": {"part-1", "part-2"}}.get(name, {name})
    for story in stories(without(name)):
        assert story.status == "completed"
        for effect in EFFECTS:
            assert story.effects.get(effect, 0) in ((0, 1) if effect in gone else (1,))


@pytest.mark.parametrize(
    "names",
    [
        ["id", "one", *list(KINDS)[2:]],
        [*list(KINDS)[:4], "two", "call", "sum", "child", "go"],
    ],
    ids=["the first two", "all after the fan-out"],
)
def test_steps_are_reordered(stories, names):
    for story in stories([KINDS[name] for name in names]):
        assert (story.status, story.effects) == ("completed", dict.fromkeys(EFFECTS, 1))
        came_true(story)


@pytest.mark.parametrize("how", ["patched", "get_version"])
@pytest.mark.parametrize("place", ["parts", "two"])
def test_only_runs_that_come_to_the_place_anew_go_the_new_way(stories, place, how):
    def changed(ctx):
        is_new = ctx.patched("extra") if how == "patched" else ctx.get_version("extra", 1, 2) == 2
        if is_new:
            extra(ctx)

    names = list(KINDS)
    beyond = set(names[names.index(place) :])
    for story in stories(with_part(place, changed)):
        anew = story.finding is not None and not story.recorded & beyond
        assert story.status == "completed"
        assert story.effects == dict.fromkeys(EFFECTS, 1) | ({"extra": 1} if anew else {})
        came_true(story)


@pytest.mark.parametrize("name", ["one", "go", "child"])
def test_another_kind_under_an_id_stops_the_runs_that_have_it(stories, name):
    def other(ctx):
        ctx.step.start_workflow(name, w.late)

    new = [other if part is KINDS[name] else part for part in KINDS.values()]
    for story in stories(new):
        came_true(story)
        assert (story.status == "failed") == (name in story.recorded and story.finding is not None)
        if story.status == "failed":
            assert story.finding.step == name
            assert f"Step '{name}' of run" in story.error
