"""QStash tells what a call came to that it made for a step, or that it could not tell that."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from django.db import transaction

from django_qstash import clock
from django_qstash.exceptions import MessageError, PublishError, WorkflowError
from django_qstash.messages import decode, source_of
from django_qstash.wire import retries
from django_qstash.wire.delivery import Delivery, Reply
from django_qstash.workflows import events, observe, records, rows
from django_qstash.workflows.calling import longest
from django_qstash.workflows.calls import result_of
from django_qstash.workflows.definition import known
from django_qstash.workflows.entries import later
from django_qstash.workflows.history import Key, Status
from django_qstash.workflows.models import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from django_qstash.workflows.models import WorkflowRun


def receive_given_up(delivery: Delivery) -> Reply:
    """QStash could not tell what a call came to, and tells that: what it would have told counts."""
    return _receive(delivery, source_of(decode(delivery.body)))


def receive(delivery: Delivery) -> Reply:
    """QStash tells what a call came to: the run that waits for it is woken by the last word."""
    return _receive(delivery, delivery.body)


def _receive(delivery: Delivery, body: bytes) -> Reply:
    query = delivery.query
    try:
        key = Key(query["step"], int(query["o"]))
        run_id, generation, timeout = query["run"], int(query["g"]), float(query["t"])
    except (KeyError, ValueError):
        raise MessageError("The callback's address names no step of a run.") from None
    told = decode(body)
    status, made = int(told.get("status") or 0), int(told.get("retried") or 0)
    most = int(told.get("maxRetries") or 0)
    run = rows.runs().filter(run_id=run_id).first()
    if run is None:
        return Reply.done("over")
    if run.generation < generation:
        return Reply.again("the callback is ahead of its run")
    headers = told.get("header") or {}
    if not (200 <= status < 300 or made >= most or "dlqId" in told):
        if run.generation == generation and run.lease_token is not None:
            return Reply.again("the run is being put down", after=2)
        pause = retries.asked_for(_plain(headers), clock.time())
        if pause is None:
            pause = retries.standard(made)
        _postpone(run, key, pause + longest(timeout, most, made + 1))
        return Reply.done("not yet", "QStash will try again")
    try:
        content = b64decode(told.get("body") or "", validate=True)
    except ValueError:
        raise MessageError("The callback's body is not base64.") from None
    data = result_of(status, content, headers)
    try:
        _deliver_once(run, key, data, len(delivery.body))
    except PublishError:
        return Reply.again("the run could not be woken")
    except WorkflowError:
        return Reply.done("over")
    workflow, event = known(run.workflow_id), observe.SUBMIT_THIRD_PARTY_RESULT
    observe.log(workflow, run_id, event, step=str(key), status=status)
    return Reply.done("received")


def _plain(headers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, values in headers.items():
        for value in values if isinstance(values, list) else [values]:
            yield name, str(value)


def _postpone(run: WorkflowRun, key: Key, seconds: float) -> None:
    """Have the sweep wait for so long from now on: the service may have asked QStash to wait."""
    alias = rows.alias()
    until = later(seconds)
    wake_at = until if run.deadline is None else min(until, run.deadline)
    with transaction.atomic(using=alias):
        waits = rows.runs().filter(pk=run.pk, status=RunStatus.WAITING, waits=f"call:{key}")
        if waits.filter(wake_at__lt=wake_at).update(wake_at=wake_at):
            step = records.steps(alias, run).filter(step_id=key.step_id, occurrence=key.occurrence)
            step.filter(status=Status.WAITING).update(wake_at=until)


def _deliver_once(run: WorkflowRun, key: Key, data: dict[str, Any], size: int) -> None:
    step = records.find(rows.alias(), run, key)
    if step is None or not step.is_done:
        events.deliver(run.run_id, f"call:{key}", data, once=True, size=size)
