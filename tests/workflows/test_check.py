"""``manage.py workflows check``: old runs are held against new code, and nothing happens."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import urllib.request
from io import StringIO

import pytest
from asgiref.sync import sync_to_async
from django.apps import apps
from django.core import checks, serializers
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection, transaction

from django_qstash.signals import TaskSignal
from django_qstash.workflows import checks as own_checks
from django_qstash.workflows import guard, signals
from django_qstash.workflows.forecast import forecast_all
from django_qstash.workflows.models import WorkflowRun
from tests.shop import workflows as w
from tests.shop.models import Effect
from tests.shop.tasks import add
from tests.workflows.deliver import deliver

pytestmark = pytest.mark.django_db(transaction=True)


def go(ctx):
    ctx.step.wait_for_signal("go")


def recorded(ctx):
    """What the runs of these tests have done before the new code comes."""
    ctx.step.run("one", w.effect, "one", 1)
    ctx.get_version("split", 1, 1)
    ctx.step.run("two", w.effect, "two", 2)
    go(ctx)


@pytest.fixture
def deploy(monkeypatch):
    """Gives the workflow another body, as a deployment does."""

    def put(body):
        kind = type(w.changing)
        monkeypatch.setattr(kind, "function", staticmethod(body))
        for cached in ("input", "is_async"):
            w.changing.__dict__.pop(cached, None)

    yield put
    monkeypatch.undo()
    for cached in ("input", "is_async"):
        w.changing.__dict__.pop(cached, None)


@pytest.fixture
def started(deploy, outbox):
    """A run of ``old``, as far as it goes, and then ``new`` is deployed."""

    def start(new, old=recorded, **data):
        deploy(old)
        run = w.changing.delay(**data)
        deliver(outbox)
        deploy(new)
        return run

    return start


def connect():
    with socket.socket() as own:
        own.connect(("203.0.113.1", 80))


def dump():
    """Every row of every table."""
    models = [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]
    rows = [row for model in models for row in model._default_manager.order_by("pk")]
    return serializers.serialize("json", rows)


def found():
    """What the one run would do."""
    (finding,) = forecast_all()
    return finding


def check(*arguments):
    out = StringIO()
    call_command("workflows", "check", *arguments, stdout=out, stderr=out)
    return out.getvalue()


class TestWhatWouldGoOn:
    def test_the_same_code(self, started):
        started(recorded)
        finding = found()
        assert not finding.breaks
        assert (finding.step, finding.asked) == ("go", "a wait for the signal 'go'")
        assert (finding.ahead, finding.warnings) == (0, [])

    def test_it_stops_at_the_first_step_that_is_not_recorded(self, started, effects):
        def new(ctx):
            ctx.step.run("one", w.effect, "one", 1)
            ctx.step.run("new", w.effect, "new")
            raise AssertionError("The body went past a step that nobody has done.")

        started(new)
        finding = found()
        assert (finding.breaks, finding.step, finding.ahead) == (False, "new", 2)
        assert "new" not in effects

    def test_nothing_after_the_last_step_counts_even_if_the_pause_is_swallowed(self, started):
        def new(ctx):
            try:
                recorded(ctx)
            except BaseException:
                raise ValueError("in a finally clause") from None

        started(new)
        assert not found().breaks

    def test_a_body_that_would_end(self, started):
        started(lambda ctx: "done")
        assert (found().breaks, found().step, found().ahead) == (False, "", 3)

    def test_a_run_that_nobody_has_begun(self, deploy, outbox):
        w.late.trigger(delay="5m")
        assert (found().breaks, found().step) == (False, "")

    def test_versions_are_chosen_and_not_recorded(self, started):
        def new(ctx):
            assert ctx.patched("before") is False
            assert ctx.get_version("split", 1, 2) == 1
            ctx.step.run("one", w.effect, "one", 1)
            ctx.step.run("two", w.effect, "two", 2)
            assert ctx.patched("after") is False  # it waits at go already
            go(ctx)

        started(new)
        assert (found().error, found().step) == ("", "go")

    def test_an_async_body(self, started):
        async def new(ctx):
            assert await ctx.step.run("one", w.effect, "one", 1) == 1
            await ctx.step.sleep("nap", 5)

        started(new)
        assert (found().breaks, found().step, found().asked) == (False, "nap", "a sleep")

    def test_a_fan_out_whose_branches_are_open(self, outbox):
        w.fan_out.delay(2)
        deliver(outbox)
        finding = found()
        assert (finding.breaks, finding.step) == (False, "part-0")


class TestWhatWouldBreak:
    def test_another_kind_under_a_recorded_id(self, started):
        started(lambda ctx: ctx.step.sleep("one", 5))
        finding = found()
        assert finding.reason == "nondeterminism"
        assert (finding.step, finding.recorded, finding.asked) == (
            "one",
            "a step.run",
            "a sleep",
        )

    def test_a_version_that_the_code_no_longer_knows(self, started):
        started(lambda ctx: ctx.get_version("split", 2, 3))
        finding = found()
        assert finding.reason == "nondeterminism"
        assert (finding.step, finding.recorded) == ("version:split", "version 1")

    def test_a_workflow_that_is_gone(self, started):
        started(recorded)
        WorkflowRun.objects.update(workflow_id="shop.gone")
        assert found().reason == "unknown_workflow"

    def test_a_child_that_is_gone(self, started):
        started(lambda ctx: ctx.step.run_workflow("child", "shop.gone"))
        assert found().reason == "unknown_workflow"

    def test_another_signature(self, started):
        def old(ctx, a):
            go(ctx)

        started(lambda ctx, a, b: None, old, a=1)
        finding = found()
        assert finding.reason == "input"
        assert "shop.changing() missing a required argument: 'b'" in finding.error

    def test_an_exception_in_the_body(self, started):
        started(lambda ctx: {}["price"])
        assert (found().reason, found().error) == ("error", "KeyError: 'price'")

    def test_other_arguments_are_a_warning_and_strictly_an_error(self, started, monkeypatch):
        def new(ctx):
            ctx.step.run("one", w.effect, "one", 2)
            go(ctx)

        started(new)
        assert not found().breaks
        assert "has run with other arguments" in found().warnings[0]
        monkeypatch.setattr(type(w.changing), "strict", True)
        assert found().reason == "nondeterminism"

    def test_an_open_branch_that_the_code_does_not_come_to_any_more(self, started):
        def old(ctx):
            return ctx.step.map("part", w.effect, ["a", "b"])

        started(go, old)
        finding = found()
        assert finding.reason == "nondeterminism"
        assert "On the way to the parallel step 'part' the code now asks for 'go'" in finding.error


class TestNothingHappens:
    def test_no_row_no_letter_no_signal_no_line(self, started, outbox, caplog, effects):
        def new(ctx):
            ctx.logger.error("replayed")
            ctx.step.run("one", w.effect, "one", 2)
            Effect.objects.create(name="body")
            with transaction.atomic(durable=True):
                Effect.objects.create(name="durable")
            transaction.on_commit(lambda: effects.update(committed=1))
            w.late.trigger()
            ctx.step.run("two", w.effect, "two", 2)
            ctx.logger.error("new")
            go(ctx)

        started(new)
        effects.clear()
        outbox.sent.clear()
        heard = []
        names = [name for name, one in vars(signals).items() if isinstance(one, TaskSignal)]

        def hear(signal, **_):
            heard.append(signal.name)

        for name in names:
            getattr(signals, name).connect(hear)
        before = dump()
        try:
            with caplog.at_level(logging.DEBUG, "django_qstash"):
                finding = found()
        finally:
            for name in names:
                getattr(signals, name).disconnect(hear)

        assert dump() == before
        assert (outbox.sent, heard, effects) == ([], [], {})
        assert [r.message for r in caplog.records if r.name.startswith("django_qstash")] == []
        assert (finding.breaks, finding.step) == (False, "go")
        (changed, wrote) = finding.warnings
        assert "has run with other arguments" in changed
        assert "INSERT shop_effect" in wrote
        assert "INSERT django_qstash_workflowrun" in wrote

    @pytest.mark.parametrize(
        ("reach", "said"),
        [
            (connect, "203.0.113.1:80"),
            (lambda: urllib.request.urlopen("http://shop.example.com/"), "shop.example.com"),
            (lambda: add.delay(1, 2), "QStash"),
        ],
        ids=["socket", "urlopen", "publish"],
    )
    def test_the_network_is_refused(self, reach, said, started, outbox):
        def new(ctx):
            try:
                reach()
            except Exception:
                raise AssertionError("The body was told of it.") from None
            raise AssertionError("The body went on.")

        started(new)
        outbox.sent.clear()
        finding = found()
        assert not finding.breaks
        assert "reaches for the network" in finding.warnings[0]
        assert said in finding.warnings[0]
        assert not outbox.sent

    def test_the_network_of_an_async_body_is_refused(self, started):
        async def new(ctx):
            await asyncio.open_connection("shop.example.com", 80)

        started(new)
        assert "(shop.example.com" in found().warnings[0]

    def test_an_async_bodys_writes_are_rolled_back(self, started):
        async def new(ctx):
            await sync_to_async(Effect.objects.create)(name="body")
            await ctx.step.run("one", w.effect, "one", 1)
            await ctx.step.sleep("nap", 5)

        started(new)
        before = dump()
        (told,) = found().warnings
        assert "writes to the database (INSERT shop_effect) outside of a step" in told
        assert dump() == before

    def test_a_thread_that_has_the_number_of_one_that_ended_is_refused(self):
        refused, ends = [], threading.Event()

        def reach():
            try:
                socket.getaddrinfo("shop.example.com", 80)
            except guard.NetworkRefused:
                refused.append(threading.get_ident())

        before = [threading.Thread(target=ends.wait, args=(10,)) for _ in range(20)]
        for thread in before:
            thread.start()
        numbers = {thread.ident for thread in before}
        with guard.tried():
            ends.set()
            for thread in before:
                thread.join()
            for _ in range(20):
                (after := threading.Thread(target=reach)).start()
                after.join()
        assert len(refused) == 20
        assert numbers & set(refused)

    def test_other_threads_keep_their_network(self):
        with guard.tried() as noticed, pytest.raises(guard.NetworkRefused):
            socket.getaddrinfo("shop.example.com", 80)
        assert noticed.network == ["shop.example.com"]
        with socket.socket() as listening, socket.socket() as own:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            own.connect(listening.getsockname())

    def test_a_broken_transaction_of_one_run_is_not_the_next_ones(self, started):
        def new(ctx):
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_column")

        started(new)
        w.changing.delay()
        first, second = forecast_all()
        assert first.reason == second.reason == "error"
        assert first.error == second.error
        assert "no_such_column" in first.error


class TestTheCommand:
    def test_it_sums_up_and_fails_if_any_would_break(self, started):
        assert "0 runs checked: 0 would break" in check()
        good = started(recorded)
        assert check() == "1 run checked: 0 would break, 1 would go on. 0 with warnings.\n"
        assert f"{good}  shop.changing  would go on at 'go', a wait" in check("--all")
        bad = w.sleepy.delay()
        WorkflowRun.objects.filter(run_id=bad).update(workflow_id="shop.gone")
        out = StringIO()
        with pytest.raises(CommandError, match=r"^1 run would break\.$"):
            call_command("workflows", "check", stdout=out)
        assert f"{bad}  shop.gone  would break: UnknownWorkflowError: No workflow" in out.getvalue()
        assert "2 runs checked: 1 would break, 1 would go on." in out.getvalue()

    def test_what_is_recorded_and_what_is_asked_for_is_named(self, started):
        started(lambda ctx: ctx.step.sleep("one", 5))
        out = StringIO()
        with pytest.raises(CommandError):
            call_command("workflows", "check", stdout=out)
        assert "at 'one': recorded is a step.run, asked for a sleep" in out.getvalue()

    def test_some_of_them(self, started):
        started(recorded)
        w.late.trigger()
        assert "2 runs checked" in check()
        assert "1 run checked" in check("--limit", "1")
        assert "1 run checked" in check("--workflow", "shop.late")
        with pytest.raises(CommandError, match="at least 1"):
            check("--limit", "0")

    def test_for_programs(self, started, capfd):
        def new(ctx):
            print("a body's own words")  # noqa: T201
            go(ctx)

        run = started(new)
        told = json.loads(check("--json"))
        assert told["summary"] == {"checked": 1, "would_break": 0, "with_warnings": 0}
        (one,) = told["runs"]
        assert (one["run_id"], one["breaks"], one["step"]) == (run, False, "go")
        assert capfd.readouterr().out == ""


class TestUnderDeploy:
    def test_it_says_how_many_would_break(self, started):
        started(recorded)
        assert own_checks.check_runs() == []
        WorkflowRun.objects.update(workflow_id="shop.gone")
        (told,) = own_checks.check_runs()
        assert told.id == "django_qstash.W051"
        assert "1 of the 1 newest runs" in told.msg
        assert "manage.py workflows check" in told.hint

    def test_it_runs_under_deploy_only(self, started):
        started(recorded)
        WorkflowRun.objects.update(workflow_id="shop.gone")

        def ids(deploy):
            found = checks.run_checks(tags=["database"], include_deployment_checks=deploy)
            return [each.id for each in found]

        assert "django_qstash.W051" in ids(deploy=True)
        assert "django_qstash.W051" not in ids(deploy=False)

    def test_another_database_is_asked_for(self, started):
        started(recorded)
        WorkflowRun.objects.update(workflow_id="shop.gone")
        assert own_checks.check_runs(databases=["other"]) == []
        assert own_checks.check_runs(databases=["default"])

    def test_it_is_silent_where_the_rows_cannot_be_read(self, started):
        started(recorded)
        WorkflowRun.objects.update(workflow_id="shop.gone")

        def missing(execute, sql, *rest):
            if "django_qstash_workflowrun" in sql:
                raise ProgrammingError("There is no such table.")
            return execute(sql, *rest)

        with connection.execute_wrapper(missing):
            with pytest.raises(ProgrammingError):
                list(forecast_all())
            assert own_checks.check_runs() == []
        assert own_checks.check_runs()
