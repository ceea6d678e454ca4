"""How the server says no: a status and one sentence, the body of every error answer.

It stands here rather than in ``django_qstash.exceptions`` because no user of the library can meet
it: it never leaves the server's own code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Refusal(Exception):
    """A request that is answered with ``status`` and ``{"error": text}``."""

    def __init__(self, status: int, text: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


def bad_request(text: str) -> Refusal:
    """The request is malformed."""
    return Refusal(400, text)


def not_found(what: str, name: str) -> Refusal:
    """There is no ``what`` of that name."""
    return Refusal(404, f"{what} {name} not found")


def over_quota(name: str, limit: int) -> Refusal:
    """A limit of the plan. Source: the text of QStash's own 412 answers."""
    return Refusal(412, f"quota {name} exceeded, current limit: {limit}")
