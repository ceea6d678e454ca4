"""The JSON that QStash shows: exact names, milliseconds, and no key for what is not there."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from django_qstash.devserver.headers import canonical
from django_qstash.devserver.message import ERROR, Answer, Message, Spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_qstash.devserver.dlq import DeadLetter
    from django_qstash.devserver.events import Event
    from django_qstash.devserver.flow import FlowKey
    from django_qstash.devserver.groups import Group
    from django_qstash.devserver.queue import Queue
    from django_qstash.devserver.schedule import Schedule


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _present(value: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if part is not None}


def _redacted(value: bytes) -> str:
    return f"REDACTED:{hashlib.sha256(value).hexdigest()}"


def header(spec: Spec) -> dict[str, list[str]]:
    """The forwarded headers, redacted ones as the hash of their value."""
    shown = canonical(spec.header)
    names = (spec.redact or {}).get("header")
    if not names:
        return shown
    hidden = None if names is True else {name.lower() for name in names}
    return {
        name: [_redacted(value.encode()) for value in values]
        if hidden is None or name.lower() in hidden
        else values
        for name, values in shown.items()
    }


def body(spec: Spec) -> dict[str, str]:
    """``body`` for text, ``bodyBase64`` for other bytes, nothing for an empty one."""
    if not spec.body:
        return {}
    if (spec.redact or {}).get("body"):
        return {"body": _redacted(spec.body)}
    return text_or_base64("body", spec.body)


def text_or_base64(name: str, value: bytes) -> dict[str, str]:
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}Base64": base64.b64encode(value).decode("ascii")}


def _callback_header(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]] | None:
    prefix = "forward-"
    return (
        canonical(
            (name[len(prefix) :] if name.lower().startswith(prefix) else name, value)
            for name, value in pairs
        )
        or None
    )


def _options(spec: Spec) -> dict[str, Any]:
    """What messages, dead letters, log entries and schedules show alike."""
    flow = spec.flow
    return {
        "method": spec.method,
        "callback": spec.callback,
        "failureCallback": spec.failure_callback,
        "label": spec.labels[0] if spec.labels else None,
        "labels": list(spec.labels) or None,
        "flowControlKey": flow.key if flow else None,
        "parallelism": flow.parallelism if flow else None,
        "rate": flow.rate if flow else None,
        "period": flow.period if flow else None,
        "callerIP": spec.caller_ip or None,
        "queueName": spec.queue,
    }


def message(value: Message) -> dict[str, Any]:
    """A ``Message`` of QStash's API."""
    spec = value.spec
    return _present(
        {
            "messageId": value.id,
            "url": value.url,
            "topicName": value.topic,
            "endpointName": value.endpoint,
            "scheduleId": spec.schedule_id,
            **_options(spec),
            "header": header(spec),
            **body(spec),
            "maxRetries": spec.retries,
            "retryDelayExpression": spec.retry_delay,
            "notBefore": milliseconds(value.not_before),
            "createdAt": milliseconds(value.created),
            "callbackHeader": _callback_header(spec.callback_header),
            "failureCallbackHeader": _callback_header(spec.failure_callback_header),
        }
    )


def dead_letter(entry: DeadLetter) -> dict[str, Any]:
    """A ``DlqMessage``: the message and the last answer; ``responseStatus`` 0 where none came."""
    answer = entry.answer
    shown = {
        **message(entry.message),
        "dlqId": entry.id,
        "responseStatus": answer.status,
        "responseHeader": canonical(answer.header),
    }
    reply = answer.body if answer.status else answer.error.encode()
    if reply:
        shown.update(text_or_base64("responseBody", reply))
    return shown


def event(value: Event) -> dict[str, Any]:
    """A log entry. Headers of the answer and the retry expression bear both known names."""
    spec = value.message.spec
    shown: dict[str, Any] = {
        "time": milliseconds(value.time),
        "messageId": value.message.id,
        "state": value.state,
        "url": value.message.url,
        "topicName": value.message.topic,
        "endpointName": value.message.endpoint,
        "scheduleId": spec.schedule_id,
        **_options(spec),
        "header": header(spec),
        "body": _event_body(spec),
        "maxRetries": spec.retries,
        "retryDelayExpr": spec.retry_delay,
        "retryDelayExpression": spec.retry_delay,
        "timeout": spec.timeout * 1000 if spec.timeout else None,
        "callbackHeaders": _callback_header(spec.callback_header),
        "failureCallbackHeaders": _callback_header(spec.failure_callback_header),
    }
    if value.state == ERROR and isinstance(value.detail, Answer):
        shown.update(_event_answer(value.detail))
    elif isinstance(value.detail, float):
        shown["nextDeliveryTime"] = milliseconds(value.detail)
    return _present(shown)


def _event_body(spec: Spec) -> str | None:
    if not spec.body:
        return None
    if (spec.redact or {}).get("body"):
        return _redacted(spec.body)
    return base64.b64encode(spec.body).decode("ascii")


def _event_answer(answer: Answer) -> dict[str, Any]:
    if not answer.status:
        return {"error": answer.error, "responseStatus": 0}
    shown: dict[str, Any] = {
        "error": answer.error,
        "responseStatus": answer.status,
        "responseHeader": canonical(answer.header),
        "responseHeaders": canonical(answer.header),
    }
    if answer.body:
        shown["responseBody"] = base64.b64encode(answer.body).decode("ascii")
    return shown


def queue(value: Queue) -> dict[str, Any]:
    return {
        "name": value.name,
        "parallelism": value.parallelism,
        "paused": value.paused,
        "createdAt": milliseconds(value.created),
        "updatedAt": milliseconds(value.updated),
        "lag": value.lag,
    }


def group(value: Group) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": value.name,
        "createdAt": milliseconds(value.created),
        "updatedAt": milliseconds(value.updated),
        "endpoints": [
            _present({"name": endpoint.name, "url": endpoint.url}) for endpoint in value.endpoints
        ],
    }
    if value.header:
        shown["headers"] = canonical(value.header)
    return shown


def schedule(value: Schedule) -> dict[str, Any]:
    spec = value.spec
    return _present(
        {
            "scheduleId": value.id,
            "cron": value.cron.text,
            "destination": value.destination,
            "createdAt": milliseconds(value.created),
            "isPaused": value.paused,
            **_options(spec),
            "header": header(spec),
            **body(spec),
            "retries": spec.retries,
            "retryDelayExpression": spec.retry_delay,
            "delay": spec.delay or None,
            "timeout": spec.timeout,
            "callbackHeader": _callback_header(spec.callback_header),
            "failureCallbackHeader": _callback_header(spec.failure_callback_header),
            "lastScheduleTime": milliseconds(value.last_time) if value.last_time else None,
            "nextScheduleTime": milliseconds(value.next_time) if value.next_time else None,
            "lastScheduleStates": dict(value.last_states) or None,
            "error": value.error or None,
        }
    )


def flow_key(value: FlowKey, now: float) -> dict[str, Any]:
    """A ``FlowControlKey``; 0 stands for a limit that is not set."""
    return {
        "flowControlKey": value.name,
        "waitListSize": len(value.line) + value.ready,
        "parallelismMax": value.parallelism or 0,
        "parallelismCount": value.running,
        "rateMax": value.rate or 0,
        "rateCount": value.count(now),
        "ratePeriod": value.period if value.rate is not None else 0,
        "ratePeriodStart": int(value.window_start),
        "isPaused": value.paused,
        "isPinnedParallelism": value.pinned_parallelism,
        "isPinnedRate": value.pinned_rate,
    }
