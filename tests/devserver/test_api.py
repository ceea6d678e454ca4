"""What each request is answered: statuses, names, types; and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from django_qstash.devserver.api import Call, answer
from django_qstash.devserver.message import Answer
from tests.devserver.account import Account


def sha(text: bytes) -> str:
    return "REDACTED:" + hashlib.sha256(text).hexdigest()


@pytest.fixture
def account() -> Account:
    return Account()


# Who may ask.


@pytest.mark.parametrize(
    "headers", [[], [("Authorization", "Bearer wrong")], [("Authorization", "x")]]
)
def test_no_token_no_answer(account, headers):
    reply = answer(account.state, Call(method="GET", target="/v2/keys", headers=headers))
    assert reply.status == 401
    assert json.loads(reply.body) == {"error": "unable to authenticate: invalid token"}


def test_the_token_may_stand_in_the_query_and_is_taken_out_of_a_destination(account):
    target = f"/v2/publish/http://a.dev/?x=%20&qstash_token={account.state.keys.token}&y"
    reply = answer(account.state, Call(method="POST", target=target))
    assert json.loads(reply.body)["url"] == "http://a.dev/?x=%20&y"


def test_unknown_paths_methods_and_the_workflow_endpoints(account):
    assert account.no("GET", "/v2/nothing")[0] == 404
    assert account.no("GET", "/")[0] == 404
    assert account.no("GET", "/v3/keys")[0] == 404
    assert account.no("PUT", "/v2/keys")[0] == 405
    assert account.call("PUT", "/v2/queues/q").headers == {"Allow": "DELETE, GET"}
    for path in ("trigger/http://a.dev", "workflows/runs/x", "batch/trigger", "wait/x", "notify/x"):
        status, error = account.no("POST", f"/v2/{path}")
        assert status == 404
        assert "workflow" in error


# Destinations.


@pytest.mark.parametrize(
    "url",
    [
        "http://a.dev",
        "https://a.dev//x//y/../z?q=1&q=2&e=%2F%20#part",
        "HTTP://A.dev:8080/",
        "http://[::1]:9/x",
        "http://user:pass@a.dev/",
        "http://127.0.0.1:8000/qstash/webhook/?retry=3",
        "http://no-such-host.invalid/",
    ],
)
def test_a_destination_is_taken_byte_for_byte(account, url):
    assert account.ok("POST", f"/v2/publish/{url}")["url"] == url


@pytest.mark.parametrize(
    ("destination", "error"),
    [
        ("ftp://a.dev/", "invalid scheme, add http:// or https://"),
        ("no-such-group", "invalid scheme, add http:// or https://"),
        ("api/llm", "invalid scheme"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://a.dev:port/", "ort could not be cast"),
        ("http://a.dev:99999/", "out of range"),
        ("http://[::1/", "Invalid IPv6"),
    ],
)
def test_what_cannot_be_called_is_refused(account, destination, error):
    status, text = account.no("POST", f"/v2/publish/{destination}")
    assert status == 400
    assert error in text


def test_options_may_stand_in_the_query_and_headers_win(account):
    made = account.ok(
        "POST",
        "/v2/publish/http://a.dev/?upstash-retries=1&a=b&Upstash-Delay=100s&upstash-forward-x-y=z",
        b"",
        {"Upstash-Retries": "2"},
    )
    assert made["url"] == "http://a.dev/?a=b"
    message = account.ok("GET", f"/v2/messages/{made['messageId']}")
    assert message["maxRetries"] == 2
    assert message["notBefore"] - message["createdAt"] == 100_000
    assert message["header"] == {"X-Y": ["z"]}


# Messages.


def test_a_plain_message_has_these_fields_and_no_other(account):
    message = account.publish("http://a.dev/x", b"hi")
    now = round(account.start * 1000)
    assert account.ok("GET", f"/v2/messages/{message}") == {
        "messageId": message,
        "url": "http://a.dev/x",
        "method": "POST",
        "header": {},
        "body": "hi",
        "maxRetries": 3,
        "notBefore": now,
        "createdAt": now,
        "callerIP": "127.0.0.1",
    }


def test_a_message_with_everything(account):
    headers = {
        "content-type": "text/plain",
        "upstash-method": "put",
        "Upstash-Forward-x-custom-header": "1",
        "Upstash-Forward-Content-Type": "not/honoured",
        "Upstash-Forward-Host": "not.forwarded",
        "Upstash-Forward-Upstash-Workflow-Sdk-Version": "1",
        "Authorization-Not": "forwarded",
        "Upstash-Timeout": "30",
        "Upstash-Retry-Delay": "1000 * (1 + retried)",
        "Upstash-Label": "one, two",
        "Upstash-Flow-Control-Key": "k",
        "Upstash-Flow-Control-Value": "period=1m , rate = 4,parallelism=3",
        "Upstash-Callback": "http://cb.dev",
        "Upstash-Callback-Forward-x-cb": "c",
        "Upstash-Callback-Retries": "7",
        "Upstash-Failure-Callback": "http://fcb.dev",
        "Upstash-Failure-Callback-Forward-x-f": "f",
        "Upstash-Telemetry-Sdk": "js",
        "Upstash-Not-Before": str(account.start + 0.5 + 60),
        "Upstash-Delay": "1d10h30m",
    }
    message = account.ok("POST", "/v2/publish/http://a.dev/", b"\xff\x00", headers)["messageId"]
    shown = account.ok("GET", f"/v2/messages/{message}")
    created = shown.pop("createdAt")
    assert shown == {
        "messageId": message,
        "url": "http://a.dev/",
        "method": "PUT",
        "header": {
            "Content-Type": ["text/plain"],
            "X-Custom-Header": ["1"],
            "Upstash-Workflow-Sdk-Version": ["1"],
        },
        "bodyBase64": base64.b64encode(b"\xff\x00").decode(),
        "maxRetries": 3,
        "retryDelayExpression": "1000 * (1 + retried)",
        "label": "one",
        "labels": ["one", "two"],
        "flowControlKey": "k",
        "parallelism": 3,
        "rate": 4,
        "period": 60,
        "callback": "http://cb.dev",
        "callbackHeader": {"X-Cb": ["c"], "Retries": ["7"]},
        "failureCallback": "http://fcb.dev",
        "failureCallbackHeader": {"X-F": ["f"]},
        "notBefore": created + 61_000,
        "callerIP": "127.0.0.1",
    }


def test_all_headers_are_forwarded_when_that_is_asked_for(account):
    message = account.ok(
        "POST",
        "/v2/publish/http://a.dev/",
        b"",
        {"Upstash-Header-Forward": "true", "X-Mine": "1", "Connection": "close"},
    )["messageId"]
    assert account.ok("GET", f"/v2/messages/{message}")["header"] == {"X-Mine": ["1"]}


def test_a_period_is_one_second_and_limits_that_are_not_set_are_absent(account):
    message = account.publish(Flow_Control_Key="k", Flow_Control_Value="parallelism=2")
    shown = account.ok("GET", f"/v2/messages/{message}")
    assert (shown["parallelism"], shown["period"]) == (2, 1)
    assert "rate" not in shown


@pytest.mark.parametrize("word", ["header", "headers"])
def test_redacted_fields_show_their_hash_and_are_delivered_whole(account, word):
    account.publish(
        body=b"secret",
        Redact_Fields=f"body, {word}[x-key]",
        Forward_X_Key="k",
        Forward_X_Open="o",
        Retries="0",
        Callback="http://a.dev/cb",
    )
    account.destination = lambda attempt: 500
    made = account.run()
    assert made[0].body == b"secret"
    assert ("X-Key", "k") in made[0].attempt.message.spec.header
    shown = json.dumps(
        [account.ok("GET", target) for target in ("/v2/dlq", "/v2/events", "/_dev/overview")]
    )
    assert sha(b"secret") in shown
    assert sha(b"k") in shown
    assert '"o"' in shown
    assert "secret" not in shown
    assert base64.b64encode(b"secret").decode() not in shown


def test_bulk_cancel_by_filters_ids_count_and_all(account):
    one = account.publish("http://a.dev:1/p?x=1", Label="a,b", Delay="1h")
    account.publish("http://b.dev/q", Label="b", Delay="1h")
    account.publish("http://b.dev/r", Delay="1h")
    account.ok("POST", "/v2/queues", {"queueName": "q", "paused": True})
    account.ok("POST", "/v2/enqueue/q/http://c.dev")

    def cancel(target: str, body: bytes | dict = b"") -> int:
        return account.ok("DELETE", f"/v2/messages{target}", body)["cancelled"]

    assert cancel("?host=a.dev") == 0
    assert cancel("?label=b&host=a.dev:1&path=/p") == 1
    assert cancel("?label=a") == 0
    assert cancel("", {"messageIds": [one, "unknown", one]}) == 0
    assert cancel("?queueName=q,other") == 1
    assert cancel("?url=http://b.dev/q&url=http://b.dev/r&fromDate=99999999999999") == 0
    now = round(account.start * 1000)
    assert (
        cancel(f"?url=http://b.dev/q&url=http://b.dev/r&fromDate={now}&toDate={now}&count=1") == 1
    )
    assert cancel("?callerIp=127.0.0.1") == 1
    ids = [account.publish(Delay="1h") for _ in range(4)]
    assert cancel(f"?messageIds={ids[0]}&messageIds={ids[1]}") == 2
    assert cancel("") == 2
    assert cancel("") == 0


@pytest.mark.parametrize(
    "target", ["?count=0", "?count=501", "?count=x", "?fromDate=x", "?nonsense=1", "?lable=x"]
)
def test_a_bulk_cancel_that_says_something_else_cancels_nothing(account, target):
    account.publish(Delay="1h")
    assert account.no("DELETE", f"/v2/messages{target}")[0] == 400
    assert account.no("DELETE", "/v2/messages", {"messageIds": "x"})[0] == 400
    assert account.ok("DELETE", "/v2/messages") == {"cancelled": 1}


# Options that are refused.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Retries", "-1"),
        ("Retries", "x"),
        ("Retries", "9" * 5000),
        ("Delay", "1x"),
        ("Delay", "-5s"),
        ("Delay", "soon"),
        ("Not-Before", "tomorrow"),
        ("Not-Before", "1e400"),
        ("Timeout", "0"),
        ("Timeout", "x"),
        ("Method", "BREW"),
        ("Retry-Delay", "os.system('x')"),
        ("Retry-Delay", "1 +"),
        ("Retry-Delay", "retries * 2"),
        ("Deduplication-Id", "a:b"),
        ("Content-Based-Deduplication", "maybe"),
        ("Callback", "a.dev"),
        ("Callback", "http://"),
        ("Failure-Callback", "ftp://a.dev"),
        ("Callback-Delay", "5s"),
        ("Failure-Callback-Not-Before", "5"),
        ("Callback-Retries", "x"),
        ("Callback-Retry-Delay", "1 +"),
        ("Callback-Cron", "* * * * *"),
        ("Flow-Control-Key", "k"),
        ("Flow-Control-Value", "rate=1"),
        ("Redact-Fields", "everything"),
        ("Schedule-Id", "a b"),
    ],
)
def test_an_option_that_means_nothing_is_400_and_names_itself(account, name, value):
    status, error = account.no("POST", "/v2/publish/http://a.dev/", b"", {f"Upstash-{name}": value})
    assert status == 400
    assert name.split("-")[0] in error
    assert account.run() == []


@pytest.mark.parametrize(
    "value", ["", "rate=0", "rate=1.5", "rate=x", "speed=1", "rate=1,rate=2", "period=1s",
              "rate=1,period=8d", "rate=1,period=0", "parallelism=-1", "rate"]
)  # fmt: skip
def test_a_flow_control_value_is_rate_or_parallelism(account, value):
    status, error = account.no(
        "POST",
        "/v2/publish/http://a.dev/",
        b"",
        {"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": value},
    )
    assert status == 400
    assert error.startswith("Upstash-Flow-Control-Value ")


@pytest.mark.parametrize(
    ("plan", "headers", "quota"),
    [
        ("payg", {"Upstash-Retries": "1000000"}, "maxRetries"),
        ("payg", {"Upstash-Delay": "366d"}, "maxDelay"),
        ("payg", {"Upstash-Not-Before": "9999999999"}, "maxDelay"),
        ("free", {"Upstash-Delay": "604801s"}, "maxDelay"),
        ("payg", {"Upstash-Timeout": "3h"}, "maxTimeout"),
        ("payg", {"Upstash-Callback-Retries": "1000000"}, "maxRetries"),
    ],
)
def test_over_the_plans_limits_is_412(plan, headers, quota):
    account = Account(plan=plan)
    status, error = account.no("POST", "/v2/publish/http://a.dev/", b"", headers)
    assert status == 412
    assert error.startswith(f"quota {quota} exceeded, current limit: ")


def test_the_free_plans_numbers():
    account = Account(plan="free")
    assert account.no("POST", "/v2/publish/http://a.dev/", b"x" * (1 << 20 | 1))[0] == 412
    for number in range(10):
        account.ok("POST", f"/v2/enqueue/q{number}/http://a.dev")
        account.ok("POST", "/v2/schedules/http://a.dev", b"", {"Upstash-Cron": "* * * * *"})
    assert account.no("POST", "/v2/enqueue/q10/http://a.dev")[0] == 412
    assert account.no("POST", "/v2/queues", {"queueName": "q11"})[0] == 412
    assert account.no("POST", "/v2/queues", {"queueName": "q1", "parallelism": 3})[0] == 412
    cron = {"Upstash-Cron": "* * * * *"}
    assert account.no("POST", "/v2/schedules/http://a.dev", b"", cron)[0] == 412
    account.ok("POST", "/v2/topics/g/endpoints", {"endpoints": [{"url": "http://a.dev"}]})
    assert (
        account.no("POST", "/v2/topics/h/endpoints", {"endpoints": [{"url": "http://a.dev"}]})[0]
        == 412
    )


# Batch.


def test_a_batch_is_answered_item_by_item(account):
    account.ok(
        "POST",
        "/v2/topics/g/endpoints",
        {"endpoints": [{"url": "http://e1"}, {"url": "http://e2"}]},
    )
    account.publish("http://d.dev", Deduplication_Id="d")
    made = account.ok(
        "POST",
        "/v2/batch",
        [
            {
                "destination": "https://a.dev",
                "headers": {"upstash-retries": "1"},
                "body": "hi",
                "queue": None,
            },
            {"destination": "g", "headers": {}, "body": "x"},
            {"destination": "nowhere", "body": "x"},
            {"destination": "http://q.dev", "queue": "q"},
            {"destination": "http://d.dev", "headers": {"Upstash-Deduplication-Id": "d"}},
            {"destination": "http://x.dev", "headers": {"Upstash-Retries": "x"}},
            {"destination": "http://s.dev", "body": "\ud800"},
            {"headers": {}},
            "nonsense",
        ],
    )
    assert [url["url"] for url in made[1]] == ["http://e1", "http://e2"]
    assert made[0]["url"] == "https://a.dev"
    assert "invalid scheme" in made[2]["error"]
    assert made[3]["url"] == "http://q.dev"
    assert made[4]["deduplicated"] is True
    assert "Upstash-Retries" in made[5]["error"]
    assert made[6]["url"] == "http://s.dev"
    assert "destination" in made[7]["error"]
    assert "error" in made[8]
    assert len(account.run()) == 6


def test_a_batch_with_one_item_over_a_limit_sends_nothing(account):
    status, _ = account.no(
        "POST",
        "/v2/batch",
        [
            {"destination": "http://a.dev"},
            {"destination": "http://a.dev", "headers": {"Upstash-Retries": "1000000"}},
        ],
    )
    assert status == 412
    assert account.run() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"{}", b"null", b'"x"', b"[NaN]", b"[" * 100_000, b"\xff", b"[1" + b"0" * 5000],
)
def test_a_malformed_batch_is_400(account, body):
    assert account.no("POST", "/v2/batch", body)[0] == 400


def test_an_empty_batch_is_an_empty_list(account):
    assert account.ok("POST", "/v2/batch", []) == []


# Queues and URL groups.


def test_queues(account):
    account.ok("POST", "/v2/queues", {"queueName": "q", "parallelism": 5, "paused": True})
    now = round(account.start * 1000)
    shown = {"name": "q", "parallelism": 5, "paused": True, "createdAt": now, "updatedAt": now}
    assert account.ok("GET", "/v2/queues/q") == {**shown, "lag": 0}
    account.ok("POST", "/v2/enqueue/q/http://a.dev")
    assert account.ok("GET", "/v2/queues") == [{**shown, "lag": 1}]
    account.clock.advance(1)
    account.ok("POST", "/v2/queues", {"queueName": "q"})
    again = account.ok("GET", "/v2/queues/q")
    assert (again["parallelism"], again["paused"], again["createdAt"]) == (1, False, now)
    assert again["updatedAt"] == now + 1000
    assert account.no("POST", "/v2/queues/missing/pause")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"queueName": ""},
        {"queueName": "a b"},
        {"queueName": "ü"},
        {"queueName": 5},
        {"queueName": "q", "parallelism": 0},
        {"queueName": "q", "parallelism": "2"},
        {"queueName": "q", "parallelism": True},
        {"queueName": "q", "paused": "no"},
        [],
        b"",
    ],
)
def test_a_queue_that_cannot_be_is_400(account, body):
    assert account.no("POST", "/v2/queues", body)[0] == 400
    assert account.no("POST", "/v2/enqueue/a%20b/http://a.dev")[0] == 400


def test_url_groups(account):
    assert account.call("DELETE", "/v2/topics/g").status == 200
    endpoints = [{"name": "one", "url": "http://e1"}, {"url": "http://e2"}]
    account.ok("POST", "/v2/topics/g/endpoints", {"endpoints": endpoints})
    group = account.ok("GET", "/v2/topics/g")
    assert group["endpoints"] == endpoints
    assert set(group) == {"name", "createdAt", "updatedAt", "endpoints"}
    made = account.ok("POST", "/v2/publish/g", b"x", {"Upstash-Deduplication-Id": "d"})
    assert [receipt["url"] for receipt in made] == ["http://e1", "http://e2"]
    message = account.ok("GET", f"/v2/messages/{made[0]['messageId']}")
    assert (message["topicName"], message["endpointName"]) == ("g", "one")
    again = account.call("POST", "/v2/publish/g", b"x", {"Upstash-Deduplication-Id": "d"})
    assert again.status == 202
    assert [receipt["deduplicated"] for receipt in json.loads(again.body)] == [True, True]

    account.ok(
        "POST", "/v2/topics/g/endpoints", {"endpoints": [{"name": "one", "url": "http://e3"}]}
    )
    assert account.ok("GET", "/v2/topics/g")["endpoints"] == [
        {"url": "http://e2"},
        {"name": "one", "url": "http://e3"},
    ]
    account.ok("PATCH", "/v2/topics/g", {"headers": {"X-Team": ["a"], "X-Mine": ["g"]}})
    made = account.ok("POST", "/v2/publish/g", b"", {"Upstash-Forward-x-mine": "m"})
    message = account.ok("GET", f"/v2/messages/{made[0]['messageId']}")
    assert message["header"] == {"X-Mine": ["m"], "X-Team": ["a"]}

    account.ok("DELETE", "/v2/topics/g/endpoints", {"endpoints": [{"name": "one"}]})
    account.ok("DELETE", "/v2/topics/g/endpoints", {"endpoints": [{"url": "http://e2"}]})
    assert account.no("GET", "/v2/topics/g")[0] == 404
    assert account.ok("GET", "/v2/topics") == []
    assert account.no("DELETE", "/v2/topics/g/endpoints", {"endpoints": [{"url": "x"}]})[0] == 404


def test_a_group_without_endpoints_cannot_be_published_to(account):
    account.ok("PATCH", "/v2/topics/g", {"headers": {"X-Team": "a"}})
    assert account.no("POST", "/v2/publish/g")[0] == 400


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"endpoints": []},
        {"endpoints": [{}]},
        {"endpoints": ["http://a.dev"]},
        {"endpoints": [{"url": "a.dev"}]},
        {"endpoints": [{"url": 5}]},
        {"endpoints": [{"url": "http://a.dev", "name": "a b"}]},
    ],
)
def test_an_endpoint_that_cannot_be_is_400(account, body):
    assert account.no("POST", "/v2/topics/g/endpoints", body)[0] == 400
    assert account.ok("GET", "/v2/topics") == []


# Schedules.


def test_a_schedule_has_these_fields(account):
    headers = {
        "Upstash-Cron": "  CRON_TZ=Europe/Istanbul 0 9 * * * ",
        "Upstash-Schedule-Id": "morning",
        "Upstash-Queue-Name": "q1",
        "Upstash-Delay": "1m",
        "Upstash-Timeout": "30s",
        "Upstash-Retries": "2",
        "Upstash-Label": "l",
        "Content-Type": "text/plain",
    }
    assert account.ok("POST", "/v2/schedules/https://a.dev?x=1", b"hi", headers) == {
        "scheduleId": "morning"
    }
    shown = account.ok("GET", "/v2/schedules/morning")
    following = shown.pop("nextScheduleTime")
    assert shown == {
        "scheduleId": "morning",
        "cron": "CRON_TZ=Europe/Istanbul 0 9 * * *",
        "destination": "https://a.dev?x=1",
        "createdAt": round(account.start * 1000),
        "method": "POST",
        "header": {"Content-Type": ["text/plain"]},
        "body": "hi",
        "retries": 2,
        "delay": 60,
        "timeout": 30,
        "queueName": "q1",
        "label": "l",
        "labels": ["l"],
        "callerIP": "127.0.0.1",
        "isPaused": False,
    }
    made = account.advance(following / 1000 - account.start + 61)
    assert len(made) == 1
    message = made[0].attempt.message
    assert (message.spec.queue, message.spec.schedule_id) == ("q1", "morning")
    shown = account.ok("GET", "/v2/schedules/morning")
    assert shown["lastScheduleTime"] == following
    assert shown["nextScheduleTime"] == following + 86_400_000
    assert shown["lastScheduleStates"] == {message.id: "SUCCESS"}


def test_an_upsert_replaces_every_field_but_keeps_birth_and_pause(account):
    headers = {"Upstash-Cron": "0 * * * *", "Upstash-Schedule-Id": "s", "Upstash-Label": "l"}
    account.ok("POST", "/v2/schedules/http://a.dev", b"body", headers)
    account.ok("PATCH", "/v2/schedules/s/pause")
    account.clock.advance(5)
    headers = {"Upstash-Cron": "5 * * * *", "Upstash-Schedule-Id": "s"}
    account.ok("POST", "/v2/schedules/http://b.dev", b"", headers)
    assert account.ok("GET", "/v2/schedules") == [
        {
            "scheduleId": "s",
            "cron": "5 * * * *",
            "destination": "http://b.dev",
            "createdAt": round(account.start * 1000),
            "method": "POST",
            "header": {},
            "retries": 3,
            "callerIP": "127.0.0.1",
            "isPaused": True,
        }
    ]


def test_a_paused_schedule_drops_its_ticks(account):
    made = account.ok("POST", "/v2/schedules/http://a.dev", b"", {"Upstash-Cron": "* * * * *"})
    name = made["scheduleId"]
    assert name.startswith("scd_")
    assert len(account.advance(180)) == 3
    for verb in ("POST", "PATCH"):
        account.ok(verb, f"/v2/schedules/{name}/pause")
        assert account.advance(600) == []
        account.ok(verb, f"/v2/schedules/{name}/resume")
        assert len(account.advance(60)) == 1
    account.ok("DELETE", f"/v2/schedules/{name}")
    account.ok("DELETE", f"/v2/schedules/{name}")
    assert account.advance(600) == []
    assert account.no("GET", f"/v2/schedules/{name}")[0] == 404


def test_a_schedule_to_a_group_makes_one_message_for_each_endpoint(account):
    account.ok(
        "POST",
        "/v2/topics/g/endpoints",
        {"endpoints": [{"url": "http://e1"}, {"url": "http://e2"}]},
    )
    account.ok(
        "POST", "/v2/schedules/g", b"", {"Upstash-Cron": "* * * * *", "Upstash-Schedule-Id": "s"}
    )
    assert len(account.advance(60)) == 2
    account.ok("DELETE", "/v2/topics/g")
    assert account.advance(60) == []
    assert "invalid scheme" in account.ok("GET", "/v2/schedules/s")["error"]


def test_a_cron_header_on_publish_makes_a_schedule(account):
    made = account.ok("POST", "/v2/publish/http://a.dev", b"", {"Upstash-Cron": "@daily"})
    assert list(made) == ["scheduleId"]


@pytest.mark.parametrize(
    ("destination", "headers"),
    [
        ("http://a.dev", {}),
        ("http://a.dev", {"Upstash-Cron": "nonsense"}),
        ("http://a.dev", {"Upstash-Cron": "* * * * * *"}),
        ("http://a.dev", {"Upstash-Cron": "CRON_TZ=Nowhere * * * * *"}),
        ("http://a.dev", {"Upstash-Cron": "* * * * *", "Upstash-Schedule-Id": "a b"}),
        ("http://a.dev", {"Upstash-Cron": "* * * * *", "Upstash-Not-Before": "1900000000"}),
        ("no-group", {"Upstash-Cron": "* * * * *"}),
        ("http://", {"Upstash-Cron": "* * * * *"}),
    ],
)
def test_a_schedule_that_cannot_be_is_400(account, destination, headers):
    assert account.no("POST", f"/v2/schedules/{destination}", b"", headers)[0] == 400
    assert account.ok("GET", "/v2/schedules") == []


# Dead letters.


@pytest.fixture
def dead() -> Account:
    """Five dead letters: to /0 … /4, every other one with a label, the last without an answer."""
    account = Account()
    account.destination = lambda attempt: (
        Answer(status=0, error="gone")
        if attempt.message.url.endswith("4")
        else Answer(status=500 + int(attempt.message.url[-1]), header=(("x-why", "w"),), body=b"no")
    )
    for number in range(5):
        label = {"Label": "even,all"} if number % 2 == 0 else {"Label": "odd,all"}
        account.publish(f"http://a.dev/{number}", b"hi", Retries="0", **label)
        account.run()
        account.clock.advance(1)
    return account


def urls(page: dict) -> list[str]:
    return [entry["url"][-1] for entry in page["messages"]]


def test_a_dead_letter_is_the_message_and_the_last_answer(dead):
    first, *_, last = dead.ok("GET", "/v2/dlq")["messages"]
    assert first["responseStatus"] == 500
    assert first["responseHeader"] == {"X-Why": ["w"]}
    assert first["responseBody"] == "no"
    assert first["body"] == "hi"
    assert first["dlqId"] == f"{round(dead.start * 1000)}-0"
    assert last["responseStatus"] == 0
    assert last["responseBody"] == "gone"
    assert dead.ok("GET", f"/v2/dlq/{first['dlqId']}") == first


def test_dead_letters_by_filter_order_and_cursor(dead):
    at = round(dead.start * 1000)
    assert urls(dead.ok("GET", "/v2/dlq?label=even")) == ["0", "2", "4"]
    assert urls(dead.ok("GET", "/v2/dlq?label=even,odd&responseStatus=501,502")) == ["1", "2"]
    assert urls(dead.ok("GET", "/v2/dlq?url=http://a.dev/3&url=http://a.dev/1")) == ["1", "3"]
    assert urls(dead.ok("GET", f"/v2/dlq?fromDate={at + 1000}&toDate={at + 2000}")) == ["1", "2"]
    assert urls(dead.ok("GET", "/v2/dlq?order=latestFirst&count=2")) == ["4", "3"]
    assert urls(dead.ok("GET", "/v2/dlq?source=workflow")) == []
    page = dead.ok("GET", "/v2/dlq?count=2")
    seen = urls(page)
    while "cursor" in page:
        page = dead.ok("GET", f"/v2/dlq?count=2&cursor={page['cursor']}")
        seen += urls(page)
    assert seen == ["0", "1", "2", "3", "4"]
    page = dead.ok("GET", "/v2/dlq?count=3&order=latestFirst")
    following = dead.ok("GET", f"/v2/dlq?count=3&order=latestFirst&cursor={page['cursor']}")
    assert urls(following) == ["1", "0"]


@pytest.mark.parametrize(
    "query",
    [
        "host=a.dev",
        "path=/",
        "x=1",
        "count=101",
        "count=0",
        "cursor=x",
        "cursor=1-",
        "cursor=-",
        "order=up",
        "fromDate=y",
        "source=x",
    ],
)
def test_what_the_dlq_does_not_know_is_400(dead, query):
    for method, path in (("GET", "/v2/dlq"), ("DELETE", "/v2/dlq"), ("POST", "/v2/dlq/retry")):
        assert dead.no(method, f"{path}?{query}")[0] == 400
    assert len(dead.ok("GET", "/v2/dlq")["messages"]) == 5


def test_deleting_dead_letters(dead):
    ids = [entry["dlqId"] for entry in dead.ok("GET", "/v2/dlq")["messages"]]
    dead.ok("DELETE", f"/v2/dlq/{ids[0]}")
    assert dead.no("DELETE", f"/v2/dlq/{ids[0]}")[0] == 404
    assert dead.no("GET", f"/v2/dlq/{ids[0]}")[0] == 404
    assert dead.ok("DELETE", "/v2/dlq", {"dlqIds": [ids[0], ids[1]]}) == {"deleted": 1}
    assert dead.ok("DELETE", f"/v2/dlq?dlqIds={ids[2]}&dlqIds={ids[0]}") == {"deleted": 1}
    page = dead.ok("DELETE", "/v2/dlq?count=1")
    assert page["deleted"] == 1
    assert dead.ok("DELETE", f"/v2/dlq?count=1&cursor={page['cursor']}") == {"deleted": 1}
    assert dead.ok("DELETE", "/v2/dlq") == {"deleted": 0}


def test_retrying_a_dead_letter_publishes_it_anew(dead):
    entry = dead.ok("GET", "/v2/dlq")["messages"][0]
    reply = dead.call(
        "POST",
        f"/v2/dlq/retry/{entry['dlqId']}",
        b"",
        {"Upstash-Retries": "1", "Upstash-Retry-Delay": "1000", "Upstash-Forward-X-Again": "1"},
    )
    assert reply.status == 201
    message = json.loads(reply.body)["messageId"]
    assert message != entry["messageId"]
    assert dead.no("GET", f"/v2/dlq/{entry['dlqId']}")[0] == 404
    shown = dead.ok("GET", f"/v2/messages/{message}")
    assert (shown["maxRetries"], shown["body"], shown["labels"]) == (1, "hi", ["even", "all"])
    assert shown["header"] == {"X-Again": ["1"]}
    made = dead.advance(10)
    assert [entry.retried for entry in made] == [0, 1]


def test_retrying_many(dead):
    page = dead.ok("POST", "/v2/dlq/retry?label=all&count=2")
    assert len(page["responses"]) == 2
    assert page["cursor"]
    page = dead.ok("POST", f"/v2/dlq/retry?label=all&cursor={page['cursor']}")
    assert (len(page["responses"]), page["cursor"]) == (3, "")
    dead.destination = lambda attempt: 200
    assert len(dead.run()) == 5
    assert dead.ok("GET", "/v2/dlq") == {"messages": []}
    assert dead.no("POST", "/v2/dlq/retry?dlqIds=1-0")[0] == 404
    assert dead.no("POST", "/v2/dlq/retry/1-0")[0] == 404


def test_a_retry_may_be_delayed_and_deduplicated_anew():
    account = Account(lambda attempt: 500)
    account.publish("http://a.dev/", b"x", Retries="0", Deduplication_Id="d", Delay="5s")
    account.advance(5)
    (entry,) = account.ok("GET", "/v2/dlq")["messages"]
    far = {"Upstash-Not-Before": "9999999999"}
    assert account.no("POST", f"/v2/dlq/retry/{entry['dlqId']}", b"", far)[0] == 412
    at = str(int(account.clock.time()) + 100)
    account.ok("POST", f"/v2/dlq/retry/{entry['dlqId']}", b"", {"Upstash-Not-Before": at})
    assert account.advance(99) == []
    assert len(account.advance(1)) == 1
    (entry,) = account.ok("GET", "/v2/dlq")["messages"]
    same = {"Upstash-Deduplication-Id": "again"}
    account.publish("http://a.dev/", Deduplication_Id="again")
    made = account.ok("POST", f"/v2/dlq/retry/{entry['dlqId']}", b"", same)
    assert made["deduplicated"] is True


def test_a_wrong_override_retries_none(dead):
    assert dead.no("POST", "/v2/dlq/retry", b"", {"Upstash-Retries": "x"})[0] == 400
    assert len(dead.ok("GET", "/v2/dlq")["messages"]) == 5


def test_a_redacted_message_is_retried_whole():
    account = Account(lambda attempt: 500)
    account.publish(body=b"secret", Redact_Fields="body", Retries="0")
    account.run()
    account.ok("POST", "/v2/dlq/retry")
    assert account.run()[0].body == b"secret"


def test_dead_letters_leave_after_their_retention(dead):
    dead.advance(7 * 86400 + 3600)
    assert dead.ok("GET", "/v2/dlq") == {"messages": []}


# The log.


def test_the_log_is_newest_first_and_has_both_its_names(account):
    account.destination = lambda attempt: Answer(
        status=404, header=(("x-a", "b"),), body=b"nope", error="404 Not Found"
    )
    account.publish(body=b"hi", Retries="0", Timeout="5s", Label="l")
    account.run()
    events = account.ok("GET", "/v2/events")["events"]
    assert [event["state"] for event in events] == ["FAILED", "ERROR", "ACTIVE", "CREATED"]
    assert account.ok("GET", "/v2/logs") == {"logs": events}
    error = events[1]
    assert error["error"] == "404 Not Found"
    assert error["responseStatus"] == 404
    assert error["responseHeader"] == error["responseHeaders"] == {"X-A": ["b"]}
    assert base64.b64decode(error["responseBody"]) == b"nope"
    assert base64.b64decode(error["body"]) == b"hi"
    assert (error["timeout"], error["maxRetries"], error["label"]) == (5000, 0, "l")
    assert "responseStatus" not in events[0]


def test_the_log_by_filter_and_cursor(account):
    ids = [account.publish(f"http://a.dev/{number}") for number in range(3)]
    account.run()
    assert len(account.ok("GET", "/v2/events?state=IN_PROGRESS")["events"]) == 3
    assert len(account.ok("GET", f"/v2/events?messageIds={ids[0]},{ids[1]}")["events"]) == 6
    assert len(account.ok("GET", "/v2/events?host=a.dev&path=/2")["events"]) == 3
    account.publish(Delay="1h")
    account.ok("DELETE", "/v2/messages")
    for word in ("CANCELED", "CANCELLED"):
        (event,) = account.ok("GET", f"/v2/events?state={word}")["events"]
        assert event["state"] == "CANCELED"
    page = account.ok("GET", "/v2/logs?count=5&order=earliestFirst")
    seen = [(event["messageId"], event["state"]) for event in page["logs"]]
    while "cursor" in page:
        page = account.ok("GET", f"/v2/logs?count=5&order=earliestFirst&cursor={page['cursor']}")
        seen += [(event["messageId"], event["state"]) for event in page["logs"]]
    assert len(seen) == len(set(seen)) == 12


@pytest.mark.parametrize(
    "query",
    ["state=NONE", "count=1001", "count=0", "cursor=x", "order=x", "nonsense=1", "fromDate=x"],
)
def test_what_the_log_does_not_know_is_400(account, query):
    assert account.no("GET", f"/v2/events?{query}")[0] == 400


# Flow control.


@pytest.mark.parametrize(
    "target",
    [
        "/v2/flowControl/k/pin",
        "/v2/flowControl/k/pin?parallelism=0",
        "/v2/flowControl/k/pin?rate=x",
        "/v2/flowControl/k/pin?rate=1&period=604801",
        "/v2/flowControl/k/unpin?rate=perhaps",
        "/v2/flowControl/a%20b/pause",
    ],
)
def test_a_flow_control_request_that_means_nothing_is_400(account, target):
    assert account.no("POST", target)[0] == 400


def test_flow_control_keys_are_listed_and_searched(account):
    for name in ("one", "two"):
        account.publish(Flow_Control_Key=name, Flow_Control_Value="rate=1")
    assert len(account.ok("GET", "/v2/flowControl")) == 2
    (key,) = account.ok("GET", "/v2/flowControl?search=tw")
    assert key["flowControlKey"] == "two"
    assert account.no("GET", "/v2/flowControl/three")[0] == 404


# Ours.


def test_fire_now_deliver_now_and_the_overview(account):
    cron = {"Upstash-Cron": "0 0 1 1 *", "Upstash-Schedule-Id": "s"}
    account.ok("POST", "/v2/schedules/http://a.dev/s", b"", cron)
    message = account.publish("http://a.dev/m", b'{"task": "shop.tasks.add"}', Delay="1d")
    (fired,) = account.ok("POST", "/_dev/schedules/s/fire")["messageIds"]
    account.ok("POST", f"/_dev/messages/{message}/deliver")
    assert {entry.attempt.message.id for entry in account.run()} == {fired, message}
    assert account.no("POST", f"/_dev/messages/{message}/deliver")[0] == 409
    assert account.no("POST", "/_dev/messages/none/deliver")[0] == 404
    assert account.no("POST", "/_dev/schedules/none/fire")[0] == 404
    view = account.ok("GET", "/_dev/overview?task=ADD&state=DELIVERED")
    assert [row["task"] for row in view["messages"]] == ["shop.tasks.add"]
    assert view["counts"] == {"DELIVERED": 2}
    assert account.ok("GET", "/_dev/overview?search=nothing")["messages"] == []
    detail = account.ok("GET", f"/_dev/messages/{message}")
    assert [line["state"] for line in detail["log"]] == ["CREATED", "ACTIVE", "DELIVERED"]
