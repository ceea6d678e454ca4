"""Runs from outside: started, told, waited for, canceled, listed, counted.

Models are imported where a function needs them, so that the names can be imported before Django has
loaded its apps.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction

from django_qstash.exceptions import WorkflowError
from django_qstash.tasks.options import site_zone
from django_qstash.tasks.registry import tasks
from django_qstash.workflows import persistence
from django_qstash.workflows.definition import Workflow, find_workflow
from django_qstash.workflows.handles import RunHandle
from django_qstash.workflows.names import check_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_qstash.workflows.models import DeadLetterEntry, StepExecution, WorkflowRun
    from django_qstash.workflows.options import Duration


def start_workflow(name: Any, data: Any = None, /, **named: Any) -> RunHandle:
    """Start a run of a workflow, by itself or by its name.

    With one value, or with keywords that are its input; for options there is
    :meth:`Workflow.trigger`. Raises :class:`UnknownWorkflowError`, and what ``trigger`` raises.
    """
    workflow = find_workflow(name)
    if named:
        if data is not None:
            raise TypeError("start_workflow takes one value, or keywords as the input; not both.")
        return workflow.trigger(workflow.bind_call((), named))
    return workflow.trigger(data)


def wait_workflow(run_id: str, timeout: Duration | None = None) -> Any:
    """Wait for a run's end and return its result; raises as :meth:`RunHandle.result`."""
    return RunHandle(run_id).result(timeout)


def send_signal(run_id: str, name: str, data: Any = None) -> None:
    """Tell one run something: the first ``ctx.step.wait_for_signal(name)`` that is free gets it.

    It is written in the caller's transaction, and wakes the run when that commits. One that comes
    before the run asks for it is kept; several are received in their order.

    Raises :class:`WorkflowError` if there is no such run or it has ended, :class:`EncodeError` for
    data that JSON cannot carry, ``ValueError`` for a name that cannot be.
    """
    check_name(name, "A signal's name")
    persistence.require_table(str(run_id))
    from django_qstash.workflows.events import deliver

    deliver(str(run_id), f"signal:{name}", data)


signal_workflow = send_signal


def notify(key: str, data: Any = None) -> int:
    """Tell all runs that wait for ``key``: ``ctx.step.wait_for_event(id, key)`` returns.

    Also those that began before this and will ask for it later. Written in the caller's
    transaction. Returns how many runs it wakes at once.

    Raises :class:`EncodeError` for data that JSON cannot carry, ``ValueError`` for a key that
    cannot be.
    """
    persistence.require("notify")
    from django_qstash.workflows.events import announce

    return announce(check_name(key, "An event's key"), data)


def cancel_workflow(run_id: str, reason: str = "") -> bool:
    """End a run that has not ended, and its children with it. False if it had.

    Whatever it is doing goes on until its next step, and does not count. ``on_failure`` is not
    called. Raises :class:`WorkflowError` if there is no such run.
    """
    run = get_run(run_id)
    from django_qstash.workflows import rows

    with transaction.atomic(using=rows.alias()):
        return _cancel(run, str(reason))


def _cancel(run: WorkflowRun, reason: str) -> bool:
    from django_qstash.workflows import ending, rows
    from django_qstash.workflows.models import OPEN

    # Children first: a run's end writes its row before that of who waits for it.
    for child in rows.runs().filter(parent=run, status__in=OPEN).order_by("pk"):
        _cancel(child, reason or f"its parent {run.run_id} was canceled")
    done = ending.cancel(run, reason)
    for child in rows.runs().filter(parent=run, status__in=OPEN).order_by("pk"):
        _cancel(child, reason or f"its parent {run.run_id} was canceled")
    return done


def cancel_if_run(run_id: str) -> None:
    """Cancel the run of this id if there is one: ``AsyncResult(run_id).revoke()``."""
    from django_qstash.workflows import rows
    from django_qstash.workflows.models import OPEN

    run = rows.runs().filter(run_id=run_id).first()
    if run is not None and run.status in OPEN:
        cancel_workflow(run_id, "revoked")


def get_run(run_id: str) -> WorkflowRun:
    """The row of a run.

    Raises :class:`WorkflowError` if there is none, :class:`PersistenceOff` where runs have none.
    """
    persistence.require_table(str(run_id))
    from django_qstash.workflows import rows

    run: WorkflowRun | None = rows.runs().filter(run_id=str(run_id)).first()
    if run is None:
        raise persistence.missing(str(run_id))
    return run


def get_dead_letter(run_id: str) -> DeadLetterEntry:
    """The dead letter of a run that failed. Raises :class:`WorkflowError` if it has none."""
    run = get_run(run_id)
    from django_qstash.workflows import rows
    from django_qstash.workflows.models import DeadLetterEntry

    letters = DeadLetterEntry.objects.using(rows.alias()).filter(run_id=run.run_id)
    found: DeadLetterEntry | None = letters.order_by("-pk").first()
    if found is None:
        raise WorkflowError(f"The run {run.run_id!r} is {run.status} and has no dead letter.")
    return found


