"""The journal: what was accepted outlasts a kill -9, and what is finished is not done again."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from django_qstash.clock import VirtualClock
from django_qstash.devserver.api import Call, answer
from django_qstash.devserver.embedded import EmbeddedServer
from django_qstash.devserver.message import Answer
from django_qstash.devserver.setup import build
from django_qstash.devserver.store import Store, StoreError
from tests.devserver.processes import ServerProcess
from tests.devserver.receiver import Answers, Receiver


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "journal.sqlite3")


class Account:
    """A state in a file, driven by hand."""

    def __init__(self, path: str, clock: VirtualClock) -> None:
        self.clock = clock
        self.built = build(db=path, clock=clock)
        self.state = self.built.state
        self.machine = self.state.machine

    def call(self, method: str, target: str, body: bytes = b"", **headers: str):
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        pairs.append(("Authorization", f"Bearer {self.state.keys.token}"))
        reply = answer(self.state, Call(method=method, target=target, headers=pairs, body=body))
        self.built.commit()
        return reply

    def deliver(self, status: int = 200) -> list[str]:
        done = []
        while attempts := self.machine.due():
            for attempt in attempts:
                done.append(attempt.message.url)
                self.machine.finish(attempt, Answer(status=status, error=str(status)))
        self.built.commit()
        return done

    def crash(self) -> None:
        """What was not committed is gone."""
        self.built.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def test_everything_comes_back(path, clock):
    one = Account(path, clock)
    one.call("POST", "/v2/publish/http://a.dev/now", b"\xff1", Upstash_Retries="1")
    one.call(
        "POST",
        "/v2/publish/http://a.dev/later",
        b"2",
        Upstash_Delay="1h",
        Upstash_Forward_X="y",
        Upstash_Label="l1,l2",
        Upstash_Flow_Control_Key="k",
        Upstash_Flow_Control_Value="rate=2,period=1m",
        Upstash_Redact_Fields="body",
        Upstash_Callback="http://a.dev/cb",
        Upstash_Callback_Retries="0",
    )
    one.call("POST", "/v2/queues", b'{"queueName":"q","parallelism":3,"paused":true}')
    one.call("POST", "/v2/enqueue/q/http://a.dev/q1", b"q1")
    one.call("POST", "/v2/enqueue/q/http://a.dev/q2", b"q2")
    one.call("POST", "/v2/topics/g/endpoints", b'{"endpoints":[{"url":"http://g.dev","name":"n"}]}')
    one.call(
        "POST",
        "/v2/schedules/http://s.dev",
        b"tick",
        Upstash_Cron="CRON_TZ=Europe/Istanbul 0 9 * * *",
        Upstash_Schedule_Id="morning",
    )
    one.call("POST", "/v2/publish/http://a.dev/dd", b"", Upstash_Deduplication_Id="d")
    one.call("POST", "/v2/flowControl/k/pin?parallelism=2")
    one.call("POST", "/v2/keys/rotate")
    one.deliver(500)
    clock.advance(20)
    one.deliver(500)
    targets = (
        "/v2/queues",
        "/v2/topics",
        "/v2/schedules",
        "/v2/dlq",
        "/v2/keys",
        "/v2/events",
        "/v2/flowControl/k",
    )
    before = {target: one.call("GET", target).body for target in targets}
    waiting = sorted(m.id for m in one.machine.messages.values() if not m.done)
    one.crash()

    two = Account(path, clock)
    assert {target: two.call("GET", target).body for target in targets} == before
    assert sorted(m.id for m in two.machine.messages.values() if not m.done) == waiting
    assert (
        two.call("POST", "/v2/publish/http://a.dev/dd", b"", Upstash_Deduplication_Id="d").status
        == 202
    )
    assert two.deliver() == []
    two.call("POST", "/v2/queues/q/resume")
    assert two.deliver() == ["http://a.dev/q1", "http://a.dev/q2"]
    clock.advance(3600)
    assert "http://a.dev/later" in two.deliver()
    two.crash()

    three = Account(path, clock)
    assert three.deliver() == []
    three.crash()


def test_what_was_in_flight_is_delivered_again_and_what_was_finished_is_not(path, clock):
    one = Account(path, clock)
    for name in ("done", "open"):
        one.call("POST", f"/v2/publish/http://a.dev/{name}")
    attempts = {attempt.message.url[-4:]: attempt for attempt in one.machine.due()}
    one.machine.finish(attempts["done"], Answer(status=200))
    one.built.commit()
    one.crash()

    two = Account(path, clock)
    assert two.deliver() == ["http://a.dev/open"]
    two.crash()


def test_a_queue_slot_that_a_callback_holds_is_held_after_a_restart(path, clock):
    one = Account(path, clock)
    one.call("POST", "/v2/enqueue/q/http://a.dev/1", Upstash_Callback="http://a.dev/cb")
    one.call("POST", "/v2/enqueue/q/http://a.dev/2")
    (attempt,) = one.machine.due()
    one.machine.finish(attempt, Answer(status=200))
    one.built.commit()
    one.crash()

    two = Account(path, clock)
    (attempt,) = two.machine.due()
    assert attempt.message.url == "http://a.dev/cb"
    two.machine.finish(attempt, Answer(status=200))
    assert two.deliver() == ["http://a.dev/2"]
    two.crash()


def test_a_message_that_is_forgotten_leaves_the_file(path, clock):
    one = Account(path, clock)
    one.call("POST", "/v2/publish/http://a.dev", Upstash_Retries="0")
    one.deliver(500)
    clock.advance(8 * 86400)
    while (action := one.machine.timers.pop(clock.time())) is not None:
        action()
    one.built.commit()
    one.crash()
    with sqlite3.connect(path) as db:
        for table in ("messages", "events", "records"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    db.close()


def test_a_second_server_on_the_file_is_refused(path):
    store = Store(path)
    with pytest.raises(StoreError, match="in use by another server"):
        Store(path)
    store.close()


def test_a_full_disk_is_said_and_nothing_is_lost_when_there_is_room_again(path, clock):
    with EmbeddedServer(clock=clock, db=path) as server:
        (pages,) = server.ask(
            lambda state: state.journal._db.execute("PRAGMA page_count").fetchone()
        )
        server.ask(lambda state: state.journal._db.execute(f"PRAGMA max_page_count = {pages}"))
        headers = {"Authorization": f"Bearer {server.token}", "Upstash-Delay": "1m"}
        target = f"{server.url}/v2/publish/http://a.dev"
        refused = httpx.post(target, headers=headers, content=b"x" * 100_000)
        assert refused.status_code == 500
        assert "cannot be written: database or disk is full" in refused.json()["error"]
        server.ask(lambda state: state.journal._db.execute("PRAGMA max_page_count = 1000000"))
        assert httpx.post(target, headers=headers).status_code == 200
    two = Account(path, clock)
    assert len(two.machine.messages) == 2
    two.crash()


@pytest.mark.parametrize("content", [b"no database at all, but text that is long enough" * 50])
def test_a_file_that_is_no_journal_is_refused(path, content):
    Path(path).write_bytes(content)
    with pytest.raises(StoreError, match="not a journal"):
        Store(path)


def test_a_journal_of_another_format_is_refused(path):
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE about SET value = '999'")
    db.close()
    with pytest.raises(StoreError, match="another version"):
        Store(path)


def publish_until_killed(
    server: ServerProcess, url: str, round_number: int
) -> dict[str, list[str]]:
    """Publish, schedule and fail as fast as it goes; what was answered with 200.

    The server is killed while it goes on: some milliseconds after it has taken enough of all.
    """
    killer = threading.Timer(0.003 * (1 + round_number), server.process.kill)
    accepted: dict[str, list[str]] = {"messages": [], "schedules": [], "failing": []}
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(headers=headers, timeout=5, base_url=server.url) as client:
        for number in range(10_000):
            name = f"{round_number}-{number}"
            kind = ("messages", "messages", "schedules", "failing")[number % 4]
            path, options = {
                "messages": (f"/v2/publish/{url}/{name}", {"Delay": "1s"} if number % 2 else {}),
                "schedules": (
                    f"/v2/schedules/{url}",
                    {"Cron": "0 0 1 1 *", "Schedule-Id": name},
                ),
                "failing": (f"/v2/publish/{url}/fail/{name}", {"Retries": "0"}),
            }[kind]
            upstash = {f"Upstash-{option}": value for option, value in options.items()}
            try:
                answer = client.post(path, headers=upstash)
            except httpx.TransportError:
                break
            assert answer.status_code == 200
            accepted[kind].append(name)
            if number == 40 * (1 + round_number):
                killer.start()
    killer.join()
    return accepted


@pytest.mark.processes
def test_kill_minus_nine_loses_nothing_that_was_accepted(path):
    """Killed again and again in the middle of publishing: every 200 counts in the end."""
    messages: set[str] = set()
    failing: set[str] = set()
    schedules: set[str] = set()
    with Receiver() as receiver:
        receiver.answer = lambda got: Answers(404 if got.path.startswith("/fail/") else 200)
        for round_number in range(3):
            with ServerProcess("--db", path, "--plan", "fixed", "--quiet") as server:
                accepted = publish_until_killed(server, receiver.url, round_number)
            messages |= {f"/{name}" for name in accepted["messages"]}
            failing |= {f"{receiver.url}/fail/{name}" for name in accepted["failing"]}
            schedules |= set(accepted["schedules"])
        assert min(len(messages), len(failing), len(schedules)) > 20

        with ServerProcess("--db", path, "--plan", "fixed", "--quiet") as server:
            eventually(lambda: messages <= {got.path for got in receiver.got})
            eventually(lambda: health(server)["messages"] == 0)
            assert schedules <= {row["scheduleId"] for row in read(server, "/v2/schedules")}
            assert failing <= {entry["url"] for entry in dead_letters(server)}
            count = len(receiver.got)
        with ServerProcess("--db", path, "--plan", "fixed", "--quiet") as server:
            time.sleep(0.3)
            assert health(server)["messages"] == 0
        # What is finished is not delivered again.
        assert len(receiver.got) == count


def eventually(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not question():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


def read(server: ServerProcess, target: str) -> Any:
    headers = {"Authorization": f"Bearer {server.token}"}
    return httpx.get(server.url + target, headers=headers).json()


def health(server: ServerProcess) -> dict[str, int]:
    return read(server, "/healthz")


def dead_letters(server: ServerProcess) -> list[dict[str, Any]]:
    page = read(server, "/v2/dlq")
    entries = page["messages"]
    while "cursor" in page:
        page = read(server, f"/v2/dlq?cursor={page['cursor']}")
        entries += page["messages"]
    return entries
