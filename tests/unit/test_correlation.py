"""One id for all that a request has led to."""

from __future__ import annotations

import json

import pytest

from django_qstash import chain, shared_task
from django_qstash.messages import TaskMessage
from django_qstash.tasks.correlation import correlated, correlation_id
from django_qstash.tasks.registry import tasks as registry
from tests.door import knock, letter
from tests.shop import tasks as shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tidy_registry")]


@pytest.fixture
def seen():
    """The ids under which a task ran, which sends another."""
    ids = []

    @shared_task(name="parent")
    def parent(deeper=True):
        ids.append(correlation_id())
        if deeper:
            parent.delay(False)

    return ids


def published(outbox):
    return [TaskMessage.from_dict(json.loads(envelope.body)) for envelope in outbox.sent]


def test_none_outside():
    assert correlation_id() is None


def test_a_block_names_it_and_an_inner_one_stands_before(outbox):
    with correlated("outer") as given:
        assert given == correlation_id() == "outer"
        with correlated("inner"):
            assert correlation_id() == "inner"
        assert correlation_id() == "outer"
        shop.add.delay(1, 2)

    assert correlation_id() is None
    assert published(outbox)[0].headers == {"correlation_id": "outer"}


@pytest.mark.parametrize("value", [None, "", 7])
def test_what_is_no_id(value):
    with pytest.raises(ValueError, match="is a text"), correlated(value):
        pass


def test_it_travels_to_all_that_a_task_sends(loopback, seen):
    with correlated("request-1"):
        registry["parent"].delay()

    assert seen == ["request-1", "request-1"]


def test_through_a_chain_and_a_retry(loopback, seen):
    tries = []

    @shared_task(name="again", bind=True)
    def again(self, *args):
        tries.append(correlation_id())
        if len(tries) < 2:
            raise self.retry(countdown=0)

    with correlated("request-1"):
        chain(shop.add.si(1, 2), again.si(), registry["parent"].si()).delay()

    assert tries == ["request-1"] * 2
    assert seen == ["request-1"] * 2


def test_without_one_the_first_task_of_all_gives_it(loopback, seen):
    result = registry["parent"].delay()

    assert seen == [result.id, result.id]


def test_a_block_in_a_task_stands_before_what_it_came_with(outbox):
    @shared_task(name="sender")
    def sender():
        with correlated("own"):
            shop.add.delay(1, 2)
        shop.add.delay(3, 4)

    knock(letter("sender", headers={"correlation_id": "theirs"}))

    assert [each.headers["correlation_id"] for each in published(outbox)] == ["own", "theirs"]


def test_a_direct_call_has_that_of_the_task_around_it(loopback):
    ids = []

    @shared_task(name="inner")
    def inner():
        ids.append(correlation_id())

    @shared_task(name="around")
    def around():
        inner()

    result = around.delay()

    assert ids == [result.id]
