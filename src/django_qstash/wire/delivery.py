"""What comes in at our door, and what QStash is told: the one place with HTTP statuses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        """Not now: QStash is to deliver the same message again in ``after`` seconds."""
        return cls(
            status=503,
            outcome="unavailable",
            detail=detail,
            headers={"Retry-After": str(max(1, math.ceil(after)))},
        )

    @classmethod
    def unknown(cls, detail: str) -> Reply:
        """Nobody here of that name; QStash's own retries outlast a rolling deployment."""
        return cls(status=404, outcome="unknown", detail=detail)

    @classmethod
    def refused(cls, status: int, outcome: str, detail: str, **headers: str) -> Reply:
        """Not a delivery at all: 401, 405, 413, 415 or 429; nothing of ours ran."""
        return cls(status=status, outcome=outcome, detail=detail, headers=headers)
