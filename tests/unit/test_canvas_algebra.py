"""Signatures and their operators, without anything being sent.

That they equal Celery's, whatever is put together, is shown by ``tests/contract``.
"""

from __future__ import annotations

import copy
import pickle

import pytest

from django_qstash import (
    AsyncResult,
    GroupResult,
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    serialization,
    shared_task,
    signature,
    xmap,
    xstarmap,
)
from django_qstash.tasks.canvas import Lazy
from django_qstash.tasks.registry import tasks as registry


def s(name, *args, **kwargs):
    return Signature(name, args, kwargs)


A, B, C, D = (s(name) for name in "ABCD")


@pytest.fixture(autouse=True)
def as_they_were():
    """A canvas holds what it was made of, and fixing ids or linking reaches that."""
    yield
    for each in (A, B, C, D):
        each.options.clear()
        each.set_immutable(False)


def shape(sig):
    """A canvas in a line: ``A | [B, C] > D``."""
    kind = sig["subtask_type"]
    if kind == "chain":
        return "(" + " | ".join(map(shape, sig.tasks)) + ")"
    if kind == "group":
        return "[" + ", ".join(map(shape, sig.tasks)) + "]"
    if kind == "chord":
        return "{[" + ", ".join(map(shape, sig.tasks)) + "] > " + shape(sig.body) + "}"
    return sig.task


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (A | B, "(A | B)"),
        (A | B | C, "(A | B | C)"),
        (A | (B | C), "(A | B | C)"),
        ((A | B) | (C | D), "(A | B | C | D)"),
        (A | group(B, C), "(A | [B, C])"),
        (A | group(B), "(A | B)"),
        (A | B | group([]), "(A | B)"),
        (group(A, B) | C, "{[A, B] > C}"),
        (group(A, B) | group(C, D), "{[A, B] > [C, D]}"),
        (group(A, B) | (C | D), "{[A, B] > (C | D)}"),
        (group(A, B) | group([]), "[A, B]"),
        (A | group(B, C) | D, "(A | {[B, C] > D})"),
        (A | group(B, C) | D | A, "(A | {[B, C] > (D | A)})"),
        (A | group(B, C) | group(A, D), "(A | [B, C] | [A, D])"),
        (chord([A, B], C) | D, "{[A, B] > (C | D)}"),
        (chord([A, B], C) | group(D), "{[A, B] > (C | D)}"),
        (chord([A, B], C) | (D | A), "({[A, B] > C} | D | A)"),
        (chord([A, B], C) | chord([A], D), "{[A, B] > (C | {[A] > D})}"),
        (A | chord([B], C) | D, "(A | {[B] > (C | D)})"),
        (chain(A, B, C), "(A | B | C)"),
        (chain([A, B, C]), "(A | B | C)"),
        (chain(s(name) for name in "ABC"), "(A | B | C)"),
        (chain(group(A, B), C), "{[A, B] > C}"),
        (chain(A), "(A)"),
        (chain([]), "()"),
        (chain(group(A, B)), "([A, B])"),
        (group(A | B), "[(A | B)]"),
        (group(group(A, B)), "[A, B]"),
        (group([A, group(B, C)]), "[A, [B, C]]"),
        (chord(group(A, B), C), "{[A, B] > C}"),
        (chord(A, B), "{[A] > B}"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_stands_before_what(made, wanted):
    assert shape(made) == wanted


def test_in_place_is_the_same_operator():
    made = A
    made |= B
    made |= group(C, D)
    assert shape(made) == "(A | B | [C, D])"
    assert shape(A) == "A"


@pytest.mark.parametrize("left", [A, A | B, group(A, B), chord([A], B)], ids=shape)
def test_what_is_no_signature_is_refused(left):
    with pytest.raises(TypeError):
        left | 3
    with pytest.raises(TypeError, match="give a signature"):
        chain(left, "B")
    with pytest.raises(TypeError, match="give a signature"):
        group([left, None])


def test_a_task_stands_for_its_signature():
    task = shared_task(name="stands")(lambda x: x)
    try:
        assert shape(chain(task, A)) == "(stands | A)"
        assert shape(group(task, A)) == "[stands, A]"
    finally:
        registry.unregister("stands")


def test_a_long_chain_copies_each_step_once():
    copies = []

    class Counted(Signature):
        def clone(self, *args, **kwargs):
            copies.append(self)
            return super().clone(*args, **kwargs)

    steps = [Counted("A") for _ in range(300)]
    assert len(chain(*steps).tasks) == 300
    assert len(copies) == 300


class TestCopies:
    def test_arguments_go_before_and_keywords_instead(self):
        made = s("A", 3, k=1, l=2).clone((1, 2), {"k": 9}, queue="q")
        assert (made.args, made.kwargs, made.options) == (
            (1, 2, 3),
            {"k": 9, "l": 2},
            {"queue": "q"},
        )

    def test_an_immutable_one_takes_options_alone(self):
        made = Signature("A", (3,), immutable=True).clone((1,), {"k": 9}, queue="q")
        assert (made.args, made.kwargs, made.options) == ((3,), {}, {"queue": "q"})

    def test_partial_is_clone(self):
        assert s("A", 2).partial((1,)) == s("A", 1, 2)

    def test_replace_stands_instead(self):
        made = s("A", 3, k=1).set(queue="q").replace(args=(1,), kwargs={}, options={})
        assert made == s("A", 1)

    @pytest.mark.parametrize(
        "duplicate",
        [
            copy.copy,
            copy.deepcopy,
            signature,
            lambda sig: sig.clone(),
            lambda sig: pickle.loads(pickle.dumps(sig)),
        ],
        ids=["copy", "deepcopy", "signature", "clone", "pickle"],
    )
    @pytest.mark.parametrize("sig", [A, A | B, group(A, B), chord([A, B], C | D)], ids=shape)
    def test_share_nothing_that_changes(self, sig, duplicate):
        before = shape(sig), repr(sig)
        other = duplicate(sig)
        assert other == sig
        assert type(other) is type(sig)
        other.set(queue="x")
        other.on_error(D)
        if sig["subtask_type"] != "group":
            other.link(D)
        assert (shape(sig), repr(sig)) == before
        assert "queue" not in sig.options
        assert not any("link_error" in part.options for part in [sig, *sig.kwargs.get("tasks", ())])

    def test_a_chain_s_own_arguments_and_options_survive_an_operator(self):
        made = (A | B).clone((1,), {"k": 2}).set(countdown=3, task_id="b") | C
        first, second, _ = made.tasks
        assert (first.args, first.kwargs, first.options) == ((1,), {"k": 2}, {"countdown": 3})
        assert second.id == "b"

    def test_a_group_s_own_options_survive_becoming_a_header(self):
        made = group(A, B).set(queue="q") | C
        assert [member.options for member in made.tasks] == [{"queue": "q"}] * 2


class TestLinks:
    def test_link_returns_the_callback_and_keeps_it_once(self):
        sig = s("A")
        assert sig.link(B) is B
        sig.link(s("B"))
        assert sig.options["link"] == [B]

    def test_on_error_returns_the_signature(self):
        sig = s("A")
        assert sig.on_error(B) is sig
        assert sig.options["link_error"] == [B]

    def test_flatten_links(self):
        inner, outer = s("B"), s("A")
        inner.link(C)
        outer.link(inner)
        outer.link(D)
        assert [each.task for each in outer.flatten_links()] == ["A", "B", "C", "D"]

    def test_of_a_chain_travel_with_its_steps(self):
        sig = A | B
        sig.link(C)
        sig.link_error(D)
        first, second, _ = (sig | A).tasks
        assert (first.options, second.options) == (
            {"link_error": [D]},
            {"link": [C], "link_error": [D]},
        )

    def test_of_a_group(self):
        sig = group(A.clone(), B.clone())
        sig.link(C)
        sig.link_error(D)
        first, second = sig.tasks
        assert first.options["link"] == [Signature("C", immutable=True)]
        assert "link" not in second.options
        assert [member.options["link_error"] for member in sig.tasks] == [[D], [D]]

    def test_of_a_group_without_members_are_refused(self):
        with pytest.raises(IndexError, match="without members"):
            group([]).link(C)

    def test_of_a_chain_pass_over_a_group_without_members(self):
        sig = chain(A, B).clone()
        sig.tasks.append(group([]))
        sig.link(C)
        assert [each.options.get("link") for each in sig.unchain_tasks()] == [None, [C], None]

    def test_a_call_of_a_group_takes_none(self):
        with pytest.raises(TypeError, match="use a chord"):
            group(A, B).apply_async(link=C)
        with pytest.raises(TypeError, match="link each task"):
            group(A, B).apply_async(link_error=C)

    def test_of_a_chord_are_the_body_s(self):
        sig = chord([A.clone()], B.clone())
        assert sig.link(C) is C
        assert sig.link_error(D) == D
        assert sig.body.options == {"link": [C], "link_error": [D]}
        assert sig.tasks[0].options == {}


class TestImmutable:
    def test_set_and_si_say_so(self):
        task = shared_task(name="said")(lambda: None)
        try:
            assert task.si(1).immutable
            assert task.s().set(immutable=True).immutable
            assert not task.s().immutable
        finally:
            registry.unregister("said")

    def test_of_a_group_is_its_members(self):
        sig = group(A.clone(), B.clone())
        sig.set(immutable=True)
        assert [member.immutable for member in sig.tasks] == [True, True]

    def test_of_a_chord_its_header_s(self):
        sig = chord([A.clone()], B.clone())
        sig.set_immutable(True)
        assert (sig.tasks[0].immutable, sig.body.immutable) == (True, False)


class TestFreezing:
    def test_fixes_every_id_once(self):
        sig = chain(A, group(B, C), D, A)
        result = sig.freeze()
        again = sig.freeze()
        ids = lambda node: [node.id, *ids(node.parent)] if node else []  # noqa: E731
        assert ids(result) == ids(again)
        assert len(set(ids(result))) == 4

    def test_a_chain_s_result_knows_its_parents(self):
        result = (A | B | C).freeze("the-end")
        assert (result.id, len(result.as_list())) == ("the-end", 3)
        assert result.parent.parent.parent is None

    def test_a_group_s_result_has_its_members_in_order(self):
        sig = group(A, B)
        result = sig.freeze()
        assert isinstance(result, GroupResult)
        assert [member.id for member in result] == [member.id for member in sig.tasks]

    def test_a_chord_s_body_comes_after_its_header(self):
        sig = chord([A, B], C | D)
        result = sig.freeze()
        assert isinstance(result.parent, AsyncResult)
        assert isinstance(result.parent.parent, GroupResult)
        assert [member.id for member in result.parent.parent] == [member.id for member in sig.tasks]

    def test_places_are_kept(self):
        sig = s("A")
        sig.freeze("x", group_id="g", root_id="r", parent_id="p", group_index=2)
        assert sig.options == {
            "task_id": "x", "group_id": "g", "root_id": "r", "parent_id": "p", "group_index": 2,
        }  # fmt: skip
        assert (sig.id, sig.root_id, sig.parent_id) == ("x", "r", "p")

    def test_a_group_id_is_not_replaced(self):
        sig = s("A")
        sig.set(group_id="mine")
        assert sig.clone(group_id="other").options["group_id"] == "mine"


class TestDicts:
    def test_have_celery_s_form(self):
        assert dict(s("A", 1, k=2)) == {
            "task": "A",
            "args": (1,),
            "kwargs": {"k": 2},
            "options": {},
            "subtask_type": None,
            "immutable": False,
        }
        assert dict(chord([A], B))["kwargs"].keys() == {"kwargs", "header", "body"}

    @pytest.mark.parametrize(
        "sig",
        [
            A,
            A | B,
            group(A, B),
            chord([A], B | C),
            xmap(A, [1, 2]),
            xstarmap(A, [[1, 2]]),
            chunks(A, [[1], [2]], 2),
        ],
        ids=lambda sig: sig["subtask_type"] or "task",
    )
    def test_come_back_as_they_were(self, sig):
        back = signature(serialization.loads(serialization.dumps(sig)))
        assert back == sig
        assert type(back) is type(sig) or isinstance(sig, type(back))
        assert back.subtask_type == sig.subtask_type

    def test_are_not_changed_by_what_is_made_of_them(self):
        plain = serialization.loads(serialization.dumps(chord([A], B)))
        before = serialization.dumps(plain)
        sig = Signature.from_dict(plain)
        sig.link(C)
        sig.freeze()
        assert serialization.dumps(plain) == before

    def test_maybe_signature(self):
        assert maybe_signature(None) is None
        assert maybe_signature(A) is A
        assert maybe_signature(A, clone=True) is not A
        assert maybe_signature(dict(A)) == A
        assert maybe_signature("not one") == "not one"

    def test_a_type_of_one_s_own(self):
        @Signature.register_type()
        class urgent(Signature):
            def __init__(self, task, **options):
                super().__init__(task, options=options, subtask_type="urgent", priority=9)

        try:
            made = signature(serialization.loads(serialization.dumps(urgent("A", queue="q"))))
            assert type(made) is urgent
            assert made.options == {"queue": "q", "priority": 9}
            assert type(made.clone()) is urgent
            assert type((made | A).tasks[0]) is urgent
        finally:
            del Signature.TYPES["urgent"]

    def test_a_subclass_of_chain_stays_one(self):
        class Pipeline(chain):
            """Says who made it."""

        made = Pipeline(A, B) | C
        assert type(made) is Pipeline
        assert shape(made) == "(A | B | C)"
        assert shape(Pipeline(s(name) for name in "AB")) == "(A | B)"


class TestGenerators:
    def test_members_are_not_made_before_they_are_needed(self):
        made = []

        def members():
            for name in "ABC":
                made.append(name)
                yield s(name)

        sig = group(members())
        whole = sig | D
        copy_ = whole.clone()
        copy_.set(queue="q")
        assert made == []
        assert bool(sig)
        assert made == ["A"]
        assert shape(whole) == shape(copy_) == "{[A, B, C] > D}"
        assert made == ["A", "B", "C"]

    def test_a_chain_with_options_reads_one_too(self):
        sig = chain((s(name) for name in "AB"), task_id="last")
        assert shape(sig) == "(A | B)"

    def test_arguments_of_maps(self):
        assert list(xmap(A, (n for n in range(3))).kwargs["it"]) == [0, 1, 2]
        sig = chunks(A, ((n,) for n in range(5)), 2)
        assert [list(part.kwargs["it"]) for part in sig.group().tasks] == [
            [(0,), (1,)],
            [(2,), (3,)],
            [(4,)],
        ]

    def test_lazy_is_a_list_that_waits(self):
        lazy = Lazy(iter([1, 2, 3]))
        assert (len(lazy), lazy[1], lazy[-1], bool(lazy), list(lazy)) == (3, 2, 3, True, [1, 2, 3])
        assert lazy == [1, 2, 3]
        assert lazy != [1, 2]
        assert not Lazy(iter(()))
        assert repr(lazy) == "[1, 2, 3]"

    def test_chunks_of_nothing_are_refused(self):
        with pytest.raises(ValueError, match="one or more"):
            chunks(A, [[1]], 0)


class TestWords:
    def test_reprcall(self):
        assert s("shop.add", 2, k=3).reprcall(1, l=4) == "shop.add(1, 2, k=3, l=4)"
        assert Signature("add", (2,), immutable=True).reprcall(1) == "add(1, 2)"

    @pytest.mark.parametrize(
        ("sig", "text"),
        [
            (s("add", 2), "add(2)"),
            (A | B, "A() | B()"),
            (group(A, B), "group([A(), B()])"),
            (group([]), "group(<empty>)"),
            (chain(), "<chain: empty>"),
            (chord([A], B), "chord([A()], B())"),
            (chord([A]), "<chord without body: [A()]>"),
            (xmap(A, [1]), "[A(x) for x in [1]]"),
            (xstarmap(A, [(1, 2)]), "[A(*x) for x in [(1, 2)]]"),
        ],
        ids=lambda each: each if isinstance(each, str) else "",
    )
    def test_repr(self, sig, text):
        assert repr(sig) == text

    def test_names(self):
        assert (A.name, A.task, (A | B).name) == ("A", "A", "celery.chain")

    def test_skew(self):
        sig = group(A.clone() for _ in range(4)).skew(start=1, stop=3)
        assert [member.options["countdown"] for member in sig.tasks] == [1, 2, 3, 3]

    def test_list_options(self):
        sig = s("A")
        sig.extend_list_option("link", B)
        sig.extend_list_option("link", [C, D])
        sig.append_to_list_option("link", B)
        assert sig.options["link"] == [B, C, D]


def test_an_empty_chain_called_is_nothing():
    assert chain()() is None
    assert not chain().tasks


def test_a_chord_without_a_body_is_refused():
    with pytest.raises(TypeError, match=r"chord\(header\)\(body\)"):
        chord([A]).apply_async()
    with pytest.raises(TypeError, match="needs a body"):
        chord([A])()


def test_calling_a_signature_calls_the_task_here():
    task = shared_task(name="called")(lambda x, y=0: x - y)
    try:
        assert task.s(1)(5) == 4
        assert task.si(5)(1) == 5
        assert task.s(y=2)(5) == 3
        assert task.s().type is task
    finally:
        registry.unregister("called")


def test_inverted_it_is_sent_and_waited_for(db, loopback):
    task = shared_task(name="waited")(lambda x, y: x + y)
    try:
        assert ~task.s(2, 3) == 5
        assert ~(task.s(2, 3) | task.s(4)) == 9
        assert ~group(task.s(1, 1), task.s(2, 2)) == [2, 4]
    finally:
        registry.unregister("waited")
