"""The official Python SDK, both its clients, over every call that it has."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from qstash import AsyncQStash, QStash, Receiver
from qstash.errors import QStashError, RateLimitExceededError
from qstash.log import LogState

from django_qstash.devserver.embedded import EmbeddedServer
from django_qstash.devserver.faults import Knobs
from tests.devserver.receiver import Answers
from tests.devserver.receiver import Receiver as Destination

if TYPE_CHECKING:
    from collections.abc import Iterator


class Waiting:
    """An asynchronous client that is called like the synchronous one."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return Waiting(value, self._loop)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = value(*args, **kwargs)
            return self._loop.run_until_complete(result) if inspect.isawaitable(result) else result

        return call


@pytest.fixture(params=["sync", "async"])
def qstash(request, server: EmbeddedServer) -> Iterator[Any]:
    if request.param == "sync":
        client = QStash(server.token, base_url=server.url, retry=False)
        yield client
        client.http._client.close()
    else:
        loop = asyncio.new_event_loop()
        later = AsyncQStash(server.token, base_url=server.url, retry=False)
        yield Waiting(later, loop)
        loop.run_until_complete(later.http._client.aclose())
        loop.close()


def test_publish_get_cancel(qstash, receiver):
    sent = qstash.message.publish(
        url=receiver.url,
        body="hi",
        content_type="text/plain",
        method="PATCH",
        headers={"X-Mine": "1"},
        callback_headers={"Upstash-Callback-Forward-X-C": "c"},
        failure_callback_headers={"Upstash-Failure-Callback-Forward-X-F": "f"},
        retries=2,
        retry_delay="1000 * (1 + retried)",
        callback="http://cb.dev",
        failure_callback="http://fcb.dev",
        delay="1d10h30m",
        timeout="30s",
        flow_control={"key": "k", "rate": 4, "parallelism": 3, "period": "1h30m3s"},
        label="label",
    )
    message = qstash.message.get(sent.message_id)
    assert message.message_id == sent.message_id
    assert (message.url, message.method, message.body) == (receiver.url, "PATCH", "hi")
    assert message.headers == {"Content-Type": ["text/plain"], "X-Mine": ["1"]}
    assert message.callback_headers == {"X-C": ["c"]}
    assert message.failure_callback_headers == {"X-F": ["f"]}
    assert (message.callback, message.failure_callback) == ("http://cb.dev", "http://fcb.dev")
    assert message.not_before - message.created_at == (34 * 60 + 30) * 60 * 1000
    assert message.max_retries == 2
    assert message.retry_delay_expression == "1000 * (1 + retried)"
    assert message.flow_control.key == "k"
    assert (message.flow_control.rate, message.flow_control.parallelism) == (4, 3)
    assert message.flow_control.period == 5403
    assert message.label == "label"
    assert message.caller_ip == "127.0.0.1"
    qstash.message.cancel(sent.message_id)
    with pytest.raises(QStashError, match="404"):
        qstash.message.get("msg_unknown")


def test_enqueue_batch_and_cancel_many(qstash, server, receiver):
    qstash.queue.upsert("q", parallelism=1, paused=True)
    sent = [qstash.message.enqueue(queue="q", url=receiver.url, body=str(n)) for n in range(3)]
    sent.append(qstash.message.enqueue_json(queue="q", url=receiver.url, body={"n": 3}))
    sent += qstash.message.batch(
        [
            {"url": receiver.url, "body": "b", "delay": 60, "content_type": "text/plain"},
            {"url": receiver.url, "body": "b", "queue": "q", "retries": 0},
        ]
    )
    sent += qstash.message.batch_json([{"url": receiver.url, "body": {"b": 1}, "delay": "1h"}])
    assert qstash.queue.get("q").lag == 5
    assert qstash.message.cancel_many([sent[0].message_id, sent[1].message_id]) == 2
    assert qstash.message.cancel_all() == 5
    server.advance(100)
    assert receiver.got == []


def test_deduplicated(qstash, receiver):
    for options in ({"deduplication_id": "i"}, {"content_based_deduplication": True}):
        first = qstash.message.publish_json(url=receiver.url, body={}, **options)
        again = qstash.message.publish_json(url=receiver.url, body={}, **options)
        assert not first.deduplicated
        assert again.deduplicated
        assert again.message_id == first.message_id


