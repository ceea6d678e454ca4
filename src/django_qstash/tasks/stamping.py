"""Stamps: headers that a visitor puts on every signature of a canvas, and that travel with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from django_qstash.tasks.canvas import (
    Lazy,
    Signature,
    _chain,
    _chord,
    as_list,
    group,
    maybe_signature,
)

STAMPED = "stamped_headers"


class StampingVisitor(ABC):
    """Says which stamps each part of a canvas gets. Celery: ``StampingVisitor``.

    Every hook returns a dict of stamps, or ``None``. ``headers`` are the stamps that the part has
    from those around it.
    """

    @abstractmethod
    def on_signature(self, sig: Signature, **headers: Any) -> dict[str, Any] | None:
        """Called for every single task."""

    def on_group_start(self, sig: Signature, **headers: Any) -> dict[str, Any] | None:
        """Called before the members of a group."""

    def on_group_end(self, sig: Signature, **headers: Any) -> None:
        """Called after them."""

    def on_chain_start(self, sig: Signature, **headers: Any) -> dict[str, Any] | None:
        """Called before the steps of a chain."""

    def on_chain_end(self, sig: Signature, **headers: Any) -> None:
        """Called after them."""

    def on_chord_header_start(self, sig: Any, **headers: Any) -> dict[str, Any] | None:
        """Called before the header of a chord, which is a group."""
        header = sig.tasks if isinstance(sig.tasks, group) else group(sig.tasks)
        return self.on_group_start(header, **headers)

    def on_chord_header_end(self, sig: Any, **headers: Any) -> None:
        """Called after it."""
        header = sig.tasks if isinstance(sig.tasks, group) else group(sig.tasks)
        self.on_group_end(header, **headers)

    def on_chord_body(self, sig: Signature, **headers: Any) -> dict[str, Any] | None:
        """Called before the body of a chord."""

    def on_callback(self, callback: Signature, **headers: Any) -> dict[str, Any] | None:
        """Called for every link."""

    def on_errback(self, errback: Signature, **headers: Any) -> dict[str, Any] | None:
        """Called for every link_error."""


def stamp(sig: Signature, visitor: Any, append: bool, headers: Mapping[str, Any]) -> Signature:
    """Stamp ``sig`` and all within, in place; see :meth:`Signature.stamp`."""
    if isinstance(sig, _chord):
        return _stamp_chord(sig, visitor, append, headers)
    if isinstance(sig, _chain):
        given = _ask(visitor, "on_chain_start", sig, headers)
        inherited = merged(sig, given, append, headers)
        stamp_links(sig, visitor, append, inherited)
        for step in sig.tasks:
            stamp(step, visitor, append, inherited)
        _tell(visitor, "on_chain_end", sig, inherited)
        return sig
    if isinstance(sig, group):
        given = _ask(visitor, "on_group_start", sig, headers)
        inherited = merged(sig, given, append, headers)
        stamp_links(sig, visitor, append, inherited)
        sig.tasks = _stamped(sig.tasks, visitor, append, inherited)
        _tell(visitor, "on_group_end", sig, inherited)
        return sig
    stamp_links(sig, visitor, append, headers)
    given = _ask(visitor, "on_signature", sig, headers)
    sig.options.update(merged(sig, given, append, headers))
    return sig


def _stamp_chord(sig: Any, visitor: Any, append: bool, headers: Mapping[str, Any]) -> Signature:
    given = _ask(visitor, "on_chord_header_start", sig, headers)
    inherited = merged(sig, given, append, headers)
    stamp_links(sig, visitor, append, inherited)
    sig.tasks = _stamped(sig.tasks, visitor, append, inherited)
    _tell(visitor, "on_chord_header_end", sig, inherited)
    if sig.body is not None:
        # It is stamped like one of the header's: so it is in Celery.
        given = _ask(visitor, "on_chord_body", sig, inherited)
        stamp(sig.body, visitor, append, merged(sig, given, append, inherited))
    return sig  # type: ignore[no-any-return]


def _stamped(tasks: Any, visitor: Any, append: bool, headers: Mapping[str, Any]) -> Any:
    stamps = (stamp(maybe_signature(task), visitor, append, headers) for task in tasks)
    return Lazy(stamps) if isinstance(tasks, Lazy) else list(stamps)


def stamp_links(sig: Signature, visitor: Any, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp the callbacks and errbacks of ``sig``, which do not inherit its own stamps."""
    for option, hook in (("link", "on_callback"), ("link_error", "on_errback")):
        links = as_list(sig.options.get(option))
        if not links:
            continue
        sig.options[option] = [maybe_signature(link) for link in links]
        for link in sig.options[option]:
            given = _ask(visitor, hook, link, headers)
            stamp(link, visitor, append, _merge(given, append, headers))


def merged(
    sig: Signature, given: Mapping[str, Any] | None, append: bool, headers: Mapping[str, Any]
) -> dict[str, Any]:
    """The stamps of one part: those around it, the visitor's, and those it has already.

    Of two with one name the former counts, or with ``append`` both do, in this order.
    """
    stamps = _merge(given, append, headers)
    own = {
        name: sig.options[name] for name in sig.options.get(STAMPED) or () if name in sig.options
    }
    return _merge(own, append, stamps)


def _merge(
    given: Mapping[str, Any] | None, append: bool, headers: Mapping[str, Any]
) -> dict[str, Any]:
    stamps = dict(headers)
    names = list(stamps.pop(STAMPED, None) or stamps)
    extra = dict(given or {})
    for name in extra.pop(STAMPED, None) or list(extra):
        if name not in names:
            names.append(name)
    for name, value in extra.items():
        if name not in stamps:
            stamps[name] = value
        elif append:
            stamps[name] = [*as_list(stamps[name]), *as_list(value)]
    return {**stamps, STAMPED: names}


def _ask(
    visitor: Any, hook: str, sig: Signature, headers: Mapping[str, Any]
) -> dict[str, Any] | None:
    return None if visitor is None else getattr(visitor, hook)(sig, **headers)


def _tell(visitor: Any, hook: str, sig: Signature, headers: Mapping[str, Any]) -> None:
    if visitor is not None:
        getattr(visitor, hook)(sig, **headers)
