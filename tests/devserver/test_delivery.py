"""Real deliveries over real sockets, with a virtual clock shared by server and test."""

from __future__ import annotations

import base64
import json
import time

import httpx
import pytest

from django_qstash.devserver.embedded import EmbeddedServer
from tests.devserver.conftest import sdk
from tests.devserver.receiver import Answers, verify


def test_a_message_arrives_signed_and_byte_for_byte(server, receiver, qstash, clock):
    url = f"{receiver.url}/hook//deep?x=1&y=%2F"
    body = b"\x00\xff raw"
    answer = qstash.message.publish(
        url=url, body=body, content_type="application/octet-stream", headers={"X-Tenant": "7"}
    )
    server.wait_idle()

    (got,) = receiver.got
    assert got.path == "/hook//deep?x=1&y=%2F"
    assert got.body == body
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["x-tenant"] == "7"
    assert got.headers["upstash-message-id"] == answer.message_id
    assert got.headers["upstash-retried"] == "0"
    assert got.headers["upstash-caller-ip"] == "127.0.0.1"
    assert got.headers["user-agent"] == "Upstash-QStash"
    assert "authorization" not in got.headers
    verify(got, server.current_key, now=clock.time())


def test_a_delayed_message_waits_for_its_time(server, receiver, qstash):
    qstash.message.publish_json(url=receiver.url, body={}, delay=60)
    server.advance(59)
    assert receiver.got == []
    server.advance(1)
    assert len(receiver.got) == 1


def test_not_before_wins_over_delay(server, receiver, qstash, clock):
    qstash.message.publish_json(
        url=receiver.url, body={}, delay=5, not_before=int(clock.time()) + 100
    )
    server.advance(99)
    assert receiver.got == []
    server.advance(1)
    assert len(receiver.got) == 1


def test_retries_follow_qstashs_schedule_and_end_in_the_dlq(server, receiver, qstash, clock):
    start = clock.time()
    times: list[float] = []

    def fail(got):
        times.append(clock.time() - start)
        return Answers(500, {"X-Why": "broken"}, b"no")

    receiver.answer = fail
    answer = qstash.message.publish_json(url=receiver.url, body={"a": 1})
    server.advance(2000)

    assert times == pytest.approx([0, 12.18, 12.18 + 148.41, 12.18 + 148.41 + 1808.04], abs=0.1)
    assert [got.headers["upstash-retried"] for got in receiver.got] == ["0", "1", "2", "3"]
    (dead,) = qstash.dlq.list().messages
    assert dead.message_id == answer.message_id
    assert dead.response_status == 500
    assert dead.response_body == "no"
    assert dead.response_headers["X-Why"] == ["broken"]
    assert qstash.dlq.get(dead.dlq_id).body == '{"a": 1}'
    qstash.dlq.delete(dead.dlq_id)
    assert qstash.dlq.list().messages == []


def test_retry_after_goes_before_the_schedule(server, receiver, qstash):
    receiver.answer = lambda got: (
        Answers(503, {"Retry-After": "5"}) if got.headers["upstash-retried"] == "0" else Answers()
    )
    qstash.message.publish_json(url=receiver.url, body={})
    server.advance(4.9)
    assert len(receiver.got) == 1
    server.advance(0.2)
    assert len(receiver.got) == 2


def test_489_ends_at_once(server, receiver, qstash):
    receiver.answer = lambda got: Answers(489, {"Upstash-NonRetryable-Error": "true"})
    qstash.message.publish_json(url=receiver.url, body={})
    server.advance(100_000)
    assert len(receiver.got) == 1
    assert qstash.dlq.list().messages[0].response_status == 489


def test_489_without_its_header_is_an_ordinary_failure(server, receiver, qstash):
    receiver.answer = lambda got: Answers(489)
    qstash.message.publish_json(url=receiver.url, body={}, retries=1)
    server.advance(100)
    assert len(receiver.got) == 2


def test_a_redirect_is_a_failure_and_not_followed(server, receiver, qstash):
    receiver.answer = lambda got: Answers(302, {"Location": receiver.url + "/else"})
    qstash.message.publish_json(url=receiver.url + "/here", body={}, retries=0)
    server.wait_idle()
    assert [got.path for got in receiver.got] == ["/here"]
    assert qstash.dlq.list().messages[0].response_status == 302


def test_nobody_there_is_a_failure_with_status_0(server, qstash):
    qstash.message.publish_json(url="http://127.0.0.1:1/x", body={}, retries=0)
    server.wait_idle()
    (dead,) = qstash.dlq.list().messages
    assert dead.response_status == 0
    assert "could not connect" in dead.response_body


