"""Rows about canvases."""

from __future__ import annotations

import pytest

from django_qstash import AsyncResult, chain, chord, group, shared_task
from django_qstash.results.models import TaskResult
from tests.differences import shows
from tests.door import knock
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db


@pytest.fixture
def one():
    return shared_task(name="one")(lambda x=1: x)


@pytest.fixture
def boom():
    @shared_task(name="boom")
    def boom(*args):
        raise ValueError("no paper")

    return boom


@shows("errback-process")
def test_an_errback_is_a_task_of_its_own(loopback, boom):
    told = []

    @shared_task(name="told")
    def told_of(request, exc, traceback):
        told.append((request.task, type(exc), "no paper" in traceback))

    boom.apply_async(link_error=told_of.s())

    assert told == [("boom", ValueError, True)]
    assert TaskResult.objects.get(task_name="told").status == "SUCCESS"


@shows("doomed")
def test_what_will_not_come_has_failed(loopback, one, boom):
    behind = chain(boom.s(), group(one.s(), one.s())).delay()
    around = chord([chord([boom.s(), one.s()], one.s()), one.s()])(one.s())

    assert [AsyncResult(member.id).state for member in behind] == ["FAILURE", "FAILURE"]
    assert AsyncResult(around.id).state == "FAILURE"


@shows("options-through-an-operator")
def test_options_go_to_whom_they_are_for(one):
    assert [each.options for each in (group(one.s()).set(queue="q") | one.s()).tasks] == [
        {"queue": "q"}
    ]
    first, _, _ = (chain(one.s(), one.s()).set(countdown=3) | one.s()).tasks
    assert first.options == {"countdown": 3}


@shows("eager-group")
def test_the_other_members_of_an_eager_group_run(one, boom):
    @shared_task(name="last")
    def last():
        Effect.objects.create(name="last")

    result = group(chain(boom.s(), one.s()), last.s()).apply()

    assert Effect.objects.count() == 1
    with pytest.raises(ValueError, match="no paper"):
        result.get()


@shows("chord-counting")
def test_a_member_that_comes_twice_counts_once(outbox, one):
    result = chord([one.s(1), one.s(2)])(one.s())
    first, second = (envelope.body for envelope in outbox.sent)
    outbox.sent.clear()

    knock(first)
    knock(first)
    assert outbox.sent == []
    knock(second)
    (body,) = outbox.sent
    knock(body.body)

    assert AsyncResult(result.id).result == [1, 2]
