"""Runs of workflows end well in every order of events; without any of the rules one does not.

The model is of the protocol, and so of what the engine is to do; that the engine does it is for the
storms and the killed processes to show.
"""

from __future__ import annotations

import pytest

from tests import soak
from tests.model.explore import explore
from tests.model.runs import RULES, Runs

ATOMIC = [("plain", "look"), ("atomic", "pay")]
SLEEP = [("sleep", "nap"), ("atomic", "pay")]
SIGNAL = [("signal", "paid"), ("atomic", "ship")]
BRANCHES = [("branch", "left"), ("branch", "right")]
CHILD = [("child", "guide"), ("atomic", "pay")]
BODIES = {
    "atomic": ATOMIC,
    "sleep": SLEEP,
    "signal": SIGNAL,
    "branches": BRANCHES,
    "child": CHILD,
    "trigger": ATOMIC,
    "cancel": SLEEP,
}

#: Faults that are met in one exploration, with the bodies that take no more than seconds then.
SOON = {
    "nothing": list(BODIES),
    "death": ["atomic", "sleep", "signal", "trigger", "cancel"],
    "lease": list(BODIES),
    "again": ["atomic", "sleep", "trigger"],
    "refusal": ["atomic", "sleep", "signal", "trigger"],
    "given_up": ["atomic", "sleep", "signal", "trigger"],
    "death again": ["atomic", "sleep"],
    "again lease": ["atomic", "sleep"],
    "again forgotten": ["atomic", "sleep"],
    "death refusal": ["atomic", "sleep", "trigger"],
    "death given_up": ["atomic", "sleep"],
}
#: Those that take minutes: for ``make soak``.
LATER = {
    "death": ["branches", "child"],
    "again": ["signal", "branches", "child", "cancel"],
    "refusal": ["branches", "child"],
    "death lease": ["signal", "branches", "child"],
    "death again": ["trigger", "cancel"],
    "death refusal": ["signal"],
    "death given_up": ["signal"],
}


def runs(name, faults="", without=()):
    bodies = {"run": tuple(BODIES[name])}
    if name == "child":
        bodies["child"] = (("atomic", "show"),)
    processes = ((name, "run"),) if name in ("trigger", "cancel") else ()
    counted = {fault.replace("_", " "): 1 for fault in faults.split() if fault != "nothing"}
    return explore(Runs(bodies, frozenset(without), processes, counted).model())


CASES = [(name, faults) for faults, names in SOON.items() for name in names]
if soak.FACTOR > 1:
    CASES += [(name, faults) for faults, names in LATER.items() for name in names]


@pytest.mark.soak
@pytest.mark.timeout(60 if soak.FACTOR == 1 else 3600)
@pytest.mark.parametrize(("name", "faults"), CASES)
def test_every_order_of_events_comes_to_a_good_end(name, faults):
    found = runs(name, faults)

    assert found.problem is None, "\n".join(found.story)
    assert found.worlds > 5


BROKEN = {
    "fence": ("atomic", "again lease", "pay was done twice"),
    "inbox": ("signal", "nothing", "the run is waiting"),
    "owed": ("trigger", "death", "the run is pending"),
    "republish": ("sleep", "death", "the run is waiting"),
    "copy": ("atomic", "death", "the run is running"),
    "given up": ("atomic", "given_up", "the run is pending"),
}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_without_any_of_its_rules_a_run_is_lost_doubled_or_stuck(rule):
    name, faults, problem = BROKEN[rule]

    assert runs(name, faults).problem is None
    found = runs(name, faults, {rule})
    assert found.problem == problem
    assert found.story
