"""How earlier engines lost, doubled or stuck runs: each story, and how it ends here."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_qstash import clock
from django_qstash.exceptions import RunFailed
from django_qstash.workflows import cancel_workflow, define_workflow, get_run
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


def test_many_steps_are_one_message_and_their_statements_grow_with_them(outbox):
    counts = []
    for steps in (10, 20, 40):
        w.many.trigger({"count": steps})
        with CaptureQueriesContext(
            connection,
        ) as queries:
            deliver(outbox)
        counts.append(len(queries))
        assert WorkflowRun.objects.first().messages == 1

    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0]) == 20
