"""Publish, enqueue, batch; read and cancel messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash.devserver.api import describe
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.api.filters import MESSAGE_FILTERS, message_filter
from django_qstash.devserver.api.names import checked
from django_qstash.devserver.refusal import Refusal, bad_request
from django_qstash.devserver.request import read, split_destination

if TYPE_CHECKING:
    from django_qstash.devserver.message import Message, Spec
    from django_qstash.devserver.state import Published, State

#: Most messages that one bulk cancel takes when it says a number. Source: the OpenAPI description.
MAX_COUNT = 500


def publish(state: State, call: Call) -> Reply:
    return _publish(state, call, queue=None)


def enqueue(state: State, call: Call) -> Reply:
    return _publish(state, call, queue=checked("queue", call.names[0]))


def _publish(state: State, call: Call, *, queue: str | None) -> Reply:
    _refuse_by_fault(state)
    destination, from_query = split_destination(call.tail)
    spec, options = read(
        # Headers come last: where both say something, they win.
        [*from_query, *call.headers],
        call.body,
        limits=state.limits,
        caller_ip=call.caller_ip,
        queue=queue,
    )
    if "cron" in options:
        schedule = state.schedules.upsert(
            destination, spec, options["cron"], options.get("schedule_id")
        )
        return Reply.of({"scheduleId": schedule.id})
    published = state.publish(destination, spec)
    return Reply.of(_receipts(published), status=202 if published.deduplicated else 200)


def _receipts(published: Published) -> Any:
    """An object for a URL, a list for a URL group: what both SDKs expect."""
    shown = []
    for message_id, url in published.receipts:
        receipt: dict[str, Any] = {"messageId": message_id, "url": url}
        if published.deduplicated:
            receipt["deduplicated"] = True
        shown.append(receipt)
    return shown if published.group else shown[0]


def _refuse_by_fault(state: State) -> None:
    refusal = state.machine.faults.refusal(state.clock.time())
    if refusal is not None:
        raise refusal


def batch(state: State, call: Call) -> Reply:
    """Publish a list. One that fails says so in its place; the others go out.

    An item over a limit of the plan fails the whole request, before anything is sent.
    """
    _refuse_by_fault(state)
    items = call.json()
    if not isinstance(items, list):
        raise bad_request("invalid json body: expected a list of messages")
    prepared = [_prepare(state, call, item) for item in items]
    return Reply.of([_send(state, item) for item in prepared])


def _prepare(state: State, call: Call, item: Any) -> tuple[str, Spec] | Refusal:
    try:
        destination, headers, body, queue = _item(item)
        destination, from_query = split_destination(destination)
        spec, options = read(
            [*from_query, *headers],
            body,
            limits=state.limits,
            caller_ip=call.caller_ip,
            queue=queue,
        )
        if "cron" in options:
            raise bad_request("a schedule cannot stand in a batch")
    except Refusal as refusal:
        if refusal.status == 412:
            raise
        return refusal
    return destination, spec


def _send(state: State, item: tuple[str, Spec] | Refusal) -> Any:
    if isinstance(item, Refusal):
        return {"error": item.text}
    try:
        return _receipts(state.publish(*item))
    except Refusal as refusal:
        return {"error": refusal.text}


def _item(item: Any) -> tuple[str, list[tuple[str, str]], bytes, str | None]:
    if not isinstance(item, dict):
        raise bad_request("each message must be an object")
    destination = item.get("destination")
    if not isinstance(destination, str) or not destination:
        raise bad_request("each message needs a destination")
    headers = item.get("headers") or {}
    if not isinstance(headers, dict) or not all(
        isinstance(value, (str, int, float)) for value in headers.values()
    ):
        raise bad_request("headers must be an object of names and texts")
    body = item.get("body")
    if body is not None and not isinstance(body, str):
        raise bad_request("body must be a text")
    queue = item.get("queue")
    if queue is not None and not isinstance(queue, str):
        raise bad_request("queue must be a name")
    return (
        _whole(destination),
        [(_whole(name), _whole(str(value))) for name, value in headers.items()],
        _whole(body or "").encode(),
        checked("queue", queue) if queue else None,
    )


def _whole(text: str) -> str:
    """The text with lone surrogates, which JSON can write and UTF-8 cannot, as U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def get(state: State, call: Call) -> Reply:
    return Reply.of(describe.message(state.message(call.names[0])))


def cancel(state: State, call: Call) -> Reply:
    message = state.message(call.names[0])
    if not state.cancel([message]):
        raise Refusal(404, f"message {message.id} not found")
    return Reply.of({"cancelled": 1})


def cancel_many(state: State, call: Call) -> Reply:
    """Cancel by ids, by filters, or all; ids may stand in the query or in a JSON body."""
    call.query.only(*MESSAGE_FILTERS, "messageIds", "count", "cursor")
    count = call.query.integer("count", least=1, most=MAX_COUNT)
    ids = call.ids("messageIds")
    if ids is not None:
        known = (state.machine.messages.get(name) for name in dict.fromkeys(ids))
        return _cancelled(state, [message for message in known if message is not None])
    matches = message_filter(call.query)
    found: list[Message] = []
    for message in state.machine.messages.values():
        if len(found) == count:
            break
        if not message.done and matches(message):
            found.append(message)
    return _cancelled(state, found)


def _cancelled(state: State, messages: list[Message]) -> Reply:
    return Reply.of({"cancelled": state.cancel(messages)})
