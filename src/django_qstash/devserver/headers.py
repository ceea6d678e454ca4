"""Headers: names and maps as Go writes them, which belong to one connection only, and what a
delivery bears."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash.wire import signature
from django_qstash.wire.options import header_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_qstash.devserver.keys import Keys
    from django_qstash.devserver.message import Attempt

#: Framing and connection headers: forwarding them would break the request that bears them. The
#: content type has its own place (``Upstash-Forward-Content-Type`` is not honoured by QStash).
NOT_FORWARDED = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def canonical_name(name: str) -> str:
    """``x-custom-header`` as ``X-Custom-Header``."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def canonical(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Headers as QStash's JSON shows them: ``{"Canonical-Name": ["value", …]}``."""
    shown: dict[str, list[str]] = {}
    for name, value in pairs:
        shown.setdefault(canonical_name(name), []).append(value)
    return shown


def readable(value: str) -> str:
    """A received header's text, where bytes that are no UTF-8 are taken for Latin-1."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def delivered(attempt: Attempt, keys: Keys, now: float) -> list[tuple[str, str]]:
    """The headers of one delivery: what was forwarded, and what QStash adds, signature included."""
    message = attempt.message
    spec = message.spec
    headers = list(spec.header)
    forwarded = {name.lower() for name, _ in headers}
    # The encoding, so that what is kept of the answer is what the destination wrote.
    for name, value in (("User-Agent", "Upstash-QStash"), ("Accept-Encoding", "identity")):
        if name.lower() not in forwarded:
            headers.append((name, value))
    ours = {
        "Upstash-Message-Id": message.id,
        "Upstash-Retried": str(attempt.retried),
        "Upstash-Signature": signature.sign(spec.body, url=message.url, key=keys.current, now=now),
    }
    if spec.schedule_id is not None:
        ours[header_of("schedule_id")] = spec.schedule_id
    if message.topic is not None:
        ours["Upstash-Topic-Name"] = message.topic
    if spec.caller_ip:
        ours["Upstash-Caller-Ip"] = spec.caller_ip
    replaced = {name.lower() for name in ours}
    kept = [(name, value) for name, value in headers if name.lower() not in replaced]
    return [*kept, *ours.items()]
