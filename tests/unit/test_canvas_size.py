"""What a canvas costs does not grow faster than it does."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_qstash import AsyncResult, GroupResult, chain, chord, group, shared_task
from django_qstash.results.models import Chord, GroupMember, TaskResult
from django_qstash.tasks.registry import tasks as registry
from tests.door import knock

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def parts():
    class Parts:
        one = shared_task(name="one")(lambda x=1: x)
        total = shared_task(name="total")(sum)

    yield Parts
    registry.unregister("one")
    registry.unregister("total")


def statements(act):
    with CaptureQueriesContext(connection) as seen:
        act()
    return [each["sql"] for each in seen if "SAVEPOINT" not in each["sql"]]


def of_a_member(parts, outbox, size):
    """The statements of a member in the middle of a chord that is half done."""
    chord([parts.one.s() for _ in range(size)])(parts.total.s())
    bodies = [envelope.body for envelope in outbox.sent]
    outbox.sent.clear()
    half = size // 2
    for body in bodies[:half]:
        knock(body)
    return statements(lambda: knock(bodies[half]))


def test_a_member_costs_the_same_in_a_small_chord_and_in_a_large_one(parts, outbox):
    few, many = of_a_member(parts, outbox, 4), of_a_member(parts, outbox, 120)
    assert len(few) == len(many)
    assert len(many) <= 7
    # None of them counts members: the chord's own row knows how many there were.
    assert not [sql for sql in many if "COUNT(" in sql.upper() or "SUM(" in sql.upper()]


def test_the_body_is_one_letter_and_its_values_are_read_in_one_query(parts, outbox):
    def of_a_body(size):
        result = chord([parts.one.s() for _ in range(size)])(parts.total.s())
        while len(outbox.sent) > 1:
            knock(outbox.sent.pop(0).body)
        # The last member has it sent.
        if AsyncResult(result.id).state == "PENDING" and size > 1:
            knock(outbox.sent.pop(0).body)
        (body,) = outbox.sent
        outbox.sent.clear()
        seen = statements(lambda: knock(body.body))
        assert AsyncResult(result.id).result == size
        return len(body.body), len(seen)

    (small, few), (large, many) = of_a_body(2), of_a_body(100)
    assert few == many
    assert abs(small - large) < 20


def test_a_chord_s_letters_do_not_grow_with_its_size(parts, outbox):
    def largest(size):
        outbox.sent.clear()
        chord([parts.one.s() for _ in range(size)])(parts.total.s())
        return max(len(envelope.body) for envelope in outbox.sent)

    assert abs(largest(3) - largest(900)) < 20


def test_how_far_a_large_group_is_takes_one_query_for_five_hundred(parts):
    results = [AsyncResult(f"task-{number}") for number in range(1200)]
    TaskResult.rows.bulk_create(
        TaskResult(task_id=f"task-{number}", run="r", date_created="2026-01-01T00:00:00Z",
                   phase=2 * (number < 700), status="SUCCESS" if number < 700 else "STARTED")
        for number in range(900)
    )  # fmt: skip
    found = GroupResult("g", results)
    assert len(statements(found.completed_count)) == 3
    assert found.completed_count() == 700
    # Those that have ended are not asked for again.
    for question in (found.completed_count, found.ready, found.successful, found.failed):
        assert len(statements(question)) == 1
    assert not found.ready()


def test_a_generator_is_never_held_as_letters(parts, outbox, settings):
    settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Counting"
    settings.DJANGO_QSTASH_BATCH_SIZE = 50

    def peak(size):
        tracemalloc.start()
        try:
            group(parts.one.s("x" * 2000) for _ in range(size))()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(50)
    assert peak(600) - peak(100) < 500 * 2000


def test_a_long_chain_is_one_letter_at_a_time(parts, outbox):
    chain(parts.one.si() for _ in range(80))()
    sizes = []
    while outbox.sent:
        (envelope,) = outbox.sent
        outbox.sent.clear()
        sizes.append(len(envelope.body))
        knock(envelope.body)
    assert len(sizes) == 80
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < 80 * 170
    assert "chain" not in json.loads(envelope.body)


def test_nothing_of_a_chord_is_counted_twice_however_often_it_comes(parts, outbox):
    result = chord([parts.one.s() for _ in range(40)])(parts.total.s())
    bodies = [envelope.body for envelope in outbox.sent]
    for body in (*bodies, *bodies):
        knock(body)
    assert GroupMember.objects.count() == 40
    (row,) = Chord.objects.all()
    assert (row.done, row.size, row.state) == (40, 40, Chord.FIRED)
    assert AsyncResult(result.id).state == "PENDING"
