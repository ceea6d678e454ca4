"""Again, and how often: ``self.retry`` and the automatic retries, as in Celery."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.django_db


def test_until_it_succeeds(same):
    def body(kit):
        @kit.task(bind=True)
        def flaky(self, x):
            kit.note(self.request.retries, self.request.args, self.request.kwargs)
            if self.request.retries < 2:
                raise self.retry(exc=ValueError("not yet"), countdown=0)
            return x

        return flaky.delay(7)

    assert same(body).returned.value == 7


def test_the_third_is_the_last_by_default(same):
    def body(kit):
        @kit.task(bind=True)
        def never(self):
            kit.note(self.request.retries)
            raise self.retry(countdown=0)

        return never.delay()

    observed = same(body)
    assert [e[1] for e in observed.of("never")[0] if e[0] == "note"] == [0, 1, 2, 3]
    assert observed.returned.raised[0] == "MaxRetriesExceededError"


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_max_retries_of_the_task(same, limit):
    def body(kit):
        @kit.task(bind=True, max_retries=limit)
        def never(self):
            kit.note(self.request.retries)
            raise self.retry(countdown=0, exc=ValueError("in the end"))

        return never.delay()

    assert same(body).returned.raised == ["ValueError", ["in the end"]]


def test_max_retries_of_the_call_holds_for_that_call(same):
    def body(kit):
        @kit.task(bind=True, max_retries=None)
        def stubborn(self):
            kit.note(self.request.retries)
            if self.request.retries >= 3:
                raise self.retry(countdown=0, max_retries=2)
            raise self.retry(countdown=0)

        return stubborn.delay()

    assert same(body).returned.state == "FAILURE"


def test_the_exception_in_hand_becomes_the_cause(same):
    def body(kit):
        @kit.task(bind=True, max_retries=0)
        def fail(self):
            try:
                raise KeyError("inner")
            except KeyError as error:
                try:
                    self.retry(exc=ValueError("outer"), countdown=0)
                except ValueError as raised:
                    kit.note(raised.__cause__ is error)
                    raise

        return fail.delay()

    same(body)


@pytest.mark.parametrize(
    "change",
    [
        {"args": (9,)},
        {"kwargs": {"y": 9}},
        {"args": (9,), "kwargs": {"y": 8}},
        {"kwargs": {"x": 9}},
        {"args": ()},
    ],
    ids=repr,
)
def test_with_other_arguments(same, change):
    def body(kit):
        @kit.task(bind=True)
        def change_them(self, x=0, y=0):
            kit.note(x, y)
            if not self.request.retries:
                raise self.retry(countdown=0, **change)
            return [x, y]

        return [change_them.delay(1, 2), change_them.delay(1, y=2), change_them.delay(x=1)]

    same(body)


def test_without_throwing_the_task_goes_on(both):
    def body(kit):
        @kit.task(bind=True)
        def on(self):
            if not self.request.retries:
                wanted = self.retry(countdown=0, throw=False)
                kit.note(type(wanted).__name__)
            kit.note("end", self.request.retries)
            return self.request.retries

        on.delay()

    theirs, ours = both(body)
    assert ours.of("on") == theirs.of("on")


def test_a_retry_caught_by_the_body(same):
    def body(kit):
        @kit.task(bind=True)
        def caught(self):
            if self.request.retries:
                return "again"
            try:
                raise self.retry(countdown=0)
            except ValueError:
                kit.note("not this")

        return caught.delay()

    assert same(body).returned.value == "again"


def test_called_directly_it_raises_what_it_was_given(same):
    def body(kit):
        @kit.task(bind=True)
        def direct(self):
            raise self.retry(exc=ValueError("direct"))

        direct()

    assert same(body).raised == ["ValueError", ["direct"]]


def test_called_directly_without_an_exception(same):
    def body(kit):
        @kit.task(bind=True)
        def direct(self):
            try:
                raise KeyError("inner")
            except KeyError:
                self.retry()

        try:
            direct()
        except Exception as error:
            kit.aside(type(error).__name__)

    same(body)


class TestAutomatic:
    def test_for_the_named_exceptions(self, same):
        def body(kit):
            @kit.task(bind=True, autoretry_for=(OSError,), retry_kwargs={"countdown": 0})
            def flaky(self):
                kit.note(self.request.retries)
                if self.request.retries < 2:
                    raise ConnectionError("away")
                return "here"

            return flaky.delay()

        assert same(body).returned.value == "here"

    def test_not_for_others(self, same):
        def body(kit):
            @kit.task(bind=True, autoretry_for=(OSError,), retry_kwargs={"countdown": 0})
            def fail(self):
                kit.note(self.request.retries)
                raise ValueError("odd")

            return fail.delay()

        assert same(body).returned.raised == ["ValueError", ["odd"]]

    def test_in_the_end_the_exception_itself(self, same):
        def body(kit):
            @kit.task(
                bind=True,
                autoretry_for=(Exception,),
                retry_kwargs={"countdown": 0, "max_retries": 2},
            )
            def never(self):
                kit.note(self.request.retries)
                raise OSError(2, "away")

            return never.delay()

        observed = same(body)
        assert observed.returned.raised[0] == "FileNotFoundError"
        assert [e[1] for e in observed.of("never")[0] if e[0] == "note"] == [0, 1, 2]

    def test_some_are_let_go(self, same):
        def body(kit):
            @kit.task(
                bind=True,
                autoretry_for=(Exception,),
                dont_autoretry_for=(KeyError,),
                retry_kwargs={"countdown": 0},
            )
            def fail(self):
                raise KeyError("x")

            return fail.delay()

        assert same(body).returned.state == "FAILURE"

    def test_inherited_from_the_base(self, same):
        def body(kit):
            class Base(kit.Task):
                abstract = True
                autoretry_for = (ValueError,)
                max_retries = 1
                retry_kwargs = {"countdown": 0}

            @kit.task(base=Base, bind=True)
            def fail(self):
                kit.note(self.request.retries)
                raise ValueError("x")

            return fail.delay()

        observed = same(body)
        assert [e[1] for e in observed.of("fail")[0] if e[0] == "note"] == [0, 1]

    def test_a_retry_by_hand_inside_stays_itself(self, same):
        def body(kit):
            @kit.task(
                bind=True, autoretry_for=(Exception,), retry_kwargs={"countdown": 0}, max_retries=1
            )
            def mixed(self):
                kit.note(self.request.retries)
                raise self.retry(countdown=0, exc=ValueError("mine"))

            return mixed.delay()

        assert same(body).returned.raised == ["ValueError", ["mine"]]

    def test_backoff_without_jitter(self, both):
        """Its countdown is seen in the retry itself: nobody waits here."""

        def body(kit):
            @kit.task(
                bind=True,
                autoretry_for=(ValueError,),
                retry_backoff=3,
                retry_backoff_max=10,
                retry_jitter=False,
                max_retries=4,
            )
            def backs_off(self):
                raise ValueError("x")

            def told(request, reason, **_):
                kit.aside(request.retries, reason.when)

            kit.celery.signals.task_retry.connect(told)
            try:
                return backs_off.delay()
            finally:
                kit.celery.signals.task_retry.disconnect(told)

        celery, ours = (each for each in both(body, eager=True))
        assert ours.asides == celery.asides
        assert [when for _, when in ours.asides] == [3, 6, 10, 10]


@pytest.mark.parametrize("option", ["headers", "priority", "expires", "ignore_result"])
def test_options_survive_it(same, option):
    value = {"headers": {"x-shop": "7"}, "priority": 3, "expires": 600, "ignore_result": False}

    def body(kit):
        @kit.task(bind=True)
        def keeps(self):
            request = self.request
            kit.note(
                request.retries,
                request.headers or {},
                request.delivery_info.get("priority") or 0,
                bool(request.expires),
                request.ignore_result,
            )
            if not request.retries:
                raise self.retry(countdown=0)
            return 1

        if kit.eager:
            return None
        return keeps.apply_async(**{option: value[option]})

    same(body)


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_it_may_name_other_links(same, option):
    def body(kit):
        @kit.task
        def after():
            kit.note("after")

        @kit.task(bind=True)
        def again(self, fails):
            if self.request.retries == 0:
                raise self.retry(countdown=0, **{option: after.si()})
            if fails:
                raise ValueError("in the end")

        return again.delay(option == "link_error")

    assert len(same(body).of("after")) == 1


def test_it_may_change_options(same, eager):
    def body(kit):
        @kit.task(bind=True)
        def again(self):
            request = self.request
            kit.note(dict(request.headers), request.delivery_info["priority"])
            if not eager:
                # Of an eager task Celery knows those of the task alone.
                kit.note(list(request.timelimit or (None, None)), request.shadow)
            if request.retries == 0:
                raise self.retry(
                    countdown=0,
                    headers={"a": "2"},
                    priority=3,
                    time_limit=50,
                    soft_time_limit=40,
                    shadow="another",
                )

        return again.apply_async(headers={"a": "1", "b": "1"}, priority=7)

    same(body)


def test_links_survive_it_and_run_once(same):
    def body(kit):
        @kit.task
        def after(x):
            kit.note(x)
            return x

        @kit.task(bind=True)
        def flaky(self):
            if self.request.retries < 2:
                raise self.retry(countdown=0)
            return "end"

        return flaky.apply_async(link=after.s())

    assert len(same(body).of("after")) == 1
