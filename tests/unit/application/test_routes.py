"""``task_routes``: the queue of a call that names none."""

from __future__ import annotations

import re

import pytest

from django_qstash import Celery, OptionError, shared_task
from tests.naming import named
from tests.shop import tasks as shop
from tests.unit.application.test_app import letters

ADD = shop.add.name


class Named:
    """As kombu's Queue."""

    def __init__(self, name):
        self.name = name


class Router:
    def route_for_task(self, name, args=None, kwargs=None):
        return {"queue": "routed", "priority": 3} if name == ADD else None


def route(name, args, kwargs, options, task=None, **kw):
    return {"queue": f"for-{task.__name__}"} if task is not None else None


def queue_of(outbox, table, task=shop.add, **options):
    Celery("proj", task_routes=table)
    task.apply_async((1, 2), **options)
    return letters(outbox)[-1].queue


@pytest.mark.parametrize(
    ("table", "queue"),
    [
        ({ADD: {"queue": "one"}}, "one"),
        ({ADD: "one"}, "one"),
        ({ADD: {"queue": Named("kombu")}}, "kombu"),
        ({"tests.shop.*": {"queue": "glob"}}, "glob"),
        ({re.compile(r"tests\.(shop|other)\..*"): {"queue": "pattern"}}, "pattern"),
        ({"tests.*": "glob", ADD: "exact"}, "exact"),
        ([("tests.other.*", "other"), ("tests.*", "pairs")], "pairs"),
        ([{"other.*": "other"}, {"tests.*": "second"}], "second"),
        ([Router()], "routed"),
        (f"{__name__}.Router", "routed"),
        ((route,), "for-add"),
        (f"{__name__}:route", "for-add"),
        ({"other.*": "other"}, None),
        (None, None),
    ],
    ids=named,
)
def test_where_a_task_goes(outbox, table, queue):
    assert queue_of(outbox, table) == queue


def test_what_the_call_says_stands_before_the_route(outbox):
    assert queue_of(outbox, {ADD: "routed"}, queue="called") == "called"
    assert queue_of(outbox, {ADD: "routed"}, queue=None) == "routed"


def test_what_the_task_says_does_too(outbox):
    @shared_task(name="proj.queued", queue="own")
    def queued(x, y):
        pass

    assert queue_of(outbox, {"proj.*": "routed"}, task=queued) == "own"


def test_other_options_of_a_route(outbox):
    queue_of(outbox, {ADD: {"queue": "one", "priority": 5}})

    assert letters(outbox)[0].priority == 5


def test_the_default_queue(outbox):
    app = Celery("proj", task_default_queue="usual", task_routes={"other.*": "other"})

    shop.add.delay(1, 2)
    shop.add.apply_async((1, 2), queue="called")
    app.conf.task_default_queue = None
    app.conf.task_default_routing_key = "key"
    shop.add.delay(1, 2)

    assert [letter.queue for letter in letters(outbox)][:2] == ["usual", "called"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({ADD: {"queu": "one"}}, f"task_routes gives {ADD} queu: no option of a call"),
        ({ADD: 7}, "7, which is no queue and no options"),
    ],
)
def test_a_route_that_is_none(outbox, table, message):
    with pytest.raises(OptionError, match=message):
        queue_of(outbox, table)
    assert outbox.sent == []


def test_signatures_and_send_task_are_routed_as_well(outbox):
    app = Celery("proj", task_routes={"elsewhere.*": "far"})

    app.send_task("elsewhere.work")
    app.signature("elsewhere.work").delay()

    assert [letter.queue for letter in letters(outbox)] == ["far", "far"]
