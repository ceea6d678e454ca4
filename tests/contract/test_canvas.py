"""Canvases that run: values, places in the tree of tasks, and what becomes of the rest after an
error, as in Celery."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.contract.engines import SeenGroup

pytestmark = pytest.mark.django_db


class Shop:
    """A few tasks, defined by whichever library the kit has."""

    def __init__(self, kit):
        self.kit = kit

        @kit.task
        def add(x, y=0):
            kit.note("add", x, y)
            return x + y

        @kit.task
        def total(values):
            kit.note("total", values)
            return sum(values)

        @kit.task
        def echo(*args, **kwargs):
            kit.note("echo", args, kwargs)
            return [*args, kwargs] if kwargs else list(args)

        @kit.task
        def fail(*args):
            kit.note("fail", args)
            raise ValueError("no paper")

        @kit.task(base=kit.celery.Task)
        def old_style(task_id):
            kit.aside("old", bool(task_id))

        @kit.task(base=kit.celery.Task)
        def new_style(request, exc, traceback):
            kit.aside(
                "new", exc if "Chord" not in type(exc).__name__ else "chord", bool(request.id)
            )

        @kit.task(base=kit.celery.Task)
        def told(*args):
            kit.aside("told", len(args))

        self.add, self.total, self.echo, self.fail = add, total, echo, fail
        self.old_style, self.new_style, self.told = old_style, new_style, told
        self.chain, self.group = kit.celery.chain, kit.celery.group
        self.chord, self.signature = kit.celery.chord, kit.celery.signature


def canvas(make, *, apply=None):
    """The body that makes a canvas with a :class:`Shop`, and applies it."""

    def body(kit):
        made = make(Shop(kit))
        result = made.apply_async() if apply is None else apply(made)
        kit.rest()
        return result

    return body


CANVASES = {
    "chain": lambda t: t.chain(t.add.s(1, 2), t.add.s(3), t.add.s(4)),
    "chain of one": lambda t: t.chain(t.add.s(1, 2)),
    "immutable steps": lambda t: t.chain(t.add.s(1, 2), t.add.si(3, 3), t.add.s(4)),
    "group": lambda t: t.group(t.add.s(1, 1), t.add.s(2, 2)),
    "group of one": lambda t: t.group(t.add.s(1, 1)),
    "group of a generator": lambda t: t.group(t.add.s(n, n) for n in range(4)),
    "group in a group": lambda t: t.group(t.add.s(1), t.group(t.add.s(2), t.add.s(3))),
    "chains in a group": lambda t: t.group(t.add.s(1) | t.add.s(2), t.add.s(3) | t.add.s(4)),
    "chord": lambda t: t.chord([t.add.s(1), t.add.s(2)], t.total.s()),
    "chord of a generator": lambda t: t.chord((t.add.s(n) for n in range(3)), t.total.s()),
    "chord of one": lambda t: t.chord([t.add.s(1)], t.total.s()),
    "chord of none": lambda t: t.chord([], t.total.s()),
    "group then task": lambda t: t.group(t.add.s(1), t.add.s(2)) | t.total.s() | t.add.s(10),
    "task then group": lambda t: t.add.s(1, 1) | t.group(t.add.s(1), t.add.s(2)),
    "task, group, task": lambda t: t.add.s(1, 1) | t.group(t.add.s(1), t.add.s(2)) | t.total.s(),
    "two chords in a row": lambda t: (
        t.add.s(1) | t.group(t.add.s(1), t.add.s(2)) | t.total.s()
        | t.group(t.add.s(1), t.add.s(2)) | t.total.s()
    ),
    "group then group": lambda t: (
        t.group(t.add.s(1), t.add.s(2)) | t.group(t.total.s(), t.echo.s())
    ),
    "chains in a header": lambda t: t.chord(
        [t.add.s(1) | t.add.s(2), t.add.s(3) | t.add.s(4)], t.total.s()
    ),
    "chord in a header": lambda t: t.chord(
        [t.chord([t.add.s(1), t.add.s(2)], t.total.s()), t.add.s(3)], t.total.s()
    ),
    "chord as a body": lambda t: t.chord(
        [t.add.s(1), t.add.s(2)],
        t.chain(t.total.s(), t.group(t.add.s(1), t.add.s(2)), t.total.s()),
    ),
    "group as a body": lambda t: t.chord(
        [t.add.s(1), t.add.s(2)], t.group(t.total.s(), t.echo.s())
    ),
    "empty group in a chain": lambda t: t.chain(t.add.s(1), t.group(), t.add.s(2)),
    "group of one in a chain": lambda t: t.chain(t.add.s(1), t.group(t.add.s(2)), t.add.s(3)),
    "map": lambda t: t.add.map([1, 2, 3]),
    "starmap": lambda t: t.add.starmap([(1, 1), (2, 2)]),
    "chunks": lambda t: t.add.chunks([(n, n) for n in range(5)], 2),
    "a body with keywords": lambda t: t.chord([t.add.s(1)], t.echo.s(9, k=1)),
    "links": lambda t: _linked(t.add.s(1, 1), t.echo.s(5), t.echo.si(6)),
    "a link on a chain": lambda t: _linked(t.chain(t.add.s(1), t.add.s(2)), t.echo.s(5)),
    "a link on a chord": lambda t: _linked(t.chord([t.add.s(1)], t.total.s()), t.echo.s(5)),
    "a link that is a chain": lambda t: _linked(t.add.s(1), t.chain(t.add.s(5), t.echo.s())),
    "a link that is a group": lambda t: _linked(t.add.s(1), t.group(t.add.s(5), t.echo.s())),
}  # fmt: skip


def _linked(sig, *links):
    for link in links:
        sig.link(link)
    return sig


@pytest.mark.parametrize("name", CANVASES)
def test_that_succeeds(same, name):
    observed = same(canvas(CANVASES[name]))
    assert observed.raised is None
    assert "SUCCESS" in str(observed.returned)


@pytest.mark.parametrize(
    ("make", "given_args", "given_kwargs"),
    [
        (lambda t: t.chain(t.add.s(), t.add.s(5)), (1, 2), {}),
        (lambda t: t.chain(t.add.s(1), t.add.s(5)), (), {"y": 4}),
        (lambda t: t.group(t.add.s(1), t.add.s(2)), (10,), {}),
        (lambda t: t.chord([t.add.s(1), t.add.s(2)], t.total.s()), (10,), {}),
        (lambda t: t.add.s(5), (1,), {}),
        (lambda t: t.add.si(5), (1,), {}),
    ],
    ids=["chain", "chain's keywords", "group", "chord", "task", "immutable"],
)
def test_arguments_of_the_call(same, make, given_args, given_kwargs):
    apply = lambda made: made.apply_async(given_args, given_kwargs)  # noqa: E731
    assert "SUCCESS" in str(same(canvas(make, apply=apply)).returned)


def test_called_with_its_body(same):
    def body(kit):
        shop = Shop(kit)
        result = shop.chord([shop.add.s(1), shop.add.s(2)])(shop.total.s())
        kit.rest()
        return result

    assert same(body).returned.value == 3


# --- places in the tree of tasks -----------------------------------------------------------------


def places(kit, make):
    """Each task's place: the names of its parent, root and group, by what they are called here."""
    seen = {}

    @kit.task(bind=True, base=kit.celery.Task)
    def where(self, *args):
        request = self.request
        name = args[-1]
        seen[request.id] = name
        kit.aside(
            name,
            seen.get(request.parent_id),
            seen.get(request.root_id),
            bool(request.group),
            request.group_index if request.group else None,
        )
        return name

    result = make(where, kit.celery).apply_async()
    kit.rest()
    return result


