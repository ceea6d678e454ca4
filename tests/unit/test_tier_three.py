"""What few projects use, by Celery's names and with Celery's meaning."""

from __future__ import annotations

import io

import pytest

from django_qstash import (
    AsyncResult,
    EagerResult,
    OptionError,
    Task,
    allow_join_result,
    chain,
    group,
    shared_task,
)
from django_qstash.celery.result import assert_will_not_block, denied_join_result
from django_qstash.exceptions import IncompleteStream
from django_qstash.messages import TaskMessage, decode
from django_qstash.results.models import TaskResult
from django_qstash.tasks.graph import DependencyGraph
from django_qstash.tasks.registry import tasks as registry
from tests.door import knock, letter
from tests.shop import tasks as shop

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tidy_registry")]

ADD, FAIL = shop.add.name, shop.fail.name


def sent(outbox):
    return [TaskMessage.from_dict(decode(envelope.body)) for envelope in outbox.sent]


class TestErrorsOfIgnoredResults:
    def test_they_are_kept_where_a_task_says_so(self):
        @shared_task(name="kept", ignore_result=True, store_errors_even_if_ignored=True)
        def kept(good):
            if not good:
                raise ValueError("kept")
            return "not kept"

        knock(letter("kept", False, id="bad"))
        knock(letter("kept", True, id="good"))

        assert AsyncResult("bad").state == "FAILURE"
        assert str(AsyncResult("bad").result) == "kept"
        assert TaskResult.objects.filter(task_id="good", result="not kept").count() == 0

    def test_and_not_otherwise(self):
        knock(letter(FAIL, "secret", id="bad", ignore_result=True))

        row = TaskResult.rows.filter(task_id="bad").first()
        assert row is None or "secret" not in f"{row.result}{row.traceback}"


class TestRequests:
    def test_the_stack_holds_the_calls_of_one_task(self):
        depths = []

        @shared_task(name="nested", bind=True)
        def nested(self, depth):
            depths.append([context.args for context in self.request_stack.stack])
            assert self.request_stack.top is self.request
            if depth:
                nested(depth - 1)

        nested.apply((1,))

        assert depths == [[(1,)], [(1,), (0,)]]
        assert len(nested.request_stack) == 0
        assert nested.request_stack.top is None

    def test_a_context_can_be_pushed_for_a_test(self):
        @shared_task(name="pushed", bind=True)
        def pushed(self):
            return self.request.id

        pushed.push_request(id="seven", retries=2)
        try:
            assert pushed.request.id == "seven"
            assert pushed.request.retries == 2
            assert pushed.run() == "seven"
            pushed.push_request(id="eight")
            assert (pushed.request.id, pushed.request.retries) == ("eight", 2)
            pushed.pop_request()
            assert pushed.request.id == "seven"
        finally:
            pushed.pop_request()
        assert pushed.request.id is None
        assert pushed.request_stack.pop() is None


class TestNames:
    def test_a_call_can_be_shown_under_another_name(self, outbox):
        class Shadowed(Task):
            abstract = True

            def shadow_name(self, args, kwargs, options):
                return f"{self.name}:{args[0]}" if args else None

        @shared_task(name="shadowed", base=Shadowed)
        def shadowed(*args):
            pass

        shadowed.delay("a")
        shadowed.delay()
        shadowed.apply_async(("a",), shadow="given")
        shadowed.s("b").delay()

        assert [each.shadow for each in sent(outbox)] == [
            "shadowed:a",
            None,
            "given",
            "shadowed:b",
        ]
        assert {each.task for each in sent(outbox)} == {"shadowed"}

    def test_arguments_can_be_shown_as_something_else(self, outbox):
        shop.add.apply_async((1, 2), argsrepr="(***)", kwargsrepr="{***}")

        (message,) = sent(outbox)
        assert (message.argsrepr, message.kwargsrepr) == ("(***)", "{***}")

        @shared_task(name="shown", bind=True)
        def shown(self):
            return [self.request.argsrepr, self.request.kwargsrepr]

        knock(letter("shown", argsrepr="(***)", kwargsrepr="{***}", id="one"))
        assert AsyncResult("one").get() == ["(***)", "{***}"]


class TestSerializer:
    @pytest.mark.parametrize("name", ["pickle", "yaml", "msgpack"])
    def test_others_than_json_are_refused_with_a_sentence(self, name, outbox):
        sentence = rf"serializer='{name}': letters are JSON only; running what a webhook's body"

        with pytest.raises(OptionError, match=sentence):
            shop.add.apply_async((1, 2), serializer=name)
        with pytest.raises(OptionError, match=sentence):
            shop.add.s(1, 2).set(serializer=name).delay()
        with pytest.raises(OptionError, match=sentence):
            shared_task(name="other", serializer=name)(lambda: None)
        assert outbox.sent == []
        assert "other" not in registry


