"""One message on its way to QStash: where to, what, and how to deliver it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django_qstash.wire import options as table


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message as it is published. ``options`` are cleaned ones (:func:`wire.options.clean`)."""

    url: str
    body: bytes
    options: Mapping[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"
    #: The QStash account that carries it, by name; ``""`` is that of the QSTASH_* settings.
    account: str = ""

    @property
    def queue(self) -> str | None:
        """The FIFO queue to enqueue it on; ``None`` publishes it directly."""
        return self.options.get("queue")

    def headers(self) -> dict[str, str]:
        """The request headers, content type included."""
        return {"Content-Type": self.content_type, **table.to_headers(self.options)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """QStash took the message. ``deduplicated``: it had an equal one already, and keeps that."""

    message_id: str
    deduplicated: bool = False
