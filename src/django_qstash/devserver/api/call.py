"""A request and its answer, as values: no HTTP library, so that tests can call without a socket."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from django_qstash.devserver.refusal import Refusal, bad_request

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(kw_only=True)
class Call:
    """One request. ``target`` is the raw request target, from its first slash, never decoded."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    caller_ip: str = "127.0.0.1"
    #: The decoded path segments that the route left open.
    names: tuple[str, ...] = ()
    #: What follows the route's fixed part, query included, byte for byte.
    tail: str = ""

    @cached_property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> Query:
        return Query(self.target.partition("?")[2])

    def header(self, name: str) -> str:
        """The first header of that name; empty when there is none."""
        for known, value in self.headers:
            if known.lower() == name:
                return value
        return ""

    def json(self) -> Any:
        """The body as JSON. Raises :class:`Refusal` 400."""
        try:
            return json.loads(self.body, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise bad_request(f"invalid json body: {_reason(error)}") from None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object. Raises :class:`Refusal` 400."""
        value = self.json()
        if not isinstance(value, dict):
            raise bad_request("invalid json body: expected an object")
        return value

    def ids(self, name: str) -> list[str] | None:
        """The ids that a bulk request names, in its JSON body or in its query; ``None``: none.

        Raises :class:`Refusal` 400.
        """
        if self.body.strip():
            ids = self.json_object().get(name)
            if ids is not None:
                if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
                    raise bad_request(f"{name} must be a list of texts")
                return ids
        return self.query.many(name) if self.query.has(name) else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


class Query:
    """The parameters of a query string; ``qstash_token`` is no part of them."""

    def __init__(self, raw: str) -> None:
        self.pairs = [
            (name, value)
            for name, value in parse_qsl(raw, keep_blank_values=True, errors="replace")
            if name != "qstash_token"
        ]

    def only(self, *names: str) -> None:
        """Raises :class:`Refusal` 400 for a parameter that is not among ``names``."""
        for name, _ in self.pairs:
            if name not in names:
                raise bad_request(f"unknown query parameter: {name}")

    def has(self, name: str) -> bool:
        return any(known == name for known, _ in self.pairs)

    def one(self, name: str) -> str | None:
        """The last value that is not empty."""
        found = [value for known, value in self.pairs if known == name and value != ""]
        return found[-1] if found else None

    def many(self, *names: str) -> list[str]:
        """The values of all parameters of these names, repeated ones and lists with commas.

        A value with commas stands for itself, too: addresses may contain them.
        """
        found: dict[str, None] = {}
        for known, value in self.pairs:
            if known in names and value != "":
                found[value] = None
                found.update(dict.fromkeys(part.strip() for part in value.split(",")))
        return list(found)

    def integer(
        self, name: str, *, least: int | None = None, most: int | None = None
    ) -> int | None:
        """A whole number; below ``least`` or above ``most`` is refused. Raises :class:`Refusal`."""
        text = self.one(name)
        if text is None:
            return None
        if not text.lstrip("-").isascii() or not text.lstrip("-").isdigit() or len(text) > 18:
            raise bad_request(f"{name} must be a whole number")
        number = int(text)
        if (least is not None and number < least) or (most is not None and number > most):
            raise bad_request(f"{name} must be {_range(least, most)}")
        return number

    def flag(self, name: str) -> bool:
        """Raises :class:`Refusal` 400 for what is neither true nor false."""
        text = (self.one(name) or "false").lower()
        if text not in ("true", "false"):
            raise bad_request(f"{name} must be true or false")
        return text == "true"


def _range(least: int | None, most: int | None) -> str:
    if most is None:
        return f"at least {least}"
    return f"at most {most}" if least is None else f"between {least} and {most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one request. Status 0 closes the connection (a fault knob)."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Reply:
        return cls(status=status, body=json.dumps(value, separators=(",", ":")).encode())

    @classmethod
    def done(cls, status: int = 200) -> Reply:
        """Nothing to tell; an empty object, since some clients parse every answer."""
        return cls(status=status, body=b"{}")

    @classmethod
    def refused(cls, refusal: Refusal) -> Reply:
        return cls(
            status=refusal.status,
            body=json.dumps({"error": refusal.text}).encode(),
            headers=refusal.headers,
        )


def decoded(segment: str) -> str:
    """One path segment with its percent escapes resolved."""
    return unquote(segment, errors="replace")