@pytest.mark.parametrize(
    "make",
    [
        lambda w, c: c.chain(w.si("a"), w.si("b"), w.si("c")),
        lambda w, c: c.group(w.si("a"), w.si("b")),
        lambda w, c: c.chain(w.si("a"), c.group(w.si("b"), w.si("c"))),
        lambda w, c: _linked(w.si("a"), w.si("b")),
    ],
    ids=["chain", "group", "chain then group", "link"],
)
def test_parents_roots_and_groups(both, make):
    theirs, ours = both(lambda kit: places(kit, make))
    assert ours.asides == theirs.asides


def lineage(result):
    """How many results stand before one another, and of what kind."""
    found = []
    while result is not None:
        found.append("group" if hasattr(result, "completed_count") else "task")
        result = result.parent
    return found


@pytest.mark.parametrize(
    "name", ["chain", "group", "chord", "task then group", "task, group, task", "group as a body"]
)
def test_the_results_before_a_result(both, name):
    def body(kit):
        result = CANVASES[name](Shop(kit)).apply_async()
        kit.rest()
        return lineage(result)

    theirs, ours = both(body)
    assert ours.returned == theirs.returned


def test_children_and_collect(both):
    def body(kit):
        shop = Shop(kit)
        result = shop.chain(shop.add.s(1, 1), shop.add.s(2), shop.add.s(3)).apply_async()
        kit.rest()
        first = result.parent.parent
        return [value for _, value in first.collect()]

    theirs, ours = both(body)
    assert ours.returned == theirs.returned == [2, 4, 7]


