"""Which function answers which request.

Destinations are read from the raw request target: nothing is decoded, and ``//`` stays ``//``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from django_qstash.devserver.api import (
    dead,
    dev,
    flows,
    groups,
    keys,
    logs,
    messages,
    queues,
    schedules,
)
from django_qstash.devserver.api.call import Call, Reply, decoded
from django_qstash.devserver.refusal import Refusal
from django_qstash.devserver.state import State

Handler = Callable[[State, Call], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """``{name}`` in the path is one decoded segment, ``{destination}`` the raw rest."""

    method: str
    path: str
    handler: Handler


ROUTES: tuple[Route, ...] = (
    Route("POST", "/v2/publish/{destination}", messages.publish),
    Route("POST", "/v2/enqueue/{queueName}/{destination}", messages.enqueue),
    Route("POST", "/v2/batch", messages.batch),
    Route("GET", "/v2/messages/{messageId}", messages.get),
    Route("DELETE", "/v2/messages/{messageId}", messages.cancel),
    Route("DELETE", "/v2/messages", messages.cancel_many),
    Route("POST", "/v2/queues", queues.upsert),
    Route("GET", "/v2/queues", queues.listing),
    Route("GET", "/v2/queues/{queueName}", queues.get),
    Route("DELETE", "/v2/queues/{queueName}", queues.delete),
    Route("POST", "/v2/queues/{queueName}/pause", queues.pause),
    Route("POST", "/v2/queues/{queueName}/resume", queues.resume),
    Route("GET", "/v2/topics", groups.listing),
    Route("GET", "/v2/topics/{urlGroupName}", groups.get),
    Route("DELETE", "/v2/topics/{urlGroupName}", groups.delete),
    Route("PATCH", "/v2/topics/{urlGroupName}", groups.configure),
    Route("POST", "/v2/topics/{urlGroupName}/endpoints", groups.add),
    Route("DELETE", "/v2/topics/{urlGroupName}/endpoints", groups.remove),
    # The documentation says POST, the SDKs send PATCH.
    Route("POST", "/v2/schedules/{scheduleId}/pause", schedules.pause),
    Route("PATCH", "/v2/schedules/{scheduleId}/pause", schedules.pause),
    Route("POST", "/v2/schedules/{scheduleId}/resume", schedules.resume),
    Route("PATCH", "/v2/schedules/{scheduleId}/resume", schedules.resume),
    Route("POST", "/v2/schedules/{destination}", schedules.create),
    Route("GET", "/v2/schedules", schedules.listing),
    Route("GET", "/v2/schedules/{scheduleId}", schedules.get),
    Route("DELETE", "/v2/schedules/{scheduleId}", schedules.delete),
    Route("POST", "/v2/dlq/retry", dead.retry_many),
    Route("POST", "/v2/dlq/retry/{dlqId}", dead.retry),
    Route("GET", "/v2/dlq", dead.listing),
    Route("DELETE", "/v2/dlq", dead.delete_many),
    Route("GET", "/v2/dlq/{dlqId}", dead.get),
    Route("DELETE", "/v2/dlq/{dlqId}", dead.delete),
    Route("GET", "/v2/events", logs.events),
    Route("GET", "/v2/logs", logs.logs),
    Route("GET", "/v2/keys", keys.get),
    Route("POST", "/v2/keys/rotate", keys.rotate),
    Route("GET", "/v2/flowControl", flows.listing),
    Route("GET", "/v2/flowControl/{flowControlKey}", flows.get),
    Route("POST", "/v2/flowControl/{flowControlKey}/pause", flows.pause),
    Route("POST", "/v2/flowControl/{flowControlKey}/resume", flows.resume),
    Route("POST", "/v2/flowControl/{flowControlKey}/pin", flows.pin),
    Route("POST", "/v2/flowControl/{flowControlKey}/unpin", flows.unpin),
    Route("POST", "/v2/flowControl/{flowControlKey}/resetRate", flows.reset_rate),
    Route("POST", "/v2/flowControl/{flowControlKey}/reset", flows.reset),
    Route("GET", "/v2/globalParallelism", flows.global_parallelism),
    Route("GET", "/_dev/overview", dev.overview),
    Route("GET", "/_dev/messages/{messageId}", dev.message),
    Route("POST", "/_dev/messages/{messageId}/deliver", dev.deliver),
    Route("POST", "/_dev/schedules/{scheduleId}/fire", dev.fire),
    Route("GET", "/_dev/faults", dev.get_faults),
    Route("PUT", "/_dev/faults", dev.put_faults),
    Route("DELETE", "/_dev/faults", dev.delete_faults),
)

#: The workflow endpoints of QStash, which this server does not have.
_WORKFLOW = re.compile(r"/v2/(trigger|batch/trigger|workflows|wait|notify|waiters)(/|$)")


def _pattern(path: str) -> re.Pattern[str]:
    # A group's name or a URL: whatever follows, the query string too.
    pattern = re.sub(r"\\{destination\\}", r"(?P<tail>.+)", re.escape(path))
    if "?P<tail>" in pattern:
        pattern = re.sub(r"\\{\w+\\}", r"([^/?]+)", pattern)
    else:
        pattern = re.sub(r"\\{\w+\\}", r"([^/?]+)", pattern) + r"/?(?:\?.*)?"
    return re.compile(pattern, re.DOTALL)


_COMPILED: dict[str, list[tuple[Route, re.Pattern[str]]]] = {}
for _route in ROUTES:
    _COMPILED.setdefault(_route.path.split("/")[2], []).append((_route, _pattern(_route.path)))


def find(call: Call) -> tuple[Handler, Call]:
    """The handler of a request, and the request with the route's names filled in.

    Raises :class:`Refusal` 404 or 405.
    """
    parts = call.target.split("?", 1)[0].split("/", 3)
    allowed: set[str] = set()
    for route, pattern in _COMPILED.get(parts[2] if len(parts) > 2 else "", ()):
        match = pattern.fullmatch(call.target)
        if match is None:
            continue
        if route.method != call.method:
            allowed.add(route.method)
            continue
        tail = match.groupdict().get("tail") or ""
        names = match.groups()[: -1 if tail else None]
        return route.handler, replace(call, names=tuple(decoded(name) for name in names), tail=tail)
    if _WORKFLOW.match(call.path):
        raise Refusal(404, "the workflow endpoints are not part of this development server")
    if allowed:
        raise Refusal(405, "method not allowed", headers={"Allow": ", ".join(sorted(allowed))})
    raise Refusal(404, f"not found: {call.method} {call.path[:200]}")
