"""Stamps: who is asked for them, in which order, and what each task finds in its request."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.django_db


def stamped(kit):
    """Tasks that tell their stamps."""

    def tell(request):
        # Celery names stamps of other branches as well, without a value.
        stamps = {name: value for name, value in (request.stamps or {}).items() if value}
        assert set(stamps) <= set(request.stamped_headers or ())
        kit.aside(request.task.rpartition(".")[2], sorted(stamps.items()))

    class Tasks:
        @kit.task(bind=True)
        def add(self, x, y):
            tell(self.request)
            return x + y

        @kit.task(bind=True)
        def total(self, numbers):
            tell(self.request)
            return sum(numbers)

        @kit.task(bind=True)
        def fails(self, *args):
            tell(self.request)
            raise KeyError("no paper")

        @kit.task(bind=True)
        def told(self, *args):
            tell(self.request)

        @kit.task(bind=True)
        def replaces(self, x):
            tell(self.request)
            raise self.replace(Tasks.add.si(x, 1))

    return Tasks


def visiting(kit):
    """A visitor that gives everything a stamp, and remembers what it was asked."""

    class Visitor(kit.module("canvas").StampingVisitor):
        def __init__(self):
            self.asked = []

        def on_signature(self, sig, **headers):
            self.asked.append(("signature", sig.task.rpartition(".")[2], sorted(headers)))
            return {"shop": "north", "stamped_headers": ["shop"]}

        def on_group_start(self, sig, **headers):
            self.asked.append(("group", len(list(sig.tasks)), sorted(headers)))
            return {"in_group": True, "stamped_headers": ["in_group"]}

        def on_group_end(self, sig, **headers):
            self.asked.append(("group ends",))

        def on_chain_start(self, sig, **headers):
            self.asked.append(("chain", len(sig.tasks), sorted(headers)))
            return {"in_chain": True, "stamped_headers": ["in_chain"]}

        def on_chain_end(self, sig, **headers):
            self.asked.append(("chain ends",))

        def on_chord_body(self, sig, **headers):
            self.asked.append(("body", sorted(headers)))
            return {"in_body": True, "stamped_headers": ["in_body"]}

        def on_callback(self, callback, **headers):
            self.asked.append(("callback", sorted(headers)))
            return {"on_callback": True, "stamped_headers": ["on_callback"]}

        def on_errback(self, errback, **headers):
            self.asked.append(("errback", sorted(headers)))
            return {"on_errback": True, "stamped_headers": ["on_errback"]}

    return Visitor()


CANVASES = {
    "task": lambda c, t: t.add.s(1, 2),
    "chain": lambda c, t: c.chain(t.add.s(1, 2), t.add.s(3)),
    "group": lambda c, t: c.group(t.add.s(1, 2), t.add.s(3, 4)),
    "chord": lambda c, t: c.chord([t.add.s(1, 2), t.add.s(3, 4)], t.total.s()),
    "chain with a group": lambda c, t: c.chain(t.add.s(1, 2), c.group(t.add.s(3), t.add.s(4))),
}


@pytest.mark.parametrize("name", CANVASES)
def test_a_visitor_s(both, eager, name):
    def body(kit):
        tasks, visitor = stamped(kit), visiting(kit)
        canvas = CANVASES[name](kit.celery, tasks)
        canvas.stamp(visitor)
        for number, asked in enumerate(visitor.asked):
            kit.aside(f"asked {number}", asked)
        return canvas.apply_async()

    theirs, ours = both(body, eager=eager)
    assert ours.asides == theirs.asides
    assert any("shop" in str(each) for each in ours.asides)


LINKS = {
    "a link": lambda c, t: t.add.s(1, 2).set(link=t.told.s()),
    "a link of a chain": lambda c, t: linked(c.chain(t.add.s(1, 2), t.add.s(3)), t.told.s()),
    "an errback": lambda c, t: t.fails.s().set(link_error=t.told.si()),
    "an errback of a chain": lambda c, t: failing(c.chain(t.fails.s(), t.add.s(3)), t.told.si()),
    "an errback of a group": lambda c, t: failing(c.group(t.fails.s(), t.add.s(1, 3)), t.told.si()),
}


def linked(canvas, link):
    canvas.link(link)
    return canvas


def failing(canvas, errback):
    canvas.link_error(errback)
    return canvas


@pytest.mark.parametrize("name", LINKS)
def test_links(both, eager, name):
    def body(kit):
        tasks, visitor = stamped(kit), visiting(kit)
        canvas = LINKS[name](kit.celery, tasks)
        canvas.stamp(visitor)
        for asked in visitor.asked:
            kit.aside("asked", asked)
        return canvas.apply_async()

    theirs, ours = both(body, eager=eager)
    assert ours.asides == theirs.asides
    assert any(each[0] == "told" for each in ours.asides)


@pytest.mark.parametrize("append", [False, True])
def test_stamps_upon_stamps(both, append):
    def body(kit):
        tasks, visitor = stamped(kit), visiting(kit)
        canvas = kit.celery.chain(tasks.add.s(1, 2), tasks.add.s(3))
        canvas.stamp(visitor, shop="south", order=7)
        canvas.stamp(append_stamps=append, order=8)
        return canvas.apply_async()

    theirs, ours = both(body)
    assert ours.asides == theirs.asides
    assert "order" in str(ours.asides)


def test_a_replacement_keeps_them(both):
    def body(kit):
        tasks = stamped(kit)
        canvas = tasks.replaces.s(1)
        canvas.stamp(order=7)
        return canvas.apply_async()

    theirs, ours = both(body)
    assert ours.asides == theirs.asides
    assert [each[0] for each in ours.asides] == ["add", "replaces"]


def test_on_replace_may_give_it_some(both):
    def body(kit):
        tasks = stamped(kit)

        class Passing(kit.celery.Task):
            def on_replace(self, sig):
                sig.stamp(**{name: self.request.stamps[name] for name in ("order",)})
                return super().on_replace(sig)

        @kit.task(bind=True, base=Passing)
        def passes(self, x):
            raise self.replace(tasks.add.si(x, 1))

        canvas = passes.s(1)
        canvas.stamp(order=7)
        return canvas.apply_async()

    theirs, ours = both(body)
    assert ours.asides == theirs.asides == [["add", [["order", 7]]]]


def test_those_that_a_call_gives(both):
    def body(kit):
        tasks = stamped(kit)
        kit.celery.group(tasks.add.s(1, 2), tasks.add.s(3, 4)).apply_async(
            stamped_headers=["order"], order=7
        )
        kit.rest()
        tasks.add.apply_async((5, 6), stamped_headers=["order"], order=8)
        kit.rest()

    theirs, ours = both(body)
    assert ours.asides == theirs.asides
    assert len(ours.asides) == 3


def test_they_are_no_stamps_of_other_calls(both):
    def body(kit):
        tasks, visitor = stamped(kit), visiting(kit)
        sig = tasks.add.s(1, 2)
        sig.clone().stamp(visitor)
        return sig.apply_async()

    theirs, ours = both(body)
    assert ours.asides == theirs.asides == [["add", []]]


def test_a_chain_in_a_group_keeps_its_own(our_engine, db):
    """Under Celery the names of its stamps leak to its neighbours, which ends in KeyError."""

    def body(kit):
        tasks, visitor = stamped(kit), visiting(kit)
        canvas = kit.celery.group(
            kit.celery.chain(tasks.add.s(1, 2), tasks.add.s(3)), tasks.add.s(1, 1)
        )
        canvas.stamp(visitor)
        return canvas.apply_async()

    alone = ["add", [["in_group", True], ["shop", "north"]]]
    chained = ["add", [["in_chain", True], *alone[1]]]
    assert our_engine.run(body).asides == [chained, chained, alone]
