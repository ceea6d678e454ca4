"""The dead letter queue: list, read, delete and retry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django_qstash.devserver.api import describe
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.api.filters import DEAD_FILTERS, dead_filter
from django_qstash.devserver.dlq import position
from django_qstash.devserver.refusal import bad_request, not_found
from django_qstash.devserver.request import read_overrides

if TYPE_CHECKING:
    from django_qstash.devserver.dlq import DeadLetter
    from django_qstash.devserver.message import Spec
    from django_qstash.devserver.state import Published, State

#: Entries of one page, at most and unless told otherwise.
PAGE = 100

_LIST = (*DEAD_FILTERS, "dlqIds", "cursor", "count", "order", "source")


def get(state: State, call: Call) -> Reply:
    return Reply.of(describe.dead_letter(state.machine.dead.get(call.names[0])))


def delete(state: State, call: Call) -> Reply:
    state.remove_dead(call.names[0])
    return Reply.done()


def listing(state: State, call: Call) -> Reply:
    call.query.only(*_LIST)
    entries, cursor = _select(state, call, call.query.many("dlqIds") or None)
    return _page({"messages": [describe.dead_letter(entry) for entry in entries]}, cursor)


def delete_many(state: State, call: Call) -> Reply:
    """Delete by ids (unknown ones are passed over) or by filters, a page at a time."""
    call.query.only(*_LIST)
    entries, cursor = _select(state, call, call.ids("dlqIds"))
    for entry in entries:
        state.remove_dead(entry.id)
    return _page({"deleted": len(entries)}, cursor)


def retry(state: State, call: Call) -> Reply:
    entry = state.machine.dead.get(call.names[0])
    published = state.retry_dead(entry, _overridden(state, call, entry))
    return Reply.of(_receipt(published), status=201)


def retry_many(state: State, call: Call) -> Reply:
    """Publish again by ids, all of which must be there, or by filters, a page at a time."""
    call.query.only(*_LIST)
    ids = call.ids("dlqIds")
    for dlq_id in ids or ():
        if "," not in dlq_id and state.machine.dead.find(dlq_id) is None:
            raise not_found("dlq message", dlq_id)
    entries, cursor = _select(state, call, ids)
    # Every override is read before the first message goes out, so that a wrong one stops all.
    specs = [_overridden(state, call, entry) for entry in entries]
    responses = []
    for entry, spec in zip(entries, specs, strict=True):
        responses.append(_receipt(state.retry_dead(entry, spec)))
    return Reply.of({"cursor": cursor or "", "responses": responses}, status=201)


def _receipt(published: Published) -> dict[str, Any]:
    message_id, url = published.receipts[0]
    receipt: dict[str, Any] = {"messageId": message_id, "url": url}
    if published.deduplicated:
        receipt["deduplicated"] = True
    return receipt


def _overridden(state: State, call: Call, entry: DeadLetter) -> Spec:
    """The original, unredacted, with what the request's own headers say put over it."""
    spec = replace(
        entry.message.spec,
        delay=0,
        not_before=None,
        # The window of its first publishing must not swallow the second.
        deduplication_id=None,
        content_based_deduplication=False,
    )
    return read_overrides(call.headers, spec, limits=state.limits)


def _select(state: State, call: Call, ids: list[str] | None) -> tuple[list[DeadLetter], str | None]:
    """One page of entries, and the cursor of the next; ids go before every filter."""
    query = call.query
    count = query.integer("count", least=1, most=PAGE) or PAGE
    if ids is not None:
        found = (state.machine.dead.find(dlq_id) for dlq_id in dict.fromkeys(ids))
        return [entry for entry in found if entry is not None], None
    order = query.one("order") or "earliestFirst"
    if order not in ("earliestFirst", "latestFirst"):
        raise bad_request("order must be earliestFirst or latestFirst")
    if query.one("source") not in (None, "workflow"):
        raise bad_request("source must be workflow")
    if query.one("source") == "workflow":
        return [], None
    matches = dead_filter(query)
    latest = order == "latestFirst"
    after = _position(query.one("cursor"))
    entries = list(state.machine.dead)
    page: list[DeadLetter] = []
    for entry in reversed(entries) if latest else entries:
        here = position(entry.id)
        if after is not None and (here >= after if latest else here <= after):
            continue
        if matches(entry):
            if len(page) == count:
                return page, page[-1].id
            page.append(entry)
    return page, None


def _position(cursor: str | None) -> tuple[int, int] | None:
    if cursor is None:
        return None
    try:
        return position(cursor)
    except ValueError as error:
        raise bad_request(str(error)) from None


def _page(value: dict[str, Any], cursor: str | None) -> Reply:
    return Reply.of({**value, "cursor": cursor} if cursor else value)
