"""Knocking at our own door as QStash does, or as someone else does."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.test import Client

from django_qstash import clock
from django_qstash.messages import TaskMessage, new_id, new_run
from django_qstash.transport.address import webhook_url
from django_qstash.wire import signature


def letter(task: str, *args: Any, **fields: Any) -> TaskMessage:
    """A letter as ``.delay(*args)`` would write it."""
    fields.setdefault("id", new_id())
    fields.setdefault("run", new_run())
    return TaskMessage(task=task, args=list(args), **fields)


def knock(
    body: bytes | TaskMessage | dict,
    *,
    query: str = "",
    key: str | None = None,
    url: str | None = None,
    signed_body: bytes | None = None,
    signature_header: str | None = None,
    age: float = 0,
    message_id: str = "msg_1",
    retried: int = 0,
    content_type: str = "application/json",
    client: Client | None = None,
    **extra: Any,
) -> Any:
    """One delivery; everything about it can be made wrong."""
    if isinstance(body, TaskMessage):
        body = body.encode()
    elif isinstance(body, dict):
        body = json.dumps(body).encode()
    suffix = f"?{query}" if query else ""
    if signature_header is None:
        signature_header = signature.sign(
            body if signed_body is None else signed_body,
            url=url or webhook_url() + suffix,
            key=key or settings.QSTASH_CURRENT_SIGNING_KEY,
            now=clock.time() - age,
        )
    headers = {
        "HTTP_UPSTASH_SIGNATURE": signature_header,
        "HTTP_UPSTASH_MESSAGE_ID": message_id,
        "HTTP_UPSTASH_RETRIED": str(retried),
    }
    client = client or Client(raise_request_exception=False)
    return client.post(
        f"/qstash/webhook/{suffix}",
        data=body,
        content_type=content_type,
        **{name: value for name, value in headers.items() if value},
        **extra,
    )


def given_up(
    message: TaskMessage, *, status: int = 503, message_id: str = "msg_1", **kwargs: Any
) -> Any:
    """QStash tells that it gave ``message`` up."""
    import base64

    body = {
        "status": status,
        "header": {},
        "body": "",
        "retried": 3,
        "maxRetries": 3,
        "sourceMessageId": message_id,
        "url": webhook_url(),
        "sourceBody": base64.b64encode(message.encode()).decode(),
    }
    return knock(body, query="callback=given-up", message_id=f"{message_id}-callback", **kwargs)