def test_queues(qstash):
    qstash.queue.upsert("one", parallelism=5)
    qstash.queue.upsert("two")
    queue = qstash.queue.get("one")
    assert (queue.name, queue.parallelism, queue.paused, queue.lag) == ("one", 5, False, 0)
    assert queue.created_at <= queue.updated_at
    qstash.queue.pause("one")
    assert qstash.queue.get("one").paused
    qstash.queue.resume("one")
    assert [(queue.name, queue.paused) for queue in qstash.queue.list()] == [
        ("one", False),
        ("two", False),
    ]
    qstash.queue.delete("one")
    with pytest.raises(QStashError, match="404"):
        qstash.queue.get("one")


def test_url_groups(qstash, server, receiver):
    qstash.url_group.delete("group")
    qstash.url_group.upsert_endpoints(
        "group",
        [{"url": receiver.url + "/1", "name": "one"}, {"url": receiver.url + "/2"}],
    )
    group = qstash.url_group.get("group")
    assert [(point.url, point.name) for point in group.endpoints] == [
        (receiver.url + "/1", "one"),
        (receiver.url + "/2", None),
    ]
    sent = qstash.message.publish(url_group="group", body="x")
    assert [receipt.url for receipt in sent] == [receiver.url + "/1", receiver.url + "/2"]
    batch = qstash.message.batch([{"url_group": "group", "body": "y"}])
    assert len(batch[0]) == 2
    server.wait_idle()
    assert {got.headers["upstash-topic-name"] for got in receiver.got} == {"group"}
    qstash.url_group.remove_endpoints("group", [{"name": "one"}])
    assert len(qstash.url_group.list()[0].endpoints) == 1
    qstash.url_group.delete("group")
    assert qstash.url_group.list() == []


def test_schedules(qstash, server, receiver):
    name = qstash.schedule.create_json(
        destination=receiver.url,
        cron="CRON_TZ=Europe/Istanbul 1 1 1 1 1",
        body={"tick": 1},
        headers={"X-Mine": "1"},
        method="PUT",
        retries=1,
        retry_delay="2000",
        delay="2m",
        timeout="10s",
        callback="http://cb.dev",
        failure_callback="http://fcb.dev",
        flow_control={"key": "k", "parallelism": 1},
        label="l",
    )
    schedule = qstash.schedule.get(name)
    assert schedule.schedule_id == name
    assert (schedule.cron, schedule.method) == ("CRON_TZ=Europe/Istanbul 1 1 1 1 1", "PUT")
    assert (schedule.delay, schedule.timeout, schedule.retries) == (120, 10, 1)
    assert schedule.headers == {"Content-Type": ["application/json"], "X-Mine": ["1"]}
    assert schedule.flow_control.key == "k"
    assert schedule.label == "l"
    assert schedule.paused is False
    qstash.schedule.pause(name)
    assert qstash.schedule.get(name).paused
    qstash.schedule.resume(name)
    assert (
        qstash.schedule.create(
            destination=receiver.url, cron="* * * * *", schedule_id=name, queue="q", body="x"
        )
        == name
    )
    server.advance(60)
    (got,) = receiver.got
    assert got.headers["upstash-schedule-id"] == name
    (schedule,) = qstash.schedule.list()
    assert schedule.queue == "q"
    assert schedule.last_schedule_time is not None
    states = schedule.last_schedule_states.values()
    assert [state.value for state in states] == ["SUCCESS"]
    qstash.schedule.delete(name)
    assert qstash.schedule.list() == []


def test_dead_letters(qstash, server, receiver):
    receiver.answer = lambda got: Answers(404, {"X-Why": "w"}, b"not here")
    for label in ("a", "b", "b"):
        qstash.message.publish_json(
            url=receiver.url, body={"n": 1}, retries=0, retry_delay="7000 * retried", label=label
        )
    server.wait_idle()
    page = qstash.dlq.list(count=2)
    assert len(page.messages) == 2
    rest = qstash.dlq.list(count=2, cursor=page.cursor)
    assert len(rest.messages) == 1
    assert rest.cursor is None
    entries = qstash.dlq.list(filter={"label": "b", "response_status": 404}).messages
    entry = qstash.dlq.get(entries[0].dlq_id)
    assert entry.response_status == 404
    assert entry.response_headers["X-Why"] == ["w"]
    assert entry.response_body == "not here"
    assert entry.retry_delay_expression == "7000 * retried"
    qstash.dlq.delete(entry.dlq_id)
    assert qstash.dlq.delete_many([entry.dlq_id, entries[1].dlq_id]) == 1
    assert [entry.label for entry in qstash.dlq.list().messages] == ["a"]


