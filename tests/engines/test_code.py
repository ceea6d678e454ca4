"""Rows about the code itself: declaring, options, input, versions, settings, commands."""

from __future__ import annotations

import json
import logging
import time
from io import StringIO

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import Client
from django.urls import path
from pydantic import BaseModel

from django_qstash import (
    InputValidationError,
    StepFailed,
    conf,
    define_workflow,
    list_workflows,
    serve,
    workflow,
)
from django_qstash.messages import decode
from django_qstash.schedules import code
from django_qstash.tasks.triggers import CronTrigger
from django_qstash.testing import QStashSandbox, run_inline
from django_qstash.transport.address import webhook_url
from django_qstash.workflows.models import WorkflowRun
from tests.differences import shows
from tests.urls import urlpatterns as of_the_site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]


def opened(request):
    return True


urlpatterns = [
    *of_the_site,
    path("order/", serve("engines.served", authorize=opened)),
    path("lines/", serve("engines.served", authorize=opened, initial_payload_parser=str.split)),
]


@pytest.fixture
def served():
    return workflow("engines.served")(lambda ctx: ctx.data)


@shows("hookflow:decorator", "redflow:define", "durable:workflow")
def test_a_workflow_is_declared(loopback):
    def handler(ctx):
        return "done"

    async def later(ctx):
        return "done"

    found = [
        workflow(handler),
        workflow("named")(handler),
        workflow(workflow_id="by its id")(handler),
        define_workflow("defined", handler=handler),
        define_workflow("async", handler=later),
    ]

    assert [each.trigger().result(1) for each in found] == ["done"] * 5
    assert [each.name for each in found[1:]] == ["named", "by its id", "defined", "async"]


@shows("durable:workflow")
def test_modules_called_workflows_are_found():
    from tests.shop import workflows

    assert workflows.plain.name in {each["name"] for each in list_workflows()}


@shows("hookflow:url", "upstash:serve")
def test_every_run_comes_in_by_the_one_webhook(outbox, served):
    other = workflow("engines.other")(lambda ctx: None)
    served.trigger()
    other.trigger()

    assert [envelope.url for envelope in outbox.sent] == [webhook_url()] * 2
    assert {decode(envelope.body)["workflow"] for envelope in outbox.sent} == {
        "engines.served",
        "engines.other",
    }


@shows("upstash:serve")
def test_others_start_it_over_http(loopback, served):
    answer = Client().post("/order/", '{"n": 1}', content_type="application/json")

    assert WorkflowRun.objects.get(run_id=answer.json()["workflowRunId"]).result == {"n": 1}


@shows("upstash:parser")
def test_a_function_reads_the_payload(loopback, served):
    answer = Client().post("/lines/", "one two", content_type="text/plain")

    found = WorkflowRun.objects.get(run_id=answer.json()["workflowRunId"])
    assert found.result == ["one", "two"]
    own = workflow("engines.parsed", initial_payload_parser=str.upper)(lambda ctx: ctx.data)
    assert own.initial_payload_parser("x") == "X"


@shows("upstash:parser", "redflow:schema")
def test_a_model_checks_the_input(loopback):
    class Order(BaseModel):
        copies: int

    @workflow("order", input=Order)
    def order(ctx):
        return ctx.data.copies

    assert order.trigger({"copies": "2"}).result(1) == 2
    with pytest.raises(InputValidationError):
        order.trigger({"copies": "many"})


@shows("upstash:flow-control", "redflow:concurrency")
def test_flow_control_is_qstashs(outbox):
    flow = {"key": "press", "rate": 10, "period": 60, "parallelism": 2}
    workflow("free")(lambda ctx: None).trigger()
    workflow("pressed", flow_control=flow)(lambda ctx: None).trigger()
    workflow("narrow", max_concurrency=5)(lambda ctx: None).trigger()

    free, pressed, narrow = (envelope.options.get("flow_control") for envelope in outbox.sent)
    assert free is None
    assert (pressed["key"], pressed["parallelism"]) == ("press", 2)
    assert narrow["parallelism"] == 5


@shows("upstash:base-url")
def test_where_a_workflow_is_reached(outbox, settings):
    settings.DJANGO_QSTASH_DOMAIN = "https://shop.example.com"
    workflow("here")(lambda ctx: None).trigger()
    workflow("there", base_url="https://workers.example.com")(lambda ctx: None).trigger()

    here, there = (envelope.url for envelope in outbox.sent)
    assert here.startswith("https://shop.example.com/")
    assert there.startswith("https://workers.example.com/")


@shows("upstash:verbose")
def test_what_happens_is_logged(loopback, caplog, settings):
    loud = workflow("loud", verbose=True)(lambda ctx: ctx.step.run("one", int))
    quiet = workflow("quiet")(lambda ctx: ctx.step.run("one", int))

    def lines(found):
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "django_qstash.workflows"):
            found.trigger()
        return [record for record in caplog.records if "RUN_SINGLE" in str(vars(record))]

    assert lines(loud)
    assert not lines(quiet)
    settings.DJANGO_QSTASH_WORKFLOW_VERBOSE = True
    assert lines(quiet)


@shows("redflow:cron")
def test_it_runs_by_the_clock():
    trigger = CronTrigger("0 9 * * *", timezone="Europe/Berlin", input={"n": 1}, id="morning")
    workflow("engines.timed", cron=[trigger])(lambda ctx, n: n)

    (found,) = (each for each in code.declared() if each.task == "engines.timed")
    assert (found.key, found.kwargs) == ("task:engines.timed#morning", {"n": 1})
    assert str(found.timetable.cron) == "CRON_TZ=Europe/Berlin 0 9 * * *"


