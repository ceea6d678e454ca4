"""HTTP calls as steps: made here, or by QStash while nothing of this site runs."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from django_qstash import clock, serialization
from django_qstash.exceptions import MessageError, PublishError, WorkflowError
from django_qstash.messages import decode, source_of
from django_qstash.tasks import send
from django_qstash.tasks.given_up import LIVES
from django_qstash.transport.address import callback_url
from django_qstash.wire import retries
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
from django_qstash.workflows.entries import completed, failed, is_due, waiting
from django_qstash.workflows.history import Entry, Key
from django_qstash.workflows.waiting import consume, first_of

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.models import WorkflowEvent, WorkflowRun
    from django_qstash.workflows.turn import Turn

#: ``?callback=`` of the address that QStash tells what a call came to.
CALLBACK = "call"
#: The same of the address that it tells that it could not tell that.
GIVEN_UP = "call-given-up"


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
        if old is not None and not is_due(old.wake_at):
            turn.wait(key, old, old, waits=name, letter=False)
            continue
        asked = 0 if old is None else old.attempts + 1
        if asked > LIVES:
            return _unanswered(turn, ask, key, old, call)
        # Before the record: its headers are stored nowhere, so nobody else could send it. After a
        # crash it is sent again, and QStash drops the second by its deduplication id.
        _publish(turn, key, call, ask)
        entry = waiting(ask, attempts=asked)
        entry.wake_at = clock.time() + _longest(turn, ask, call)
        # Its answer wakes the run: a letter for then would be paid for, and come for nothing. If
        # QStash has given the answer up by then, the sweep sends one, and the call is made again.
        turn.wait(key, old, entry, waits=name, letter=False)


def _retries(turn: Turn, ask: Ask) -> int:
    policy = ask.options.policy or turn.workflow.policy
    return policy.max_attempts - 1


def _longest(turn: Turn, ask: Ask, call: Call) -> float:
    """Seconds within which QStash has made all attempts, and told of the last, if it ever does."""
    attempts = _retries(turn, ask)
    telling = retries.longest(int(send.CALLBACK_RETRIES))
    return retries.longest(attempts) + (attempts + 1) * call.timeout + 2 * telling


def _publish(turn: Turn, key: Key, call: Call, ask: Ask) -> None:
    run = turn.hold.run
    query = urlencode(
        {"run": run.run_id, "step": key.step_id, "o": key.occurrence, "g": run.generation}
    )
    back = f"{callback_url(CALLBACK)}&{query}"
    token = idempotency_key(run.run_id, key)
    options = {
        "method": call.method,
        "headers": call.with_key(token),
        "timeout": call.timeout,
        "retries": _retries(turn, ask),
        "deduplication_id": f"call-{token}",
        "callback": back,
        "callback_headers": {
            "Retries": send.CALLBACK_RETRIES,
            "Failure-Callback": f"{callback_url(GIVEN_UP)}&{query}",
            "Failure-Callback-Retries": send.CALLBACK_RETRIES,
        },
        "failure_callback": back,
        "failure_callback_headers": {"Retries": send.CALLBACK_RETRIES},
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


def receive_given_up(delivery: Delivery) -> Reply:
    """QStash could not tell what a call came to, and tells that: what it would have told counts."""
    return receive(replace(delivery, body=source_of(decode(delivery.body))))


def receive(delivery: Delivery) -> Reply:
    """QStash tells what a call came to: the run that waits for it is woken by the last word."""
    query = delivery.query
    try:
        key = Key(query["step"], int(query["o"]))
        run_id, generation = query["run"], int(query["g"])
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
    if run.generation < generation:
        return Reply.again("the callback is ahead of its run")
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


def _unanswered(turn: Turn, ask: Ask, key: Key, old: Entry | None, call: Call) -> Entry:
    where = urlsplit(call.url)
    error = CallFailed(
        f"{call.method} {where.scheme}://{where.netloc}{where.path} was made {LIVES + 1} times by "
        "QStash, and no answer ever came here; see its dead letter queue."
    )
    done = failed(ask, old, failures.of_step(str(key), LIVES + 1, error))
    return turn.record(key, old, done, started_at=clock.now())
