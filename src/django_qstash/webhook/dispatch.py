"""A request in, an answer out: size, signature, letter, route, in this order and in no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from django.apps import apps
from django.db import DatabaseError
from django.utils.module_loading import import_string

from django_qstash import clock, signals
from django_qstash.conf import settings
from django_qstash.exceptions import (
    ImproperlyConfigured,
    MessageError,
    NewerMessageError,
    SignatureError,
)
from django_qstash.messages import decode, kind_of
from django_qstash.tasks import outbox, process
from django_qstash.tasks.transient import is_transient
from django_qstash.transport.address import webhook_url
from django_qstash.webhook import fence
from django_qstash.wire import signature
from django_qstash.wire.delivery import Delivery, Reply

logger = logging.getLogger("django_qstash.webhook")

Handler = Callable[[Mapping[str, Any], Delivery], Reply]

#: Who opens a letter of which kind. A sub-app may be absent: its letters then wait at QStash.
HANDLERS: Mapping[str, tuple[str | None, str]] = {
    "task": (None, "django_qstash.tasks.receive.receive"),
    "legacy": (None, "django_qstash.tasks.legacy.receive"),
    "schedule": ("django_qstash.schedules", "django_qstash.schedules.delivery.receive"),
    "workflow": ("django_qstash.workflows", "django_qstash.workflows.engine.receive"),
    "carried": (None, "django_qstash.workflows.carried.engine.receive_letter"),
}
#: Bytes for what a callback says besides, such as the headers of an answer.
CALLBACK_ROOM = 65_536
#: Who hears QStash's callbacks, by the signed ``?callback=`` of their address.
CALLBACKS: Mapping[str, tuple[str | None, str]] = {
    "given-up": (None, "django_qstash.webhook.given_up.receive"),
    "call": ("django_qstash.workflows", "django_qstash.workflows.callbacks.receive"),
    "call-given-up": (
        "django_qstash.workflows",
        "django_qstash.workflows.callbacks.receive_given_up",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a web framework hands over."""

    body: bytes
    content_type: str = ""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    peer: str = ""


def answer(request: Request) -> Reply:
    """The whole way of one request. Never raises for what the request holds."""
    if (reply := check_size(request)) is not None:
        return reply
    if (reply := check_content_type(request)) is not None:
        return reply
    if (reply := check_signature(request)) is not None:
        return reply
    delivery = read(request)
    return _acted_on(delivery).patiently(delivery.retried)


def _acted_on(delivery: Delivery) -> Reply:
    try:
        return route(delivery)
    except NewerMessageError as error:
        return Reply.unknown(str(error))
    except MessageError as error:
        logger.error("A signed message cannot be read: %s", error)
        signals.task_rejected.emit(None, message=delivery, exc=error)
        return Reply.failed("bad message", str(error))
    except DatabaseError as error:
        if not is_transient(error):
            if "django_qstash_" in str(error) and not _tables_exist():
                logger.error("A delivery found no table of ours. Run 'manage.py migrate'.")
                return Reply.again("the database is not migrated", after=30)
            raise
        logger.warning("The database was in the way of a delivery: %s", error)
        return Reply.again("the database is not available")
    finally:
        outbox.sweep()


def check_size(request: Request) -> Reply | None:
    limit = settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE
    if len(request.body) <= largest_body(request.query):
        return None
    return Reply.refused(
        413, "too large", f"the body is larger than DJANGO_QSTASH_MAX_PAYLOAD_SIZE ({limit} bytes)"
    )


def check_content_type(request: Request) -> Reply | None:
    kind = request.content_type.partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    return Reply.refused(415, "unsupported", "the content type must be application/json")


def check_signature(request: Request, address: str | None = None) -> Reply | None:
    """401 unless QStash signed these bytes for our address; 429 for who tries that too often.

    ``address`` is that of another view than the webhook.
    """
    token = request.headers.get("upstash-signature", "")
    try:
        if not token:
            raise SignatureError("The request bears no Upstash-Signature.")
        keys = fence.keys_for(request.peer, request.headers)
        url = address or webhook_url()
        signature.verify(
            token,
            request.body,
            url=f"{url}?{request.query}" if request.query else url,
            keys=keys,
            now=clock.time(),
            tolerance=settings.DJANGO_QSTASH_CLOCK_TOLERANCE,
        )
    except (SignatureError, ImproperlyConfigured) as error:
        if (wait := fence.count_unsigned(request.peer)) is not None:
            return Reply.refused(
                429, "too many", "too many unsigned requests", **{"Retry-After": str(wait)}
            )
        logger.warning("A request from %s was refused: %s", request.peer or "unknown", error)
        # The reason is for the log: a stranger learns nothing from the answer.
        return Reply.refused(401, "unauthorized", "the signature was not accepted; see the log")
    return None


def largest_body(query: str) -> int:
    """Bytes that are taken in; a callback holds letters and answers in base64, perhaps twice."""
    limit: int = settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE
    return 2 * limit + CALLBACK_ROOM if query.startswith("callback=") else limit


def retried(headers: Mapping[str, str]) -> int:
    """How many deliveries of the message there were before, as nobody has signed."""
    text = headers.get("upstash-retried", "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def read(request: Request) -> Delivery:
    """What was delivered; the headers are for logs and hints only."""
    return Delivery(
        body=request.body,
        query=dict(parse_qsl(request.query)),
        message_id=request.headers.get("upstash-message-id", ""),
        retried=retried(request.headers),
        schedule_id=request.headers.get("upstash-schedule-id", ""),
    )


def route(delivery: Delivery) -> Reply:
    """Hand the letter to whoever can open it. Raises :class:`MessageError`."""
    purpose = delivery.query.get("callback")
    if purpose is not None:
        app, path = CALLBACKS.get(purpose, (None, None))
        if path is None or (app is not None and not apps.is_installed(app)):
            return Reply.unknown(f"no callback {purpose!r} is known here")
        reply: Reply = _load(path)(delivery)
        return reply
    letter = decode(delivery.body)
    kind = kind_of(letter)
    process.begin()
    app, path = HANDLERS.get(kind, (None, None))
    if path is None or (app is not None and not apps.is_installed(app)):
        return Reply.unknown(f"no letter of the kind {kind!r} can be opened here")
    handler: Handler = _load(path)
    return handler(letter, delivery)


def _tables_exist() -> bool:
    from django.db import connections, router

    model = apps.get_model("django_qstash_results", "TaskResult")
    connection = connections[router.db_for_write(model)]
    return model._meta.db_table in connection.introspection.table_names()  # noqa: SLF001


@cache
def _load(path: str) -> Any:
    return import_string(path)
