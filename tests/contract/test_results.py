"""What a handle on a result tells and does: as in Celery."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import pytest

from tests.contract.engines import ONE_OF_THEM

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "value",
    [
        dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.timezone.utc),
        dt.datetime(2026, 1, 2, 3, 4),
        dt.date(2026, 1, 2),
        dt.time(3, 4, 5),
        Decimal("1.50"),
        uuid.UUID(int=7),
        b"\x00\xff",
        b"text",
    ],
    ids=repr,
)
def test_types_go_both_ways(both, value):
    def body(kit):
        @kit.task
        def echo(x):
            kit.aside(repr(x))
            return x

        result = echo.delay(value)
        kit.rest()
        kit.aside(repr(result.get()))

    theirs, ours = both(body)
    assert ours.asides == theirs.asides == [[repr(value)]] * 2


def test_get(same):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        @kit.task
        def fail():
            raise KeyError("x")

        good, bad = add.delay(1, 2), fail.delay()
        kit.rest()
        kit.aside(good.get(), good.ready(), good.successful(), good.failed(), good.state)
        kit.aside(bad.get(propagate=False), bad.ready(), bad.successful(), bad.failed())
        kit.aside(good.result, good.info, good.status, good.traceback)
        kit.aside(bad.result, type(bad.traceback).__name__)
        kit.aside(good == kit.module("result").AsyncResult(good.id) or kit.eager)
        kit.aside(str(good) == good.id)
        for each in (good, bad):
            try:
                each.maybe_throw()
            except KeyError as error:
                kit.aside("thrown", error.args)

    same(body)


def test_nothing_is_known_of_an_unknown_id(both):
    def body(kit):
        result = kit.module("result").AsyncResult("nobody")
        kit.aside(result.state, result.result, result.ready(), result.traceback)
        try:
            result.get(timeout=0.05)
        except kit.module("exceptions").TimeoutError:
            kit.aside("time-out")

    theirs, ours = both(body)
    assert ours.asides == theirs.asides


def test_what_is_recorded_besides(both):
    def body(kit):
        @kit.task(bind=True)
        def add(self, x, y=0):
            if not self.request.retries:
                raise self.retry(countdown=0)
            return x + y

        result = add.delay(1, y=2)
        kit.rest()
        kit.aside(result.name, result.args, result.kwargs, result.retries)
        kit.aside(type(result.date_done).__name__, result.children)

    theirs, ours = both(body)
    assert ours.asides == theirs.asides


def test_forget(both):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        result = add.delay(1, 2)
        kit.rest()
        result.get()
        result.forget()
        kit.aside(result.state, result.result)
        kit.aside(kit.module("result").AsyncResult(result.id).state)

    theirs, ours = both(body)
    assert ours.asides == theirs.asides


def test_a_group_of_results(same):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        group = kit.celery.group(add.s(n, n) for n in range(4))()
        kit.rest()
        kit.aside(group.get(), group.join(), len(group), group.successful(), group.failed())
        kit.aside(group.completed_count(), group.waiting(), group.ready(), group[1].get())
        kit.aside([each.get() for each in group], [each.get() for each in group.children])
        return group

    same(body)


def test_a_group_with_failures(same):
    def body(kit):
        @kit.task
        def odd_fails(n):
            if n % 2:
                raise ValueError(n)
            return n

        group = kit.celery.group(odd_fails.s(n) for n in range(4))()
        kit.rest()
        kit.aside(group.successful(), group.failed(), group.ready(), group.completed_count())
        kit.aside(group.get(propagate=False))
        return group

    assert same(body).returned.raised == ONE_OF_THEM


def test_a_set_of_results(both):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        found = kit.module("result").ResultSet([])
        first, second = add.delay(1, 1), add.delay(2, 2)
        found.add(first)
        found.add(second)
        found.add(first)
        kit.rest()
        kit.aside(len(found), found.get(), found.completed_count())
        found.remove(first)
        kit.aside(found.get())
        found.update([first])
        kit.aside(found.get())
        found.clear()
        kit.aside(len(found))

    theirs, ours = both(body)
    assert ours.asides == theirs.asides


def test_a_group_saved_and_restored(both):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        group = kit.celery.group(add.s(1, 1), add.s(2, 2))()
        kit.rest()
        group.save()
        again = kit.module("result").GroupResult.restore(group.id)
        kit.aside(again == group, again.get())
        again.delete()
        kit.aside(kit.module("result").GroupResult.restore(group.id))

    theirs, ours = both(body)
    assert ours.asides == theirs.asides


def test_a_result_as_a_tuple(both):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        chain = kit.celery.chain(add.s(1, 2), add.s(3))()
        kit.rest()
        again = kit.module("result").result_from_tuple(chain.as_tuple())
        kit.aside(again.get(), again.parent.get(), again == chain, len(again.as_list()))

    theirs, ours = both(body)
    assert ours.asides == theirs.asides


def test_an_exception_class_nobody_knows_any_more(both):
    """Its class was local to the task: what comes back is named as it was."""

    def body(kit):
        @kit.task
        def fail():
            class Local(Exception):
                pass

            raise Local("gone", 1)

        return fail.delay()

    theirs, ours = both(body)
    assert ours.returned.raised == ["Local", ["gone", 1]]
    # Celery's worker wraps what cannot be pickled.
    assert theirs.returned.raised[0] == "UnpickleableExceptionWrapper"


def test_callbacks_of_get(both):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        result = add.delay(1, 2)
        kit.rest()
        result.get(callback=lambda task_id, value: kit.aside(task_id == result.id, value))

    theirs, ours = both(body)
    assert ours.asides == theirs.asides
