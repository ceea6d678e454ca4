"""Deduplication: an equal message within ten minutes is the same message."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_qstash.devserver.message import Spec

#: Seconds. Source: QStash's documentation (older pages say 90 days).
WINDOW = 600


@dataclass(frozen=True, slots=True)
class Seen:
    """What was answered when it came first: each message's id and address."""

    receipts: tuple[tuple[str, str], ...]
    until: float


class Deduplication:
    """The keys of the last ten minutes."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, Seen] = OrderedDict()

    @staticmethod
    def key(destination: str, spec: Spec) -> str | None:
        """The key that two equal messages share; ``None`` when none was asked for.

        The scope is the destination, a URL group as a whole; a given id wins over the content.
        """
        if spec.deduplication_id is not None:
            return f"id:{spec.deduplication_id}:{destination}"
        if not spec.content_based_deduplication:
            return None
        digest = hashlib.sha256()
        parts = [destination.encode("utf-8", "surrogatepass"), spec.body]
        for name, value in sorted((name.lower(), value) for name, value in spec.header):
            parts += [name.encode(), value.encode("utf-8", "surrogatepass")]
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return f"content:{digest.hexdigest()}"

    def find(self, key: str, now: float) -> Seen | None:
        seen = self._seen.get(key)
        return seen if seen is not None and now < seen.until else None

    def remember(self, key: str, receipts: tuple[tuple[str, str], ...], now: float) -> Seen:
        seen = Seen(receipts, now + WINDOW)
        self.restore(key, seen)
        return seen

    def restore(self, key: str, seen: Seen) -> None:
        self._seen.pop(key, None)
        self._seen[key] = seen

    def expired(self, now: float) -> Iterator[str]:
        """Forget the keys whose window is over, and name them."""
        while self._seen:
            key, seen = next(iter(self._seen.items()))
            if now < seen.until:
                return
            del self._seen[key]
            yield key
