"""The in-process server: a shared clock, waiting, threads."""

from __future__ import annotations

import time

import pytest

from django_qstash.clock import SystemClock, VirtualClock
from django_qstash.devserver.embedded import EmbeddedServer
from django_qstash.devserver.faults import Knobs
from tests.devserver.conftest import sdk
from tests.devserver.receiver import Answers


def test_time_stands_still_until_it_is_moved(server, receiver, qstash, clock):
    qstash.message.publish(url=receiver.url, body="x", delay=1)
    time.sleep(0.05)
    server.wait_idle()
    assert receiver.got == []
    server.advance(1)
    assert len(receiver.got) == 1


def test_what_becomes_due_happens_in_order_and_each_at_its_own_time(
    server, receiver, qstash, clock
):
    start = clock.time()
    seen = []
    receiver.answer = lambda got: seen.append((clock.time() - start, got.body)) or Answers()
    for delay in (30, 10, 20):
        qstash.message.publish(url=receiver.url, body=str(delay), delay=delay)
    qstash.schedule.create(destination=receiver.url, cron="* * * * *", body="tick")
    server.advance(61)
    assert seen == [(10, b"10"), (20, b"20"), (30, b"30"), (60, b"tick")]
    assert clock.time() == start + 61


def test_what_a_delivery_causes_is_waited_for(server, receiver, qstash):
    def chain(got):
        number = int(got.body)
        if number < 5:
            qstash.message.publish(url=receiver.url, body=str(number + 1), delay=number)
        return Answers()

    receiver.answer = chain
    qstash.message.publish(url=receiver.url, body="0")
    server.advance(11)
    assert [got.body for got in receiver.got] == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_a_destination_that_takes_longer_than_its_time_by_the_shared_clock_has_timed_out(
    server, receiver, qstash, clock
):
    takes = {"0": 61, "1": 60}
    receiver.answer = lambda got: clock.sleep(takes[got.headers["upstash-retried"]]) or Answers()
    sent = qstash.message.publish(url=receiver.url, body="1", timeout=60)
    server.wait_idle()
    states = server.ask(
        lambda state: [event.state for event in state.machine.events.newest_first()][::-1]
    )
    assert states == ["CREATED", "ACTIVE", "ERROR", "RETRY"]
    message = server.ask(lambda state: state.machine.messages[sent.message_id])
    assert message.last.error == "timed out after 60 s"
    server.advance(13)
    assert [got.headers["upstash-retried"] for got in receiver.got] == ["0", "1"]
    assert message.state == "DELIVERED"


def test_a_destination_that_moves_the_clock_is_no_trouble(server, receiver, qstash, clock):
    receiver.answer = lambda got: clock.sleep(100) or Answers()
    qstash.message.publish(url=receiver.url, body="1", delay=10)
    qstash.message.publish(url=receiver.url, body="2", delay=50)
    start = clock.time()
    server.advance(20)
    assert [got.body for got in receiver.got] == [b"1", b"2"]
    assert clock.time() == start + 210


def test_waiting_ends_with_a_sentence(receiver):
    with EmbeddedServer() as server, sdk(server) as client:
        receiver.answer = lambda got: time.sleep(0.4) or Answers()
        client.message.publish(url=receiver.url, body="x")
        with pytest.raises(TimeoutError, match="busy for 0.1 s"):
            server.wait_idle(timeout=0.1)
        server.wait_idle()


def test_only_a_virtual_clock_can_be_moved():
    with EmbeddedServer() as server:
        assert isinstance(server.clock, SystemClock)
        with pytest.raises(TypeError, match="VirtualClock"):
            server.advance(1)


def test_a_taken_port_is_an_os_error_in_the_callers_thread(server):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        EmbeddedServer(port=port).start()


def test_it_can_be_asked_and_stopped_and_is_gone_then(receiver):
    server = EmbeddedServer(clock=VirtualClock(), faults=Knobs(duplicate=1.0, seed=1))
    with pytest.raises(RuntimeError, match="not running"):
        server.wait_idle()
    with server, sdk(server) as client:
        assert server.ask(lambda state: state.machine.faults.knobs.duplicate) == 1.0
        client.message.publish(url=receiver.url, body="x")
        server.advance(5)
        assert len(receiver.got) == 2
    server.stop()


def test_a_journal_outlasts_it(tmp_path, receiver):
    path = str(tmp_path / "journal.sqlite3")
    clock = VirtualClock()
    with EmbeddedServer(clock=clock, db=path) as server, sdk(server) as client:
        client.message.publish(url=receiver.url, body="x", delay=60)
    with EmbeddedServer(clock=clock, db=path) as server:
        server.advance(60)
        assert len(receiver.got) == 1


def test_many_servers_at_a_time(receiver):
    first, second = EmbeddedServer(), EmbeddedServer()
    with first, second, sdk(first) as one, sdk(second) as two:
        assert first.url != second.url
        one.message.publish(url=receiver.url, body="1")
        two.message.publish(url=receiver.url, body="2")
        receiver.wait(2)
