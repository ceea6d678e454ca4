"""How earlier engines lost, doubled or stuck runs: each story, and how it ends here."""

from __future__ import annotations

import math
from time import sleep
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_qstash import clock
from django_qstash.exceptions import RunFailed
from django_qstash.transport import get_transport
from django_qstash.workflows import (
    RetryPolicy,
    cancel_workflow,
    define_workflow,
    get_run,
    run_workflow,
    turn,
)
from django_qstash.workflows.models import DeadLetterEntry, WorkflowRun
from tests.door import knock
from tests.shop import workflows as w
from tests.workflows.deliver import deliver

pytestmark = pytest.mark.django_db(transaction=True)

SEEN: list[object] = []


def swallows(ctx):
    try:
        ctx.step.run("before", w.effect, "before")
        ctx.step.sleep("nap", 3600)
    except Exception:
        SEEN.append("swallowed")
    return ctx.step.run("after", w.effect, "after", "slept")


def unstorable(ctx):
    ctx.step.run("object", lambda: w.effect("object", object()))


def twice_the_same(ctx):
    return [ctx.step.run("same", w.effect, "one", 1), ctx.step.run("same", w.effect, "two", 2)]


def permanent(ctx):
    ctx.step.run("refuses", refuse)


def refuse():
    w.EFFECTS["refuse"] += 1
    raise ValueError("not found")


def bare(ctx):
    SEEN.append("body")


def overtaken(ctx):
    return ctx.step.run("slow", slow)


def slow():
    """A step in the middle of which the very letter comes again, whatever MEANWHILE does first."""
    w.EFFECTS["slow"] += 1
    MEANWHILE[0]()
    SEEN.append(knock(get_transport().sent[0].body).json()["status"])
    return w.EFFECTS["slow"]


def late(ctx):
    return ctx.step.run("late", MEANWHILE[0])


def tired(ctx):
    ctx.step.sleep("nap", 3600)
    return ctx.step.run("flaky", w.flaky, "flaky", 1)


def tiring(ctx):
    for _ in range(3):
        ctx.step.sleep("nap", 10)


def introduced(ctx):
    SEEN.append("before the first step")
    return [ctx.step.run("one", w.effect, "one", 1), ctx.step.run("two", w.effect, "two", 2)]


def misspelt(ctx):
    return ctx.step.task("send", "shop.no_such_task", 1)


def nested(ctx):
    return ctx.step.run("outer", lambda: ctx.step.run("inner", w.effect, "inner"))


#: What a step does while it is at work.
MEANWHILE: list[Any] = [None]

OVERTAKEN = define_workflow("lessons.overtaken", handler=overtaken)
LATE = define_workflow("lessons.late", handler=late, timeout=60)
TIRED = define_workflow(
    "lessons.tired", handler=tired, retry=RetryPolicy(initial=1, max_attempts=2, jitter=0)
)
TIRING = define_workflow("lessons.tiring", handler=tiring)
INTRODUCED = define_workflow("lessons.introduced", handler=introduced)
NESTED = define_workflow("lessons.nested", handler=nested, retries=0)
MISSPELT = define_workflow("lessons.misspelt", handler=misspelt)
SWALLOWS = define_workflow("lessons.swallows", handler=swallows)
UNSTORABLE = define_workflow("lessons.unstorable", handler=unstorable)
TWICE = define_workflow("lessons.twice", handler=twice_the_same)
PERMANENT = define_workflow("lessons.permanent", handler=permanent)
BARE = define_workflow("lessons.bare", handler=bare)


@pytest.fixture(autouse=True)
def seen():
    SEEN.clear()


@pytest.fixture
def time():
    with clock.use(clock.VirtualClock()) as virtual:
        yield virtual


def test_a_pause_is_not_an_exception_that_a_body_can_swallow(outbox, time, effects):
    run = SWALLOWS.trigger()
    deliver(outbox)

    assert (SEEN, effects["after"], get_run(run).status) == ([], 0, "waiting")
    time.advance(3600)
    deliver(outbox)
    assert (run.result(1), SEEN, effects["before"]) == ("slept", [], 1)


def test_a_sleep_is_not_skipped_by_a_letter_that_comes_again(outbox, time, effects):
    run = w.sleepy.trigger({"seconds": 3600})
    for _ in range(3):
        deliver(outbox, 0)
    time.advance(3590)
    early = outbox.sent[1].body
    assert knock(early).json()["status"] == "busy"

    assert (effects["before"], effects["after"]) == (1, 0)
    time.advance(10)
    knock(early)
    assert run.result(1) == "slept"


def test_what_has_ended_is_not_executed_again(outbox, effects):
    run = w.add_up.trigger({"a": 1, "b": 2})
    for _ in range(3):
        assert deliver(outbox, 0).status_code == 200

    assert (run.result(1), effects["first"], effects["second"]) == (3, 1, 1)


def test_a_mistake_is_not_tried_again_and_is_one_dead_letter(loopback, effects):
    run = PERMANENT.trigger()

    with pytest.raises(RunFailed):
        run.result(1)
    assert effects["refuse"] == 1
    dead = DeadLetterEntry.objects.get()
    assert (dead.run_id, dead.step_id) == (run, "refuses")


def test_a_result_that_cannot_be_stored_fails_once_and_repeats_nothing(loopback, effects):
    run = UNSTORABLE.trigger()

    with pytest.raises(RunFailed, match="object"):
        run.result(1)
    assert effects["object"] == 1


