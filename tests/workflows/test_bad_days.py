"""The workflows of these tests, with the tools that users have for theirs."""

from __future__ import annotations

from collections import Counter

import pytest

from django_qstash.testing import chaos, run_inline
from tests import soak
from tests.shop import workflows as shop
from tests.shop.models import Effect
from tests.workflows import programs

pytestmark = pytest.mark.django_db

PROGRAMS, DAYS = (25, 4) if soak.FACTOR == 1 else (10 * soak.FACTOR, 20)


def effects() -> Counter[str]:
    """How often each thing happened; looked at before and after each day."""
    programs.CALLS.clear()
    return Counter(Effect.objects.values_list("name", flat=True))


@pytest.mark.soak
@pytest.mark.timeout(300 if soak.FACTOR == 1 else 7200)
def test_programs_drawn_by_lot_have_their_effects_once(outbox_app):
    faults = 0
    for number in range(PROGRAMS):
        chance = soak.drawn("bad days", number)
        author = programs.Author(chance)
        # Without children: a signal is sent to a run by its id, and theirs are known to nobody.
        program = author.program("root", depth=2, fails=chance.random() < 0.1)
        report = chaos(
            chance.choice(list(programs.WORKFLOWS.values())),
            program,
            seeds=range(number * DAYS, (number + 1) * DAYS),
            effects=effects,
            step_overrides={op["id"]: op["key"] for op in program["ops"] if op["op"] == "fetch"},
            signals=[(name, data) for _, name, data in author.expected.signals],
            events=[(key, key) for _, key in author.expected.events],
        )
        assert report.calm.effects == dict.fromkeys(author.expected.effects, 1)
        faults += sum(len(day.faults) for day in report.days)
    assert faults > PROGRAMS


@pytest.mark.parametrize(
    ("workflow", "data"),
    [
        (shop.sleepy, {"seconds": 3600}),
        (shop.parent, {"seconds": 60}),
        (shop.bad_parent, None),
        (shop.retried, {"failures": 0}),
        (shop.compensates, None),
        (shop.fan_out, {"count": 4}),
        (shop.mapped, {"items": [1, 2, 3]}),
        (shop.fan_with_failure, None),
        (shop.errand, {"a": 1, "b": 2}),
        (shop.bad_errand, None),
        (shop.atomic_note, {"text": "x"}),
        (shop.in_async, None),
        (shop.decorated, {"amount": 5}),
        (shop.heard, None),
        (shop.hurried, None),
        (shop.many, {"count": 5}),
    ],
    ids=lambda given: getattr(given, "name", ""),
)
def test_every_kind_of_workflow_bears_bad_days(workflow, data):
    chaos(workflow, data, seeds=4 * soak.FACTOR, effects=effects)


def test_a_failure_that_is_raised_in_the_body_is_the_same_after_every_replay():
    calm = run_inline(shop.fan_with_failure)
    again = run_inline(shop.fan_with_failure, crash_at="*", always_replay=True)

    assert again.output == calm.output
    assert again.steps["bad"].error.args == calm.steps["bad"].error.args
