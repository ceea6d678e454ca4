"""What a callback says about the message that it belongs to. Source: QStash's documentation."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from django_qstash.devserver.headers import canonical

if TYPE_CHECKING:
    from django_qstash.devserver.message import Answer, Message


def body(message: Message, answer: Answer, *, dlq_id: str | None = None) -> bytes:
    """The JSON of one callback; ``dlq_id`` stands in failure callbacks only.

    Where no answer came, ``status`` is 0 and ``body`` is the error's text.
    """
    reply = answer.body if answer.status else answer.error.encode()
    value: dict[str, Any] = {
        "status": answer.status,
        "header": canonical(answer.header),
        "body": base64.b64encode(reply).decode("ascii"),
        "retried": message.retried,
        "maxRetries": message.spec.retries,
        "sourceMessageId": message.id,
        "url": message.url,
        "method": message.spec.method,
        "sourceHeader": canonical(message.spec.header),
        "sourceBody": base64.b64encode(message.spec.body).decode("ascii"),
        "notBefore": int(message.not_before * 1000),
        "createdAt": int(message.created * 1000),
        "callerIP": message.spec.caller_ip,
        "topicName": message.topic,
        "endpointName": message.endpoint,
        "scheduleId": message.spec.schedule_id,
        "dlqId": dlq_id,
    }
    return json.dumps({name: part for name, part in value.items() if part is not None}).encode()