# --- errors --------------------------------------------------------------------------------------

FAILURES = {
    "task": lambda t: t.fail.s(),
    "first of a chain": lambda t: t.chain(t.fail.s(), t.add.s(1), t.add.s(2)),
    "middle of a chain": lambda t: t.chain(t.add.s(1), t.fail.s(), t.add.s(2)),
    "last of a chain": lambda t: t.chain(t.add.s(1), t.fail.s()),
    "member of a group": lambda t: t.group(t.add.s(1), t.fail.s(), t.add.s(2)),
    "header": lambda t: t.chord([t.add.s(1), t.fail.s()], t.total.s()),
    "body": lambda t: t.chord([t.add.s(1), t.add.s(2)], t.fail.s()),
    "header, and a tail": lambda t: t.group(t.fail.s(), t.add.s(1)) | t.total.s() | t.add.s(1),
    "chain in a header": lambda t: t.chord([t.fail.s() | t.add.s(1), t.add.s(1)], t.total.s()),
    "header of a chord in a header": lambda t: t.chord(
        [t.chord([t.fail.s(), t.add.s(1)], t.total.s()), t.add.s(1)], t.total.s()
    ),
    "group behind it": lambda t: t.chain(t.fail.s(), t.group(t.add.s(1), t.add.s(2))),
    "chord behind it": lambda t: t.chain(t.fail.s(), t.group(t.add.s(1), t.add.s(2)), t.total.s()),
    "header of a group of one": lambda t: t.chord([t.fail.s()], t.group(t.total.s())),
    "header, and chords behind it": lambda t: (
        t.group(t.fail.s(), t.add.s(1))
        | t.total.s()
        | t.group(t.add.s(1), t.add.s(2))
        | t.total.s()
        | t.add.s(1)
    ),
    "header, and a group behind it": lambda t: (
        t.group(t.fail.s(), t.add.s(1)) | t.total.s() | t.group(t.add.s(1), t.add.s(2))
    ),
    "header of a group body": lambda t: t.chord([t.fail.s()], t.group(t.total.s(), t.echo.s())),
}


#: Where Celery leaves results PENDING for ever, since nobody tells them of the failure.
FORGOTTEN = {
    "group behind it",
    "header of a chord in a header",
    "header, and a group behind it",
}


def agreed(handle):
    """What both have to say of a failure. Celery's stores lose the cause of a ``ChordError``."""
    if isinstance(handle, SeenGroup):
        return replace(handle, members=[agreed(each) for each in handle.members])
    if isinstance(handle.value, list) and handle.value[:1] == ["ChordError"]:
        return replace(handle, value=["ChordError"], has_traceback=True)
    return handle


def calls_of(observed, *without):
    return [each for each in observed.calls if each[0] not in without]


