"""Whatever a canvas is, and however it is delivered: it comes to what it comes to in process."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from django_qstash import AsyncResult, EagerResult, GroupResult, shared_task
from django_qstash.exceptions import ChordError
from django_qstash.results.models import Chord, TaskResult
from django_qstash.tasks import canvas as library
from django_qstash.tasks.registry import tasks as registry
from django_qstash.transport import get_transport
from tests import soak
from tests.canvases.recipes import built, canvases, tasks
from tests.door import knock

pytestmark = [pytest.mark.django_db, pytest.mark.soak]

EXAMPLES = 60
#: Calls of tasks, as ``[name, argument, …]``; a list for each run of a canvas.
calls: list[list] = []


@pytest.fixture(scope="module", autouse=True)
def letters():
    """Tasks whose value says all that led to it."""

    def record(name, *args):
        value = [name, *args]
        calls.append(value)
        return value

    @shared_task(name="a")
    def a(*args):
        return record("a", *args)

    @shared_task(name="b")
    def b(*args):
        return record("b", *args)

    @shared_task(name="boom")
    def boom(*args):
        record("boom", *args)
        raise ValueError("boom", *map(str, args))

    @shared_task(name="again", bind=True, max_retries=5)
    def again(self, *args):
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return record("again", *args)

    @shared_task(name="replaced", bind=True)
    def replaced(self, *args):
        return self.replace(library.chain(a.s(*args), b.s()))

    @shared_task(name="many", bind=True)
    def many(self, *args):
        return self.replace(library.group(a.s(*args), b.s(*args)))

    yield
    for name in ("a", "b", "boom", "again", "replaced", "many"):
        registry.unregister(name)


names = st.sampled_from(["a", "a", "b", "boom", "again", "replaced", "many"])
good = st.sampled_from(["a", "b", "again", "replaced", "many"])


def leaf(found: st.SearchStrategy[str]) -> st.SearchStrategy[tuple]:
    numbers = st.lists(st.integers(0, 9), max_size=1)
    plain = st.tuples(st.just("task"), found, numbers, st.booleans())
    linked = st.tuples(
        st.just("linked"), plain, st.one_of(tasks("ab"), canvases(tasks("ab"), size=3, smallest=1))
    )
    return st.one_of(plain, plain, plain, linked)


@pytest.fixture
def unreliable(settings):
    settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Unreliable"
    return get_transport()


def outcome(result) -> object:
    """What a result comes to: its value, or what it raises."""
    if result is None:
        return None
    try:
        return json.loads(json.dumps(fresh(result).get(timeout=0)))
    except Exception as error:
        return told(error)


def told(error: BaseException) -> str:
    """What a failure is called. Which of several members failed first is up to their deliveries,
    and a chord in a chord is told of its own member alone, as in Celery."""
    while isinstance(error, ChordError) and error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


def fresh(result):
    """The same result as another process would read it."""
    if isinstance(result, GroupResult):
        return GroupResult(
            result.id, [fresh(each) for each in result], result.parent and fresh(result.parent)
        )
    if isinstance(result, EagerResult):
        return result
    return AsyncResult(result.id, parent=result.parent and fresh(result.parent))


def in_process(recipe):
    calls.clear()
    try:
        value = outcome(built(library, recipe).apply())
    except Exception as error:
        value = told(error)
    return value, Counter(map(str, calls))


def deliver(transport, choose, *, doubled: float, dropped: float, cut: float):
    """Deliver all there is in any order: some twice, some lost at first, some cut off."""
    messages = 0
    while transport.sent:
        messages += 1
        assert messages < 3000, "It does not end."
        envelope = transport.sent.pop(choose.randrange(len(transport.sent)))
        fate = choose.random()
        if fate < dropped:
            transport.sent.append(envelope)
            continue
        if fate < dropped + doubled:
            transport.sent.append(envelope)
        if choose.random() < 0.1:
            # The window in which QStash knows a message again is over.
            transport.known.clear()
        transport.down = choose.random() < cut
        transport.takes = choose.choice([None, 0, 1, 2])
        status = knock(envelope.body, message_id=f"msg_{messages}").status_code
        transport.down = False
        assert status in {200, 489, 503}
        if status == 503:
            transport.sent.append(envelope)


def delivered(recipe, transport, choose, **fates):
    calls.clear()
    result = built(library, recipe).apply_async()
    deliver(transport, choose, **fates)
    return outcome(result), Counter(map(str, calls))


def compare(recipe, transport, choose, **fates):
    TaskResult.rows.all().delete()
    Chord.objects.all().delete()
    transport.sent.clear()
    expected, ran = in_process(recipe)
    value, ran_there = delivered(recipe, transport, choose, **fates)
    assert value == expected
    assert ran_there == ran
    assert not Chord.objects.filter(state=Chord.OPEN).exists()
    assert not TaskResult.objects.filter(status__in=["STARTED", "RETRY"]).exists()


properties = hypothesis_settings(
    max_examples=EXAMPLES * soak.FACTOR,
    # Every ordinary run tries the same sample.
    derandomize=soak.FACTOR == 1,
    deadline=None,
    phases=[p for p in Phase if p.name != "explain"],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@properties
@given(recipe=canvases(leaf(good)), seed=st.integers(0, 2**32))
def test_a_canvas_that_succeeds(unreliable, recipe, seed):
    compare(recipe, unreliable, Random(seed), doubled=0.2, dropped=0.2, cut=0.2)


@properties
@given(recipe=canvases(leaf(names)), seed=st.integers(0, 2**32))
def test_a_canvas_that_may_fail(unreliable, recipe, seed):
    compare(recipe, unreliable, Random(seed), doubled=0.2, dropped=0.2, cut=0.2)
