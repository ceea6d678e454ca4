"""Transports without a network: one keeps the letters, one delivers them to our own door."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.http.request import validate_host

from django_qstash import clock, durations
from django_qstash.conf import settings
from django_qstash.exceptions import PublishError
from django_qstash.transport import accounts
from django_qstash.transport.kept import KeptSchedules
from django_qstash.wire import signature
from django_qstash.wire.envelope import Envelope, Receipt

#: Seconds for which QStash knows a deduplication id again.
DEDUPLICATION_WINDOW = 600
DEFAULT_RETRIES = 3


class Outbox(KeptSchedules):
    """Keeps what is published, and sends nothing. ``sent`` is the list; ``cancelled`` the ids."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Envelope] = []
        self.cancelled: list[str] = []
        self._numbers = count(1)

    def publish(self, envelope: Envelope) -> Receipt:
        self.sent.append(envelope)
        return Receipt(message_id=f"msg_outbox_{next(self._numbers)}")

    def batch(self, envelopes: Sequence[Envelope]) -> list[Receipt | PublishError]:
        return [self.publish(envelope) for envelope in envelopes]

    def cancel(self, message_id: str) -> bool:
        self.cancelled.append(message_id)
        return True

    def prepare_queue(self, name: str, parallelism: int) -> None: ...


@dataclass(slots=True, order=True)
class _Waiting:
    """A message on its way; the one that is due first is delivered first."""

    due: float
    turn: int
    id: str = field(compare=False)
    envelope: Envelope = field(compare=False)
    retried: int = field(default=0, compare=False)


class Loopback(KeptSchedules):
    """Signs each letter and knocks at our own door, in this process, before ``publish`` returns.

    What a delivery publishes is delivered after it. Delays are not waited for: a delivery sees the
    time that it was due at. One that fails is repeated at once as often as its ``retries`` say,
    then its failure callback is called, as QStash does. ``answers`` keeps ``(message id, status)``
    of every delivery. Schedules are kept, and fire when :meth:`fire` says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[str, int]] = []
        self._turns = count(1)
        self._local = threading.local()
        #: By deduplication id: the message that bore it, and when.
        self._seen: dict[str, tuple[str, float]] = {}

    def publish(self, envelope: Envelope) -> Receipt:
        # Refused before anything is delivered, as QStash refuses what it cannot reach.
        _path(envelope)
        now = clock.time()
        deduplication_id = envelope.options.get("deduplication_id")
        seen, at = self._seen.get(deduplication_id or "", ("", -math.inf))
        if now - at < DEDUPLICATION_WINDOW:
            return Receipt(message_id=seen, deduplicated=True)
        message = self._message(envelope, _due(envelope, now))
        if deduplication_id:
            self._seen[deduplication_id] = (message.id, now)
        waiting: list[_Waiting] | None = getattr(self._local, "waiting", None)
        if waiting is not None:
            heappush(waiting, message)
        else:
            self._deliver_all(message)
        return Receipt(message_id=message.id)

    def batch(self, envelopes: Sequence[Envelope]) -> list[Receipt | PublishError]:
        return [self.publish(envelope) for envelope in envelopes]

    def cancel(self, message_id: str) -> bool:  # noqa: ARG002
        """Always false: what was published has been delivered already."""
        return False

    def prepare_queue(self, name: str, parallelism: int) -> None: ...

    def fire(self, schedule_id: str) -> Receipt:
        """Deliver a schedule's message now, paused or not. Raises ``KeyError`` for no schedule."""
        return self.publish(self.schedules[schedule_id].message())

    def _message(self, envelope: Envelope, due: float) -> _Waiting:
        turn = next(self._turns)
        return _Waiting(due, turn, f"msg_loopback_{turn}", envelope)

    def _deliver_all(self, first: _Waiting) -> None:
        self._local.waiting = waiting = [first]
        try:
            while waiting:
                message = heappop(waiting)
                early = message.due > clock.time()
                with clock.use(clock.VirtualClock(message.due)) if early else nullcontext():
                    self._deliver(message, waiting)
        finally:
            self._local.waiting = None

    def _deliver(self, message: _Waiting, waiting: list[_Waiting]) -> None:
        options = message.envelope.options
        answer = knock(message.envelope, message_id=message.id, retried=message.retried)
        self.answers.append((message.id, answer.status_code))
        if 200 <= answer.status_code < 300:
            return
        for_good = answer.status_code == 489 and (
            answer.headers.get("Upstash-NonRetryable-Error") == "true"
        )
        if message.retried < options.get("retries", DEFAULT_RETRIES) and not for_good:
            message.retried += 1
            message.due, message.turn = clock.time(), next(self._turns)
            heappush(waiting, message)
        elif options.get("failure_callback"):
            callback = failure_callback(
                message.envelope, message.id, answer, retried=message.retried
            )
            heappush(waiting, self._message(callback, clock.time()))


