# ruff: noqa: E501 - the table is easier to read a row a line
"""QStash's OpenAPI description, path by path: statuses, and the types of what is answered.

The table below restates its operations (those of August 2026). With ``QSTASH_OPENAPI`` naming the
description's file, and PyYAML installed, the table is compared with it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from django_qstash.devserver.api import Call, answer
from django_qstash.devserver.api.routes import ROUTES
from django_qstash.devserver.message import Answer
from tests.devserver.account import Account

STRINGS = [str]
HEADERS = {str: STRINGS}
MESSAGE = {
    "messageId": str,
    "url": str,
    "topicName?": str,
    "endpointName?": str,
    "method": str,
    "header?": HEADERS,
    "body?": str,
    "bodyBase64?": str,
    "maxRetries": int,
    "retryDelayExpression?": str,
    "notBefore": int,
    "createdAt": int,
    "callback?": str,
    "failureCallback?": str,
    "callbackHeader?": HEADERS,
    "failureCallbackHeader?": HEADERS,
    "queueName?": str,
    "scheduleId?": str,
    "callerIP?": str,
    "label?": str,
    "labels?": STRINGS,
    "flowControlKey?": str,
    "rate?": int,
    "period?": int,
    "parallelism?": int,
}
RECEIPT = {"messageId": str, "url?": str, "deduplicated?": bool}
QUEUE = {
    "name": str,
    "createdAt": int,
    "updatedAt": int,
    "parallelism": int,
    "paused": bool,
    "lag": int,
}
SCHEDULE = {
    "scheduleId": str,
    "cron": str,
    "destination": str,
    "createdAt": int,
    "method": str,
    "header?": HEADERS,
    "body?": str,
    "retries": int,
    "delay?": int,
    "timeout?": int,
    "callback?": str,
    "failureCallback?": str,
    "callbackHeader?": HEADERS,
    "failureCallbackHeader?": HEADERS,
    "callerIP?": str,
    "isPaused": bool,
    "queueName?": str,
    "flowControlKey?": str,
    "parallelism?": int,
    "rate?": int,
    "period?": int,
    "retryDelayExpression?": str,
    "label?": str,
    "labels?": STRINGS,
    "lastScheduleTime?": int,
    "nextScheduleTime?": int,
    "lastScheduleStates?": {str: str},
}
GROUP = {
    "name": str,
    "createdAt": int,
    "updatedAt": int,
    "endpoints": [{"name?": str, "url": str}],
}
DEAD = {
    **MESSAGE,
    "dlqId": str,
    "responseStatus": int,
    "responseHeader?": HEADERS,
    "responseBody?": str,
    "responseBodyBase64?": str,
}
FLOW = {
    "flowControlKey": str,
    "waitListSize": int,
    "parallelismMax": int,
    "parallelismCount": int,
    "rateMax": int,
    "rateCount": int,
    "ratePeriod": int,
    "ratePeriodStart": int,
    "isPinnedParallelism": bool,
    "isPinnedRate": bool,
    "isPaused": bool,
}
LOG = {
    **{name: kind for name, kind in MESSAGE.items() if name not in ("notBefore", "createdAt")},
    "time": int,
    "state": str,
    "error?": str,
    "nextDeliveryTime?": int,
    "responseStatus?": int,
    "responseBody?": str,
    "responseHeaders?": HEADERS,
    "responseHeader?": HEADERS,
    "timeout?": int,
    "callbackHeaders?": HEADERS,
    "failureCallbackHeaders?": HEADERS,
    "retryDelayExpr?": str,
}
KEYS = {"current": str, "next": str}
ANY = object()

CRON = {"Upstash-Cron": "*/5 * * * *", "Upstash-Schedule-Id": "s"}
ENDPOINTS = {"endpoints": [{"url": "http://e1", "name": "one"}]}

#: (method, path of the description, request path, body, headers, status, answer)
OPERATIONS: list[tuple[str, str, str, Any, dict[str, str], int, Any]] = [
    ("POST", "/v2/publish/{destination}", "/v2/publish/http://x.dev", "x", {}, 200, RECEIPT),
    ("POST", "/v2/publish/{destination}", "/v2/publish/g", "x", {}, 200, [RECEIPT]),
    ("POST", "/v2/enqueue/{queueName}/{destination}", "/v2/enqueue/q/http://x.dev", "x", {}, 200, RECEIPT),
    ("POST", "/v2/batch", "/v2/batch", [{"destination": "http://x.dev"}], {}, 200, [RECEIPT]),
    ("GET", "/v2/messages/{messageId}", "/v2/messages/{message}", "", {}, 200, MESSAGE),
    ("GET", "/v2/messages/{messageId}", "/v2/messages/none", "", {}, 404, None),
    ("DELETE", "/v2/messages/{messageId}", "/v2/messages/{message}", "", {}, 200, {"cancelled": int}),
    ("DELETE", "/v2/messages/{messageId}", "/v2/messages/none", "", {}, 404, None),
    ("DELETE", "/v2/messages", "/v2/messages", "", {}, 200, {"cancelled": int}),
    ("POST", "/v2/queues", "/v2/queues", {"queueName": "q", "parallelism": 2}, {}, 200, ANY),
    ("POST", "/v2/queues", "/v2/queues", {"queueName": "a b", "parallelism": 2}, {}, 400, None),
    ("POST", "/v2/queues", "/v2/queues", {"queueName": "q", "parallelism": 10**6}, {}, 412, None),
    ("GET", "/v2/queues", "/v2/queues", "", {}, 200, [QUEUE]),
    ("GET", "/v2/queues/{queueName}", "/v2/queues/q", "", {}, 200, QUEUE),
    ("GET", "/v2/queues/{queueName}", "/v2/queues/none", "", {}, 404, None),
    ("GET", "/v2/queues/{queueName}", "/v2/queues/a%20b", "", {}, 400, None),
    ("DELETE", "/v2/queues/{queueName}", "/v2/queues/q", "", {}, 200, ANY),
    ("DELETE", "/v2/queues/{queueName}", "/v2/queues/none", "", {}, 200, ANY),
    ("POST", "/v2/queues/{queueName}/pause", "/v2/queues/q/pause", "", {}, 200, ANY),
    ("POST", "/v2/queues/{queueName}/pause", "/v2/queues/a%20b/pause", "", {}, 400, None),
    ("POST", "/v2/queues/{queueName}/resume", "/v2/queues/q/resume", "", {}, 200, ANY),
    ("POST", "/v2/queues/{queueName}/resume", "/v2/queues/a%20b/resume", "", {}, 400, None),
    ("POST", "/v2/schedules/{destination}", "/v2/schedules/http://x.dev", "x", CRON, 200, {"scheduleId": str}),
    ("POST", "/v2/schedules/{destination}", "/v2/schedules/http://x.dev", "x", {**CRON, "Upstash-Schedule-Id": "a b"}, 400, None),
    ("GET", "/v2/schedules", "/v2/schedules", "", {}, 200, [SCHEDULE]),
    ("GET", "/v2/schedules/{scheduleId}", "/v2/schedules/s", "", {}, 200, SCHEDULE),
    ("GET", "/v2/schedules/{scheduleId}", "/v2/schedules/none", "", {}, 404, None),
    ("DELETE", "/v2/schedules/{scheduleId}", "/v2/schedules/s", "", {}, 200, ANY),
    ("POST", "/v2/schedules/{scheduleId}/pause", "/v2/schedules/s/pause", "", {}, 200, ANY),
    ("POST", "/v2/schedules/{scheduleId}/resume", "/v2/schedules/s/resume", "", {}, 200, ANY),
    ("GET", "/v2/topics", "/v2/topics", "", {}, 200, [GROUP]),
    ("GET", "/v2/topics/{urlGroupName}", "/v2/topics/g", "", {}, 200, GROUP),
    ("GET", "/v2/topics/{urlGroupName}", "/v2/topics/none", "", {}, 404, None),
    ("DELETE", "/v2/topics/{urlGroupName}", "/v2/topics/g", "", {}, 200, ANY),
    ("POST", "/v2/topics/{urlGroupName}/endpoints", "/v2/topics/g/endpoints", ENDPOINTS, {}, 200, ANY),
    ("DELETE", "/v2/topics/{urlGroupName}/endpoints", "/v2/topics/g/endpoints", ENDPOINTS, {}, 200, ANY),
    ("GET", "/v2/dlq", "/v2/dlq?count=1", "", {}, 200, {"cursor?": str, "messages": [DEAD]}),
    ("DELETE", "/v2/dlq", "/v2/dlq?count=1", "", {}, 200, {"cursor?": str, "deleted": int}),
    ("GET", "/v2/dlq/{dlqId}", "/v2/dlq/{dead}", "", {}, 200, DEAD),
    ("GET", "/v2/dlq/{dlqId}", "/v2/dlq/1-0", "", {}, 404, None),
    ("DELETE", "/v2/dlq/{dlqId}", "/v2/dlq/{dead}", "", {}, 200, ANY),
    ("DELETE", "/v2/dlq/{dlqId}", "/v2/dlq/1-0", "", {}, 404, None),
    ("POST", "/v2/dlq/retry/{dlqId}", "/v2/dlq/retry/{dead}", "", {}, 201, RECEIPT),
    ("POST", "/v2/dlq/retry/{dlqId}", "/v2/dlq/retry/1-0", "", {}, 404, None),
    ("POST", "/v2/dlq/retry", "/v2/dlq/retry", "", {}, 201, {"cursor?": str, "responses": [RECEIPT]}),
    ("POST", "/v2/dlq/retry", "/v2/dlq/retry?dlqIds=1-0", "", {}, 404, None),
    ("GET", "/v2/flowControl", "/v2/flowControl", "", {}, 200, [FLOW]),
    ("GET", "/v2/flowControl/{flowControlKey}", "/v2/flowControl/k", "", {}, 200, FLOW),
    ("GET", "/v2/flowControl/{flowControlKey}", "/v2/flowControl/none", "", {}, 404, None),
    ("POST", "/v2/flowControl/{flowControlKey}/pause", "/v2/flowControl/k/pause", "", {}, 200, ANY),
    ("POST", "/v2/flowControl/{flowControlKey}/resume", "/v2/flowControl/k/resume", "", {}, 200, ANY),
    ("POST", "/v2/flowControl/{flowControlKey}/pin", "/v2/flowControl/k/pin?rate=2", "", {}, 200, ANY),
    ("POST", "/v2/flowControl/{flowControlKey}/pin", "/v2/flowControl/k/pin?rate=x", "", {}, 400, None),
    ("POST", "/v2/flowControl/{flowControlKey}/unpin", "/v2/flowControl/k/unpin?rate=true", "", {}, 200, ANY),
    ("POST", "/v2/flowControl/{flowControlKey}/resetRate", "/v2/flowControl/k/resetRate", "", {}, 200, ANY),
    ("GET", "/v2/globalParallelism", "/v2/globalParallelism", "", {}, 200, {"parallelismMax": int, "parallelismCount": int}),
    ("GET", "/v2/keys", "/v2/keys", "", {}, 200, KEYS),
    ("POST", "/v2/keys/rotate", "/v2/keys/rotate", "", {}, 200, KEYS),
    ("GET", "/v2/logs", "/v2/logs", "", {}, 200, {"cursor?": str, "logs": [LOG]}),
]  # fmt: skip


def populated() -> tuple[Account, dict[str, str]]:
    """One of everything, with as many fields filled as can be."""
    account = Account(
        lambda attempt: Answer(status=500, header=(("X-A", "b"),), body=b"no", error="500")
    )
    full = {
        "Content-Type": "text/plain",
        "Upstash-Forward-X": "1",
        "Upstash-Retries": "0",
        "Upstash-Retry-Delay": "1000",
        "Upstash-Timeout": "5s",
        "Upstash-Label": "a,b",
        "Upstash-Callback": "http://cb.dev",
        "Upstash-Callback-Forward-X": "1",
        "Upstash-Failure-Callback": "http://cb.dev",
        "Upstash-Failure-Callback-Forward-X": "1",
        "Upstash-Flow-Control-Key": "k",
        "Upstash-Flow-Control-Value": "rate=100,parallelism=10,period=1m",
    }
    account.ok("POST", "/v2/topics/g/endpoints", ENDPOINTS)
    account.ok("POST", "/v2/queues", {"queueName": "q"})
    account.ok("POST", "/v2/schedules/g", "x", {**full, **CRON, "Upstash-Delay": "1s"})
    account.ok("POST", "/v2/publish/g", "x", full)
    account.ok("POST", "/v2/enqueue/q/http://x.dev", b"\xff", full)
    account.advance(300)
    late = {**full, "Upstash-Delay": "1h"}
    message = account.ok("POST", "/v2/publish/http://x.dev", "x", late)["messageId"]
    dead = account.ok("GET", "/v2/dlq")["messages"][0]["dlqId"]
    return account, {"message": message, "dead": dead}


def check(value: Any, kind: Any, where: str) -> None:
    """Types are exact, nothing is null, and no key is there that the table does not name."""
    if kind is ANY:
        return
    if isinstance(kind, list):
        assert isinstance(value, list), where
        for number, item in enumerate(value):
            check(item, kind[0], f"{where}[{number}]")
    elif isinstance(kind, dict) and str in kind:
        assert isinstance(value, dict), where
        for name, item in value.items():
            check(item, kind[str], f"{where}.{name}")
    elif isinstance(kind, dict):
        assert isinstance(value, dict), where
        names = {name.rstrip("?") for name in kind}
        assert set(value) <= names, f"{where}: {set(value) - names}"
        for name, inner in kind.items():
            if name.rstrip("?") in value:
                check(value[name.rstrip("?")], inner, f"{where}.{name}")
            else:
                assert name.endswith("?"), f"{where}: {name} is missing"
    else:
        assert type(value) is kind, f"{where}: {value!r}"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda row: f"{row[0]} {row[2]} {row[5]}")
def test_an_operation_answers_as_described(operation):
    method, path, target, body, headers, status, kind = operation
    account, names = populated()
    for name, value in names.items():
        target = target.replace("{" + name + "}", value)
    reply = account.call(method, target, body, headers)
    assert reply.status == status, reply
    assert reply.content_type == "application/json"
    value = json.loads(reply.body)
    check(value, kind if kind is not None else {"error": str}, path)
    if isinstance(value, list) and isinstance(kind, list):
        assert value


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_wants_the_token(route):
    target = re.sub(r"{destination}", "http://a.dev", route.path)
    target = re.sub(r"{\w+}", "x", target)
    reply = answer(Account().state, Call(method=route.method, target=target))
    assert reply.status == 401


def test_every_operation_has_a_route_and_every_route_of_the_api_an_operation():
    ours = {(route.method, re.sub(r"{\w+}", "{}", route.path)) for route in ROUTES}
    theirs = {(method, re.sub(r"{\w+}", "{}", path)) for method, path, *_ in OPERATIONS}
    assert theirs <= ours
    beyond = {(method, path) for method, path in ours - theirs if path.startswith("/v2/")}
    assert beyond == {
        # What the SDKs send, and what the changelog adds.
        ("PATCH", "/v2/schedules/{}/pause"),
        ("PATCH", "/v2/schedules/{}/resume"),
        ("PATCH", "/v2/topics/{}"),
        ("GET", "/v2/events"),
        ("POST", "/v2/flowControl/{}/reset"),
    }


@pytest.mark.skipif("QSTASH_OPENAPI" not in os.environ, reason="QSTASH_OPENAPI names no file")
def test_the_table_is_the_descriptions():
    yaml = pytest.importorskip("yaml")
    description = yaml.safe_load(Path(os.environ["QSTASH_OPENAPI"]).read_text())
    theirs = {
        (method.upper(), path, int(status))
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        if isinstance(operation, dict) and "responses" in operation
        for status in operation["responses"]
    }
    ours = {(method, path, status) for method, path, _, _, _, status, _ in OPERATIONS}
    missing = {row for row in theirs - ours if row[2] not in (400, 401, 412, 500)}
    # A queue that is not there is made: the SDKs rely on it.
    assert missing == {("POST", "/v2/enqueue/{queueName}/{destination}", 404)}
    assert {row[:2] for row in theirs} == {row[:2] for row in ours}
