"""What a call takes, and what the running task knows of it: as in Celery."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.django_db


def refused(kit, call):
    """What a call raises at once."""
    try:
        call()
    except Exception as error:
        kit.aside(type(error).__name__)
    else:
        kit.aside("taken")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((1, 2), {}), ((1, 2, 3), {}), ((1,), {"y": 2}), ((1,), {"z": 2})],
    ids=repr,
)
@pytest.mark.parametrize("bind", [False, True], ids=["plain", "bound"])
def test_arguments_are_checked_at_the_call(both, args, kwargs, bind):
    def body(kit):
        if bind:

            @kit.task(bind=True)
            def two(self, x, y):
                return x + y
        else:

            @kit.task
            def two(x, y):
                return x + y

        refused(kit, lambda: two.apply_async(args, kwargs))

    theirs, ours = both(body)
    assert ours.lines() == theirs.lines()


def test_unless_the_task_says_otherwise(same):
    def body(kit):
        @kit.task(typing=False)
        def two(x, y):
            return x + y

        return two.delay(1)

    assert same(body).returned.raised[0] == "TypeError"


@pytest.mark.parametrize(
    "options",
    [
        {"args": "text"},
        {"args": 5},
        {"kwargs": [1]},
    ],
    ids=repr,
)
def test_nonsense_is_refused_at_the_call(both, options):
    def body(kit):
        @kit.task(typing=False)
        def any_task(*args, **kwargs):
            return 1

        refused(kit, lambda: any_task.apply_async(**options))

    theirs, ours = both(body)
    assert ours.asides == theirs.asides


def test_the_request(same):
    def body(kit):
        @kit.task(bind=True)
        def ask(self, x, y=0):
            request = self.request
            kit.note(
                request.id == request.root_id or kit.eager,
                request.task,
                request.args,
                request.kwargs,
                request.retries,
                request.called_directly,
                request.is_eager,
                request.group,
                request.parent_id,
                request.chord,
                request.eta,
                request.expires,
                request.get("nothing", "default"),
                request.children,
                kit.celery.current_task.name,
                self.name,
            )

        return ask.delay(1, y=2)

    same(body)


def test_called_directly_there_is_no_request(same):
    def body(kit):
        @kit.task(bind=True)
        def direct(self, x):
            request = self.request
            kit.aside(request.id, request.called_directly, request.is_eager, request.retries)
            return x + 1

        kit.aside(direct(1))
        kit.aside(bool(kit.celery.current_task))

    same(body)


def test_the_parent_and_the_root_are_known(same):
    def body(kit):
        found = {}

        @kit.task(bind=True)
        def child(self):
            found["child"] = (self.request.parent_id, self.request.root_id)

        @kit.task(bind=True)
        def parent(self):
            found["parent"] = self.request.id
            child.delay()
            kit.note(len(self.request.children))

        parent.delay()
        kit.rest()
        if not kit.eager:
            kit.aside(found["child"] == (found["parent"], found["parent"]))

    same(body)


def test_a_result_cannot_be_waited_for_inside(both, our_engine):
    def body(kit):
        @kit.task
        def child():
            return 1

        @kit.task
        def parent():
            try:
                child.delay().get(timeout=1)
            except RuntimeError as error:
                kit.note(str(error).partition("!")[0])

        return parent.delay()

    refusal = ["note", "Never call result.get() within a task"]
    # Celery notices it in eager tasks and in its pool of processes, not in a worker's own thread.
    theirs, ours = both(body, eager=True)
    assert ours.lines() == theirs.lines()
    assert refusal in ours.of("parent")[0]
    assert refusal in our_engine.run(body).of("parent")[0]


def test_children_are_the_results_of_what_was_sent(both):
    def body(kit):
        @kit.task
        def child(x):
            return x

        @kit.task
        def parent():
            child.delay(1)
            child.delay(2)

        result = parent.delay()
        kit.rest()
        kit.aside([each.result for each in result.children])
        kit.aside([value for _, value in result.collect()])

    theirs, ours = both(body)
    assert ours.asides == theirs.asides


@pytest.mark.parametrize("call", ["a task", "a chain", "by name"])
@pytest.mark.parametrize("trail", [True, False])
def test_unless_the_call_or_the_task_says_not_to_count_them(both, call, trail):
    def body(kit):
        @kit.task
        def child(x):
            return x

        def send(**options):
            if call == "a chain":
                kit.celery.chain(child.si(1), child.si(2)).apply_async(**options)
            elif call == "by name":
                kit.celery.current_app.send_task("child", (1,), **options)
            else:
                child.apply_async((1,), **options)

        @kit.task(bind=True, trail=trail)
        def parent(self):
            send(add_to_parent=False)
            kit.note(len(self.request.children))
            send()
            kit.note(len(self.request.children))

        parent.delay()

    theirs, ours = both(body)
    assert ours.lines() == theirs.lines()


def test_the_options_that_a_call_was_made_with(same, eager):
    def body(kit):
        @kit.task(bind=True)
        def ask(self):
            options = self.request.as_execution_options()
            if not eager:
                names = ("shadow", "time_limit", "soft_time_limit", "group_id", "headers")
                kit.note({name: options[name] for name in names})
            kit.note(sorted(options))

        ask.apply_async(shadow="s", time_limit=50, headers={"a": "1"})

    same(body)


@pytest.mark.parametrize("count", [1, 3])
def test_links_get_the_value(same, count):
    def body(kit):
        @kit.task
        def after(x, extra=None):
            kit.note(x, extra)
            return x

        @kit.task
        def first():
            return 5

        return first.apply_async(link=[after.s(extra=n) for n in range(count)])

    assert len(same(body).of("after")) == count


def test_an_immutable_link_does_not(same):
    def body(kit):
        @kit.task
        def after(x):
            kit.note(x)

        @kit.task
        def first():
            return 5

        return first.apply_async(link=after.si("own"))

    assert ["note", "own"] in same(body).of("after")[0]


def test_links_of_a_failure_do_not_run(same):
    def body(kit):
        @kit.task
        def after(x):
            kit.note(x)

        @kit.task
        def first():
            raise ValueError("x")

        return first.apply_async(link=after.s())

    assert same(body).of("after") == []


def test_an_errback_of_the_newer_style(both):
    def body(kit):
        @kit.task
        def told(request, exc, traceback):
            kit.aside(type(exc).__name__, exc.args, "ValueError" in str(traceback))

        @kit.task
        def first():
            raise ValueError("x")

        first.apply_async(link_error=told.s())

    for eager in (False, True):
        theirs, ours = both(body, eager=eager)
        assert ours.asides == theirs.asides == [["ValueError", ["x"], True]]


def test_an_errback_of_the_older_style(both):
    def body(kit):
        @kit.task(bind=True)
        def told(self, task_id):
            kit.aside(task_id == "the-id")

        @kit.task
        def first():
            raise ValueError("x")

        first.apply_async(link_error=told.s(), task_id="the-id")

    theirs, ours = both(body)
    assert ours.asides == theirs.asides == [[True]]


def test_apply_runs_it_here(same):
    def body(kit):
        @kit.task(bind=True)
        def here(self, x):
            kit.note(self.request.is_eager, self.request.called_directly)
            return x + 1

        return here.apply((1,))

    assert same(body).returned.value == 2


def test_apply_with_throw(same):
    def body(kit):
        @kit.task
        def fail():
            raise ValueError("x")

        fail.apply(throw=True)

    assert same(body).raised == ["ValueError", ["x"]]


def test_map_starmap_and_chunks(both):
    def body(kit):
        @kit.task
        def add(x, y=1):
            return x + y

        return [
            add.map([1, 2]).apply_async(),
            add.starmap([(1, 2), (3, 4)]).apply_async(),
            add.chunks([(1, 1), (2, 2), (3, 3)], 2).apply_async(),
        ]

    theirs, ours = both(body)
    assert ours.lines() == theirs.lines()
    returned = ours.returned
    assert [returned[0].value, returned[1].value] == [[2, 3], [3, 7]]


def test_a_task_by_its_name(both):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        return [
            kit.celery.current_app.send_task("add", (1, 2)),
            kit.celery.signature("add", args=(3, 4)).apply_async(),
        ]

    theirs, ours = both(body)
    assert ours.lines() == theirs.lines()


def test_a_class_based_task(both):
    def body(kit):
        class Greet(kit.Task):
            name = "greet"

            def run(self, whom):
                return f"Hello {whom}"

        task = kit.celery.current_app.register_task(Greet())
        kit.refresh()
        return task.delay("you")

    theirs, ours = both(body)
    assert ours.lines() == theirs.lines()


def test_equal_calls_are_equal_signatures(same):
    def body(kit):
        @kit.task
        def add(x, y):
            return x + y

        sig = add.s(1, y=2)
        kit.aside(sig == add.s(1, y=2), dict(sig)["args"], sig.kwargs, sig.task, sig.immutable)
        kit.aside(add.si(1).immutable, sig.clone(args=(5,)).args)
        return sig.delay() if kit.eager else add.s(y=2).apply_async((1,))

    same(body)
