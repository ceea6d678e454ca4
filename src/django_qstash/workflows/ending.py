"""A run's end: recorded in one transaction with all that hangs on it, then told to others."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.models import F

from django_qstash import clock, serialization
from django_qstash.exceptions import LeaseLost
from django_qstash.messages import TaskMessage, derived_run
from django_qstash.sql.clock import DatabaseClock
from django_qstash.sql.fields import json_text
from django_qstash.sql.lease import free, lease_ms
from django_qstash.sql.statements import KeptCursor, moment, raw, storable, update_where
from django_qstash.tasks import execute, send
from django_qstash.tasks.failure import exception_as_data, to_exception
from django_qstash.tasks.store import get_store
from django_qstash.tasks.successors import fire
from django_qstash.workflows import (
    bodies,
    events,
    failures,
    letters,
    observe,
    records,
    rows,
    settling,
    usage,
)
from django_qstash.workflows.children import wake_waiters
from django_qstash.workflows.context import entered
from django_qstash.workflows.definition import known
from django_qstash.workflows.history import Entry, History, Key, Kind, Status
from django_qstash.workflows.models import (
    OPEN,
    Closing,
    DeadLetterEntry,
    RunStatus,
    WorkflowRun,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django_qstash.wire.envelope import Envelope
    from django_qstash.workflows.definition import Workflow
    from django_qstash.workflows.rows import Hold

logger = logging.getLogger("django_qstash.workflows")

#: The step under which what ``on_failure`` did is recorded.
ON_FAILURE = Key("on_failure")


def complete(workflow: Workflow, hold: Hold, value: Any, *, branched: bool) -> None:
    """Record the result, and whatever it brings about. Raises :class:`LeaseLost`, PublishError.

    ``branched``: it has had parallel steps, whose times it takes over. Raises
    :class:`EncodeError` for a value that JSON cannot carry; nothing is written then.
    """
    json_text(value, what=f"The result of {workflow.name}")
    outcome = execute.Outcome("SUCCESS", value)

    def write(columns: Mapping[str, Any]) -> bool:
        # Written out: it is at the end of every run.
        field: Any = WorkflowRun._meta.get_field("result")  # noqa: SLF001 - documented
        adapted = {
            **columns,
            "completed_at": moment(hold.alias, columns["completed_at"]),
            "result": field.get_db_prep_save(value, connections[hold.alias]),
        }
        where = {"id": hold.run.pk, "lease_token": hold.token}
        used = hold.meter.used()
        # Nobody waits for most runs: that is known with the same statement.
        if update_where(hold.alias, WorkflowRun, adapted, {**where, "watched": False}, used):
            hold.run.watched = False
            return True
        return update_where(hold.alias, WorkflowRun, adapted, where, used)

    _end(workflow, hold.run, write, outcome, branched=branched, status=RunStatus.COMPLETED)


def fail(workflow: Workflow | None, hold: Hold, error: BaseException) -> bool:
    """Record that the run has failed for good, with its dead letter. Raises as above.

    Returns what :func:`tell` does.
    """
    run = hold.run
    step_id = failures.step_of(error)
    message = storable(failures.describe(error)) or ""
    traceback = storable(execute.format_traceback(error)) or ""
    closing = Closing.NOTHING
    if workflow is not None and workflow.on_failure_hook is not None:
        closing = Closing.ON_FAILURE
    elif workflow is not None and workflow.failure_url:
        closing = Closing.FAILURE_URL

    def bury() -> None:
        DeadLetterEntry.objects.using(rows.alias()).create(
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            step_id=step_id[:255],
            payload=run.data,
            error_message=message,
            error_traceback=traceback,
            attempt_count=run.attempt,
            created_at=clock.now(),
        )

    def write(columns: Mapping[str, Any]) -> int:
        used = usage.adding(hold.meter.used())
        return int(hold.mine().update(lease_token=None, lease_until=None, **columns, **used))

    return _end(
        workflow,
        run,
        write,
        execute.failure(error),
        bury,
        status=RunStatus.FAILED,
        error_message=message,
        error_traceback=traceback,
        error=raw(serialization.dumps(exception_as_data(error))),
        failed_step=step_id[:255],
        closing=closing,
    )


def cancel(run: WorkflowRun, reason: str) -> bool:
    """Record that the run is canceled, whoever is at work on it. False if it has ended."""
    workflow = known(run.workflow_id)

    def write(columns: Mapping[str, Any]) -> int:
        still_open = rows.runs().filter(pk=run.pk, status__in=OPEN)
        return int(still_open.update(lease_token=None, lease_until=None, **columns))

    try:
        _end(
            workflow,
            run,
            write,
            execute.revoked(reason or "canceled"),
            status=RunStatus.CANCELED,
            error_message=storable(reason) or "",
            generation=F("generation") + 1,
        )
    except LeaseLost:
        return False
    return True


def _end(
    workflow: Workflow | None,
    run: WorkflowRun,
    write: Callable[[Mapping[str, Any]], int],
    outcome: execute.Outcome,
    also: Callable[[], None] = lambda: None,
    *,
    branched: bool = True,
    **columns: Any,
) -> bool:
    alias = rows.alias()
    # As it was read, that says nothing of now; the write may come to know better.
    run.watched = True
    with transaction.atomic(using=alias):
        over = {"completed_at": clock.now(), "waits": "", "wake_at": None, "owed": None}
        if not write({**over, **columns}):
            raise LeaseLost
        also()
        if branched:
            usage.take_over(alias, run.pk)
        follow = settle(workflow, run, outcome)
        if follow:
            rows.runs().filter(pk=run.pk).update(follow=raw(serialization.dumps(list(follow))))
        woken = wake_waiters(run) if run.watched else []
    run.status, run.follow = columns["status"], follow or None
    run.closing = columns.get("closing", Closing.NOTHING)
    observe.ended(workflow, run, outcome)
    return tell(workflow, run, woken)


def settle(workflow: Workflow | None, run: WorkflowRun, outcome: execute.Outcome) -> Sequence[Any]:
    """Write the TaskResult of a run; the letters that its end owes, as dicts."""
    if not get_store().durable and run.origin is None:
        return ()
    return settling.settle(workflow, letter_of(run), outcome, run.started_at)


def letter_of(run: WorkflowRun) -> TaskMessage:
    """The task's letter that a run came by, or the one that it might have come by."""
    if run.origin is not None:
        return TaskMessage.from_dict(run.origin)
    return TaskMessage(
        task=run.workflow_id,
        id=run.run_id,
        run=derived_run(run.run_id, "run"),
        args=() if run.data is None else (run.data,),
    )