def test_callbacks_tell_of_every_attempt_and_the_failure(server, receiver, qstash):
    receiver.answer = lambda got: Answers(500, {}, b"\xff") if got.path == "/task" else Answers()
    answer = qstash.message.publish_json(
        url=receiver.url + "/task",
        body={"n": 1},
        retries=1,
        callback=receiver.url + "/cb",
        failure_callback=receiver.url + "/fcb",
        callback_headers={"Upstash-Callback-Forward-X-Mine": "yes"},
    )
    server.advance(100)

    callbacks = [got for got in receiver.got if got.path == "/cb"]
    (failure,) = [got for got in receiver.got if got.path == "/fcb"]
    told = [json.loads(got.body) for got in callbacks]
    assert [value["retried"] for value in told] == [0, 1]
    assert callbacks[0].headers["x-mine"] == "yes"
    assert callbacks[0].headers["content-type"] == "application/json"
    value = json.loads(failure.body)
    (dead,) = qstash.dlq.list().messages
    assert value["dlqId"] == dead.dlq_id
    assert "dlqId" not in told[0]
    assert value["sourceMessageId"] == answer.message_id
    assert value["status"] == 500
    assert base64.b64decode(value["body"]) == b"\xff"
    assert base64.b64decode(value["sourceBody"]) == b'{"n": 1}'
    assert value["maxRetries"] == 1
    assert value["sourceHeader"] == {"Content-Type": ["application/json"]}
    verify(failure, server.current_key, now=server.clock.time())


def test_a_message_can_be_read_and_cancelled(server, receiver, qstash):
    answer = qstash.message.publish_json(url=receiver.url, body={"a": 1}, delay=60)
    assert qstash.message.get(answer.message_id).body == '{"a": 1}'
    qstash.message.cancel(answer.message_id)
    server.advance(100)
    assert receiver.got == []
    with pytest.raises(Exception, match="404"):
        qstash.message.cancel(answer.message_id)


def test_an_equal_deduplication_id_is_the_same_message_for_ten_minutes(server, receiver, qstash):
    first = qstash.message.publish_json(url=receiver.url, body={}, deduplication_id="one")
    again = qstash.message.publish_json(url=receiver.url, body={}, deduplication_id="one")
    assert again.deduplicated
    assert again.message_id == first.message_id
    server.advance(601)
    later = qstash.message.publish_json(url=receiver.url, body={}, deduplication_id="one")
    assert not later.deduplicated
    server.wait_idle()
    assert len(receiver.got) == 2


def test_a_queue_delivers_in_order_and_keeps_its_slot_through_retries(server, receiver, qstash):
    receiver.answer = lambda got: (
        Answers(500) if (got.body, got.headers["upstash-retried"]) == (b"0", "0") else Answers()
    )
    for number in range(3):
        qstash.message.enqueue(queue="line", url=receiver.url, body=str(number))
    server.wait_idle()
    assert [got.body for got in receiver.got] == [b"0"]
    server.advance(13)
    assert [got.body for got in receiver.got] == [b"0", b"0", b"1", b"2"]


def test_a_batch_answers_in_its_own_order(server, receiver, qstash):
    answers = qstash.message.batch_json(
        [
            {"url": receiver.url + "/a", "body": 1},
            {"url": receiver.url + "/b", "body": 2, "queue": "q"},
        ]
    )
    server.wait_idle()
    assert {got.headers["upstash-message-id"]: got.path for got in receiver.got} == {
        answers[0].message_id: "/a",
        answers[1].message_id: "/b",
    }


def test_keys_are_the_development_keys_and_rotate(server, receiver, qstash, clock):
    old_next = server.next_key
    keys = qstash.signing_key.get()
    assert keys.current == "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
    assert qstash.signing_key.rotate().current == old_next
    qstash.message.publish(url=receiver.url + "/x", body="x")
    server.wait_idle()
    verify(receiver.got[0], old_next, now=clock.time())


def test_no_token_is_401_and_healthz_needs_none(server):
    assert httpx.get(server.url + "/v2/keys").status_code == 401
    assert httpx.get(server.url + "/healthz").json()["status"] == "ok"
    assert httpx.get(f"{server.url}/v2/keys?qstash_token={server.token}").status_code == 200


def test_with_the_machines_clock_a_message_leaves_in_milliseconds(receiver):
    with EmbeddedServer() as server, sdk(server) as client:
        client.message.publish(url=receiver.url, body="warm")
        receiver.wait(1)
        start = time.perf_counter()
        client.message.publish(url=receiver.url, body="x")
        receiver.wait(2)
        assert time.perf_counter() - start < 1
        client.message.publish(url=receiver.url, body="later", delay=1)
        receiver.wait(3, timeout=5)


def test_a_receiver_that_does_not_answer_is_given_up_after_the_timeout(receiver):
    with EmbeddedServer() as server, sdk(server) as client:
        receiver.answer = lambda got: time.sleep(1.5) or Answers()
        client.message.publish(url=receiver.url, body="x", timeout=1, retries=0)
        server.wait_idle()
        assert "timed out after 1 s" in client.dlq.list().messages[0].response_body
