"""Workflows in a test: stand-ins for each kind of step, deaths, duplicates, replays."""

from __future__ import annotations

import datetime as dt
import random
import uuid
import warnings
from collections import Counter
from types import SimpleNamespace

import pytest
from django.db import transaction
from django.test import TestCase, override_settings

from django_qstash import clock
from django_qstash.exceptions import (
    IdempotencyConflict,
    NonDeterminismError,
    NonRetryableError,
    PersistenceOff,
    RunCanceled,
    RunFailed,
    StepFailed,
    UnknownWorkflowError,
    WorkflowError,
)
from django_qstash.testing import TIMED_OUT, QStashSandbox, WorkflowEnv, run_inline
from django_qstash.workflows import Received, RetryPolicy, workflow
from django_qstash.workflows.models import StepExecution, WorkflowRun
from tests.shop import workflows as shop
from tests.shop.models import Effect
from tests.shop.tasks import add

pytestmark = pytest.mark.django_db

DID: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def nothing_done():
    DID.clear()
    shop.EFFECTS.clear()
    shop.HEARD.clear()


def did(name, value=None):
    DID[name] += 1
    return value


@workflow("rehearsed.all", retry=RetryPolicy(max_attempts=3, jitter=0))
def everything(ctx):
    """Each kind of step, and what the body got of it."""
    got = {
        "run": ctx.step.run("run", did, "run", "real"),
        "sleep": ctx.step.sleep("sleep", "5m"),
        "call": dict(ctx.step.call("call", "https://bank.example.com/", method="POST", body={})),
    }
    signal = ctx.step.wait_for_signal("signal", timeout="1d")
    event = ctx.step.wait_for_event("event", "key", timeout="1d")
    got["signal"], got["event"] = signal.data, event.data
    got["timed out"] = [signal.timed_out, event.timed_out]
    got["child"] = ctx.step.run_workflow("child", shop.child)
    started = ctx.step.start_workflow("started", shop.child)
    got["task"] = ctx.step.task("task", add, 1, 2)
    branch = ctx.step.start("branch", did, "branch", "real")
    got["branch"] = ctx.step.gather(branch)
    got["map"] = ctx.step.map("map", lambda item: did("map", item * 2), [1, 2, 3])
    got["started"] = started.result()
    got |= {"now": str(ctx.now()), "uuid": str(ctx.uuid()), "random": ctx.random()}
    got["patched"] = ctx.patched("a change")
    return got


WHEN = dt.datetime(2030, 1, 2, tzinfo=dt.timezone.utc)
ID = uuid.UUID(int=7)
#: For each kind of step a value that stands in for it, and what the body then has in its hands.
STAND_INS = {
    "run": "mine",
    "sleep": None,
    "call": {"status_code": 201, "data": {"id": 1}},
    "signal": {"ok": True},
    "event": 12,
    "child": 100,
    "started": 200,
    "task": 300,
    "branch": "beside",
    "map": 9,
    "now": WHEN,
    "uuid": ID,
    "random": 0.5,
    "version:a change": 0,
}
GOT = {
    "run": "mine",
    "sleep": None,
    "call": {"status_code": 201, "data": {"id": 1}, "headers": {}},
    "signal": {"ok": True},
    "event": 12,
    "timed out": [False, False],
    "child": 100,
    "started": 200,
    "task": 300,
    "branch": ["beside"],
    "map": [9, 9, 9],
    "now": str(WHEN),
    "uuid": str(ID),
    "random": 0.5,
    "patched": False,
}

#: Those that fail in another way, or that no code expects to fail.
OTHERWISE = ("started", "child", "version:a change")


