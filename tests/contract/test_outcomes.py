"""How a call may end: state, result, hooks, signals and their order, as in Celery."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.django_db


class OutOfPaper(Exception):
    def __init__(self, size, left=0):
        super().__init__(size, left)
        self.size, self.left = size, left


def test_success(same):
    def body(kit):
        @kit.task
        def add(x, y):
            kit.note("adds")
            return x + y

        return add.delay(2, y=3)

    assert same(body).returned.value == 5


@pytest.mark.parametrize(
    "value", [None, 0, "", "ä\u2028", [1, [2]], {"a": {"b": None}}, (1, 2), {1: 2}, 1.5], ids=repr
)
def test_values_come_back(same, value):
    def body(kit):
        @kit.task
        def echo(x):
            return x

        return echo.delay(value)

    assert same(body).returned.state == "SUCCESS"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no paper"),
        KeyError("a", 1),
        OutOfPaper("A4", left=3),
        OSError(2, "No such file"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
        Exception(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failure(same, error):
    def body(kit):
        @kit.task
        def fail():
            raise error

        return fail.delay()

    assert same(body).returned.state == "FAILURE"


def test_an_exception_whose_arguments_json_cannot_carry(both):
    def body(kit):
        @kit.task
        def fail():
            raise ValueError(object)

        return fail.delay()

    theirs, ours = both(body)
    assert ours.returned.raised[0] == theirs.returned.raised[0] == "ValueError"
    assert ours.returned.value == theirs.returned.value


def test_expected_errors_are_failures_as_well(same):
    def body(kit):
        @kit.task(throws=(KeyError,))
        def fail():
            raise KeyError("x")

        return fail.delay()

    assert same(body).returned.state == "FAILURE"


def test_ignore(same):
    def body(kit):
        @kit.task
        def ignore():
            raise kit.module("exceptions").Ignore

        result = ignore.delay()
        kit.rest()
        return result if kit.eager else None

    assert "on_success" not in str(same(body).calls)


def test_reject(same, eager):
    def body(kit):
        @kit.task
        def reject():
            raise kit.module("exceptions").Reject("no", requeue=False)

        return reject.delay()

    assert same(body).returned.state == ("REJECTED" if eager else "FAILURE")


def test_reject_and_requeue(both):
    def body(kit):
        seen = []

        @kit.task(bind=True, acks_late=True)
        def reject(self):
            seen.append(1)
            # Celery's in-memory broker does not say that a message was redelivered.
            kit.note("tries", len(seen))
            if len(seen) < 3:
                raise kit.module("exceptions").Reject("no", requeue=True)
            return len(seen)

        return reject.delay()

    theirs, ours = both(body)
    assert ours.lines() == theirs.lines()
    assert ours.returned.value == 3


def test_an_error_before_the_body(same):
    def body(kit):
        class Base(kit.Task):
            abstract = True

            def before_start(self, task_id, args, kwargs):
                kit.note("before")
                raise RuntimeError("not today")

        @kit.task(base=Base)
        def never():
            kit.note("body")

        return never.delay()

    observed = same(body)
    assert observed.returned.state == "FAILURE"
    assert ["note", "body"] not in observed.of("never")[0]


@pytest.mark.parametrize("hook", ["on_success", "after_return"])
def test_an_error_after_it_does_not_change_the_outcome(both, hook):
    def body(kit):
        def broken(self, *args):
            kit.note("hook")
            raise RuntimeError("in the hook")

        base = type("Base", (kit.Task,), {"abstract": True, hook: broken})

        @kit.task(base=base)
        def task():
            return 5

        return task.delay()

    theirs, ours = both(body)
    assert ours.returned == theirs.returned
    assert ours.returned.state == "SUCCESS"


def test_a_value_that_json_cannot_carry_is_a_failure(both):
    def body(kit):
        @kit.task
        def odd():
            return object

        return odd.delay()

    theirs, ours = both(body)
    assert ours.returned.state == theirs.returned.state == "FAILURE"


def test_its_own_state_is_no_end(same, eager):
    def body(kit):
        @kit.task(bind=True)
        def progress(self):
            self.update_state(state="PROGRESS", meta={"done": 1})
            found = kit.celery.current_app.AsyncResult(self.request.id)
            if not kit.eager:
                kit.note(found.state, found.info, found.ready())
            return "end"

        return progress.delay()

    observed = same(body)
    assert observed.returned.value == "end"
    if not eager:
        assert ["note", "PROGRESS", {"done": 1}, False] in observed.of("progress")[0]


def test_the_overridden_call_is_what_runs(same):
    def body(kit):
        class Base(kit.Task):
            abstract = True

            def __call__(self, *args, **kwargs):
                kit.note("call", args)
                return super().__call__(*args, **kwargs) + 1

        @kit.task(base=Base)
        def one(x):
            return x

        return one.delay(1)

    assert same(body).returned.value == 2


def test_expired(same):
    def body(kit):
        @kit.task
        def late():
            kit.note("body")

        return late.apply_async(expires=-1) if not kit.eager else None

    same(body)


def test_an_ignored_result(both):
    def body(kit):
        @kit.task(ignore_result=True)
        def quiet():
            return 5

        result = quiet.delay()
        kit.rest()
        kit.aside(result.get(), result.ignored)

    theirs, ours = both(body)
    assert ours.asides == theirs.asides
    assert ours.calls == theirs.calls


@pytest.mark.parametrize(("task", "call"), [(True, False), (False, True), (True, None)])
def test_the_call_decides_whether_the_result_is_ignored(same, eager, task, call):
    def body(kit):
        @kit.task(ignore_result=task, bind=True)
        def quiet(self):
            kit.note(self.request.ignore_result)
            return 5

        options = {} if call is None else {"ignore_result": call}
        result = quiet.apply_async(**options)
        kit.rest()
        kit.aside(result.get())

    same(body)


def test_a_task_s_own_id(same):
    def body(kit):
        @kit.task(bind=True)
        def named(self):
            return self.request.id

        return named.apply_async(task_id="my own: ä/1")

    assert same(body).returned.value == "my own: ä/1"


def test_an_id_that_is_used_twice_is_two_runs(both):
    def body(kit):
        @kit.task
        def count(n):
            kit.note(n)
            return n

        first = count.apply_async((1,), task_id="twice")
        kit.rest()
        second = count.apply_async((2,), task_id="twice")
        kit.rest()
        return [first.id == second.id, second]

    theirs, ours = both(body)
    assert ours.calls == theirs.calls
    # Celery's result backends keep the first success, ours shows the run that was begun last.
    assert (theirs.returned[1].value, ours.returned[1].value) == (1, 2)
