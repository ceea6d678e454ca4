"""The log, under both its names: ``/v2/events`` (the SDKs) and ``/v2/logs`` (the documentation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_qstash.devserver.api import describe
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.api.filters import MESSAGE_FILTERS, event_filter
from django_qstash.devserver.message import (
    ACTIVE,
    CANCEL_REQUESTED,
    CANCELED,
    CREATED,
    DELIVERED,
    ERROR,
    FAILED,
    RETRY,
)
from django_qstash.devserver.refusal import bad_request

if TYPE_CHECKING:
    from django_qstash.devserver.events import Event
    from django_qstash.devserver.state import State

_IN_PROGRESS = "IN_PROGRESS"
_STATES = {
    **{
        state: frozenset({state})
        for state in (
            ACTIVE,
            CANCEL_REQUESTED,
            CANCELED,
            CREATED,
            DELIVERED,
            ERROR,
            FAILED,
            RETRY,
        )
    },
    # The documentation writes two l's, the SDKs one.
    "CANCELLED": frozenset({CANCELED}),
    _IN_PROGRESS: frozenset({ACTIVE, RETRY, ERROR}),
}


def events(state: State, call: Call) -> Reply:
    return _listing(state, call, key="events", page=1000)


def logs(state: State, call: Call) -> Reply:
    return _listing(state, call, key="logs", page=100)


def _listing(state: State, call: Call, *, key: str, page: int) -> Reply:
    query = call.query
    query.only(*MESSAGE_FILTERS, "messageIds", "state", "cursor", "count", "order")
    count = query.integer("count", least=1, most=1000) or page
    cursor = query.integer("cursor", least=0)
    oldest = _oldest_first(query.one("order"))
    states = _wanted(query.many("state"))
    ids = set(query.many("messageIds"))
    of_message, of_time = event_filter(query)
    found: list[Event] = []
    log = state.machine.events
    for event in log.oldest_first() if oldest else log.newest_first():
        if cursor is not None and (event.serial <= cursor if oldest else event.serial >= cursor):
            continue
        if (
            (states is None or event.state in states)
            and (not ids or event.message.id in ids)
            and of_time(event.time)
            and of_message(event.message)
        ):
            if len(found) == count:
                return _page(key, found, more=True)
            found.append(event)
    return _page(key, found, more=False)


def _page(key: str, found: list[Event], *, more: bool) -> Reply:
    value: dict[str, object] = {key: [describe.event(event) for event in found]}
    if more:
        value["cursor"] = str(found[-1].serial)
    return Reply.of(value)


def _oldest_first(order: str | None) -> bool:
    if order not in (None, "latestFirst", "earliestFirst"):
        raise bad_request("order must be latestFirst or earliestFirst")
    return order == "earliestFirst"


def _wanted(names: list[str]) -> frozenset[str] | None:
    wanted: frozenset[str] = frozenset()
    for name in names:
        if "," in name:
            continue
        if name not in _STATES:
            raise bad_request(f"unknown state {name}; known are {', '.join(sorted(_STATES))}")
        wanted |= _STATES[name]
    return wanted or None