class TestStandIns:
    def test_a_value_for_each_kind_of_step(self):
        before = clock.time()

        run = run_inline(everything, step_overrides=STAND_INS)

        assert run.error is None
        assert run.succeeded
        assert run.output == GOT
        assert not DID
        assert WorkflowRun.objects.count() == 1
        assert clock.time() - before < 60

    def test_the_history_looks_as_if_they_had_been_done(self):
        run = run_inline(everything, step_overrides=STAND_INS)

        kinds = {name: step.kind for name, step in run.steps.items()}
        assert kinds == {
            "run": "run",
            "sleep": "sleep",
            "call": "call",
            "signal": "signal",
            "event": "event",
            "child": "child",
            "started": "start",
            "task": "task",
            "branch": "branch",
            "map": "branch",
            "map#1": "branch",
            "map#2": "branch",
            "started:result": "child",
            "now": "value",
            "uuid": "value",
            "random": "value",
            "version:a change": "version",
        }
        assert {step.status for step in run.steps.values()} == {"completed"}
        assert run.steps["signal"].value == {"ok": True}
        assert run.steps["now"].value == WHEN
        assert StepExecution.objects.filter(workflow_run__run_id=run.run_id).count() == 17

    def test_a_callable_is_given_what_the_step_is_about(self):
        given = {}

        def keeps(name, value):
            def stand_in(*args, **kwargs):
                given[name] = [*args, *kwargs.values()]
                return value

            return stand_in

        run = run_inline(
            everything, step_overrides={name: keeps(name, STAND_INS[name]) for name in STAND_INS}
        )

        assert run.output == GOT
        call = given.pop("call")[0]
        assert (call.method, call.url, call.body) == ("POST", "https://bank.example.com/", b"{}")
        assert given.pop("sleep") == [pytest.approx(300)]
        assert given == {
            "run": ["run", "real"],
            "signal": ["signal"],
            "event": ["key"],
            "child": [{}],
            "started": [{}],
            "task": [1, 2],
            "branch": ["branch", "real"],
            "map": [3],
            "now": [],
            "uuid": [],
            "random": [],
            "version:a change": [],
        }

    @pytest.mark.parametrize("name", [each for each in STAND_INS if each not in OTHERWISE])
    def test_an_exception_for_each_kind_of_step_is_raised_in_the_body(self, name):
        run = run_inline(everything, step_overrides=_until(name, NonRetryableError("no luck")))

        assert not run.succeeded
        assert isinstance(run.error, StepFailed)
        assert run.error.step_id == name
        assert isinstance(run.error.__cause__, NonRetryableError)

    @pytest.mark.parametrize("name", ["child", "started"])
    def test_a_child_fails_as_a_run_does(self, name):
        given = {**STAND_INS, name: ValueError("no luck")}
        if name == "child":
            given = _until("child", ValueError("no luck"))

        run = run_inline(everything, step_overrides=given if name == "child" else _whole(given))

        assert isinstance(run.error, RunFailed)
        assert isinstance(run.error.__cause__, ValueError)
        assert "no luck" in str(run.error)

    def test_a_child_may_be_canceled(self):
        given = {"child": RunCanceled("by hand", run_id="x")}

        run = run_inline(shop.waits_for_child, step_overrides=given)

        assert run.output == "RunCanceled"

    def test_a_class_of_exceptions_does_as_well(self):
        run = run_inline(shop.compensates, step_overrides={"breaks": NonRetryableError})

        assert run.steps["breaks"].status == "failed"
        assert "NonRetryableError" in run.output
        assert run.steps["undo"].value == run.output

    def test_what_stands_in_is_tried_as_often_as_the_step(self):
        tries = []

        def flaky(*_):
            tries.append(clock.time())
            if len(tries) < 3:
                raise ConnectionError
            return "at last"

        run = run_inline(shop.retried, step_overrides={"flaky": flaky})

        assert run.output == "at last"
        assert run.steps["flaky"].attempts == 3
        assert [round(b - a) for a, b in zip(tries, tries[1:], strict=False)] == [10, 20]

    def test_an_answer_that_is_an_error_is_one(self):
        url = "https://bank.example.com/x"
        given = {"call": {"status_code": 404, "data": "none"}}

        run = run_inline(shop.calls, {"url": url}, step_overrides=given)
        borne = run_inline(
            shop.calls,
            {"url": url, "options": {"raise_for_status": False}},
            step_overrides=given,
        )
        sent = run_inline(
            shop.calls, {"url": url, "options": {"via": "qstash"}}, step_overrides={"call": "hello"}
        )

        assert "answered 404" in str(run.error)
        assert borne.output == [404, "none", 404]
        assert sent.output == [200, "hello", 200]

    def test_the_time_of_a_wait_may_run_out(self):
        given = {"approved": TIMED_OUT}
        late = run_inline(shop.approval, {"timeout": "3d"}, step_overrides=given)
        skipped = run_inline(shop.approval, {"timeout": "3d"})
        received = Received(data=5, at=WHEN)
        dated = run_inline(shop.approval, step_overrides={"approved": lambda _: received})

        assert late.output == skipped.output == "nobody"
        assert late.steps["approved"].value is skipped.steps["approved"].value is None
        assert dated.output == 5

    def test_one_of_several_steps_of_an_id(self):
        given = {"double#1": 7, "double": lambda item: -item}

        run = run_inline(shop.mapped, {"items": [1, 2, 3]}, step_overrides=given)
        looped = run_inline(shop.many, {"count": 3}, step_overrides={"one#0": 10})

        assert run.output == [-1, 7, -3]
        assert looped.output == 12

    def test_async_bodies_and_stand_ins(self):
        async def slow(name, value):
            return value + 100

        run = run_inline(shop.in_async, step_overrides={"first": slow, "part-1": 50})

        assert run.output == 101 + 0 + 50 + 2

    def test_an_atomic_step_may_be_stood_in_for(self):
        def other(text):
            Effect.objects.create(name="other", detail=text)
            return 5

        run = run_inline(shop.atomic_note, {"text": "x"}, step_overrides={"note": other})

        assert run.output == 5
        assert Effect.objects.get().name == "other"

    def test_a_name_that_no_step_has_is_an_error_that_lists_those_there_are(self):
        with pytest.raises(ValueError, match=r"met no 'secnd', 'first#3'.*met: first, second\.$"):
            run_inline(shop.add_up, {"a": 1}, step_overrides={"secnd": 1, "first": 2, "first#3": 1})

    def test_a_stand_in_that_json_cannot_carry_is_the_steps_failure(self):
        run = run_inline(shop.waits_for_child, step_overrides={"child": object()})
        other = run_inline(shop.add_up, {"a": 1}, step_overrides={"first": object()})

        assert run.output == "RunFailed"
        assert "result of step 'first'" in str(other.error)


