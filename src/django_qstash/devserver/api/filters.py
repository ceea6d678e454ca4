"""Filters of bulk requests and lists: OR between the values of one, AND between filters."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_qstash.devserver.api.call import Query
    from django_qstash.devserver.dlq import DeadLetter
    from django_qstash.devserver.message import Message

_FIELDS: dict[str, Callable[[Message], tuple[str | None, ...]]] = {
    "messageId": lambda message: (message.id,),
    "topicName": lambda message: (message.topic,),
    "queueName": lambda message: (message.spec.queue,),
    "scheduleId": lambda message: (message.spec.schedule_id,),
    "url": lambda message: (message.url,),
    "host": lambda message: (urlsplit(message.url).netloc,),
    "path": lambda message: (urlsplit(message.url).path or "/",),
    "label": lambda message: message.spec.labels,
    "flowControlKey": lambda message: (message.spec.flow.key if message.spec.flow else None,),
    "callerIp": lambda message: (message.spec.caller_ip,),
    "callerIP": lambda message: (message.spec.caller_ip,),
}

#: What a bulk cancel may filter by.
MESSAGE_FILTERS = (*_FIELDS, "fromDate", "toDate")
#: The same for dead letters; QStash has no ``host`` and ``path`` there.
DEAD_FILTERS = (
    *(name for name in _FIELDS if name not in ("host", "path")),
    "fromDate",
    "toDate",
    "responseStatus",
)


def _fields(query: Query) -> Callable[[Message], bool]:
    wanted = [
        (_FIELDS[name], set(query.many(name))) for name in _FIELDS if query.one(name) is not None
    ]
    return lambda message: all(
        any(value in values for value in read(message)) for read, values in wanted
    )


def _dates(query: Query) -> Callable[[float], bool]:
    start = query.integer("fromDate")
    end = query.integer("toDate")

    def within(seconds: float) -> bool:
        moment = round(seconds * 1000)
        return (start is None or moment >= start) and (end is None or moment <= end)

    return within


def message_filter(query: Query) -> Callable[[Message], bool]:
    """Whether a message matches. Dates, in milliseconds, are those of its receipt."""
    fields, dates = _fields(query), _dates(query)
    return lambda message: dates(message.created) and fields(message)


def dead_filter(query: Query) -> Callable[[DeadLetter], bool]:
    """Whether a dead letter matches. Dates, in milliseconds, are those of its failure."""
    fields, dates = _fields(query), _dates(query)
    statuses = set(query.many("responseStatus"))
    return lambda entry: (
        dates(entry.failed)
        and (not statuses or str(entry.answer.status) in statuses)
        and fields(entry.message)
    )


def event_filter(query: Query) -> tuple[Callable[[Message], bool], Callable[[float], bool]]:
    """Whether a log entry's message, and its time, match."""
    return _fields(query), _dates(query)
