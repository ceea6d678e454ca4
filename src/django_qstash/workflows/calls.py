"""HTTP calls: checked when they are asked for, and made by this process."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import socket
from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django_qstash import serialization
from django_qstash.conf import settings
from django_qstash.exceptions import WorkflowError
from django_qstash.workflows.options import Duration, seconds_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_qstash.workflows.history import Key

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class CallFailed(Exception):
    """An answer that is not 2xx. ``response`` is the :class:`CallResult`, so a 4xx is final."""

    def __init__(self, message: str, response: CallResult | None = None) -> None:
        self.response = response
        super().__init__(message)


class CallResult(dict[str, Any]):
    """``{"status_code", "data", "headers"}``, also as attributes."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> CallResult:
        return cls(value)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, checked when it is asked for."""

    url: str
    method: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float
    verify: bool | None
    raise_for_status: bool
    via: str

    @classmethod
    def of(
        cls,
        url: str,
        *,
        method: str,
        body: Any,
        headers: Mapping[str, str] | None,
        timeout: Duration,
        verify: bool | None,
        raise_for_status: bool,
        via: str,
    ) -> Call:
        """Raises ``ValueError`` or ``TypeError`` for what cannot be called."""
        method = str(method).upper()
        if method not in METHODS:
            raise ValueError(f"method={method!r} is none of {', '.join(sorted(METHODS))}.")
        if via not in ("process", "qstash"):
            raise ValueError(f'via={via!r} must be "process" or "qstash".')
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an address that begins with http:// or https://.")
        if parts.username or parts.password:
            raise ValueError("An address with a password in it would be stored; use headers=.")
        seconds = seconds_of("timeout", timeout)
        if not seconds > 0:
            raise ValueError(f"timeout={timeout!r} must be more than nothing.")
        if via == "qstash" and verify is not None:
            raise ValueError("verify= is for calls of this process; QStash always verifies.")
        _check_host(parts.hostname)
        named = {str(name): str(value) for name, value in (headers or {}).items()}
        text, kind = _encoded(body)
        if kind and not any(name.lower() == "content-type" for name in named):
            named["Content-Type"] = kind
        return cls(
            url=url,
            method=method,
            body=text,
            headers=named,
            timeout=float(seconds),
            verify=verify,
            raise_for_status=raise_for_status,
            via=via,
        )

    def with_key(self, key: str) -> dict[str, str]:
        """The headers, with an ``Idempotency-Key`` unless there is one."""
        if any(name.lower() == "idempotency-key" for name in self.headers):
            return dict(self.headers)
        return {**self.headers, "Idempotency-Key": key}


def idempotency_key(run_id: str, key: Key) -> str:
    """The same for every attempt at a step."""
    return hashlib.sha256(f"{run_id}\0{key}".encode()).hexdigest()[:40]


# --- by this process ------------------------------------------------------------------------------


def fetch(call: Call, key: str) -> dict[str, Any]:
    """The answer. Raises :class:`CallFailed`, or httpx's errors."""
    import httpx

    verify = True if call.verify is None else call.verify
    with httpx.Client(verify=verify, timeout=call.timeout, follow_redirects=False) as client:
        answer = client.request(
            call.method,
            call.url,
            content=call.body or None,
            headers=call.with_key(key),
            extensions={"trace": _check_connection},
        )
    result = result_of(answer.status_code, answer.content, dict(answer.headers))
    return checked(call.raise_for_status, call.method, call.url, result)


def _check_connection(event: str, info: Mapping[str, Any]) -> None:
    """Refuse an address by where it really leads, after its name was looked up."""
    if event != "connection.connect_tcp.complete":
        return
    stream = info.get("return_value")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer and _is_link_local(str(peer[0])):
        raise WorkflowError(f"The address leads to {peer[0]}, which is link-local; not called.")


def _check_host(host: str) -> None:
    allowed = settings.DJANGO_QSTASH_CALL_ALLOWED_HOSTS
    if allowed and not any(_matches(host.lower(), pattern.lower()) for pattern in allowed):
        raise ValueError(f"The host {host!r} is not in DJANGO_QSTASH_CALL_ALLOWED_HOSTS.")
    if _is_link_local(host):
        raise ValueError(f"The host {host!r} is link-local: a cloud's own data. It is not called.")


def _matches(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith(".") and host.endswith(pattern))


def _is_link_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        try:
            # 169.254.43518 and the like are addresses to the system's resolver.
            address = ipaddress.ip_address(socket.inet_aton(host))
        except OSError:
            return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_link_local)


def _encoded(body: Any) -> tuple[bytes, str]:
    if body is None:
        return b"", ""
    if isinstance(body, bytes):
        return body, ""
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return json.dumps(body, default=_refuse).encode(), "application/json"


def _refuse(value: Any) -> Any:
    raise TypeError(f"body= holds {value!r}, which JSON cannot carry; pass text or bytes.")


def result_of(status: int, content: bytes, headers: Mapping[str, Any]) -> dict[str, Any]:
    named = {
        str(name).lower(): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in headers.items()
    }
    text = _text(content, named.get("content-type", ""))
    try:
        data = json.loads(text) if text else ""
        serialization.dumps(data)
    except ValueError:
        data = text
    except TypeError:
        data = text
    return {"status_code": status, "data": data, "headers": named}


def _text(content: bytes, content_type: str) -> str:
    """The content in the charset that its type names; UTF-8 if it names none that we know."""
    header = Message()
    header["Content-Type"] = content_type
    try:
        text = content.decode(header.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")
    # Some charsets can say half a character, which no database takes.
    return text.encode("utf-8", "replace").decode()


def checked(strict: bool, method: str, url: str, result: dict[str, Any]) -> dict[str, Any]:
    status = result["status_code"]
    if strict and not 200 <= status < 300:
        where = urlsplit(url)
        said = f"{method} {where.scheme}://{where.netloc}{where.path} answered {status}"
        raise CallFailed(said, CallResult(result))
    return result