def _until(name, given):
    """The stand-ins of the steps before ``name``, and this one for it."""
    names = list(STAND_INS)
    found = {each: STAND_INS[each] for each in names[: names.index(name)]}
    return {**found, name: given}


def _whole(given):
    """All that is met before the result of the child that was started is asked for."""
    return {name: given[name] for name in list(given)[: list(given).index("map") + 1]}


class TestRuns:
    def test_without_stand_ins_it_is_the_workflow(self):
        run = run_inline(shop.parent, {"seconds": 1000})

        assert (run.succeeded, run.output, run.error) == (True, 42, None)
        assert run.run_id.result(timeout=0) == 42
        assert run.calls == {"tests.shop.workflows.child:answer": 1}
        assert WorkflowRun.objects.count() == 2

    def test_sleeps_time_outs_and_retries_take_no_time(self):
        began = clock.time()

        run = run_inline(shop.sleepy, {"seconds": 30 * 24 * 3600})

        assert run.output == "slept"
        assert clock.time() - began < 60

    def test_a_run_that_fails_says_with_what(self):
        run = run_inline("tests.shop.workflows.heard", {"value": 2})

        assert (run.succeeded, run.output) == (False, None)
        assert isinstance(run.error, StepFailed)
        assert isinstance(run.error.__cause__, RuntimeError)
        assert [(run.run_id, "breaks", "StepFailed", {"value": 2})] == shop.HEARD
        assert isinstance(run.steps["breaks"].error, StepFailed)
        assert run.steps["on_failure"].kind == "on_failure"

    def test_a_run_that_waits_for_nobody_says_for_what(self):
        with pytest.raises(WorkflowError, match=r"stands still.*signal:approved.*step_overrides="):
            run_inline(shop.approval)

    def test_in_a_transaction_of_ones_own_its_letter_is_swept(self):
        with transaction.atomic():
            assert run_inline(shop.add_up, {"a": 1}).output == 2

    def test_input_is_checked_as_ever(self):
        with pytest.raises(TypeError, match="missing a required argument: 'a'"):
            run_inline(shop.add_up, {"c": 1})
        with pytest.raises(UnknownWorkflowError):
            run_inline("no.such")
        run_inline(shop.add_up, {"a": 1}, idempotency_key="once")
        with pytest.raises(IdempotencyConflict):
            run_inline(shop.add_up, {"a": 2}, idempotency_key="once")

    def test_a_run_id_of_ones_own(self):
        assert run_inline(shop.add_up, {"a": 1}, run_id="mine").run_id == "mine"

    def test_in_a_sandbox_that_is_open(self):
        with QStashSandbox() as qstash:
            run_inline(shop.errand, {"a": 1, "b": 2})

            qstash.assert_sent(add, 1, 2)

    def test_it_needs_runs_that_are_kept(self, settings):
        settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = False

        with pytest.raises(PersistenceOff, match=r"Testing .*add_up needs .*PERSISTENCE to True"):
            run_inline(shop.add_up, {"a": 1})