# --- afterwards -----------------------------------------------------------------------------------


def tell(
    workflow: Workflow | None, run: WorkflowRun, woken: Sequence[WorkflowRun] | None = None
) -> bool:
    """Publish what a run's end owes, and hear ``on_failure``; as often as it is asked for.

    False while somebody else is at work on ``on_failure``, or has died of it: come again when their
    lease has ended. Raises :class:`PublishError`; a redelivery, or the sweep, comes here again.
    """
    if woken is None:
        owing = rows.runs().filter(watching__run=run, owed__isnull=False)
        woken = list(owing)
    send.follow([TaskMessage.from_dict(letter) for letter in run.follow or ()])
    chord = (run.origin or {}).get("chord")
    if chord is not None and get_store().has_fired(chord["key"]):
        fire(letter_of(run))
    if woken:
        events.publish_owed(woken)
    return run.closing == Closing.NOTHING or _close(workflow, run)


def _close(workflow: Workflow | None, run: WorkflowRun) -> bool:
    """Have the failure heard, under a lease of its own: ``on_failure``, or ``failure_url``."""
    token = secrets.token_hex(16)
    mine = rows.runs().filter(pk=run.pk, lease_token=token)
    used: dict[str, Any] = {}
    taken = (
        free(rows.runs())
        .filter(pk=run.pk)
        .exclude(closing=Closing.NOTHING)
        .update(lease_token=token, lease_until=DatabaseClock() + lease_ms())
    )
    if not taken:
        return not rows.runs().filter(pk=run.pk).exclude(closing=Closing.NOTHING).exists()
    try:
        failed = rows.runs().get(pk=run.pk)
        if failed.closing == Closing.ON_FAILURE:
            _hear(workflow, failed)
        else:
            used = usage.adding(usage.sent(*_call_failure_url(workflow, failed)))
    except BaseException:
        mine.update(lease_token=None, lease_until=None)
        raise
    # Whoever holds the lease now: it is done. One that took it over from us may have died since,
    # and our answer ends the deliveries.
    closing = rows.runs().filter(pk=run.pk).exclude(closing=Closing.NOTHING)
    closing.update(closing=Closing.NOTHING, lease_token=None, lease_until=None, **used)
    return True


def _hear(workflow: Workflow | None, run: WorkflowRun) -> None:
    """Call ``on_failure(ctx)``, and record that; what it raises is kept on the dead letter."""
    if workflow is None or workflow.on_failure_hook is None:
        return
    alias = rows.alias()
    if records.find(alias, run, ON_FAILURE) is not None:
        return
    context = bodies.make_context(workflow, run, _NoHost(History()), as_it_is=True)
    context.error = None if run.error is None else to_exception(run.error)
    context.failed_step = run.failed_step or None
    began = clock.now()
    entry = Entry(kind=Kind.ON_FAILURE, status=Status.COMPLETED, result="null", attempts=1)
    try:
        with entered(context, in_step=True):
            value = execute.call(workflow.on_failure_hook, (context,), {})
            entry.result = serialization.dumps(value, what="The result of on_failure")
    except Exception as error:
        logger.exception("on_failure of %s raised.", run.workflow_id)
        entry.status = Status.FAILED
        entry.error = failures.of_step("on_failure", 1, error)
        dead = DeadLetterEntry.objects.using(alias).filter(run_id=run.run_id)
        dead.update(hook_error=storable(execute.format_traceback(error)) or "")
    ended = clock.now()
    records.insert(KeptCursor(alias), run, ON_FAILURE, entry, started_at=began, executed_at=ended)


class _NoHost:
    """``on_failure`` asks for no steps: it is one."""

    def __init__(self, history: Any) -> None:
        self.history = history

    def perform(self, *_: Any) -> Any:
        raise LeaseLost

    start = join = reached = perform


def _call_failure_url(workflow: Workflow | None, run: WorkflowRun) -> list[Envelope]:
    """Have QStash tell the author's own address."""
    if workflow is None or not workflow.failure_url:
        return []
    account = letters.account_of(run.workflow_id, run.options)
    envelope = letters.failure_notice(workflow.failure_url, run.run_id, run.error_message, account)
    send.post(envelope)
    return [envelope]
