"""Deliveries to this site, through Django's test client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.test import Client

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.devserver.headers import delivered
from django_qstash.devserver.message import Answer
from django_qstash.transport.address import webhook_url
from django_qstash.transport.local import host_for

if TYPE_CHECKING:
    from django_qstash.devserver.keys import Keys
    from django_qstash.devserver.message import Attempt


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery, and what came of it."""

    message_id: str
    url: str
    #: The HTTP status of the answer; 0 where the process died.
    status: int
    body: bytes
    retried: int
    crashed: bool = False
    #: The steps at which it could have died: :class:`Crash`.
    steps: int = 0


def is_ours(url: str) -> bool:
    """True for an address of this site, at its webhook or elsewhere."""
    ours, other = urlsplit(webhook_url()), urlsplit(url)
    return (ours.scheme, ours.netloc) == (other.scheme, other.netloc)


def knock(attempt: Attempt, keys: Keys) -> Answer:
    """Make one delivery as QStash does, signed; what came of it."""
    message = attempt.message
    parts = urlsplit(message.url)
    headers = delivered(attempt, keys, clock.time())
    kind = next((value for name, value in headers if name.lower() == "content-type"), "")
    extra: dict[str, Any] = {
        f"HTTP_{name.upper().replace('-', '_')}": value
        for name, value in headers
        if name.lower() not in ("content-type", "content-length", "host")
    }
    path = parts.path or "/"
    if message.url.partition("?")[0] == webhook_url():
        # The site may be mounted below its domain's root; Django sees the path within it.
        path = settings.DJANGO_QSTASH_WEBHOOK_PATH
    response = Client(raise_request_exception=False).generic(
        message.spec.method,
        path + (f"?{parts.query}" if parts.query else ""),
        data=message.spec.body,
        content_type=kind or "application/octet-stream",
        secure=parts.scheme == "https",
        HTTP_HOST=host_for(message.url),
        **extra,
    )
    return Answer(
        status=response.status_code,
        header=tuple(response.headers.items()),
        body=response.content,
        error="" if response.status_code < 300 else f"{response.status_code}",
    )