class TestResults:
    def test_then_is_called_when_the_end_is_seen(self):
        told = []
        result = AsyncResult("one")

        assert result.then(lambda found: told.append(("good", found.result))) is result
        assert not result.ready()
        assert told == []
        knock(letter(ADD, 1, 2, id="one"))
        assert result.ready()
        assert told == [("good", 3)]
        result.then(lambda found: told.append(("late", found.id)))
        assert told[1:] == [("late", "one")]
        assert result.get() == 3
        assert len(told) == 2

    def test_then_with_an_error(self):
        told = []
        result = AsyncResult("one")
        result.then(
            lambda _: told.append("good"), on_error=lambda found: told.append(str(found.result))
        )

        knock(letter(FAIL, "bad", id="one"))

        assert result.failed()
        assert told == ["bad"]

    def test_an_eager_result_has_ended(self):
        told = []

        EagerResult("one", 3, "SUCCESS").then(lambda found: told.append(found.get()))

        assert told == [3]

    def test_exists(self):
        assert not AsyncResult("one").exists()
        knock(letter(ADD, 1, 2, id="one"))
        assert AsyncResult("one").exists()
        assert EagerResult("two", 3, "SUCCESS").exists()

    def test_the_graph_of_what_a_task_led_to(self, loopback):
        @shared_task(name="parent", bind=True)
        def parent(self):
            group(shop.add.s(1, 2), shop.add.s(3, 4)).delay()
            return self.request.id

        result = parent.delay()

        graph = result.graph
        (children,) = result.children
        assert [child.get() for child in children] == [3, 7]
        assert set(graph) == {result, children, *children}
        assert graph[result] == [children]
        assert graph[children] == list(children)
        out = io.StringIO()
        graph.to_dot(out)
        assert out.getvalue().startswith("digraph dependencies {")
        assert f'"{result.id}" [shape=doublecircle];' in out.getvalue()

    def test_the_graph_of_a_chain(self, loopback):
        result = chain(shop.add.s(1, 2), shop.add.s(3), shop.add.s(4)).delay()

        first = result.parent.parent
        assert set(first.graph) == {first, result.parent, result}
        assert [each.get() for each in first.graph.topsort()] == [10, 6, 3]

    def test_the_graph_of_what_has_not_ended(self, outbox):
        result = shop.add.delay(1, 2)

        with pytest.raises(IncompleteStream):
            _ = result.graph
        assert list(result.build_graph(intermediate=True)) == [result]

    def test_waiting_in_a_task_is_refused_unless_it_is_allowed(self, loopback):
        found = {}

        @shared_task(name="waits")
        def waits():
            knock(letter(ADD, 1, 2, id="inner"))
            result = AsyncResult("inner")
            try:
                result.get()
            except RuntimeError as error:
                found["refused"] = str(error)
            with allow_join_result():
                found["allowed"] = result.get()
                with denied_join_result(), pytest.raises(RuntimeError):
                    assert_will_not_block()
            found["asked"] = result.get(disable_sync_subtasks=False)

        waits.delay()

        assert found.pop("refused").startswith("Never call result.get() within a task!")
        assert found == {"allowed": 3, "asked": 3}
        assert_will_not_block()


class TestDependencyGraph:
    def test_an_order_in_which_each_comes_after_what_it_depends_on(self):
        graph = DependencyGraph([("roof", ["walls"]), ("walls", ["floor"]), ("door", ["walls"])])
        graph.add_arc("garden")

        order = graph.topsort()

        assert set(order) == {"roof", "walls", "floor", "door", "garden"}
        assert order.index("floor") < order.index("walls") < order.index("roof")
        assert order.index("walls") < order.index("door")
        assert graph.valency_of("roof") == 2
        assert graph.valency_of("unknown") == 0
        assert list(graph.edges()) == ["roof", "walls", "door"]
        assert "garden" in graph
        assert len(graph) == 4
        assert dict(graph.items())["roof"] == graph["roof"] == ["walls"]
        assert "roof(2)\n     walls" in repr(graph)

    def test_a_circle(self):
        with pytest.raises(ValueError, match="depends on itself"):
            DependencyGraph([("a", ["b"]), ("b", ["a"])]).topsort()

    def test_connecting_and_unknown_edges(self):
        graph = DependencyGraph([("a", ["b"])])
        graph.connect(DependencyGraph([("c", ["a"])]))

        assert graph.topsort() == ["b", "a", "c"]
        with pytest.raises(KeyError):
            graph.add_edge("unknown", "a")

    def test_quotes_in_dots(self):
        out = io.StringIO()
        DependencyGraph([('say "hi"', ["back\\slash"])]).to_dot(out)

        assert '"say \\"hi\\"" -> "back\\\\slash";' in out.getvalue()

    def test_dots_have_one_look(self):
        with pytest.raises(TypeError, match="have one look here"):
            DependencyGraph(formatter=object())