class PlainTests(TestCase):
    """In Django's own TestCase, whose transactions are never committed."""

    def test_it_runs(self):
        with override_settings(DJANGO_QSTASH_ALWAYS_EAGER=True):
            run = run_inline(everything, step_overrides=STAND_INS)

        assert run.output == GOT

    def test_what_others_send_arrives(self):
        with WorkflowEnv() as env:
            run = env.start(shop.two_signals)
            with transaction.atomic():
                run.signal("word", 1)
                assert run.status == "waiting"
            env.signal(run, "word", 2)

            assert run.result(timeout=0) == [1, 2]


MOMENTS = ("before", "body", "waiting", "after")


class TestDeaths:
    @pytest.mark.parametrize("moment", ["first:before", "first:body", "first:after"])
    def test_a_process_dies_around_a_step(self, moment):
        run = run_inline(shop.add_up, {"a": 1, "b": 2}, crash_at=moment)

        assert run.output == 3
        assert [delivery.crashed for delivery in run.deliveries] == [True, False, False]
        # Between the function's return and its record nobody knows that it was called.
        assert run.calls["first"] == (2 if moment == "first:body" else 1)

    @pytest.mark.parametrize(
        ("body", "data", "given"),
        [
            (shop.sleepy, {"seconds": 60}, {}),
            (shop.approval, None, {"approved": "yes"}),
            (shop.parent, {"seconds": 5}, {}),
            (shop.fan_out, None, {}),
            (shop.mapped, {"items": [1, 2, 3]}, {}),
            (shop.errand, {"a": 1, "b": 2}, {}),
            (shop.retried, None, {}),
            (shop.compensates, None, {}),
            (shop.atomic_note, {"text": "x"}, {}),
            (shop.in_async, None, {}),
            (shop.recorded, None, {}),
            (shop.heard, None, {}),
        ],
        ids=lambda given: getattr(given, "name", ""),
    )
    def test_at_every_moment_of_every_step(self, body, data, given):
        calm = run_inline(body, data, step_overrides=given)
        shop.EFFECTS.clear()
        bad = run_inline(
            body,
            data,
            step_overrides=given,
            crash_at="*",
            duplicate_at="*",
            always_replay=True,
        )

        assert bad.succeeded == calm.succeeded
        if body not in (shop.recorded, shop.atomic_note, shop.retried):
            assert bad.output == calm.output
        assert list(bad.steps) == list(calm.steps)
        assert sum(delivery.crashed for delivery in bad.deliveries) == len(bad.moments)
        assert set(bad.moments) >= set(calm.moments)

    def test_atomic_effects_happen_once_all_the_same(self):
        run = run_inline(shop.atomic_note, {"text": "x"}, crash_at="*", duplicate_at="*")

        assert run.calls == {"note": 2}
        assert Effect.objects.count() == 1

    def test_the_dead_do_nothing_more(self):
        """Neither their ``finally`` blocks, nor their bare ``except`` clauses."""

        @workflow("rehearsed.tidy")
        def tidy(ctx):
            try:
                ctx.step.run("work", did, "work")
            except:  # noqa: E722
                ctx.step.run("mend", did, "mend")
            finally:
                ctx.step.run("tidy", did, "tidy")

        run = run_inline(tidy, crash_at="work:before")

        assert DID == {"work": 1, "tidy": 1}
        assert list(run.steps) == ["work", "tidy"]

    def test_a_moment_that_does_not_come_is_an_error(self):
        with pytest.raises(ValueError, match=r"met no 'nap:body'.*It has met: before:before"):
            run_inline(shop.sleepy, crash_at="nap:body")
        with pytest.raises(ValueError, match=r"met no 'gone:after'"):
            run_inline(shop.sleepy, duplicate_at=["gone:after", "nap:after"])

    @pytest.mark.parametrize("wrong", ["nap", "nap:later", ":after"])
    def test_what_is_no_moment_is_refused_before_anything_runs(self, wrong):
        with pytest.raises(ValueError, match=r'names no moment of a step: ".*:before"'):
            run_inline(shop.sleepy, crash_at=wrong)
        assert not WorkflowRun.objects.exists()

    def test_a_delivery_comes_twice_in_the_middle(self):
        run = run_inline(shop.add_up, {"a": 1}, duplicate_at="second:before")

        assert run.output == 2
        assert run.calls == {"first": 1, "second": 1}
        assert [b"busy" in delivery.body for delivery in run.deliveries] == [True, False, False]