def test_the_log(qstash, server, receiver):
    receiver.answer = lambda got: Answers(500, {}, b"no")
    sent = qstash.message.publish(
        url=receiver.url, body="x", retries=1, retry_delay="5000", timeout=9, label="l"
    )
    server.wait_idle()
    logs = qstash.log.list(filter={"message_id": sent.message_id}).logs
    assert [log.state for log in logs] == [
        LogState.RETRY,
        LogState.ERROR,
        LogState.ACTIVE,
        LogState.CREATED,
    ]
    assert logs[0].retry_delay_expression == "5000"
    assert logs[0].next_delivery_time - logs[0].time == 5000
    assert (logs[1].response_status, logs[1].error) == (500, "500 Internal Server Error")
    assert logs[1].response_headers["Content-Length"] == ["2"]
    assert (logs[0].timeout, logs[0].max_retries, logs[0].label) == (9000, 1, "l")
    page = qstash.log.list(count=1, filter={"state": LogState.IN_PROGRESS})
    assert page.cursor
    assert len(qstash.log.list(cursor=page.cursor).logs) == 3
    qstash.message.cancel(sent.message_id)
    assert qstash.log.list().logs[0].state is LogState.CANCELED


def test_flow_control(qstash, receiver):
    qstash.message.publish(
        url=receiver.url, body="x", delay=60, flow_control={"key": "k", "rate": 2, "period": "1m"}
    )
    key = qstash.flow_control.get("k")
    assert (key.key, key.rate_max, key.rate_period) == ("k", 2, 60)
    qstash.flow_control.pause("k")
    assert qstash.flow_control.get("k").is_paused
    qstash.flow_control.resume("k")
    qstash.flow_control.pin("k", {"parallelism": 3, "rate": 20, "period": 120})
    key = qstash.flow_control.get("k")
    assert (key.parallelism_max, key.rate_max, key.rate_period) == (3, 20, 120)
    assert key.is_pinned_parallelism
    assert key.is_pinned_rate
    qstash.flow_control.unpin("k", {"parallelism": True, "rate": True})
    qstash.flow_control.reset_rate("k")
    key = qstash.flow_control.get("k")
    assert (key.is_pinned_parallelism, key.is_pinned_rate, key.rate_count) == (False, False, 0)
    whole = qstash.flow_control.get_global_parallelism()
    assert (whole.parallelism_max, whole.parallelism_count) == (20, 0)


def test_signing_keys_and_the_sdks_own_receiver(qstash, receiver: Destination):
    keys = qstash.signing_key.get()
    with EmbeddedServer() as now:
        # The SDK's receiver knows no clock but the machine's.
        client = QStash(now.token, base_url=now.url, retry=False)
        client.message.publish_json(url=receiver.url + "/x?y=1", body={"a": 1})
        client.http._client.close()
        (got,) = receiver.wait(1)
    checker = Receiver(current_signing_key=keys.current, next_signing_key=keys.next)
    checker.verify(
        signature=got.headers["upstash-signature"],
        body=got.body.decode(),
        url=receiver.url + "/x?y=1",
    )
    rotated = qstash.signing_key.rotate()
    assert rotated.current == keys.next
    assert rotated.next.startswith("sig_")
    assert rotated.next != keys.next


def test_faults_look_like_qstashs_own_refusals(qstash, server, receiver):
    server.ask(lambda state: state.machine.faults.turn(Knobs(refuse=1.0)))
    with pytest.raises(RateLimitExceededError) as caught:
        qstash.message.publish(url=receiver.url, body="x")
    assert caught.value.limit == "100"
    server.ask(lambda state: state.machine.faults.turn(Knobs(refuse=1.0, refuse_with="quota")))
    with pytest.raises(QStashError) as caught:
        qstash.message.publish(url=receiver.url, body="x")
    assert type(caught.value).__name__ == "DailyMessageLimitExceededError"
    server.ask(lambda state: state.machine.faults.turn(Knobs(refuse=1.0, refuse_with="500")))
    with pytest.raises(QStashError, match="500"):
        qstash.message.publish(url=receiver.url, body="x")
    server.ask(lambda state: state.machine.faults.turn(Knobs(refuse=1.0, refuse_with="reset")))
    with pytest.raises(Exception, match=r"(?i)disconnect|reset"):
        qstash.message.publish(url=receiver.url, body="x")
