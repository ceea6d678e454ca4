"""Runs without a database: their messages carry them, one step a delivery."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from django_qstash import chain, chord, clock, shared_task
from django_qstash.exceptions import (
    NonDeterminismError,
    NonRetryableError,
    PayloadTooLarge,
    PersistenceOff,
    PublishError,
    RetryAfter,
    RunTimeout,
    StepFailed,
    WorkerLostError,
)
from django_qstash.messages import decode
from django_qstash.testing import QStashSandbox
from django_qstash.transport.local import Outbox
from django_qstash.workflows import (
    RetryPolicy,
    RunHandle,
    cancel_workflow,
    get_run,
    get_run_steps,
    get_stats,
    list_runs,
    list_workflows,
    notify,
    run_workflow,
    send_signal,
    signals,
    start_workflow,
    step,
    workflow,
)
from tests import soak
from tests.door import given_up, knock
from tests.shop import workflows as w

CALLS: Counter[str] = Counter()
ENDED: list[object] = []
HEARD: list[object] = []

QUICK = RetryPolicy(max_attempts=3, initial=10, backoff=2, jitter=0)


@pytest.fixture(autouse=True)
def without_persistence(settings):
    settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = False
    settings.INSTALLED_APPS = [
        app for app in django_settings.INSTALLED_APPS if app != "django_qstash.results"
    ]
    CALLS.clear()
    ENDED.clear()
    HEARD.clear()


@pytest.fixture
def qstash():
    with QStashSandbox() as sandbox:
        yield sandbox


def call(name, value=None):
    CALLS[name] += 1
    return value


def end(value):
    """As the last step: what the run came to, where a test can see it."""
    ENDED.append(value)


def hear(ctx):
    HEARD.append((ctx.run_id, ctx.data, ctx.error, ctx.failed_step))


@workflow("carried.three", on_failure=hear)
def three(ctx, a, b=1):
    first = ctx.step.run("first", call, "first", a)
    second = ctx.step.run("second", call, "second", b)
    ctx.step.run("end", end, first + second)
    return first + second


@workflow("carried.sleepy")
def sleepy(ctx, seconds=60):
    ctx.step.run("before", call, "before")
    ctx.step.sleep("nap", seconds)
    ctx.step.run("after", end, "slept")


def stumble(times):
    CALLS["stumble"] += 1
    if CALLS["stumble"] <= times:
        raise ConnectionError("not yet")
    return CALLS["stumble"]


@workflow("carried.stumbling", retry=QUICK, on_failure=hear)
def stumbling(ctx, times):
    ctx.step.run("end", end, ctx.step.run("try", stumble, times))


@workflow("carried.compensating", retry=RetryPolicy(max_attempts=1))
def compensating(ctx):
    try:
        ctx.step.run("charge", refuse)
    except StepFailed as error:
        ctx.step.run("end", end, f"undone: {error.__cause__}")


def refuse():
    CALLS["refuse"] += 1
    raise NonRetryableError("no card")


@workflow("carried.doomed", on_failure=hear)
def doomed(ctx):
    ctx.step.run("before", call, "before")
    ctx.step.run("charge", refuse)


@workflow("carried.telling", failure_url="https://elsewhere.example.com/failed")
def telling(ctx):
    ctx.step.run("charge", refuse)


@workflow("carried.values")
def values(ctx):
    recorded = [ctx.now(), ctx.uuid(), ctx.random(), ctx.get_version("v", 1, 2), ctx.patched("p")]
    ctx.step.run("one", ENDED.append, [*map(str, recorded)])
    again = [ctx.now("now"), ctx.get_version("v", 1, 2)]
    ctx.step.run("two", ENDED.append, [*map(str, recorded)])
    return again


@workflow("carried.side_by_side", retry=QUICK)
def side_by_side(ctx, names):
    values = ctx.step.map("each", double, names)
    other = ctx.step.start("other", stumble, 1)
    ctx.step.run("end", end, [*values, other.result()])


def double(name):
    return call(name, name * 2)


@workflow("carried.awaited")
async def awaited(ctx, a):
    first = await ctx.step.run("first", double, a)
    await ctx.step.sleep("nap", "1h")
    parts = await ctx.step.map("each", double, ["x", "y"])
    await ctx.step.run("end", end, [first, *parts])


@step(retries=0)
def decorated(value):
    return call("decorated", value)


@workflow("carried.decorated")
def with_decorated(ctx):
    ctx.step.run("end", end, decorated(7))


@workflow("carried.large", retry=RetryPolicy(max_attempts=2, initial=1, jitter=0), on_failure=hear)
def large(ctx, *, sizes, catch=False):
    for size in sizes:
        try:
            ctx.step.run("fill", fill, size)
        except StepFailed as error:
            if not catch:
                raise
            ctx.step.run("end", end, str(error.__cause__))
            return


def fill(size):
    return call("fill", "x" * size)


@workflow("carried.late", timeout="1h", on_failure=hear)
def late(ctx):
    ctx.step.run("before", call, "before")
    ctx.step.sleep("nap", "2h")
    ctx.step.run("after", call, "after")


@workflow("carried.moody", retry=QUICK, on_failure=hear)
def moody(ctx, times):
    done = ctx.step.run("step", call, "step", 5)
    CALLS["body"] += 1
    if CALLS["body"] <= times:
        raise ConnectionError("the body stumbles")
    ctx.step.run("end", end, [done, ctx.run.attempt])


@workflow("carried.later", retry=RetryPolicy(max_attempts=2))
def later(ctx):
    ctx.step.run("once", put_off)
    ctx.step.run("end", end, "done")


def put_off():
    CALLS["put off"] += 1
    if CALLS["put off"] == 1:
        raise RetryAfter("1h")


@shared_task(name="carried.tail")
def tail(value, more=0):
    ENDED.append(("tail", value, more))


def letter_of(envelope):
    return decode(envelope.body)


class TestARun:
    def test_is_its_id_and_one_message_for_each_step(self, qstash):
        run = three.delay(2, b=3)

        assert isinstance(run, RunHandle)
        assert isinstance(run, str)
        delivered = qstash.deliver_all()
        assert ENDED == [5]
        assert [each.status for each in delivered] == [200, 200, 200]

    def test_begins_with_an_ordinary_tasks_letter(self, outbox):
        run = three.delay(2, b=3)

        (sent,) = outbox.sent
        letter = letter_of(sent)
        assert (letter["kind"], letter["task"], letter["id"]) == ("task", "carried.three", run)
        assert letter["kwargs"] == {"b": 3}

    def test_does_one_step_and_sends_its_history_on(self, outbox):
        three.delay(2)

        assert knock(outbox.sent[0].body).json()["status"] == "suspended"

        assert CALLS == {"first": 1}
        letter = letter_of(outbox.sent[1])
        assert letter["kind"] == "carried"
        assert letter["data"] == {"a": 2}
        (step_done,) = letter["steps"]
        assert (step_done["id"], step_done["k"], step_done["r"]) == ("first", "run", 2)

    def test_may_be_started_by_value_name_or_id(self, qstash):
        assert three.trigger({"a": 1}, run_id="mine") == "mine"
        start_workflow("carried.three", a=2)
        asyncio.run(three.atrigger({"a": 3}))
        qstash.deliver_all()

        assert sorted(ENDED) == [2, 3, 4]

    def test_of_an_id_is_one_while_qstash_knows_the_first(self, qstash):
        three.trigger({"a": 1}, run_id="mine")
        three.trigger({"a": 1}, run_id="mine")
        qstash.deliver_all()

        assert ENDED == [2]

    def test_begins_when_it_is_told_to(self, qstash):
        three.trigger({"a": 1}, delay="1h")

        assert qstash.deliver_due() == []
        qstash.advance(3600)
        assert ENDED == [2]

    def test_keeps_the_options_of_its_call(self, outbox):
        three.trigger({"a": 1}, label="mine", flow_control={"key": "k", "parallelism": 1})
        knock(outbox.sent[0].body)

        first, second = outbox.sent
        for name in ("label", "flow_control"):
            assert second.options[name] == first.options[name]

    def test_sleeps_in_a_delayed_message(self, qstash):
        sleepy.delay(3600)
        assert len(qstash.deliver_due()) == 1
        assert len(qstash.deliver_due()) == 0

        qstash.advance(3590)
        assert ENDED == []
        qstash.advance(10)
        assert ENDED == ["slept"]

    def test_that_is_woken_too_early_goes_on_sleeping(self, settings, qstash):
        settings.DJANGO_QSTASH_MAX_DELAY = 1000
        sleepy.delay(3600)
        begun = clock.time()

        qstash.deliver_all()

        assert ENDED == ["slept"]
        assert 3600 <= clock.time() - begun < 3610
        assert len(qstash.deliveries) == 5

    def test_keeps_recorded_values(self, qstash):
        values.delay()
        qstash.deliver_all(copies=2)

        assert ENDED[0] == ENDED[-1]
        assert ENDED[0][3:] == ["2", "True"]

    def test_does_parallel_steps_one_after_the_other(self, qstash):
        side_by_side.delay(["a", "b", "c"])
        qstash.deliver_all()

        assert ENDED == [["aa", "bb", "cc", 2]]
        assert CALLS == {"a": 1, "b": 1, "c": 1, "stumble": 2}

    def test_may_have_an_async_body(self, qstash):
        awaited.delay("a")
        qstash.deliver_all()

        assert ENDED == [["aa", "xx", "yy"]]

    def test_calls_steps_that_say_so_themselves(self, qstash):
        with_decorated.delay()
        qstash.deliver_all()

        assert ENDED == [7]

    def test_goes_through_its_fifo_queue(self, settings, qstash):
        settings.DJANGO_QSTASH_QUEUES = {"mail": {"parallelism": 1}}
        sleepy.apply_async((60,), queue="mail")
        qstash.deliver_all()

        assert ENDED == ["slept"]
        queues = [envelope.queue for envelope, _ in qstash._noted]
        # Only what waits is outside of the queue.
        assert queues == ["mail", None, "mail"]

    def test_called_as_a_function_needs_nothing_at_all(self):
        assert three(2, b=3) == 5

    def test_stands_in_a_chain(self, qstash):
        chain(three.s(1), tail.s(more=2)).delay()
        qstash.deliver_all()

        assert ENDED == [2, ("tail", 2, 2)]

    def test_tells_of_what_happens(self, qstash):
        told = []
        names = ("run_started", "run_suspended", "step_completed", "run_completed")

        def listen(name):
            def hear_signal(sender, **given):
                told.append(name)

            getattr(signals, name).connect(hear_signal, weak=False, dispatch_uid="carried")

        for name in names:
            listen(name)
        try:
            three.delay(1)
            qstash.deliver_all()
        finally:
            for name in names:
                getattr(signals, name).disconnect(dispatch_uid="carried")

        assert told == [
            "run_started",
            *["step_completed", "run_suspended"] * 2,
            "step_completed",
            "run_completed",
        ]

    def test_logs_what_happens_if_it_is_verbose(self, settings, qstash, caplog):
        settings.DJANGO_QSTASH_WORKFLOW_VERBOSE = True
        caplog.set_level("INFO", "django_qstash.workflows.verbose")
        three.delay(1)
        qstash.deliver_all()

        events = [json.loads(record.message)["eventType"] for record in caplog.records]
        assert events.count("RUN_SINGLE") == 3
        assert events[-1] == "SUBMIT_CLEANUP"

    def test_is_found_by_its_steps_again_or_not_at_all(self, outbox):
        three.delay(2)
        knock(outbox.sent[0].body)
        letter = letter_of(outbox.sent[1])
        letter["steps"][0]["k"] = "sleep"

        answer = knock(json.dumps(letter).encode())

        assert answer.status_code == 489
        error = letter_of(outbox.sent[-1])["failure"]["error"]
        assert error["exc_type"] == NonDeterminismError.__name__


class TestDoubledAndCrashedDeliveries:
    def test_a_doubled_delivery_goes_on_once(self, qstash):
        three.delay(2)
        delivered = qstash.deliver_all(copies=3)

        # Each message came three times, and each time its step was done, since nobody remembers.
        assert CALLS == {"first": 3, "second": 3}
        assert len(delivered) == 9

    def test_two_deliveries_of_one_letter_send_the_same_one_on(self, outbox):
        values.delay()
        knock(outbox.sent[0].body)
        knock(outbox.sent[0].body)

        _, one, other = outbox.sent
        assert one.body != other.body  # the time was recorded twice, and QStash keeps the first
        assert one.options["deduplication_id"] == other.options["deduplication_id"]

    def test_each_letter_of_a_run_has_an_id_of_its_own(self, qstash):
        stumbling.delay(2)
        qstash.deliver_all()

        ids = [envelope.options["deduplication_id"] for envelope, _ in qstash._noted]
        assert len(set(ids)) == len(ids) == 4

    @pytest.mark.parametrize("at", [1, 2, 3])
    def test_a_crash_at_any_moment_loses_nothing(self, qstash, at):
        three.delay(2)
        delivered = qstash.deliver_all(crash_at=at)

        assert ENDED[-1] == 3
        assert any(each.crashed for each in delivered)

    def test_a_crash_between_a_step_and_its_message_does_the_step_again(self, qstash):
        three.delay(2)
        qstash.deliver_all(crash_at=1)

        assert CALLS == {"first": 2, "second": 2}

    def test_a_crash_after_the_message_was_sent_does_not_send_it_twice(self, qstash):
        three.delay(2)
        qstash.deliver_all(crash_at=2)

        kept = [receipt for _, receipt in qstash._noted if not receipt.deduplicated]
        assert len(kept) == 3

    @pytest.mark.parametrize("at", [1, 2, 3])
    def test_a_failing_run_is_heard_of_through_crashes_and_copies(self, qstash, at):
        doomed.delay()
        qstash.deliver_all(copies=2, crash_at=at)

        assert {error.__class__ for _, _, error, _ in HEARD} == {StepFailed}

    def test_what_qstash_does_not_take_is_delivered_again(self, qstash):
        three.delay(2)
        qstash.is_down = True
        (answered,) = qstash.deliver_due()
        assert answered.status == 503

        qstash.is_down = False
        qstash.deliver_all()
        assert ENDED == [3]
        assert CALLS["first"] == 2

    def test_a_run_that_cannot_be_sent_is_not_started(self, qstash):
        qstash.is_down = True

        with pytest.raises(PublishError):
            three.delay(2)


@workflow("carried.drawn", retry=RetryPolicy(max_attempts=9, initial=1), on_failure=hear)
def drawn(ctx, program):
    """Does what its program says: each value it gets must be the one that its program foretells."""
    came_to = []
    for number, (kind, given) in enumerate(program):
        if kind == "step":
            came_to.append(ctx.step.run("step", stumble_on, f"{ctx.run_id}-{number}", *given))
        elif kind == "sleep":
            ctx.step.sleep("sleep", given)
        elif kind == "map":
            came_to.append(ctx.step.map("map", double, given))
        elif kind == "value":
            came_to.append(ctx.uuid() == ctx.uuid("other"))
        elif kind == "body":
            if ctx.step.run("body", call, f"{ctx.run_id}-{number}") or ctx.run.attempt <= given:
                raise ConnectionError("the body stumbles")
        else:
            try:
                ctx.step.run("lost", refuse)
            except StepFailed as error:
                came_to.append(str(error.__cause__))
    return ctx.step.run("end", end, [ctx.run_id, came_to])


def stumble_on(name, value, times):
    CALLS[name] += 1
    if CALLS[name] <= times:
        raise ConnectionError("not yet")
    return value


def foretold(program):
    for kind, given in program:
        if kind == "step":
            yield given[0]
        elif kind == "map":
            yield [name * 2 for name in given]
        elif kind == "value":
            yield False
        elif kind == "refused":
            yield "no card"


def draw(chance):
    kinds = {
        "step": lambda: [chance.choice(["a", 7, None, {"b": [1]}]), chance.randrange(3)],
        "sleep": lambda: chance.choice([0, 1, 90, 100_000]),
        "map": lambda: ["x"] * chance.randrange(4),
        "value": lambda: None,
        "body": lambda: chance.randrange(1, 3),
        "refused": lambda: None,
    }
    drawn_kinds = chance.choices(list(kinds), k=chance.randrange(1, 7))
    return [[kind, kinds[kind]()] for kind in drawn_kinds]


class TestStorms:
    @pytest.mark.soak
    @pytest.mark.parametrize("number", range(30 * soak.FACTOR))
    def test_whatever_comes_twice_or_dies_each_run_ends_as_foretold(self, settings, number):
        chance = soak.drawn("carried", number)
        settings.DJANGO_QSTASH_MAX_DELAY = chance.choice([50_000, 604_800])
        programs = [draw(chance) for _ in range(4)]
        faults = {"duplicate": chance.choice([0, 0.3]), "drop_ack": chance.choice([0, 0.2])}
        with QStashSandbox(faults=faults) as qstash:
            runs = {drawn.delay(program): program for program in programs}
            copies, crash_at = chance.randrange(1, 4), chance.choice([None, 1, 2, 3])
            qstash.deliver_all(copies=copies, crash_at=crash_at)

        assert not HEARD
        if not faults["drop_ack"]:
            # Within QStash's ten minutes a letter goes on once, however often it came.
            taken = [letter_of(sent) for sent, receipt in qstash._noted if not receipt.deduplicated]
            numbers = [
                (letter.get("task", {}).get("id"), letter.get("n"))
                for letter in taken
                if letter["kind"] == "carried"
            ]
            assert len(set(numbers)) == len(numbers)
        for run, program in runs.items():
            ends = [came_to for run_id, came_to in ENDED if run_id == run]
            assert ends
            assert all(came_to == list(foretold(program)) for came_to in ends)


class Refusing(Outbox):
    """A plan that allows less than the setting says."""

    def publish(self, envelope):
        if len(envelope.body) > 1000:
            error = PublishError("too large")
            error.status = 413
            raise error
        return super().publish(envelope)


class TestGivenUp:
    @pytest.fixture
    def sent(self, outbox):
        three.delay(2)
        knock(outbox.sent[0].body)
        return outbox.sent

    def tell(self, body, **told):
        import base64

        message = {
            "status": 503,
            "retried": 3,
            "maxRetries": 3,
            "sourceBody": base64.b64encode(body).decode(),
            **told,
        }
        return knock(message, query="callback=given-up")

    def test_every_letter_asks_to_be_told_of(self, sent):
        for envelope in sent:
            assert "given-up" in envelope.options["failure_callback"]

    def test_a_letter_is_sent_again_twice(self, sent):
        self.tell(sent[1].body)
        self.tell(sent[2].body)

        lives = [letter_of(envelope).get("life", 0) for envelope in sent[1:]]
        assert lives == [0, 1, 2]
        assert len({envelope.options["deduplication_id"] for envelope in sent[1:]}) == 3
        assert CALLS == {"first": 1}

    def test_then_its_run_has_failed(self, sent):
        self.tell(sent[1].body)
        self.tell(sent[2].body)
        self.tell(sent[3].body)
        knock(sent[4].body)

        ((_, data, error, _),) = HEARD
        assert data == {"a": 2}
        assert isinstance(error, WorkerLostError)

    def test_so_has_one_whose_first_letter_is_lost(self, outbox):
        three.delay(2)
        from django_qstash.messages import TaskMessage

        lost = TaskMessage.from_dict(letter_of(outbox.sent[0])).but(life=2)
        given_up(lost)
        knock(outbox.sent[-1].body)

        ((_, data, error, _),) = HEARD
        assert data == {"a": 2}
        assert isinstance(error, WorkerLostError)

    def test_one_that_has_failed_already_is_left_alone(self, sent):
        before = len(sent)
        assert self.tell(sent[1].body, status=489).json()["status"] == "failed already"
        assert len(sent) == before


class TestFailure:
    def test_a_step_is_tried_again_as_its_policy_says(self, qstash):
        begun = clock.time()
        stumbling.delay(2)
        qstash.deliver_all()

        assert ENDED == [3]
        assert 30 <= clock.time() - begun < 34

    def test_a_step_may_say_when_it_is_to_be_tried_again(self, qstash):
        begun = clock.time()
        later.delay()
        qstash.deliver_all()

        assert ENDED == ["done"]
        assert 3600 <= clock.time() - begun < 3610

    def test_a_step_that_fails_for_good_is_raised_into_the_body(self, qstash):
        compensating.delay()
        qstash.deliver_all()

        assert ENDED == ["undone: no card"]
        assert CALLS["refuse"] == 1

    def test_a_run_that_fails_stays_in_the_dead_letter_queue(self, qstash):
        run = doomed.delay()
        delivered = qstash.deliver_all()

        assert [each.status for each in delivered].count(489) == 1
        (dead,) = qstash.state.machine.dead
        assert decode(dead.message.spec.body)["task"]["id"] == run

    def test_on_failure_hears_of_it_with_the_error_and_the_step(self, qstash):
        run = doomed.delay()
        qstash.deliver_all()

        ((run_id, data, error, failed_step),) = HEARD
        assert (run_id, data, failed_step) == (run, None, "charge")
        assert isinstance(error, StepFailed)

    def test_on_failure_may_raise(self, qstash, caplog):
        @workflow("carried.double_trouble", on_failure=lambda ctx: 1 / 0)
        def double_trouble(ctx):
            ctx.step.run("charge", refuse)

        double_trouble.delay()
        qstash.deliver_all()

        assert "on_failure of carried.double_trouble raised" in caplog.text

    def test_the_dead_letter_goes_on_at_the_step_that_failed(self, qstash):
        doomed.delay()
        qstash.deliver_all()
        (dead,) = qstash.state.machine.dead
        CALLS.clear()

        assert knock(dead.message.spec.body).status_code == 489

        assert CALLS == {"refuse": 1}

    def test_the_failure_url_is_told(self, qstash):
        run = telling.delay()
        qstash.deliver_all()

        (attempt,) = qstash.outside
        assert attempt.message.url == "https://elsewhere.example.com/failed"
        told = json.loads(attempt.message.spec.body)
        assert told["workflowRunId"] == run
        assert "no card" in told["body"]

    def test_a_body_is_tried_again_with_the_steps_that_are_done(self, qstash):
        moody.delay(2)
        qstash.deliver_all()

        assert ENDED == [[5, 3]]
        assert CALLS["step"] == 1

    def test_a_body_fails_when_its_attempts_are_used_up(self, qstash):
        moody.delay(9)
        qstash.deliver_all()

        ((_, _, error, _),) = HEARD
        assert isinstance(error, ConnectionError)

    def test_a_run_ends_when_its_time_is_over(self, qstash):
        begun = clock.time()
        late.delay()
        qstash.deliver_all()

        ((_, _, error, _),) = HEARD
        assert isinstance(error, RunTimeout)
        assert CALLS == {"before": 1}
        assert 3600 <= clock.time() - begun < 3610

    def test_errbacks_of_a_canvas_are_sent(self, qstash):
        doomed.apply_async(link_error=tail.si("gone"))
        qstash.deliver_all()

        assert ("tail", "gone", 0) in ENDED


class TestSize:
    @pytest.fixture(autouse=True)
    def small(self, settings):
        settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 4000

    def test_a_result_that_does_not_fit_fails_its_step(self, qstash):
        large.delay(sizes=[100, 5000], catch=True)
        qstash.deliver_all()

        (said,) = ENDED
        assert "DJANGO_QSTASH_MAX_PAYLOAD_SIZE allows 4,000" in said
        assert "step 'fill#1' takes the most" in said
        assert "django_qstash.workflows" in said

    def test_a_step_that_has_no_room_is_not_begun(self, qstash):
        large.delay(sizes=[600] * 10)
        qstash.deliver_all()

        ((_, data, error, _),) = HEARD
        assert data == {"sizes": [600] * 10}
        assert isinstance(error, (PayloadTooLarge, StepFailed))
        assert CALLS["fill"] < 10

    def test_a_run_that_fills_its_letter_is_failed_before_the_next_step(self, settings, outbox):
        large.delay(sizes=[600, 10])
        knock(outbox.sent[0].body)
        settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = len(outbox.sent[1].body) + 20

        answer = knock(outbox.sent[1].body)

        assert answer.status_code == 489
        assert CALLS["fill"] == 1
        knock(outbox.sent[2].body)
        ((_, _, error, step_id),) = HEARD
        assert isinstance(error, PayloadTooLarge)

    def test_no_letter_is_larger_than_the_limit(self, qstash):
        large.delay(sizes=[600] * 10)
        qstash.deliver_all()

        assert max(len(envelope.body) for envelope, _ in qstash._noted) <= 4000

    def test_input_that_is_too_large_is_refused_at_the_call(self, qstash):
        with pytest.raises(PayloadTooLarge):
            large.delay(sizes=["x" * 5000])

    def test_on_failure_hears_of_input_that_leaves_no_room_for_the_error(self, settings, outbox):
        data = {"sizes": ["x" * 3000]}
        large.trigger(data)
        settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = len(outbox.sent[0].body) + 1

        assert knock(outbox.sent[0].body).status_code == 489

        ((_, heard, error, _),) = HEARD
        assert heard == data
        assert isinstance(error, PayloadTooLarge)

    def test_what_qstash_itself_finds_too_large_fails_the_run(self, settings):
        settings.DJANGO_QSTASH_TRANSPORT = f"{__name__}.Refusing"
        from django_qstash.transport import get_transport

        sent = get_transport().sent
        large.delay(sizes=[100, 1500, 10])
        knock(sent[0].body)

        assert knock(sent[1].body).status_code == 489
        knock(sent[2].body)
        ((_, _, error, _),) = HEARD
        assert isinstance(error, PublishError)


def refused_by(body):
    name = f"carried.refused.{body.__name__}"
    return workflow(name, on_failure=hear)(body)


@refused_by
def a_signal(ctx):
    ctx.step.wait_for_signal("go")


@refused_by
def an_event(ctx):
    ctx.step.wait_for_event("wait", "key")


@refused_by
def a_child(ctx):
    ctx.step.run_workflow("child", three, {"a": 1})


@refused_by
def a_started_child(ctx):
    ctx.step.start_workflow("child", three, {"a": 1})


@refused_by
def a_task(ctx):
    ctx.step.task("task", tail, 1)


@refused_by
def an_atomic_step(ctx):
    ctx.step.run("note", w.note, "never", atomic=True)


@refused_by
def a_call_by_qstash(ctx):
    ctx.step.call("call", "https://elsewhere.example.com/", via="qstash")


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "body",
        [a_signal, an_event, a_child, a_started_child, a_task, an_atomic_step, a_call_by_qstash],
        ids=lambda body: body.name.rpartition(".")[2],
    )
    def test_a_step_that_needs_the_database_fails_the_run_at_once(self, qstash, body):
        body.delay()
        delivered = qstash.deliver_all()

        ((_, _, error, _),) = HEARD
        assert isinstance(error, PersistenceOff)
        assert "set DJANGO_QSTASH_WORKFLOW_PERSISTENCE to True" in str(error)
        assert [each.status for each in delivered].count(489) == 1

    @pytest.mark.parametrize(
        "ask",
        [
            lambda: three.trigger({"a": 1}, idempotency_key="key"),
            lambda: notify("key"),
            list_runs,
            get_stats,
            lambda: run_workflow(three, {"a": 1}),
        ],
        ids=["idempotency_key", "notify", "list_runs", "get_stats", "run_workflow"],
    )
    def test_what_is_about_all_runs_is_refused_at_the_call(self, ask):
        with pytest.raises(PersistenceOff, match="set DJANGO_QSTASH_WORKFLOW_PERSISTENCE to True"):
            ask()

    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "ask",
        [
            lambda run: run.result(timeout=1),
            lambda run: run.get(),
            lambda run: run.state(),
            lambda run: run.status,
            lambda run: run.ready(),
            lambda run: run.steps(),
            lambda run: run.signal("go"),
            lambda run: run.cancel(),
            get_run,
            get_run_steps,
            lambda run: send_signal(run, "go"),
            cancel_workflow,
        ],
        ids=[
            "result",
            "get",
            "state",
            "status",
            "ready",
            "steps",
            "signal",
            "cancel",
            "get_run",
            "get_run_steps",
            "send_signal",
            "cancel_workflow",
        ],
    )
    def test_what_is_asked_of_one_run_is_refused(self, outbox, ask):
        run = three.delay(1)

        with pytest.raises(PersistenceOff, match="set DJANGO_QSTASH_WORKFLOW_PERSISTENCE to True"):
            ask(run)

    def test_the_command_starts_one_and_knows_no_more(self, outbox):
        from django.core.management import CommandError, call_command

        printed = io.StringIO()
        call_command("workflows", "start", "carried.three", "--input", '{"a": 1}', stdout=printed)

        assert letter_of(outbox.sent[0])["id"] == printed.getvalue().strip()
        with pytest.raises(CommandError, match="list_runs needs runs that are kept"):
            call_command("workflows", "list")

    def test_what_needs_no_database_is_not(self):
        assert "carried.three" in {each["name"] for each in list_workflows()}


@pytest.fixture(scope="module")
def bare_site():
    site = Path(__file__).with_name("bare_site.py")
    environment = {name: value for name, value in os.environ.items() if "QSTASH" not in name}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(site)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class TestASiteWithoutAnyDatabase:
    def test_has_all_public_names_and_no_models(self, bare_site):
        assert bare_site["names"] > 80
        assert bare_site["models"] == []

    def test_runs_workflows_though_all_is_delivered_twice(self, bare_site):
        assert set(bare_site["ended"]) == {"1 x poster"}

    def test_is_told_what_to_install(self, bare_site):
        (heard, *_) = bare_site["heard"]
        for said in (heard, *bare_site["refused"].values()):
            assert "add 'django_qstash.workflows' to INSTALLED_APPS" in said


@pytest.mark.django_db(transaction=True)
class TestBesideTheDatabase:
    def test_runs_that_were_kept_go_on(self, settings, qstash):
        settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = True
        run = w.sleepy.delay()
        settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = False
        qstash.deliver_all()

        assert run.result(timeout=1) == "slept"

    def test_runs_that_are_carried_go_on(self, settings, qstash):
        sleepy.delay()
        qstash.deliver_due()
        settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = True
        qstash.deliver_all()

        assert ENDED == ["slept"]

    @pytest.fixture
    def results(self, settings):
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_qstash.results"]

    def test_with_results_the_end_is_known(self, results, qstash):
        from django_qstash import AsyncResult

        run = three.delay(2)
        qstash.deliver_all(copies=2)

        assert AsyncResult(run).get(timeout=1) == 3

    def test_with_results_it_is_known_to_be_under_way(self, results, qstash):
        from django_qstash import AsyncResult

        run = sleepy.delay(3600)
        qstash.deliver_due(copies=2)

        assert AsyncResult(run).status == "PENDING"
        assert sleepy.is_open(run)
        qstash.deliver_all()
        assert not sleepy.is_open(run)

    def test_with_results_a_late_duplicate_does_nothing(self, results, qstash):
        three.delay(2)
        qstash.deliver_all()
        CALLS.clear()

        answers = [knock(envelope.body) for envelope, _ in list(qstash._noted)]

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert CALLS == {}

    def test_with_results_a_run_can_be_revoked(self, results, qstash):
        from django_qstash import AsyncResult

        run = sleepy.delay(3600)
        qstash.deliver_due()
        AsyncResult(run).revoke()
        qstash.deliver_all()

        assert AsyncResult(run).status == "REVOKED"
        assert ENDED == []

    def test_with_results_it_stands_in_a_chord(self, results, qstash):
        chord([three.s(1), three.s(2)])(tail.s())
        qstash.deliver_all(copies=2)

        assert ("tail", [2, 3], 0) in ENDED