class TestReplays:
    def test_the_run_is_put_down_after_each_step(self):
        run = run_inline(shop.add_up, {"a": 1}, always_replay=True)

        assert run.output == 2
        assert len(run.deliveries) == 3

    def test_a_body_that_goes_another_way_the_next_time(self):
        flips = iter([True, False, False, False, False])

        @workflow("rehearsed.flips")
        def flipping(ctx):
            ctx.step.run("heads" if next(flips) else "tails", did, "toss")
            return ctx.step.run("last", did, "last")

        with pytest.raises(NonDeterminismError, match=r"did not ask for 'heads' before.*'tails'"):
            run_inline(flipping, always_replay=True)

    def test_without_a_replay_nobody_notices(self):
        @workflow("rehearsed.draws")
        def draws(ctx):
            ctx.step.run(f"step {random.random()}", did, "drawn")

        assert run_inline(draws).succeeded
        with pytest.raises(NonDeterminismError, match="did not ask for 'step "):
            run_inline(draws, always_replay=True)

    def test_a_body_that_ends_early_the_next_time(self):
        seen = []

        @workflow("rehearsed.ends")
        def ends(ctx):
            if not seen:
                seen.append(1)
                ctx.step.run("only once", did, "once")

        with pytest.raises(NonDeterminismError, match="'only once' before it ended"):
            run_inline(ends, always_replay=True)

    def test_other_arguments_the_next_time(self):
        @workflow("rehearsed.argues")
        def argues(ctx):
            ctx.step.run("draw", did, "draw", random.random())

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(NonDeterminismError, match="gave step 'draw' other arguments"):
                run_inline(argues, always_replay=True)

    def test_a_body_that_is_tried_again_may_go_another_way(self):
        @workflow("rehearsed.tries", retries=2)
        def tries(ctx):
            if ctx.run.attempt == 1:
                ctx.step.run("first way", did, "first")
                raise ConnectionError
            return ctx.step.run("other way", did, "other", ctx.run.attempt)

        assert run_inline(tries, always_replay=True).output == 2

    def test_versions_are_no_divergence(self):
        @workflow("rehearsed.versions")
        def versions(ctx):
            if ctx.patched("new way"):
                ctx.step.run("new", did, "new")
            ctx.step.run("last", did, "last")

        run = run_inline(versions, always_replay=True)
        old = run_inline(versions, step_overrides={"version:new way": 0}, always_replay=True)

        assert "new" in run.steps
        assert "new" not in old.steps


