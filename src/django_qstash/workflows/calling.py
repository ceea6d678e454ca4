"""HTTP calls as steps: made here, or by QStash while nothing of this site runs."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django_qstash import serialization
from django_qstash.exceptions import MessageError, PublishError, WorkflowError
from django_qstash.messages import decode
from django_qstash.tasks import send
from django_qstash.transport.address import callback_url
from django_qstash.wire.delivery import Delivery, Reply
from django_qstash.wire.envelope import Envelope
from django_qstash.workflows import (
    events,
    failures,
    functions,
    letters,
    observe,
    records,
    rows,
)
from django_qstash.workflows.calls import (
    Call,
    CallFailed,
    checked,
    idempotency_key,
    result_of,
)
from django_qstash.workflows.definition import known
from django_qstash.workflows.entries import completed, failed, waiting
from django_qstash.workflows.history import Entry, Key
from django_qstash.workflows.waiting import consume, first_of

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.models import WorkflowEvent, WorkflowRun
    from django_qstash.workflows.turn import Turn

#: ``?callback=`` of the address that QStash tells what a call came to.
CALLBACK = "call"


def perform(turn: Turn, ask: Ask, key: Key, entry: Entry | None) -> Entry:
    """Make the call, or have QStash make it."""
    call: Call = ask.payload
    if call.via == "qstash":
        return _through_qstash(turn, ask, key, entry, call)
    return functions.call(turn, ask, key, entry)


# --- by QStash ------------------------------------------------------------------------------------


def _through_qstash(turn: Turn, ask: Ask, key: Key, old: Entry | None, call: Call) -> Entry:
    name = f"call:{key}"
    while True:
        event = first_of(turn, name)
        if event is not None:
            return _received(turn, ask, key, old, call, event)
        if old is None:
            # Before the record: its headers are stored nowhere, so nobody else could send it. After
            # a crash it is sent again, and QStash drops the second by its deduplication id.
            _publish(turn, key, call, ask)
        turn.wait(key, old, old or waiting(ask), waits=name)


def _publish(turn: Turn, key: Key, call: Call, ask: Ask) -> None:
    run = turn.hold.run
    policy = ask.options.policy or turn.workflow.policy
    query = urlencode(
        {"run": run.run_id, "step": key.step_id, "o": key.occurrence, "g": run.generation}
    )
    back = f"{callback_url(CALLBACK)}&{query}"
    token = idempotency_key(run.run_id, key)
    options = {
        "method": call.method,
        "headers": call.with_key(token),
        "timeout": call.timeout,
        "retries": policy.max_attempts - 1,
        "deduplication_id": f"call-{token}",
        "callback": back,
        "failure_callback": back,
    }
    content_type = next(
        (value for name, value in call.headers.items() if name.lower() == "content-type"),
        "application/json",
    )
    envelope = Envelope(
        url=call.url,
        body=call.body,
        options=options,
        content_type=content_type,
        account=letters.account_of(run.workflow_id, run.options),
    )
    turn.hold.meter.count(envelope)
    send.post(envelope)


def receive(delivery: Delivery) -> Reply:
    """QStash tells what a call came to: the run that waits for it is woken by the last word."""
    query = delivery.query
    try:
        key = Key(query["step"], int(query["o"]))
        run_id = query["run"]
    except (KeyError, ValueError):
        raise MessageError("The callback's address names no step of a run.") from None
    told = decode(delivery.body)
    status = int(told.get("status") or 0)
    is_last = int(told.get("retried") or 0) >= int(told.get("maxRetries") or 0)
    if not (200 <= status < 300 or is_last or "dlqId" in told):
        return Reply.done("not yet", "QStash will try again")
    run = rows.runs().filter(run_id=run_id).first()
    if run is None:
        return Reply.done("over")
    if run.generation == int(query.get("g") or 0) and run.lease_token is not None:
        # The call was faster than the record that the run waits for it.
        return Reply.again("the run is being put down", after=2)
    try:
        content = b64decode(told.get("body") or "", validate=True)
    except ValueError:
        raise MessageError("The callback's body is not base64.") from None
    data = result_of(status, content, told.get("header") or {})
    try:
        _deliver_once(run, key, data, len(delivery.body))
        told = {"step": str(key), "status": status}
        observe.log(known(run.workflow_id), run_id, observe.SUBMIT_THIRD_PARTY_RESULT, **told)
    except PublishError:
        return Reply.again("the run could not be woken")
    except WorkflowError:
        return Reply.done("over")
    return Reply.done("received")


def _deliver_once(run: WorkflowRun, key: Key, data: dict[str, Any], size: int) -> None:
    step = records.find(rows.alias(), run, key)
    if step is None or not step.is_done:
        events.deliver(run.run_id, f"call:{key}", data, once=True, size=size)


def _received(
    turn: Turn, ask: Ask, key: Key, old: Entry | None, call: Call, event: WorkflowEvent
) -> Entry:
    try:
        result = checked(call.raise_for_status, call.method, call.url, event.data)
    except CallFailed as error:
        done = failed(ask, old, failures.of_step(str(key), 1, error))
    else:
        done = completed(ask, old, serialization.dumps(result))
    return consume(turn, key, old, done, event)
