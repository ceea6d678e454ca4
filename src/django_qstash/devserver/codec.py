"""Everything that outlasts the process as JSON, and back. Bodies of messages travel beside it."""

from __future__ import annotations

import base64
import json
from dataclasses import fields
from typing import Any

from django_qstash.devserver.cron import Cron
from django_qstash.devserver.dedup import Seen
from django_qstash.devserver.dlq import DeadLetter
from django_qstash.devserver.flow import Flow, FlowKey
from django_qstash.devserver.groups import Endpoint, Group
from django_qstash.devserver.keys import Keys
from django_qstash.devserver.message import Answer, Message, Pairs, Spec
from django_qstash.devserver.queue import Queue
from django_qstash.devserver.schedule import Schedule

_DEFAULT = Spec()
_SPEC = tuple(field.name for field in fields(Spec) if field.name not in ("body", "flow"))
_PAIRS = frozenset({"header", "callback_header", "failure_callback_header"})
#: A message's fixed fields, and those that change.
_MESSAGE = (
    "id",
    "url",
    "created",
    "not_before",
    "serial",
    "topic",
    "endpoint",
    "source",
    "source_queue",
)
_PROGRESS = ("state", "retried", "next_time", "finished", "in_queue", "attempt")
_QUEUE = ("name", "created", "updated", "parallelism", "paused")
_FLOW_KEY = (
    "name",
    "parallelism",
    "rate",
    "period",
    "paused",
    "pinned_parallelism",
    "pinned_rate",
)


def dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _pick(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _pairs(value: Any) -> Pairs:
    return tuple((name, text) for name, text in value)


def write_spec(spec: Spec) -> dict[str, Any]:
    """The fields that differ from a plain message's, without the body."""
    data = {
        name: getattr(spec, name)
        for name in _SPEC
        if getattr(spec, name) != getattr(_DEFAULT, name)
    }
    if spec.flow is not None:
        data["flow"] = [spec.flow.key, spec.flow.parallelism, spec.flow.rate, spec.flow.period]
    return data


def read_spec(data: dict[str, Any], body: bytes) -> Spec:
    values = dict(data)
    for name in _PAIRS & values.keys():
        values[name] = _pairs(values[name])
    if "labels" in values:
        values["labels"] = tuple(values["labels"])
    if "flow" in values:
        values["flow"] = Flow(*values["flow"])
    return Spec(body=body, **values)


def write_message(message: Message) -> dict[str, Any]:
    return {**_pick(message, _MESSAGE), "spec": write_spec(message.spec)}


def write_progress(message: Message) -> dict[str, Any]:
    return _pick(message, _PROGRESS)


def read_message(data: dict[str, Any], progress: dict[str, Any], body: bytes) -> Message:
    values = dict(data)
    spec = read_spec(values.pop("spec"), body)
    return Message(spec=spec, **values, **progress)


def write_answer(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "header": answer.header,
        "body": base64.b64encode(answer.body).decode("ascii"),
        "error": answer.error,
        "took": answer.took,
    }


def read_answer(data: dict[str, Any]) -> Answer:
    return Answer(
        status=data["status"],
        header=_pairs(data["header"]),
        body=base64.b64decode(data["body"]),
        error=data["error"],
        took=data["took"],
    )


def write_detail(detail: Answer | float | None) -> Any:
    return write_answer(detail) if isinstance(detail, Answer) else detail


def read_detail(data: Any) -> Answer | float | None:
    if isinstance(data, dict):
        return read_answer(data)
    return None if data is None else float(data)


def write_record(value: object) -> tuple[dict[str, Any], bytes]:
    """A queue, key, group, schedule, dead letter … and the body that belongs to it.

    Raises ``TypeError`` for anything else.
    """
    body = b""
    if isinstance(value, Queue):
        data = _pick(value, _QUEUE)
    elif isinstance(value, FlowKey):
        data = _pick(value, _FLOW_KEY)
    elif isinstance(value, Group):
        data = {
            **_pick(value, ("name", "created", "updated", "header")),
            "endpoints": [[endpoint.url, endpoint.name] for endpoint in value.endpoints],
        }
    elif isinstance(value, Schedule):
        names = ("id", "destination", "created", "paused", "last_time", "last_states", "error")
        data = {
            **_pick(value, names),
            "cron": value.cron.text,
            "spec": write_spec(value.spec),
        }
        body = value.spec.body
    elif isinstance(value, DeadLetter):
        data = {
            "id": value.id,
            "failed": value.failed,
            "answer": write_answer(value.answer),
            "message": write_message(value.message),
            "progress": write_progress(value.message),
        }
        body = value.message.spec.body
    elif isinstance(value, Seen):
        data = {"receipts": value.receipts, "until": value.until}
    elif isinstance(value, Keys):
        data = _pick(value, ("current", "next"))
    else:
        raise TypeError(f"{type(value).__name__} is not kept in a journal")
    return data, body


def read_group(data: dict[str, Any]) -> Group:
    endpoints = [Endpoint(url, name) for url, name in data["endpoints"]]
    return Group(data["name"], data["created"], data["updated"], endpoints, _pairs(data["header"]))


def read_schedule(data: dict[str, Any], body: bytes) -> Schedule:
    values = dict(data)
    spec = read_spec(values.pop("spec"), body)
    return Schedule(spec=spec, cron=Cron.parse(values.pop("cron")), **values)


def read_dead_letter(data: dict[str, Any], body: bytes) -> DeadLetter:
    return DeadLetter(
        id=data["id"],
        message=read_message(data["message"], data["progress"], body),
        answer=read_answer(data["answer"]),
        failed=data["failed"],
    )


def read_seen(data: dict[str, Any]) -> Seen:
    return Seen(tuple((name, url) for name, url in data["receipts"]), data["until"])


def read_queue(data: dict[str, Any]) -> Queue:
    return Queue(**data)


def read_flow_key(data: dict[str, Any]) -> FlowKey:
    return FlowKey(**data)
