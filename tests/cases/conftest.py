"""A story is told once as it should go, then again for each thing that may go wrong."""

from __future__ import annotations

import pytest

from django_qstash import clock
from django_qstash.results.models import Chord, GroupMember, PastRun, Phase, TaskResult
from django_qstash.transport import get_transport
from tests import soak
from tests.cases.world import Faults
from tests.shop.models import Effect

#: At how many of its moments a story is killed; at each of them with make soak.
MOMENTS = 16
#: One less than DJANGO_QSTASH_DELIVERY_ATTEMPTS, after which a task has failed.
DEATHS = 4


@pytest.fixture
def world(settings, db, tidy_registry):
    settings.DJANGO_QSTASH_TRANSPORT = "tests.cases.world.World"
    return get_transport()


def told(world, story, faults):
    """The end of a story: the states of all tasks, and how often each effect was had."""
    for model in (TaskResult, PastRun, GroupMember, Chord, Effect):
        model._default_manager.all().delete()
    world.begin(faults)
    with clock.use(clock.VirtualClock()) as time:
        story(time)
        world.go_on(time)
    rows = TaskResult.rows.values_list("task_name", "status", "result")
    assert not TaskResult.rows.exclude(phase=Phase.DONE).exists(), "A task is left open."
    assert not TaskResult.rows.exclude(lease_token=None).exists(), "A lease is left."
    effects = list(Effect.objects.order_by("name").values_list("name", flat=True))
    return sorted(map(tuple, rows), key=repr), {name: effects.count(name) for name in effects}


def by_lot(chance):
    """Some deaths, copies and delays; fewer deaths than would use up a task's attempts."""
    often = chance.choice((0.0, 0.01, 0.03))
    faults = Faults(copies=chance.choice((1, 2, 3)), chance=chance)
    faults.kill = lambda _: faults.killed < DEATHS and chance.random() < often
    return faults


@pytest.fixture
def tell(world):
    """``tell(story, check)``: with no faults, doubled, killed at each moment, and by lot.

    ``story(time)`` sends what it is about; ``check(states, effects)`` says what must be true each
    time. What the tasks came to must be the ``same`` every time.
    """

    def run(story, check, *, same=True):
        quiet = Faults()
        states, effects = told(world, story, quiet)
        check(states, effects)

        def again(faults):
            now, effects = told(world, story, faults)
            assert now == states or not same, faults
            check(now, effects)

        again(Faults(copies=2))
        moments = range(1, quiet.moments + 1)
        if soak.FACTOR == 1:
            lot = soak.drawn("moments", story.__qualname__)
            moments = lot.sample(moments, min(MOMENTS, quiet.moments))
        for moment in moments:
            faults = Faults(kill=moment.__eq__)
            again(faults)
            assert faults.killed == 1
        for round_ in range(2 * soak.FACTOR):
            chance = soak.drawn(story.__qualname__, round_)
            again(by_lot(chance))

    return run