def _due(envelope: Envelope, now: float) -> float:
    """When to deliver it; an instant wins over a delay, as at QStash."""
    options = envelope.options
    if "not_before" in options:
        return max(now, float(options["not_before"]))
    return now + durations.seconds(options.get("delay", 0))


def knock(envelope: Envelope, *, message_id: str, retried: int = 0) -> Any:
    """Deliver one envelope to this site's own URLs as QStash would; Django's response.

    An address that is not ours raises :class:`PublishError`: there is no network here.
    """
    from django.test import Client

    token = signature.sign(
        envelope.body,
        url=envelope.url,
        key=accounts.find(envelope.account).current_signing_key,
        now=clock.time(),
    )
    headers = {
        **envelope.options.get("headers", {}),
        "User-Agent": "Upstash-QStash",
        "Upstash-Signature": token,
        "Upstash-Message-Id": message_id,
        "Upstash-Retried": str(retried),
    }
    return Client(raise_request_exception=False).post(
        _path(envelope),
        data=envelope.body,
        content_type=envelope.content_type,
        # A site that sends http:// on to https:// must see what QStash would use.
        secure=envelope.url.startswith("https:"),
        HTTP_HOST=host_for(envelope.url),
        **{f"HTTP_{name.upper().replace('-', '_')}": text for name, text in headers.items()},
    )


def host_for(url: str) -> str:
    """The Host header: the site's own, or one that its settings allow while it has no public name.

    In Django's tests that is the test client's, in DEBUG without ALLOWED_HOSTS this machine's.
    """
    parts = urlsplit(url)
    allowed = django_settings.ALLOWED_HOSTS
    if django_settings.DEBUG and not allowed:
        allowed = [".localhost", "127.0.0.1", "[::1]"]
    names = {parts.hostname or "": parts.netloc, "testserver": "testserver"}
    fitting = [netloc for name, netloc in names.items() if validate_host(name, allowed)]
    return fitting[0] if fitting else "localhost"


def _path(envelope: Envelope) -> str:
    """The path and query of our own door that the envelope is for. Raises PublishError."""
    from django_qstash.transport.address import webhook_url

    ours = webhook_url()
    address, mark, query = envelope.url.partition("?")
    if address != ours:
        raise PublishError(f"{envelope.url} is not this site's webhook {ours}; nothing delivers.")
    return settings.DJANGO_QSTASH_WEBHOOK_PATH + mark + query


def failure_callback(
    envelope: Envelope, message_id: str, answer: Any, *, retried: int = 0
) -> Envelope:
    """The message by which QStash tells that it gave ``envelope`` up (protocol: callbacks)."""
    retries = envelope.options.get("retries", DEFAULT_RETRIES)
    body = {
        "status": answer.status_code,
        "header": {name: [value] for name, value in answer.headers.items()},
        "body": base64.b64encode(answer.content).decode("ascii"),
        "retried": retried,
        "maxRetries": retries,
        "sourceMessageId": message_id,
        "url": envelope.url,
        "method": "POST",
        "sourceHeader": {"Content-Type": [envelope.content_type]},
        "sourceBody": base64.b64encode(envelope.body).decode("ascii"),
    }
    return Envelope(
        url=envelope.options["failure_callback"],
        body=json.dumps(body).encode("ascii"),
        options={"retries": retries},
        account=envelope.account,
    )