@shows("redflow:inline")
def test_a_run_within_one_call_with_stand_ins_for_its_steps():
    @workflow("order")
    def order(ctx, n):
        ctx.step.sleep("long", "3d")
        return [ctx.step.run("count", abs, -n), ctx.step.wait_for_signal("go").data]

    found = run_inline(order, {"n": 3}, step_overrides={"count": 7, "go": "went"})

    assert (found.succeeded, found.output, found.error) == (True, [7, "went"], None)
    assert list(found.steps) == ["long", "count", "go"]


@shows("durable:version", "durable:patched")
def test_versions_go_by_the_ids_of_changes(loopback):
    bodies = {}

    @workflow("order")
    def order(ctx):
        return bodies["now"](ctx)

    def old(ctx):
        ctx.step.run("old", int)
        return ctx.step.wait_for_signal("go").data

    def new(ctx):
        # In other places than before, and in another order.
        patched = ctx.patched("weigh")
        version = ctx.get_version("change", 1, 2)
        ctx.step.run("old", int)
        ctx.step.wait_for_signal("go")
        return [patched, version]

    bodies["now"] = old
    before = order.trigger()
    bodies["now"] = new
    after = order.trigger()
    for run in (before, after):
        run.signal("go")

    assert before.result(1) == [False, 1]
    assert after.result(1) == [True, 2]

    def newest(ctx):
        ctx.deprecate_patch("weigh")
        return "done"

    bodies["now"] = newest
    assert order.trigger().result(1) == "done"


@shows("durable:timeouts")
def test_a_time_limit_of_an_attempt_and_of_a_run():
    @workflow("order", timeout="1h")
    def order(ctx):
        try:
            ctx.step.options(timeout=0.2, retries=0).run("slow", time.sleep, 1)
        except StepFailed as error:
            return type(error.__cause__).__name__
        return "slept"

    with QStashSandbox() as qstash:
        run = order.trigger()
        qstash.deliver_due()
        assert "Timeout" in run.result(1) or "TimeLimit" in run.result(1)


@shows("durable:timeouts")
def test_a_process_that_lives_keeps_its_lease(loopback, settings):
    settings.DJANGO_QSTASH_LEASE = 0.6
    seen = []

    @workflow("order")
    def order(ctx):
        ctx.step.run("slow", look)

    def look():
        for _ in range(8):
            time.sleep(0.1)
            seen.append(WorkflowRun.objects.values_list("lease_until", flat=True).get())

    order.trigger()

    # Nobody has sent a heartbeat.
    assert seen[-1] > seen[0]


@shows("hookflow:settings")
@pytest.mark.parametrize("old", sorted(conf.HOOKFLOW_NAMES))
def test_a_check_names_each_setting_of_before(settings, old):
    setattr(settings, old, "x")

    (told,) = [each for each in run_checks(tags=["django_qstash"]) if old in each.msg]
    new = conf.HOOKFLOW_NAMES[old]
    assert told.id == "django_qstash.W004"
    assert (new or "remove it") in told.hint
    assert new is None or new in {row.name for row in conf.table()}


@shows("hookflow:settings-command")
def test_a_command_shows_the_settings(settings):
    settings.QSTASH_TOKEN = "a very secret token"
    out = StringIO()
    call_command("qstash_settings", stdout=out)

    assert "QSTASH_TOKEN" in out.getvalue()
    assert "very secret" not in out.getvalue()


@shows("hookflow:cleanup")
@pytest.mark.parametrize(
    "options",
    [
        ["--days-old", "30", "--dry-run"],
        ["--include-running"],
        ["--workflows-only"],
        ["--dlq-only"],
        ["--batch-size", "1000"],
    ],
    ids=" ".join,
)
def test_a_command_removes_old_runs(options):
    call_command("cleanup_workflows", *options, stdout=StringIO(), verbosity=0)


@shows("hookflow:cleanup")
def test_the_age_of_a_run_counts_from_its_end():
    @workflow("order")
    def order(ctx):
        ctx.step.sleep("long", "40d")

    with QStashSandbox() as qstash:
        order.trigger()
        qstash.advance(41 * 86400)
        call_command("cleanup_workflows", "--days-old", "30", stdout=StringIO())
        assert WorkflowRun.objects.get().status == "completed"
        qstash.advance(31 * 86400)
        call_command("cleanup_workflows", "--days-old", "30", stdout=StringIO())
        assert not WorkflowRun.objects.exists()


@shows("durable:commands")
def test_commands_start_signal_and_cancel(loopback):
    @workflow("order")
    def order(ctx, n):
        return ctx.step.wait_for_signal("go").data

    def manage(*arguments):
        out = StringIO()
        call_command("workflows", *arguments, stdout=out)
        return out.getvalue().strip()

    first, second = (manage("start", "order", "--input", '{"n": 1}') for _ in range(2))
    manage("signal", first, "go", "--input", json.dumps({"ok": True}))
    manage("cancel", second, "--reason", "out of paper")

    assert WorkflowRun.objects.get(run_id=first).result == {"ok": True}
    assert WorkflowRun.objects.get(run_id=second).status == "canceled"


@shows("durable:worker")
def test_a_delivery_is_all_that_a_run_needs(outbox):
    from tests.workflows.deliver import deliver

    run = workflow("order")(lambda ctx: "done").trigger()
    assert run.status == "pending"
    deliver(outbox)

    assert run.result(1) == "done"