def get_run_steps(run_id: str) -> list[StepExecution]:
    """The steps of a run, in the order in which they were recorded. Raises WorkflowError."""
    run = get_run(run_id)
    from django_qstash.workflows import rows

    return list(run.step_executions.using(rows.alias()).order_by("pk"))


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, the newest first; ``cursor`` leads to the next page, ``None`` at the end."""

    runs: list[WorkflowRun]
    cursor: str | None = None

    def __iter__(self) -> Iterator[WorkflowRun]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)


def list_runs(
    workflow: Any = None,
    *,
    status: str | None = None,
    since: datetime | None = None,
    parent: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> RunPage:
    """Runs by workflow (or its name), status, the time since which they were made, or parent.

    A datetime without a zone is in the site's TIME_ZONE.

    Raises ``TypeError`` and ``ValueError`` for a status, time, limit or cursor that cannot be.
    """
    persistence.require("list_runs")
    from django.db.models import Q

    from django_qstash.workflows import rows
    from django_qstash.workflows.models import STATUSES

    _check_filters(status=status, since=since, limit=limit)
    if not 1 <= limit <= 1000:
        raise ValueError(f"limit={limit!r} must be a whole number from 1 to 1000.")
    if status is not None and status not in STATUSES:
        raise ValueError(f"status={status!r} is none of {', '.join(STATUSES)}.")
    found = rows.runs().order_by("-created_at", "-pk")
    if workflow is not None:
        found = found.filter(workflow_id=getattr(workflow, "name", workflow))
    if status is not None:
        found = found.filter(status=status)
    if since is not None:
        if since.tzinfo is None:
            since = since.replace(tzinfo=site_zone())
        found = found.filter(created_at__gte=since)
    if parent is not None:
        found = found.filter(parent__run_id=str(parent))
    if cursor is not None:
        moment, pk = _read_cursor(cursor)
        found = found.filter(Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=pk))
    page = list(found[: limit + 1])
    more = _cursor_of(page[limit - 1]) if len(page) > limit else None
    return RunPage(page[:limit], more)


def _check_filters(*, status: Any, since: Any, limit: Any) -> None:
    """Raises ``TypeError``."""
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit={limit!r} must be a whole number from 1 to 1000.")
    if status is not None and not isinstance(status, str):
        raise TypeError(f"status={status!r} must be one status, a text such as 'failed'.")
    if since is not None and not isinstance(since, datetime):
        raise TypeError(f"since={since!r} must be a datetime.")


def _cursor_of(run: WorkflowRun) -> str:
    text = json.dumps([run.created_at.isoformat(), run.pk])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> tuple[datetime, int]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        moment, pk = json.loads(base64.urlsafe_b64decode(padded))
        return datetime.fromisoformat(moment), int(pk)
    except (ValueError, TypeError, OverflowError, binascii.Error):
        raise ValueError(f"cursor={cursor!r} is not one that list_runs has given.") from None


def list_workflows() -> list[dict[str, Any]]:
    """What is known of each registered workflow, by name."""
    return [
        get_workflow_meta(task) for _, task in sorted(tasks.items()) if isinstance(task, Workflow)
    ]


def get_workflow_meta(workflow: Any) -> dict[str, Any]:
    """``{"name", "version", "doc", "parameters", "max_attempts", "timeout", …}`` of one.

    Raises :class:`UnknownWorkflowError`.
    """
    found = find_workflow(workflow)
    parameters = [
        {
            "name": parameter.name,
            "required": parameter.default is parameter.empty,
            "default": None if parameter.default is parameter.empty else parameter.default,
        }
        for parameter in found.signature_of_run().parameters.values()
    ]
    return {
        "name": found.name,
        "version": found.version,
        "doc": (found.__doc__ or "").strip(),
        "parameters": parameters,
        "max_attempts": found.policy.max_attempts,
        "timeout": found.run_timeout,
        "time_budget": found.time_budget,
        "queue": found.queue,
        "is_async": found.is_async,
    }


def get_stats(workflow: Any = None) -> dict[str, dict[str, Any]]:
    """How many runs there are, and what they have used: ``{workflow: {status: count, …}}``.

    Besides the statuses: ``messages``, ``bytes_sent``, ``compute_seconds``, ``database_seconds``,
    and ``price``, an estimate in US dollars (a ``Decimal``).
    """
    persistence.require("get_stats")
    from django.db.models import Count, Sum

    from django_qstash.workflows import price, rows, usage
    from django_qstash.workflows.models import STATUSES

    found = rows.runs()
    if workflow is not None:
        found = found.filter(workflow_id=getattr(workflow, "name", workflow))
    stats: dict[str, dict[str, Any]] = {}
    sums = {f"sum_{name}": Sum(name) for name in usage.COLUMNS}
    counted = found.order_by().values("workflow_id", "status").annotate(n=Count("pk"), **sums)
    for row in counted:
        own = stats.setdefault(row["workflow_id"], dict.fromkeys([*STATUSES, *usage.COLUMNS], 0))
        own[row["status"]] = row["n"]
        for name in usage.COLUMNS:
            own[name] += row[f"sum_{name}"]
    for own in stats.values():
        own["price"] = price.of(own["messages"])
    return stats
