"""What QStash does not have: the dashboard's view, its buttons, and the fault knobs.

All of it stands under ``/_dev/`` and asks for the same token as the rest.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from django_qstash.devserver.api import describe
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.faults import Knobs
from django_qstash.devserver.headers import canonical
from django_qstash.devserver.message import CREATED, Answer
from django_qstash.devserver.refusal import Refusal, bad_request, not_found

if TYPE_CHECKING:
    from django_qstash.devserver.message import Message
    from django_qstash.devserver.state import State

#: Rows of one view, and messages that are looked through for them.
_ROWS = 200
_SCAN = 50_000
#: How much of an answer's body is shown.
_SHOWN = 64 * 1024

#: The name of a task or workflow in a letter, today's or an older one.
_TASK = re.compile(rb'"(?:task|workflow|task_name)"\s*:\s*"((?:[^"\\]|\\.){1,300})"')


def task_name(message: Message) -> str:
    """The task that a message's body names, if it is a letter; else empty."""
    spec = message.spec
    if (spec.redact or {}).get("body") or not spec.body.startswith(b"{"):
        return ""
    found = _TASK.search(spec.body, 0, 4096)
    if found is None:
        return ""
    try:
        return str(json.loads(b'"' + found[1] + b'"'))
    except ValueError:
        return ""


def overview(state: State, call: Call) -> Reply:
    """Everything that the dashboard shows at once; messages by task, state and text."""
    query = call.query
    query.only("task", "state", "search")
    machine = state.machine
    now = state.clock.time()
    return Reply.of(
        {
            "now": describe.milliseconds(now),
            "counts": {name: count for name, count in machine.tally.items() if count},
            "calls": machine.calls,
            "messages": _messages(
                state, query.one("task") or "", query.one("state") or "", query.one("search") or ""
            ),
            "schedules": [describe.schedule(schedule) for schedule in state.schedules],
            "dlq": [
                {**describe.dead_letter(entry), "task": task_name(entry.message)}
                for entry, _ in zip(machine.dead.newest_first(), range(_ROWS), strict=False)
            ],
            "dlqSize": len(machine.dead),
            "queues": [describe.queue(queue) for queue in machine.gates.queues.values()],
            "flowControl": [describe.flow_key(key, now) for key in machine.gates.flows.values()],
            "urlGroups": [describe.group(group) for group in state.groups.values()],
            "faults": machine.faults.knobs.as_dict(),
        }
    )


def _held(state: State, message: Message) -> str | None:
    """What a message that is due stands in line for."""
    spec = message.spec
    queue = state.machine.gates.queues.get(spec.queue or "")
    if queue is not None and (message.id in queue.line or message.id in queue.held):
        return f"queue {queue.name}" + (", paused" if queue.paused else "")
    key = state.machine.gates.flows.get(spec.flow.key) if spec.flow is not None else None
    if key is not None and message.id in key.line:
        return f"flow control {key.name}" + (", paused" if key.paused else "")
    return None


def _messages(state: State, task: str, wanted: str, search: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    task, search = task.lower(), search.lower()
    for message, _ in zip(reversed(state.machine.messages.values()), range(_SCAN), strict=False):
        if wanted and not _in_state(message, wanted):
            continue
        name = task_name(message)
        if task and task not in name.lower():
            continue
        if search and not any(search in text.lower() for text in _texts(message)):
            continue
        rows.append(_row(state, message, name))
        if len(rows) == _ROWS:
            break
    return rows


def _in_state(message: Message, wanted: str) -> bool:
    if wanted == "WAITING":
        return message.state == CREATED
    return message.state == wanted


def _texts(message: Message) -> tuple[str, ...]:
    return (message.id, message.url, message.spec.queue or "", *message.spec.labels)


def _row(state: State, message: Message, name: str) -> dict[str, Any]:
    last = message.last
    return {
        "messageId": message.id,
        "task": name,
        "url": message.url,
        "state": message.state,
        "held": _held(state, message),
        "retried": message.retried,
        "maxRetries": message.spec.retries,
        "createdAt": describe.milliseconds(message.created),
        "nextTime": None if message.done else describe.milliseconds(message.next_time),
        "finishedAt": describe.milliseconds(message.finished) if message.finished else None,
        "queueName": message.spec.queue,
        "labels": list(message.spec.labels),
        "scheduleId": message.spec.schedule_id,
        "source": message.source,
        "lastStatus": last.status if last else None,
        "lastError": last.error if last else None,
    }


def message(state: State, call: Call) -> Reply:
    """One message with its log, the attempts' answers included; finished ones too."""
    found = _find(state, call)
    log = [
        {
            "time": describe.milliseconds(event.time),
            "state": event.state,
            **_detail(event.detail),
        }
        for event in state.machine.events.oldest_first()
        if event.message is found
    ]
    return Reply.of({**_row(state, found, task_name(found)), **describe.message(found), "log": log})


def _find(state: State, call: Call) -> Message:
    found = state.machine.messages.get(call.names[0])
    if found is None:
        raise not_found("message", call.names[0])
    return found


def _detail(detail: Answer | float | None) -> dict[str, Any]:
    if isinstance(detail, Answer):
        return {
            "status": detail.status,
            "error": detail.error,
            "milliseconds": round(detail.took * 1000, 1),
            "header": canonical(detail.header),
            **describe.text_or_base64("body", detail.body[:_SHOWN]),
        }
    return {} if detail is None else {"next": describe.milliseconds(detail)}


def deliver(state: State, call: Call) -> Reply:
    """Deliver a waiting message now, be it delayed or between two attempts."""
    if not state.machine.hurry(_find(state, call)):
        raise Refusal(409, "the message does not wait for its time")
    return Reply.done()


def fire(state: State, call: Call) -> Reply:
    """Publish a schedule's message now, besides its own times."""
    published = state.schedules.fire(state.schedules.get(call.names[0]))
    if published is None:
        raise bad_request(state.schedules.get(call.names[0]).error)
    return Reply.of({"messageIds": [message_id for message_id, _ in published.receipts]})


def get_faults(state: State, _call: Call) -> Reply:
    return Reply.of(state.machine.faults.knobs.as_dict())


def put_faults(state: State, call: Call) -> Reply:
    """Set all knobs; those that are left out are off. The dice start anew from the seed."""
    try:
        knobs = Knobs.of(call.json_object())
    except ValueError as error:
        raise bad_request(str(error)) from None
    state.machine.faults.turn(knobs)
    return get_faults(state, call)


def delete_faults(state: State, call: Call) -> Reply:
    state.machine.faults.turn(Knobs())
    return get_faults(state, call)
