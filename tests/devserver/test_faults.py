"""Fault knobs: each does what it says, and a seed makes it repeatable."""

from __future__ import annotations

import json

import pytest

from django_qstash.devserver.faults import Knobs
from tests.devserver.account import Account


def urls(account: Account) -> list[str]:
    return [entry.url[-1] for entry in account.delivered]


def run(knobs: Knobs, count: int = 20, **options: str) -> Account:
    account = Account(knobs=knobs)
    for number in range(count):
        account.publish(f"http://a.dev/{number % 10}", **options)
    account.advance(1000)
    return account


def test_a_duplicate_is_a_second_delivery_of_the_same_attempt():
    account = run(Knobs(duplicate=1.0))
    ids = [entry.attempt.message.id for entry in account.delivered]
    assert len(ids) == 40
    assert all(ids.count(name) == 2 for name in ids)
    assert {entry.retried for entry in account.delivered} == {0}
    assert account.machine.tally == {"DELIVERED": 20, "CREATED": 0, "ACTIVE": 0}


def test_the_outcome_of_a_duplicate_counts_for_nothing():
    account = Account(lambda attempt: 500 if attempt.echo else 200, knobs=Knobs(duplicate=1.0))
    message = account.publish()
    account.advance(100)
    assert account.states(message) == ["CREATED", "ACTIVE", "DELIVERED"]


def test_reordering_lets_later_messages_overtake_but_not_in_a_queue():
    account = run(Knobs(reorder=0.5, seed=1), count=10)
    assert sorted(urls(account)) == list("0123456789")
    assert urls(account) != list("0123456789")
    account = Account(knobs=Knobs(reorder=0.5, delay=0.5, seed=1))
    for number in range(10):
        account.ok("POST", f"/v2/enqueue/q/http://a.dev/{number}")
    account.advance(1000)
    assert urls(account) == list("0123456789")


def test_extra_delay_is_added_to_every_attempt():
    account = Account(lambda attempt: 500, knobs=Knobs(delay=1.0, delay_by=3))
    account.publish(Retries="1", Retry_Delay="1000")
    assert [entry.at for entry in account.advance(100)] == [3, 7]


def test_a_lost_answer_is_delivered_and_counts_as_failed():
    account = Account(knobs=Knobs(drop_ack=1.0))
    message = account.publish(Retries="1", Retry_Delay="1000")
    assert len(account.advance(100)) == 2
    assert account.states(message)[-1] == "FAILED"
    (entry,) = account.ok("GET", "/v2/dlq")["messages"]
    assert entry["responseBody"] == "fault: the acknowledgement was lost"


@pytest.mark.parametrize(
    ("kind", "status", "header"),
    [
        ("burst", 429, "Burst-RateLimit-Limit"),
        ("quota", 429, "RateLimit-Limit"),
        ("500", 500, None),
        ("reset", 0, None),
    ],
)
def test_a_refused_publish_publishes_nothing(kind, status, header):
    account = Account(knobs=Knobs(refuse=1.0, refuse_with=kind))
    for method, target, body in (
        ("POST", "/v2/publish/http://a.dev", b""),
        ("POST", "/v2/enqueue/q/http://a.dev", b""),
        ("POST", "/v2/batch", [{"destination": "http://a.dev"}]),
    ):
        reply = account.call(method, target, body)
        assert reply.status == status
        assert json.loads(reply.body)["error"].startswith("fault: ")
        assert header is None or header in reply.headers
    assert account.call("GET", "/v2/queues").status == 200
    assert account.run() == []


def test_the_same_seed_does_the_same():
    knobs = Knobs(duplicate=0.3, reorder=0.5, delay=0.3, drop_ack=0.2, seed=7)
    one, two, other = run(knobs), run(knobs), run(Knobs(**{**knobs.as_dict(), "seed": 8}))
    assert urls(one) == urls(two)
    assert urls(one) != urls(other)


def test_the_knobs_are_turned_over_http():
    account = Account()
    off = Knobs().as_dict()
    assert account.ok("GET", "/_dev/faults") == off
    turned = account.ok("PUT", "/_dev/faults", {"duplicate": 1, "delay_by": "2m", "seed": 3})
    assert turned == {**off, "duplicate": 1.0, "delay_by": 120.0, "seed": 3}
    account.publish()
    assert len(account.advance(10)) == 2
    assert account.ok("DELETE", "/_dev/faults") == off


@pytest.mark.parametrize(
    "value",
    [
        {"duplicate": 2},
        {"duplicate": -0.1},
        {"duplicate": "often"},
        {"duplicate": True},
        {"duplicate": None},
        {"refuse_with": "teapot"},
        {"delay_by": "-5s"},
        {"delay_by": []},
        {"seed": "x"},
        {"seed": 1.5},
        {"explode": 1},
        [],
    ],
)
def test_a_knob_that_does_not_exist_or_fit_is_400(value):
    assert Account().no("PUT", "/_dev/faults", value)[0] == 400