def test_two_steps_of_one_id_are_two_steps(loopback):
    assert TWICE.trigger().result(1) == [1, 2]


def test_none_is_a_result_and_a_body_without_steps_a_workflow(loopback):
    assert BARE.trigger().result(1) is None
    assert SEEN == ["body"]


def test_a_run_that_kills_its_process_every_time_ends(outbox, time):
    run = w.add_up.trigger({"a": 1})
    WorkflowRun.objects.update(attempts=settings_attempts())

    assert deliver(outbox).status_code == 489
    with pytest.raises(RunFailed, match="WorkerLostError"):
        run.result(1)


def settings_attempts() -> int:
    from django_qstash.conf import settings

    return settings.DJANGO_QSTASH_DELIVERY_ATTEMPTS


def test_a_letter_that_comes_while_its_step_is_at_work_does_not_do_the_step(outbox, effects):
    MEANWHILE[0] = lambda: None
    run = OVERTAKEN.trigger()
    deliver(outbox)

    assert (run.result(1), SEEN, effects["slow"]) == (1, ["busy"], 1)


def test_nor_when_the_step_blocks_for_longer_than_a_lease(outbox, effects, settings):
    settings.DJANGO_QSTASH_LEASE = 0.6
    MEANWHILE[0] = lambda: sleep(1.2)
    run = OVERTAKEN.trigger()
    deliver(outbox)

    assert (run.result(1), SEEN, effects["slow"]) == (1, ["busy"], 1)


def test_what_was_recorded_first_counts_when_two_did_the_step(outbox, effects, time):
    """The lease of the first ended while it was at work, and another has done all of the run."""
    MEANWHILE[0] = lambda: time.advance(10_000 if effects["slow"] == 1 else 0)
    run = OVERTAKEN.trigger()
    deliver(outbox)

    assert SEEN == ["busy", "completed"]
    assert (run.result(1), effects["slow"], len(run.steps())) == (2, 2, 1)


def test_a_run_that_has_finished_is_not_thrown_away_for_being_late(outbox, time):
    MEANWHILE[0] = lambda: time.advance(100)
    run = LATE.trigger()
    deliver(outbox)

    assert run.status == "completed"


def test_a_retry_after_a_sleep_does_not_wait_for_the_sleep_again(outbox, time):
    run = TIRED.trigger()
    deliver(outbox)
    time.advance(3600)
    deliver(outbox)

    assert outbox.sent[-1].options["delay"] == "1s"
    time.advance(1)
    deliver(outbox)
    assert run.status == "completed"


def test_no_letter_of_a_run_is_taken_for_another_one_and_none_grows(outbox, time):
    TIRING.trigger({"filler": "x" * 10_000})
    for _ in range(3):
        deliver(outbox)
        time.advance(10)

    marks = [envelope.options["deduplication_id"] for envelope in outbox.sent]
    assert len(set(marks)) == len(marks) == 4
    assert max(len(envelope.body) for envelope in outbox.sent) < 200


def test_a_body_runs_once_in_a_delivery(outbox):
    INTRODUCED.trigger()
    deliver(outbox)

    assert SEEN == ["before the first step"]


def test_a_key_of_a_failed_run_is_that_run(loopback, effects):
    first = PERMANENT.trigger(idempotency_key="one")

    assert PERMANENT.trigger(idempotency_key="one") == first
    assert (first.status, effects["refuse"]) == ("failed", 1)


def test_a_task_that_nobody_knows_fails_the_run_at_once(loopback):
    run = MISSPELT.trigger()

    with pytest.raises(RunFailed, match="no_such_task"):
        run.result(1)


def test_a_step_inside_a_step_is_refused_and_not_done(loopback, effects):
    run = NESTED.trigger()

    with pytest.raises(RunFailed, match="Steps do not nest"):
        run.result(1)
    assert effects["inner"] == 0


def test_who_drives_a_run_does_nothing_of_the_others(outbox, effects):
    other = w.add_up.trigger({"a": 1})

    assert run_workflow(TWICE) == [1, 2]
    assert (other.status, effects["first"]) == ("pending", 0)


def test_a_wait_has_a_timer_of_its_own_and_what_it_came_to_is_recorded(outbox, time):
    run = w.approval.trigger({"timeout": 60})
    deliver(outbox)
    assert outbox.sent[-1].options["delay"] == "60s"
    time.advance(60)
    deliver(outbox)

    assert run.result(1) == "nobody"
    assert run.steps()[-1].status == "completed"


def test_canceling_overturns_nothing_that_has_ended(loopback):
    run = w.add_up.trigger({"a": 1})

    assert not cancel_workflow(run)
    assert run.status == "completed"


def test_a_step_more_is_one_statement_more_and_no_message(outbox, monkeypatch):
    # Once a second a run is looked at, which a crowded machine may come to.
    monkeypatch.setattr(turn, "LOOK", math.inf)
    besides = []
    for steps in (1, 10, 100):
        run = w.many.trigger({"count": steps})
        with CaptureQueriesContext(connection) as queries:
            deliver(outbox)
        besides.append(len(queries) - steps)
        assert (run.result(1), run.run.messages) == (steps, 1)

    assert besides == [besides[0]] * 3
    assert len(outbox.sent) == 3
