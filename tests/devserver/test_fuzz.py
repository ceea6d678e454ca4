"""Whatever a request says, it is answered: a status, JSON, and a server that goes on working."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_qstash.devserver.api.routes import ROUTES
from django_qstash.devserver.faults import Knobs
from django_qstash.devserver.message import FINAL, Answer, Attempt
from django_qstash.wire import options as table
from tests.devserver.account import Account

OPTIONS = [
    *(option.header for option in table.OPTIONS),
    table.FLOW_KEY,
    table.FLOW_VALUE,
    table.FORWARD + "X",
    table.CALLBACK + "Retries",
    table.CALLBACK + "Delay",
    table.CALLBACK + "Forward-X",
    table.FAILURE_CALLBACK + "Flow-Control-Value",
    "Content-Type",
]
WORDS = [
    "", "0", "1", "-1", "3.5", "1e9", "60s", "1d2h", "99999999999999999999", "true", "maybe",
    "http://a.dev/", "https://b.dev", "a:b", "k", "rate=1", "rate=2,period=1s", "parallelism=1",
    "* * * * *", "CRON_TZ=Asia/Tokyo 0 0 * * *", "@daily", "1000 * (1 + retried)", "pow(2,retried)",
    "exp(retried", "body,header[X]", "POST", "brew", "\x00", "\n", "é", "\udcff", "'" * 300,
]  # fmt: skip
texts = st.one_of(st.sampled_from(WORDS), st.text(max_size=30))
headers = st.dictionaries(st.sampled_from(OPTIONS), texts, max_size=5)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=12,
)
#: Bodies of the right shape with anything in them, and anything at all.
shaped = st.fixed_dictionaries(
    {},
    optional={
        "queueName": json_values,
        "parallelism": json_values,
        "paused": json_values,
        "messageIds": json_values,
        "dlqIds": json_values,
        "headers": json_values,
        "endpoints": st.lists(
            st.one_of(json_values, st.fixed_dictionaries({"url": texts}, optional={"name": texts})),
            max_size=3,
        ),
        "seed": json_values,
        "duplicate": json_values,
    },
)
items = st.fixed_dictionaries(
    {},
    optional={
        "destination": st.one_of(texts, json_values),
        "headers": st.one_of(headers, json_values),
        "body": st.one_of(texts, json_values),
        "queue": st.one_of(texts, json_values),
    },
)
bodies = st.one_of(
    st.binary(max_size=50),
    shaped.map(lambda value: json.dumps(value).encode()),
    st.lists(items, max_size=4).map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps(value).encode()),
)
segments = st.one_of(
    st.sampled_from(["q", "k", "s", "g", "1-0", "%00", "a%2Fb", "..", "%ff", "x" * 300]),
    st.text(alphabet=st.characters(codec="ascii", exclude_characters="/?# "), max_size=10),
)
destinations = st.one_of(
    st.sampled_from([*WORDS, "g", "http://a.dev/x?y=%zz&upstash-delay=1s"]), segments
)
queries = st.lists(
    st.tuples(
        st.sampled_from(
            ["count", "cursor", "order", "label", "fromDate", "toDate", "state", "dlqIds", "url",
             "messageIds", "parallelism", "rate", "period", "search", "x", "responseStatus"]
        ),
        st.one_of(
            st.sampled_from(["", "0", "1", "5", "-5", "1-0", "x", "true", "earliestFirst", "a,b"]),
            st.text(alphabet=st.characters(codec="ascii"), max_size=8),
        ),
    ),
    max_size=3,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))  # fmt: skip


@st.composite
def requests(draw) -> tuple[str, str, bytes, dict[str, str]]:
    route = draw(st.sampled_from(ROUTES))
    path = ""
    for part in route.path.split("/")[1:]:
        known = part
        if part == "{destination}":
            known = draw(destinations)
        elif part.startswith("{"):
            known = draw(segments)
        path += "/" + known
    query = draw(queries)
    return route.method, path + (f"?{query}" if query else ""), draw(bodies), draw(headers)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(requests(), min_size=1, max_size=12), st.data())
def test_no_sequence_of_requests_breaks_the_server(sequence, data):
    account = Account(
        lambda attempt: data.draw(st.sampled_from([200, 404, 489, 500])), parallelism=3
    )
    account.state.add_endpoints("g", [])
    for method, target, body, given_headers in sequence:
        reply = account.call(method, target, body, given_headers)
        assert reply.status in {0, 200, 201, 202, 400, 404, 405, 409, 412, 429}, reply
        value = json.loads(reply.body)
        if reply.status >= 400:
            assert isinstance(value["error"], str)
            assert value["error"]
        account.run()
        account.clock.advance(1)
    # The page shows all of it, whatever it is, and time goes on.
    account.ok("GET", "/_dev/overview")
    account.ok("GET", "/v2/events")
    for _ in range(20):
        if (due := account.machine.next_due()) is None:
            break
        account.clock.advance(max(0.0, due - account.clock.time()))
        account.run()
    _check(account)


def _check(account: Account) -> None:
    """What must hold at any rest: no slot is lost, no message is in two places."""
    machine = account.machine
    assert machine.calls == 0
    for key in machine.gates.flows.values():
        assert key.running == 0
        assert key.ready == 0
    for queue in machine.gates.queues.values():
        unfinished = sum(
            not message.done and message.spec.queue == queue.name
            for message in machine.messages.values()
        )
        assert queue.lag == unfinished
        assert len(queue.slots) <= max(queue.parallelism, unfinished)
    assert +machine.tally == _counted(account)


def _counted(account: Account) -> dict[str, int]:
    counted: dict[str, int] = {}
    for message in account.machine.messages.values():
        counted[message.state] = counted.get(message.state, 0) + 1
    return counted


actions = st.lists(
    st.one_of(
        st.tuples(
            st.just("publish"), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "k", "l"])
        ),
        st.tuples(st.just("finish"), st.sampled_from([200, 500, 489]), st.integers(0, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("pause"), st.sampled_from(["a", "b"]), st.booleans()),
        st.tuples(st.just("hold"), st.sampled_from(["k", "l"]), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, 15, 100])),
        st.tuples(st.just("delete"), st.sampled_from(["a", "b"])),
    ),
    min_size=10,
    max_size=60,
)  # fmt: skip


class Story:
    """Calls that overlap, in any order, with queues, keys and cancels in between."""

    def __init__(self, knobs: Knobs) -> None:
        self.account = Account(parallelism=3, knobs=knobs)
        self.machine = self.account.machine
        self.machine.gates.queue("a").parallelism = 2
        self.open: list[Attempt] = []
        self.published: list[str] = []

    def publish(self, queue: str, key: str) -> None:
        headers = {
            "Upstash-Retries": "2",
            "Upstash-Retry-Delay": "5000",
            "Upstash-Callback": "http://cb.dev",
        }
        if key:
            value = "parallelism=1" if key == "k" else "rate=2,period=10s"
            headers |= {"Upstash-Flow-Control-Key": key, "Upstash-Flow-Control-Value": value}
        path = f"enqueue/{queue}" if queue else "publish"
        answer = self.account.ok("POST", f"/v2/{path}/http://a.dev", b"", headers)
        self.published.append(answer["messageId"])

    def finish(self, status: int, which: int) -> None:
        if self.open:
            call = self.open.pop(which % len(self.open))
            self.machine.finish(call, Answer(status=status, error=str(status)))

    def cancel(self, which: int) -> None:
        if which < len(self.published):
            self.account.call("DELETE", f"/v2/messages/{self.published[which]}")

    def pause(self, queue: str, on: bool) -> None:
        if queue in self.machine.gates.queues:
            self.account.ok("POST", f"/v2/queues/{queue}/{'pause' if on else 'resume'}")

    def hold(self, key: str, on: bool) -> None:
        self.account.ok("POST", f"/v2/flowControl/{key}/{'pause' if on else 'resume'}")

    def wait(self, seconds: float) -> None:
        self.account.clock.advance(seconds)

    def delete(self, queue: str) -> None:
        self.account.ok("DELETE", f"/v2/queues/{queue}")

    def pump(self) -> None:
        self.open.extend(self.account.due())
        assert self.machine.calls == len(self.open) <= 3
        for key in self.machine.gates.flows.values():
            assert key.running <= (key.parallelism or 99)
        for queue in self.machine.gates.queues.values():
            busy = {
                call.message.id
                for call in self.open
                if call.message.spec.queue == queue.name and not call.echo and not call.message.done
            }
            assert len(busy) <= queue.parallelism

    def end(self) -> None:
        for queue in list(self.machine.gates.queues):
            self.pause(queue, False)
        for key in list(self.machine.gates.flows):
            self.hold(key, False)
        for call in self.open:
            self.machine.finish(call, Answer(status=200))
        self.account.advance(100_000)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(actions, st.booleans())
def test_every_message_ends_once_and_no_slot_is_lost(sequence, faulty):
    knobs = Knobs(duplicate=0.3, reorder=0.3, delay=0.2, drop_ack=0.1, seed=1)
    story = Story(knobs if faulty else Knobs())
    for verb, *arguments in sequence:
        getattr(story, verb)(*arguments)
        story.pump()
    story.end()
    assert all(message.done for message in story.machine.messages.values())
    for name in story.published:
        states = story.account.states(name)
        assert sum(state in FINAL for state in states) == 1
        assert states[0] == "CREATED"
    _check(story.account)
    for queue in story.machine.gates.queues.values():
        assert (queue.lag, queue.slots, len(queue.line), len(queue.held)) == (0, {}, 0, 0)
    for key in story.machine.gates.flows.values():
        assert not key.line


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deeply_nested_json_is_refused(depth):
    account = Account()
    body = b'{"endpoints":' + b"[" * depth + b"]" * depth + b"}"
    assert account.no("POST", "/v2/topics/g/endpoints", body)[0] == 400
