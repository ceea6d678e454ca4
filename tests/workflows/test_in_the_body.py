"""What a body holds in its hands: caught failures, the log, cancellation, branches left alone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from django_qstash import workflow
from django_qstash.exceptions import NonRetryableError, OptionError, StepFailed, WorkflowError
from django_qstash.testing import QStashSandbox, WorkflowEnv, run_inline
from django_qstash.workflows import cancel_workflow
from django_qstash.workflows.context import Canceled
from django_qstash.workflows.forecast import forecast_all
from django_qstash.workflows.models import DeadLetterEntry
from tests.workflows.deliver import deliver

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("tidy_registry")]


@pytest.fixture
def qstash():
    with QStashSandbox() as sandbox:
        yield sandbox


class World:
    """What the steps of a test do; while it is ``broken`` some of them fail."""

    def __init__(self) -> None:
        self.broken = True
        self.done: list[Any] = []

    def does(self, what: Any) -> Any:
        self.done.append(what)
        return what

    def fails(self, what: Any) -> Any:
        if self.broken:
            raise NonRetryableError(f"no {what}")
        return self.does(what)


@pytest.fixture
def world():
    return World()


def resumed(qstash: Any, flow: Any, world: World) -> Any:
    """Let a run fail, mend what was broken, and resume it; what it does then."""
    run = flow.trigger()
    qstash.deliver_all()
    assert run.status == "failed"
    world.broken = False
    world.done.clear()
    again = DeadLetterEntry.objects.get(run_id=run).resume()
    qstash.deliver_all()
    return again


class TestResume:
    def test_a_step_whose_failure_was_caught_stays_failed(self, qstash, world):
        @workflow("body.shop")
        def shop(ctx):
            try:
                ctx.step.run("charge", world.fails, "charge")
            except StepFailed:
                ctx.step.run("cancel order", world.does, "canceled")
            return ctx.step.run("mail", world.fails, "mail")

        again = resumed(qstash, shop, world)

        assert again.result(1) == "mail"
        assert world.done == ["mail"]
        assert [(step.step_id, step.status) for step in again.steps()] == [
            ("charge", "failed"),
            ("cancel order", "completed"),
            ("mail", "completed"),
        ]

    def test_the_step_that_was_caught_and_raised_again_is_done_again(self, qstash, world):
        @workflow("body.undo")
        def undo(ctx):
            ctx.step.run("reserve", world.does, "reserve")
            try:
                return ctx.step.run("charge", world.fails, "charge")
            except StepFailed:
                ctx.step.run("release", world.does, "release")
                raise

        assert resumed(qstash, undo, world).result(1) == "charge"
        assert world.done == ["charge"]

    def test_a_child_that_failed_stays_if_that_was_caught(self, qstash, world):
        @workflow("body.child")
        def child(ctx):
            return ctx.step.run("work", world.fails, "child")

        @workflow("body.parent")
        def parent(ctx):
            try:
                ctx.step.run_workflow("tolerated", child)
            except WorkflowError:
                ctx.step.run("instead", world.does, "instead")
            return ctx.step.run_workflow("needed", child)

        assert resumed(qstash, parent, world).result(1) == "child"
        assert world.done == ["child"]

    def test_what_the_body_itself_failed_after_stays(self, qstash, world):
        @workflow("body.own", retries=0)
        def own(ctx):
            try:
                ctx.step.run("charge", world.fails, "charge")
            except StepFailed:
                ctx.step.run("cancel order", world.does, "canceled")
            if world.broken:
                raise LookupError("a mistake in the body")
            return "mended"

        assert resumed(qstash, own, world).result(1) == "mended"
        assert world.done == []

    def test_what_the_body_raised_from_a_failed_step_is_that_steps_failure(self, qstash, world):
        @workflow("body.from", retries=0)
        def raises(ctx):
            try:
                return ctx.step.run("charge", world.fails, "charge")
            except StepFailed as error:
                raise LookupError("not charged") from error

        assert resumed(qstash, raises, world).result(1) == "charge"

    def test_what_failed_beside_the_branch_that_failed_the_run_is_done_again(self, qstash, world):
        @workflow("body.fan")
        def fan(ctx):
            doing = [world.does, world.fails, world.does, world.fails]
            handles = [
                ctx.step.start(f"part {number}", function, number)
                for number, function in enumerate(doing)
            ]
            return ctx.step.gather(*handles)

        assert resumed(qstash, fan, world).result(1) == [0, 1, 2, 3]
        assert sorted(world.done) == [1, 3]

    def test_a_branch_whose_failure_was_caught_stays_failed(self, qstash, world):
        @workflow("body.caught")
        def caught(ctx):
            first = ctx.step.start("first", world.fails, "first")
            second = ctx.step.start("second", world.fails, "second")
            try:
                first.result()
            except StepFailed:
                return second.result()

        again = resumed(qstash, caught, world)

        assert again.result(1) == "second"
        assert world.done == ["second"]
        assert {step.step_id: step.status for step in again.steps()} == {
            "first": "failed",
            "second": "completed",
        }

    def test_a_branch_of_an_earlier_fan_stays_failed(self, qstash, world):
        @workflow("body.before")
        def before(ctx):
            outcomes = ctx.step.gather(
                ctx.step.start("one", world.fails, 1),
                ctx.step.start("two", world.does, 2),
                return_exceptions=True,
            )
            if isinstance(outcomes[0], StepFailed):
                ctx.step.run("instead", world.does, "instead")
            return ctx.step.run("last", world.fails, "last")

        assert resumed(qstash, before, world).result(1) == "last"
        assert world.done == ["last"]

    def test_what_failed_after_it_with_nobody_to_catch_it_is_done_again(self, outbox, world):
        @workflow("body.later")
        def later(ctx):
            beside = ctx.step.start("beside", world.fails, "beside")
            ctx.step.run("fails first", world.fails, "first")
            return beside.result()

        run = later.trigger()
        letters = len(outbox.sent)
        world.broken = True
        deliver(outbox, letters - 1)
        assert run.status == "failed"
        world.broken = False
        again = DeadLetterEntry.objects.get(run_id=run).resume()
        while letters < len(outbox.sent):
            deliver(outbox, letters)
            letters += 1
        assert again.result(1) == "beside"

    def test_on_failure_is_not_taken_along(self, qstash, world):
        heard = []

        @workflow("body.hooked", on_failure=lambda ctx: heard.append(ctx.failed_step))
        def hooked(ctx):
            return ctx.step.run("work", world.fails, "work")

        again = resumed(qstash, hooked, world)

        assert heard == ["work"]
        assert [step.step_id for step in again.steps()] == ["work"]


class TestCanceled:
    def test_an_async_body_and_its_steps_may_ask(self, loopback):
        seen = []

        @workflow("body.asks")
        async def asks(ctx):
            seen.append(ctx.canceled.is_set())

            async def work():
                return ctx.canceled.is_set()

            seen.append(await ctx.step.run("work", work))

        asks.trigger().result(1)

        assert seen == [False, False]

    @pytest.mark.parametrize("kind", ["async body", "sync body"])
    def test_an_async_step_comes_to_know(self, loopback, kind):
        run_ids, looks = [], []

        async def work(ctx):
            from asgiref.sync import sync_to_async

            await sync_to_async(cancel_workflow)(run_ids[0], "enough")
            for _ in range(200):
                if ctx.canceled.is_set():
                    looks.append("canceled")
                    return
                await asyncio.sleep(0.01)

        if kind == "async body":

            @workflow("body.stops")
            async def stops(ctx):
                run_ids.append(ctx.run_id)
                await ctx.step.run("work", work, ctx)
        else:

            @workflow("body.stops")
            def stops(ctx):
                run_ids.append(ctx.run_id)
                ctx.step.run("work", work, ctx)

        run = stops.trigger()

        assert looks == ["canceled"]
        assert run.status == "canceled"

    def test_waiting_for_it_would_stop_the_loop(self):
        async def waits():
            Canceled(lambda: False).wait(1)

        with pytest.raises(WorkflowError, match="would stop the event loop"):
            asyncio.run(waits())

    def test_a_look_that_fails_is_made_again(self, monkeypatch):
        answers = iter([RuntimeError("the database is away"), True])

        def look():
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def asks():
            canceled = Canceled(look)
            seen = []
            for _ in range(3):
                seen.append(canceled.is_set())
                await asyncio.sleep(0.05)
                monkeypatch.setattr(canceled, "_looked", 0.0)
            return seen

        assert asyncio.run(asks()) == [False, False, True]

    def test_a_sync_step_waits_for_it(self):
        assert Canceled(lambda: True).wait(5)
        assert not Canceled(lambda: False).wait(0.01)


class TestLogger:
    def lines(self, caplog: Any) -> list[str]:
        records = [each for each in caplog.records if each.name == "django_qstash.workflows"]
        return [record.getMessage() for record in records]

    def test_branches_log(self, loopback, caplog):
        @workflow("body.loud")
        def loud(ctx):
            ctx.step.run("before", lambda: None)
            ctx.step.start("one", lambda: ctx.logger.warning("in one")).result()
            ctx.step.run("between", lambda: None)
            ctx.step.map("all", lambda item: ctx.logger.warning("in all %s", item), [1, 2])

        loud.trigger().result(1)

        assert sorted(self.lines(caplog)) == ["in all 1", "in all 2", "in one"]

    def test_a_branch_that_is_begun_after_others_were_done_logs(self, loopback, caplog):
        @workflow("body.beside")
        def beside(ctx):
            early = ctx.step.start("early", lambda: ctx.logger.warning("early"))
            ctx.step.run("between", lambda: None)
            late = ctx.step.start("late", lambda: ctx.logger.warning("late"))
            ctx.step.gather(early, late)

        beside.trigger().result(1)

        assert sorted(self.lines(caplog)) == ["early", "late"]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_lines_between_start_and_join_are_written_once(self, loopback, caplog, is_async):
        if is_async:

            @workflow("body.lines")
            async def lines(ctx):
                handles = [ctx.step.start("a", int)]
                ctx.logger.warning("one is started")
                handles.append(ctx.step.start("b", int))
                ctx.logger.warning("both are")
                await ctx.step.gather(*handles)
                ctx.logger.warning("both have ended")
                await ctx.step.run("after", int)
                ctx.logger.warning("over")
        else:

            @workflow("body.lines")
            def lines(ctx):
                handles = [ctx.step.start("a", int)]
                ctx.logger.warning("one is started")
                handles.append(ctx.step.start("b", int))
                ctx.logger.warning("both are")
                ctx.step.gather(*handles)
                ctx.logger.warning("both have ended")
                ctx.step.run("after", int)
                ctx.logger.warning("over")

        lines.trigger().result(1)

        assert self.lines(caplog) == ["one is started", "both are", "both have ended", "over"]

    def test_a_resumed_run_logs_in_its_branches(self, qstash, world, caplog):
        @workflow("body.resumed")
        def flow(ctx):
            def work(number):
                ctx.logger.warning("part %s", number)
                return world.fails(number) if number else number

            return ctx.step.map("part", work, [0, 1])

        again = resumed(qstash, flow, world)

        assert again.result(1) == [0, 1]
        said = [line for line in self.lines(caplog) if line.startswith("part")]
        assert said == ["part 0", "part 1", "part 1"]

    @pytest.fixture(autouse=True)
    def everything(self, caplog):
        caplog.set_level(logging.WARNING, "django_qstash.workflows")


class TestBranchesThatNobodyJoins:
    @pytest.mark.parametrize("then", [0, 1])
    @pytest.mark.parametrize("is_async", [False, True])
    def test_the_end_of_the_body_waits_for_them(self, qstash, world, then, is_async):
        def body(ctx):
            ctx.step.start("mail", world.does, "mail")
            for number in range(then):
                ctx.step.run("more", world.does, number)
            return "done"

        async def abody(ctx):
            ctx.step.start("mail", world.does, "mail")
            for number in range(then):
                await ctx.step.run("more", world.does, number)
            return "done"

        flow = workflow("body.forgets")(abody if is_async else body)
        run = flow.trigger()
        qstash.deliver_all()

        assert run.result(1) == "done"
        assert sorted(map(str, world.done)) == sorted(["mail", *map(str, range(then))])
        assert {step.status for step in run.steps()} == {"completed"}

    def test_one_that_fails_fails_the_run_and_is_done_again(self, qstash, world):
        @workflow("body.unlucky")
        def unlucky(ctx):
            ctx.step.start("fine", world.does, "fine")
            ctx.step.start("mail", world.fails, "mail")
            return "done"

        run = unlucky.trigger()
        qstash.deliver_all()
        assert (run.status, run.run.failed_step) == ("failed", "mail")

        world.broken = False
        again = DeadLetterEntry.objects.get(run_id=run).resume()
        qstash.deliver_all()
        assert again.result(1) == "done"
        assert world.done == ["fine", "mail"]

    def test_a_failure_that_was_joined_counts_once(self, qstash, world):
        @workflow("body.joined")
        def joined(ctx):
            handle = ctx.step.start("mail", world.fails, "mail")
            ctx.step.gather(handle, return_exceptions=True)
            return "done"

        run = joined.trigger()
        qstash.deliver_all()

        assert run.result(1) == "done"

    def test_a_body_that_raises_does_not_wait(self, qstash, world):
        @workflow("body.raises", retries=0)
        def raises(ctx):
            ctx.step.start("mail", world.does, "mail")
            raise LookupError("a mistake")

        run = raises.trigger()
        qstash.deliver_all()

        assert run.status == "failed"
        assert world.done == []

    def test_the_wait_at_the_end_is_no_surprise_to_a_forecast(self, outbox, world):
        @workflow("body.foreseen")
        def foreseen(ctx):
            ctx.step.start("mail", world.does, "mail")

        run = foreseen.trigger()
        (before,) = forecast_all("body.foreseen")
        deliver(outbox)
        (after,) = forecast_all("body.foreseen")

        assert (before.breaks, before.step) == (False, "mail")
        assert (after.breaks, after.step, after.status) == (False, "mail", "waiting")
        deliver(outbox)
        deliver(outbox)
        assert run.status == "completed"

    def test_one_that_the_code_has_lost_is_named(self, outbox, world):
        wanted = ["one", "two"]

        @workflow("body.lost")
        def lost(ctx):
            for name in wanted:
                ctx.step.start(name, world.does, name)

        run = lost.trigger()
        deliver(outbox)
        two = len(outbox.sent) - 1
        wanted.remove("two")
        deliver(outbox, two)

        (step,) = [step for step in run.steps() if step.step_id == "two"]
        assert step.status == "failed"
        assert "without having started 'two'" in step.error_message

    def test_in_memory_and_in_tests(self, world):
        @workflow("body.called")
        def called(ctx):
            ctx.step.start("mail", world.does, "mail")
            return "done"

        assert called() == "done"
        assert run_inline(called).output == "done"
        with WorkflowEnv() as env:
            assert env.start(called).run.result == "done"
        assert world.done == ["mail"] * 3

    def test_without_a_database(self, qstash, world, settings):
        settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = False

        @workflow("body.carried")
        def carried(ctx):
            ctx.step.start("mail", world.does, "mail")
            ctx.step.start("more", world.does, "more")
            return "done"

        carried.trigger()
        qstash.deliver_all()

        assert world.done == ["mail", "more"]


class TestFlowControl:
    OWN = {"key": "tenant-7", "parallelism": 1}

    @pytest.mark.parametrize("how", ["trigger", "apply_async"])
    @pytest.mark.parametrize("persistence", [True, False])
    def test_a_run_cannot_leave_the_bound_of_its_workflow(self, outbox, settings, how, persistence):
        settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = persistence

        @workflow("body.bounded", max_concurrency=2)
        def bounded(ctx):
            return None

        with pytest.raises(OptionError, match="has max_concurrency"):
            getattr(bounded, how)(flow_control=self.OWN)
        assert outbox.sent == []

    def test_a_run_of_another_workflow_has_its_own(self, outbox):
        @workflow("body.free", flow_control={"key": "all", "parallelism": 9})
        def free(ctx):
            return None

        free.trigger(flow_control=self.OWN)

        assert outbox.sent[0].options["flow_control"] == self.OWN
