"""HTTP calls as steps: made here, or by QStash while nothing of this site runs.

What QStash tells of a call is heard by :mod:`~django_qstash.workflows.callbacks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from django_qstash import clock, serialization
from django_qstash.tasks import send
from django_qstash.tasks.given_up import LIVES
from django_qstash.transport.address import callback_url
from django_qstash.wire import retries
from django_qstash.wire.envelope import Envelope
from django_qstash.workflows import failures, functions, letters
from django_qstash.workflows.calls import Call, CallFailed, checked, idempotency_key
from django_qstash.workflows.entries import completed, failed, is_due, waiting
from django_qstash.workflows.waiting import consume, first_of

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.history import Entry, Key
    from django_qstash.workflows.models import WorkflowEvent
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
    published = False
    while True:
        event = first_of(turn, name)
        if event is not None:
            return _received(turn, ask, key, old, event)
        if old is not None and not is_due(old.wake_at):
            turn.wait(key, old, old, waits=name, letter=False)
            continue
        asked = 0 if old is None else old.attempts + 1
        attempts = (ask.options.policy or turn.workflow.policy).max_attempts
        if asked > (0 if attempts == 1 else LIVES):
            return _unanswered(turn, ask, key, old)
        if not published:
            # Before the record: its headers are stored nowhere, so nobody else could send it. After
            # a crash it is sent again, and QStash drops the second by its deduplication id.
            _publish(turn, key, call, attempts - 1)
            published = True
        entry = waiting(ask, attempts=asked)
        entry.wake_at = clock.time() + longest(call.timeout, attempts - 1)
        # Its answer wakes the run: a letter for then would be paid for, and come for nothing. If
        # QStash has given the answer up by then, the sweep sends one, and the call is made again.
        turn.wait(key, old, entry, waits=name, letter=False)


def longest(timeout: float, most: int, made: int = 0) -> float:
    """Seconds for QStash's retries, ``most`` but for those ``made``, and to tell of the last.

    If the service that is called asks for no other pauses.
    """
    telling = retries.longest(int(send.CALLBACK_RETRIES))
    return retries.longest(most, made) + (most - made + 1) * timeout + 2 * telling


def _publish(turn: Turn, key: Key, call: Call, most: int) -> None:
    run = turn.hold.run
    about = {"run": run.run_id, "step": key.step_id, "o": key.occurrence, "g": run.generation}
    query = urlencode({**about, "t": f"{call.timeout:g}"})
    back = f"{callback_url(CALLBACK)}&{query}"
    token = idempotency_key(run.run_id, key)
    options = {
        "method": call.method,
        "headers": call.with_key(token),
        "timeout": call.timeout,
        "retries": most,
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


def _received(turn: Turn, ask: Ask, key: Key, old: Entry | None, event: WorkflowEvent) -> Entry:
    call: Call = ask.payload
    attempts = 1 if old is None else old.attempts + 1
    try:
        result = checked(call.raise_for_status, call.method, call.url, event.data)
    except CallFailed as error:
        told = failures.of_step(str(key), attempts, error)
        done = failed(ask, old, told, attempts=attempts)
    else:
        done = completed(ask, old, serialization.dumps(result), attempts=attempts)
    return consume(turn, key, old, done, event)


def _unanswered(turn: Turn, ask: Ask, key: Key, old: Entry | None) -> Entry:
    call: Call = ask.payload
    attempts = 1 if old is None else old.attempts + 1
    where = urlsplit(call.url)
    error = CallFailed(
        f"QStash was asked {attempts} times for {call.method} {where.scheme}://{where.netloc}"
        f"{where.path}, and brought no answer that was taken in here. The call may have been made. "
        "Its answers are in QStash's dead letter queue; larger ones than "
        "DJANGO_QSTASH_MAX_PAYLOAD_SIZE are not taken."
    )
    told = failures.of_step(str(key), attempts, error)
    done = failed(ask, old, told, attempts=attempts)
    return turn.record(key, old, done, started_at=clock.now())
