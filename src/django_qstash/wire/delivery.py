"""What comes in at our door, and what QStash is told: the one place with HTTP statuses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One signed request of QStash, after its signature was found good.

    Only ``body`` and ``query`` are signed. The rest comes from headers that anyone on the way may
    have written: good for logs, not for decisions.
    """

    body: bytes
    #: Parameters of our own callback addresses; part of the signed URL.
    query: Mapping[str, str] = field(default_factory=dict)
    message_id: str = ""
    retried: int = 0
    schedule_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one delivery."""

    status: int
    outcome: str
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """A short JSON object. Never a result or a traceback: QStash keeps what it is told."""
        answer: dict[str, Any] = {"status": self.outcome}
        if self.detail:
            answer["detail"] = self.detail
        return json.dumps(answer).encode()

    @classmethod
    def done(cls, outcome: str, detail: str = "") -> Reply:
        """Nothing is left to do: QStash forgets the message."""
        return cls(status=200, outcome=outcome, detail=detail)

    @classmethod
    def failed(cls, outcome: str, detail: str) -> Reply:
        """It failed for good: QStash does not try again, and keeps it in its dead letter queue."""
        return cls(
            status=489,
            outcome=outcome,
            detail=detail,
            headers={"Upstash-NonRetryable-Error": "true"},
        )

    @classmethod
    def again(cls, detail: str, *, after: float = 5) -> Reply:
        """Not now: QStash is to deliver the same message again in ``after`` seconds.

        What fails then waits longer (:meth:`patiently`).
        """
        return cls(
            status=503,
            outcome="unavailable",
            detail=detail,
            headers={"Retry-After": str(max(1, math.ceil(after)))},
        )

    def patiently(self, retried: int) -> Reply:
        """The answer to a delivery before which there were ``retried`` others of the same message.

        QStash believes a ``Retry-After`` every time: all of a message's deliveries would be over
        after a few of them, and it given up, while a database is away for a minute. So the second
        failure asks for four times as much, and those after it for nothing: QStash's own pause is
        half an hour by then.
        """
        if self.status != 503 or not retried:
            return self
        headers = dict(self.headers)
        after = headers.pop("Retry-After", None)
        if after is not None and retried == 1:
            headers["Retry-After"] = str(4 * int(after))
        return replace(self, headers=headers)

    @classmethod
    def unknown(cls, detail: str) -> Reply:
        """Nobody here of that name; QStash's own retries outlast a rolling deployment."""
        return cls(status=404, outcome="unknown", detail=detail)

    @classmethod
    def refused(cls, status: int, outcome: str, detail: str, **headers: str) -> Reply:
        """Not a delivery at all: 401, 405, 413, 415 or 429; nothing of ours ran."""
        return cls(status=status, outcome=outcome, detail=detail, headers=headers)
