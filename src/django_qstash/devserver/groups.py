"""URL groups, which the paths call topics: one message in, one for every endpoint out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_qstash.devserver.message import Pairs


@dataclass(frozen=True, slots=True)
class Endpoint:
    url: str
    name: str | None = None


@dataclass(slots=True, eq=False)
class Group:
    """One URL group. Times in seconds since the epoch."""

    name: str
    created: float
    updated: float
    endpoints: list[Endpoint] = field(default_factory=list)
    #: Default headers that every message of the group gets, unless it has them itself.
    header: Pairs = ()

    def add(self, endpoint: Endpoint) -> None:
        """Add it; one with the same address or the same name is replaced."""
        kept = [
            known
            for known in self.endpoints
            if known.url != endpoint.url and (known.name is None or known.name != endpoint.name)
        ]
        self.endpoints = [*kept, endpoint]

    def remove(self, *, url: str | None, name: str | None) -> None:
        self.endpoints = [
            known
            for known in self.endpoints
            if not ((url and known.url == url) or (name and known.name == name))
        ]

    def merged(self, header: Pairs) -> Pairs:
        """``header`` with the group's defaults added where it has none of that name."""
        given = {name.lower() for name, _ in header}
        return (*header, *(pair for pair in self.header if pair[0].lower() not in given))
