"""Their word, and ours: one table for each page ``docs/from-….md``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Word(NamedTuple):
    """One row. ``key`` names it to the tests; the rest is Markdown without line breaks."""

    key: str
    theirs: str
    ours: str


HOOKFLOW = (
    Word(
        "decorator",
        '`from django_hookflow import workflow`; `@workflow`, `@workflow(workflow_id="…")`',
        "`from django_qstash import workflow`; the same",
    ),
    Word(
        "trigger",
        "`order.trigger(data={…}, run_id=…)`, which returns the run's id",
        "the same; the id knows more: `.result()`, `.status`, `.cancel()`",
    ),
    Word("context", "`ctx.data`, `ctx.run_id`, `ctx.workflow_id`", "the same"),
    Word("run", "`ctx.step.run(id, function, *args, **kwargs)`", "the same"),
    Word("sleep", "`ctx.step.sleep(id, seconds=60)`", 'the same; also `minutes=5`, `"3d"`'),
    Word(
        "call",
        "`ctx.step.call(id, url=…, method=…, body=…, headers=…, verify=…)`: "
        '`{"status_code", "data"}`',
        'the same, with `"headers"`',
    ),
    Word(
        "retry",
        "`RetryConfig(max_retries=3, initial_delay_seconds=1, max_delay_seconds=300, "
        "exponential_base=2.0)`",
        "`RetryPolicy(max_attempts=4, initial=1, maximum=300, backoff=2)`, of a workflow or a step",
    ),
    Word(
        "permanent",
        "an error is final by its class (`ValueError`, …) or by words in its message",
        "by its class alone; `NonRetryableError` says so of any",
    ),
    Word(
        "error",
        "`WorkflowError` comes out of a step that has failed for good",
        "`StepFailed`, which is a `WorkflowError`; its `__cause__` is the function's own",
    ),
    Word(
        "replay",
        "`DeadLetterEntry` and its `replay()`, which starts again from the beginning",
        "the same; `resume()` goes on from the step that failed",
    ),
    Word(
        "models",
        "`WorkflowRun`, `StepExecution` of `django_hookflow.models`",
        "of `django_qstash.workflows.models`, with the columns `run_id`, `workflow_id`, `status`, "
        "`data`, `result`, `error_message`, `created_at`, `completed_at`; `step_id`, `result`, "
        "`executed_at`",
    ),
    Word(
        "url",
        '`path("hookflow/", include("django_hookflow.urls"))`, an address for each workflow',
        "the one webhook of the site",
    ),
    Word("settings", "`DJANGO_HOOKFLOW_…`", "`DJANGO_QSTASH_…`; the check `W004` names yours"),
    Word("settings-command", "`manage.py hookflow_settings`", "`manage.py qstash_settings`"),
    Word(
        "cleanup",
        "`manage.py cleanup_workflows --days-old 30 --dry-run --include-running --workflows-only "
        "--dlq-only --batch-size 1000`",
        "the same; the age counts from a run's end",
    ),
)

UPSTASH = (
    Word(
        "serve",
        '`serve(route_function)`, `@serve.post("/order")`: an endpoint for each workflow',
        "`@workflow` alone: all come in by the site's one webhook. "
        '`path("order/", serve(order))` where others start it over HTTP',
    ),
    Word(
        "payload",
        "`context.request_payload`, `context.requestPayload`",
        "`ctx.data`, or parameters of the function: `def order(ctx, item)`",
    ),
    Word("run-id", "`context.workflow_run_id`, `context.workflowRunId`", "`ctx.run_id`"),
    Word(
        "run",
        '`await context.run("id", function)`',
        '`ctx.step.run("id", function, *args)`; `await` it in an `async def`',
    ),
    Word(
        "sleep",
        '`context.sleep("id", "1h")`, `context.sleep_until("id", when)`',
        '`ctx.step.sleep("id", "1h")`, `ctx.step.sleep_until("id", when)`',
    ),
    Word(
        "call",
        '`context.call("id", url=…)`, made by QStash: `.status`, `.body`, `.header`',
        '`ctx.step.call("id", url=…, via="qstash")`: `.status_code`, `.data`, `.headers`; without '
        "`via` by your site",
    ),
    Word(
        "wait",
        '`context.waitForEvent("id", "event", {timeout: "1d"})`: `.timeout`, `.eventData`',
        '`ctx.step.wait_for_event("id", "event", timeout="1d")`: false when time ran out, `.data`',
    ),
    Word("notify", "`client.notify({eventId, eventData})`", "`notify(key, data)`"),
    Word(
        "invoke",
        '`context.invoke("id", {workflow, body})`: `.body`, `.isFailed`, `.isCanceled`',
        '`ctx.step.run_workflow("id", other, data)`, the result; raises `RunFailed`, `RunCanceled`',
    ),
    Word(
        "parallel",
        "`Promise.all([context.run(…), context.run(…)])`",
        "`ctx.step.gather(ctx.step.start(…), ctx.step.start(…))`, `ctx.step.map(…)`",
    ),
    Word(
        "webhook",
        "`context.createWebhook`, `context.waitForWebhook`",
        "`ctx.step.wait_for_event(…)`, and a view of yours that calls `notify`",
    ),
    Word(
        "trigger",
        "`client.trigger({url, body, workflowRunId, delay, notBefore, label})`",
        "`order.trigger(body, run_id=…, delay=…, run_at=…, label=…)`",
    ),
    Word("retries", "`retries: 3`, of every message", "`retries=3`, of a workflow or a step"),
    Word(
        "failure",
        "`failureFunction({context, failStatus, failResponse})`",
        "`on_failure=function` with `ctx.data`, `ctx.error`, `ctx.failed_step`",
    ),
    Word("failure-url", "`failureUrl`", "`failure_url=`"),
    Word("non-retryable", "`WorkflowNonRetryableError`", "`NonRetryableError`"),
    Word("retry-after", "`WorkflowRetryAfterError(message, 60)`", "`RetryAfter(60)`"),
    Word("cancel", "`client.cancel({ids})`", "`cancel_workflow(run_id)`"),
    Word(
        "logs",
        "`client.logs({filter: {workflowRunId}})`",
        "`get_run(run_id)`, `get_run_steps(run_id)`, `list_runs(status=…)`, and the admin",
    ),
    Word(
        "dlq",
        "`client.dlq.restart`, `client.dlq.resume`",
        "`DeadLetterEntry.replay()`, `.resume()`",
    ),
    Word(
        "parser",
        "`initialPayloadParser`, `schema`",
        "`initial_payload_parser=` of `serve` or the workflow; `input=` takes a pydantic model",
    ),
    Word(
        "flow-control",
        "`flowControl: {key, rate, parallelism}`",
        "`flow_control={…}`; `max_concurrency=5` is the short form",
    ),
    Word("base-url", "`baseUrl`, `UPSTASH_WORKFLOW_URL`", "`DJANGO_QSTASH_DOMAIN`; `base_url=`"),
    Word("verbose", "`verbose: true`", "`verbose=True`, or `DJANGO_QSTASH_WORKFLOW_VERBOSE`"),
)

REDFLOW = (
    Word(
        "define",
        '`define_workflow("name", handler=…)`, `@workflow("name")`',
        "the same; the handler may be `def` or `async def`",
    ),
    Word("input", "`ctx.input`", "`ctx.input` or `ctx.data`, or parameters of the function"),
    Word(
        "run-info",
        "`ctx.run.id`, `.workflow`, `.queue`, `.attempt`, `.max_attempts`",
        "the same",
    ),
    Word("signal", "`ctx.signal.is_set()` once somebody has canceled", "`ctx.canceled.is_set()`"),
    Word(
        "run",
        '`ctx.step.run("name", function, *args, timeout_ms=4000)`',
        '`ctx.step.run("name", function, *args, timeout=4)`',
    ),
    Word(
        "child",
        '`ctx.step.run_workflow("name", other, input, timeout_ms=…, idempotency_key=…)`',
        '`ctx.step.run_workflow("name", other, data, timeout=…, idempotency_key=…)`',
    ),
    Word(
        "emit-child",
        '`ctx.step.emit_workflow("name", other, input)`',
        '`ctx.step.start_workflow("name", other, data)`, a run id with `.result()`',
    ),
    Word(
        "wait-for",
        '`ctx.step.wait_for("name", "5m")`, or until a datetime',
        '`ctx.step.sleep("name", "5m")`, `ctx.step.sleep_until("name", when)`',
    ),
    Word(
        "event",
        '`ctx.step.wait_for_event("name", event, correlation_key, timeout=…)`, or `None`',
        '`ctx.step.wait_for_event("name", f"{event}:{key}", timeout=…)`, or what is false',
    ),
    Word(
        "emit-event",
        "`client.emit_event(event, data, correlation_key=…)`",
        '`notify(f"{event}:{key}", data)`',
    ),
    Word(
        "human",
        "`raise wait_for_input(…)`, `client.resume_run(run_id, input)`",
        '`ctx.step.wait_for_signal("answer").data`, `send_signal(run_id, "answer", input)`',
    ),
    Word(
        "trigger",
        "`order.run(input)`, `client.emit_workflow(name, input)`",
        "`order.trigger(data)`, `start_workflow(name, data)`",
    ),
    Word("idempotency", "`idempotency_key=…`", "the same; other data under one key are refused"),
    Word("run-at", "`run_at=…`", "the same, or `delay=…`"),
    Word(
        "handle",
        "`handle.id`, `handle.get_state()`, `handle.result(timeout_ms=30_000)`",
        "`handle.id`, `handle.state()`, `handle.result(timeout=30)`",
    ),
    Word(
        "errors",
        "`RedflowError`, `CanceledError`, `TimeoutError`, `UnknownWorkflowError`",
        "`RunFailed`, `RunCanceled`, `RunTimeout`, `UnknownWorkflowError`",
    ),
    Word("cancel", "`client.cancel_run(run_id, reason)`", "`cancel_workflow(run_id, reason)`"),
    Word(
        "inspect",
        "`get_run`, `get_run_steps`, `list_runs`, `list_workflows`, `get_workflow_meta`, "
        "`get_stats`",
        "the same names, as functions",
    ),
    Word(
        "statuses",
        "scheduled, queued, running, succeeded, failed, canceled",
        "pending, running, waiting, completed, failed, canceled",
    ),
    Word(
        "cron",
        '`cron=[CronTrigger("0 9 * * *", timezone=…, input=…, id=…)]`',
        "the same, with `django_qstash.schedules`",
    ),
    Word(
        "on-failure",
        "`on_failure=` with `ctx.error`, `ctx.input`, `ctx.run`",
        "the same, and `ctx.failed_step`",
    ),
    Word(
        "max-attempts", "`max_attempts=3`: of the whole run", "the same: of each step, and the body"
    ),
    Word("should-retry", "`should_retry=`", "`retry=RetryPolicy(should_retry=…)`"),
    Word("non-retriable", "`NonRetriableError`", "`NonRetryableError`"),
    Word("retry-after", "`RetryAfterError(message, when)`", "`RetryAfter(when)`"),
    Word(
        "concurrency",
        "`max_concurrency=1`, the default; `throttle`, `mutex`",
        "`max_concurrency=1`, without which there is no limit; "
        '`flow_control={"key": …, "rate": …, "period": …}`',
    ),
    Word("schema", "`input_schema=` a pydantic model", "`input=`; `InputValidationError` as well"),
    Word(
        "inline",
        "`await run_inline(order, input=…, step_overrides={…})`: `.output`, `.error`, `.steps`, "
        "`.succeeded`",
        "`run_inline(order, data, step_overrides={…})` of `django_qstash.testing`: the same",
    ),
)

DURABLE = (
    Word(
        "workflow",
        "`@register.workflow()` in `durable_workflows.py`",
        "`@workflow` in `workflows.py`",
    ),
    Word(
        "activity",
        "`@register.activity(retry_policy=…)`",
        "`@step(retry=…)`, or any function",
    ),
    Word(
        "run-activity",
        "`ctx.run_activity(charge, 12)`",
        '`charge(12)` if it is a `@step`, else `ctx.step.run("charge", charge, 12)`',
    ),
    Word(
        "start-activity",
        "`handle = ctx.start_activity(charge, 12)`, `ctx.wait_activity(handle)`",
        '`handle = ctx.step.start("charge", charge, 12)`, `handle.result()` or `ctx.step.gather`',
    ),
    Word("sleep", "`ctx.sleep(60)`", '`ctx.step.sleep("pause", 60)`'),
    Word(
        "signal",
        '`ctx.wait_signal("go")`, the payload',
        '`ctx.step.wait_for_signal("go", timeout=…).data`',
    ),
    Word(
        "child",
        '`ctx.run_workflow("app.child", timeout=…, n=1)`',
        '`ctx.step.run_workflow("child", child, {"n": 1}, timeout=…)`',
    ),
    Word(
        "start-child",
        '`ctx.start_workflow("app.child", n=1)`, `ctx.wait_workflow(id)`',
        '`run = ctx.step.start_workflow("child", child, {"n": 1})`, `run.result()`',
    ),
    Word(
        "version",
        '`ctx.get_version("change", 2)`',
        '`ctx.get_version("change", 1, 2)`: the least and the newest',
    ),
    Word(
        "patched",
        '`ctx.patched("change")`, `ctx.deprecate_patch("change")`',
        "the same; found by their ids, not by their places",
    ),
    Word(
        "start",
        "`start_workflow(order, n=1)`, `wait_workflow(id, timeout=…)`",
        "the same; also `order.delay(n=1)`",
    ),
    Word("run", "`run_workflow(order, n=1)`: here and now", '`run_workflow(order, {"n": 1})`'),
    Word(
        "signal-workflow",
        "`signal_workflow(id, name, payload)`, `send_signal`",
        "the same",
    ),
    Word("cancel", "`cancel_workflow(id, reason)`", "the same"),
    Word(
        "policy",
        "`RetryPolicy(initial_interval, backoff_coefficient, maximum_interval, maximum_attempts, "
        "jitter, non_retryable_error_types)`; without end by default",
        "`RetryPolicy(initial, backoff, maximum, max_attempts, jitter, non_retryable)`; four "
        "attempts by default",
    ),
    Word(
        "timeouts",
        "`timeout=`, `schedule_to_close_timeout=`, `heartbeat_timeout=`",
        "`timeout=` of a workflow, and of each attempt at a step; no heartbeat: a lease is renewed "
        "for as long as the process lives",
    ),
    Word(
        "failed",
        "`ActivityError(RuntimeError)` with the text",
        "`StepFailed`; its `__cause__` is the exception itself",
    ),
    Word(
        "models",
        "`WorkflowExecution`, `HistoryEvent`, `ActivityTask`",
        "`WorkflowRun`, `StepExecution`",
    ),
    Word(
        "statuses",
        "PENDING, RUNNING, WAITING, COMPLETED, FAILED, CANCELED, TIMED_OUT",
        "pending, running, waiting, completed, failed, canceled; out of time is failed",
    ),
    Word(
        "commands",
        "`manage.py durable_start NAME --input …`, `durable_signal ID NAME`, "
        "`durable_cancel ID --reason …`",
        "`manage.py workflows start NAME --input …`, `workflows signal ID NAME`, "
        "`workflows cancel ID --reason …`",
    ),
    Word("worker", "`manage.py durable_worker`", "none"),
)

#: The tables by the pages that show them.
PAGES: Mapping[str, tuple[Word, ...]] = {
    "from-django-hookflow": HOOKFLOW,
    "from-upstash-workflow": UPSTASH,
    "from-redflow": REDFLOW,
    "from-django-durable": DURABLE,
}
#: What tests call the pages.
SHORT = {
    "hookflow": "from-django-hookflow",
    "upstash": "from-upstash-workflow",
    "redflow": "from-redflow",
    "durable": "from-django-durable",
}