class TestEnvironment:
    def test_runs_wait_until_they_are_told(self, workflow_env):
        run = workflow_env.start(shop.approval, {"timeout": "2d"})
        assert run.status == "waiting"
        assert workflow_env.outcome(run).steps["approved"].status == "waiting"

        workflow_env.advance("1d")
        assert run.status == "waiting"
        workflow_env.signal(run, "approved", "yes")

        assert workflow_env.outcome(run).output == "yes"

    def test_time_outs_come_when_the_clock_says(self, workflow_env):
        run = workflow_env.start(shop.approval, {"timeout": "2d"})

        workflow_env.advance(dt.timedelta(days=2))

        assert run.result(timeout=0) == "nobody"

    def test_events_wake_all_that_wait(self, workflow_env):
        runs = [workflow_env.start(shop.hears, {"key": "k"}) for _ in range(2)]

        assert workflow_env.notify("k", 5) == 2
        assert [run.result(timeout=0) for run in runs] == [[5], [5]]

    def test_each_run_has_its_own_stand_ins(self, workflow_env):
        one = workflow_env.start(shop.approval, step_overrides={"ask": 1}, run_id="one")
        two = workflow_env.start(shop.approval)
        inline = workflow_env.run(shop.add_up, {"a": 1}, step_overrides={"first": 5})
        for run in (one, two):
            workflow_env.signal(run, "approved", 3)

        assert one == "one"
        assert inline.output == 6
        assert shop.EFFECTS == {"ask": 1, "second": 1}
        assert workflow_env.outcome(two).calls == {"ask": 1}
        assert [sent.name for sent in workflow_env.qstash.sent] == []

    def test_a_run_is_canceled(self, workflow_env):
        run = workflow_env.start(shop.approval)

        assert workflow_env.cancel(run, "enough")
        assert not workflow_env.cancel(run)
        outcome = workflow_env.outcome(run)
        assert isinstance(outcome.error, RunCanceled)
        assert not outcome.succeeded

    def test_what_is_wrong_with_a_run_is_raised_at_the_end(self):
        with pytest.raises(ValueError, match="met no 'frist'"), WorkflowEnv() as env:
            env.start(shop.add_up, {"a": 1}, step_overrides={"frist": 1})
        with WorkflowEnv() as env:
            env.start(shop.approval, step_overrides={"later": 1})

    def test_what_else_is_wrong_comes_first(self):
        def test():
            with WorkflowEnv() as env:
                env.start(shop.add_up, {"a": 1}, step_overrides={"frist": 1})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            test()

    def test_it_tells_of_its_own_runs_only(self, workflow_env):
        with pytest.raises(KeyError):
            workflow_env.outcome("another")

    def test_chaos_leaves_nothing(self, workflow_env):
        report = workflow_env.chaos(shop.atomic_note, {"text": "x"}, seeds=3)

        assert len(report.days) == 3
        assert not Effect.objects.exists()
        assert workflow_env.qstash.deliveries == []


def test_nobody_looks_on_afterwards():
    from django_qstash.workflows import rehearsal

    run_inline(shop.add_up, {"a": 1})

    assert rehearsal.stage is None
    with rehearsal.on(SimpleNamespace()):
        assert rehearsal.stage is not None
    assert rehearsal.stage is None