@pytest.mark.parametrize("name", sorted(set(FAILURES) - FORGOTTEN))
def test_that_fails(both, name):
    theirs, ours = both(canvas(FAILURES[name]))
    assert agreed(ours.returned) == agreed(theirs.returned)
    assert ours.calls == theirs.calls
    assert "no paper" in str(ours.returned)


@pytest.mark.parametrize("name", sorted(FORGOTTEN))
def test_that_fails_and_is_told_here_alone(both, name):
    theirs, ours = both(canvas(FAILURES[name]))
    assert "PENDING" in str(theirs.returned)
    assert "PENDING" not in str(ours.returned)
    assert "no paper" in str(ours.returned)
    assert ours.calls == theirs.calls


@pytest.mark.parametrize("errback", ["old_style", "new_style", "told"])
@pytest.mark.parametrize("name", sorted(set(FAILURES) - {"header of a chord in a header"}))
@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")
def test_errbacks(both, name, errback):
    def make(t):
        made = FAILURES[name](t)
        made.link_error(getattr(t, errback).s())
        return made

    theirs, ours = both(canvas(make))
    assert ours.asides == theirs.asides
    assert ours.asides
    # Celery calls the newer style in the process that failed, and it is a task of its own here.
    styles = ("new_style", "told")
    assert calls_of(ours, *styles) == calls_of(theirs, *styles)


@pytest.mark.parametrize("errback", ["old_style", "new_style"])
def test_errbacks_that_are_immutable(both, errback):
    def make(t):
        return t.chain(t.add.s(1), t.fail.s()).on_error(t.told.si("fixed"))

    theirs, ours = both(canvas(make))
    assert ours.asides == theirs.asides == [["told", 1]]


def test_no_errback_for_a_retry_or_an_ignored_task(both):
    def body(kit):
        shop = Shop(kit)

        @kit.task(bind=True, max_retries=2)
        def flaky(self):
            if self.request.retries < 1:
                raise self.retry(countdown=0)

        @kit.task
        def ignored():
            raise kit.module("exceptions").Ignore

        flaky.apply_async(link_error=shop.old_style.s())
        ignored.apply_async(link_error=shop.old_style.s())
        kit.rest()

    theirs, ours = both(body)
    assert ours.asides == theirs.asides == []


def test_a_retry_in_a_header_counts_once(both):
    def make(t):
        @t.kit.task(bind=True, max_retries=5)
        def flaky(self, x):
            if self.request.retries < 2:
                raise self.retry(countdown=0)
            return x

        return t.chord([flaky.s(1), t.add.s(2)], t.total.s())

    theirs, ours = both(canvas(make))
    assert ours.returned == theirs.returned
    assert ours.returned.value == 3
    assert ours.of("total") == theirs.of("total")


# --- a canvas in place of a task -----------------------------------------------------------------

REPLACEMENTS = {
    "a task": lambda t: t.add.s(1, 1),
    "a chain": lambda t: t.chain(t.add.s(1), t.add.s(2)),
    "a group": lambda t: t.group(t.add.s(1), t.add.s(2)),
    "a chord": lambda t: t.chord([t.add.s(1), t.add.s(2)], t.total.s()),
    "what fails": lambda t: t.chain(t.add.s(1), t.fail.s()),
}
AROUND = {
    "alone": lambda t, task: task.s(),
    "in a chain": lambda t, task: t.chain(task.s(), t.echo.s()),
    "in a header": lambda t, task: t.chord([task.s(), t.add.s(5)], t.echo.s()),
    "with a link": lambda t, task: _linked(task.s(), t.echo.s()),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", REPLACEMENTS)
def test_replace(both, name, around):
    def make(t):
        @t.kit.task(bind=True)
        def replaced(self):
            raise self.replace(REPLACEMENTS[name](t))

        return AROUND[around](t, replaced)

    theirs, ours = both(canvas(make))
    assert agreed(ours.returned) == agreed(theirs.returned)
    mine = ("celery.accumulate", "replaced")
    assert calls_of(ours, *mine) == calls_of(theirs, *mine)
