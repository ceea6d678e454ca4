"""What runs are given and told: data, options and durations, refused where they are written."""

from __future__ import annotations

import dataclasses
import functools
import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, RootModel, model_validator

from django_qstash.exceptions import (
    IdempotencyConflict,
    InputValidationError,
    OptionError,
    RunTimeout,
)
from django_qstash.tasks.canvas import chain, group
from django_qstash.tasks.registry import tasks as registry
from django_qstash.testing import run_inline
from django_qstash.workflows import (
    define_workflow,
    list_runs,
    run_workflow,
    start_workflow,
    step,
    wait_workflow,
    workflow,
)
from django_qstash.workflows.calls import Call
from django_qstash.workflows.history import fingerprint, hash_of
from django_qstash.workflows.models import WorkflowRun

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("loopback", "tidy_registry"),
]


class TestTheOrderOfKeys:
    @pytest.mark.parametrize("by", ["run_id", "idempotency_key"])
    def test_the_same_data_leads_to_the_same_run(self, by):
        kept = workflow("inputs.kept")(lambda ctx: ctx.data)

        first = kept.trigger({"a": 1, "b": {"x": [{"p": 1, "q": 2}], "y": 3}}, **{by: "o"})
        again = kept.trigger({"b": {"y": 3, "x": [{"q": 2, "p": 1}]}, "a": 1}, **{by: "o"})
        assert again == first
        with pytest.raises(IdempotencyConflict):
            kept.trigger({"a": 1, "b": {"x": [{"p": 1, "q": 3}], "y": 3}}, **{by: "o"})

    def test_a_child_by_its_key(self):
        workflow("inputs.child")(lambda ctx: "born")

        @workflow("inputs.parent")
        def parent(ctx, data):
            return ctx.step.run_workflow("child", "inputs.child", data, idempotency_key="k")

        assert parent.trigger({"data": {"a": 1, "b": 2}}).result(5) == "born"
        assert parent.trigger({"data": {"b": 2, "a": 1}}).result(5) == "born"

    def test_a_replay_with_arguments_in_another_order(self):
        turns = []

        @workflow("inputs.turned", strict=True)
        def turned(ctx):
            turns.append(1)
            given = [("a", 1), ("b", {"x": 1, "y": 2}), ("c", [{"p": 1, "q": 2}])]
            if len(turns) > 1:
                given = [("c", [{"q": 2, "p": 1}]), ("b", {"y": 2, "x": 1}), ("a", 1)]
            ctx.step.run("first", dict, **dict(given))
            return ctx.step.sleep("nap", 5)

        run = run_inline(turned)
        assert run.error is None
        assert len(turns) == 2

    def test_what_is_not_the_order_of_keys_counts(self):
        assert hash_of([[1, 2]], {}) != hash_of([[2, 1]], {})
        assert hash_of([{"a": 1}], {}) != hash_of([{"a": "1"}], {})
        assert hash_of([], {"a": 1}) != hash_of([{"a": 1}], {})
        assert fingerprint("[]") != fingerprint("{}")

    def test_a_dict_that_looks_like_a_tag_of_ours(self):
        ours = {"__type__": "date", "__value__": 5, "more": {"b": 1, "a": 2}}
        turned = {"more": {"a": 2, "b": 1}, "__value__": 5, "__type__": "date"}
        assert hash_of([ours], {}) == hash_of([turned], {})
        assert hash_of([ours], {}) != hash_of([{**ours, "__value__": 6}], {})


class Order(BaseModel):
    order_id: int = Field(alias="orderId", default=0)
    note: str = "none"


class ByEither(BaseModel, populate_by_name=True):
    order_id: int = Field(alias="orderId", default=0)


class Lenient(BaseModel, extra="ignore"):
    order_id: int = Field(alias="orderId", default=0)


class Open(BaseModel, extra="allow"):
    order_id: int


class Nested(BaseModel):
    order_id: int = Field(validation_alias=AliasChoices("id", AliasPath("order", "id")))


class Legacy(BaseModel):
    order_id: int = 0

    @model_validator(mode="before")
    @classmethod
    def renamed(cls, data):
        return {"order_id": data["legacy"]} if "legacy" in data else data


class Two(BaseModel):
    order_id: int
    note: str = "none"


class Numbers(RootModel[dict[str, int]]):
    pass


def taking(model, body=None):
    registry.pop("inputs.taking", None)
    return workflow("inputs.taking", input=model)(body or (lambda ctx, order_id: order_id))


def noting(ctx, order_id, note="body"):
    return [order_id, note]


class TestModelsForNamedParameters:
    @pytest.mark.parametrize("persistence", [True, False])
    def test_an_alias(self, persistence, settings):
        settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = persistence
        ended = []

        def body(ctx, order_id, note):
            ended.append([order_id, note])

        named = taking(Order, body)
        named.trigger({"orderId": "7"})
        start_workflow("inputs.taking", {"orderId": 8})
        start_workflow("inputs.taking", orderId=9, note="n")
        named.delay(orderId=10)
        named.s(orderId=11).apply_async()
        assert ended == [[7, "none"], [8, "none"], [9, "n"], [10, "none"], [11, "none"]]

    @pytest.mark.parametrize(
        "call",
        [
            lambda named: named.trigger({"order_id": 7}),
            lambda named: named.trigger({"orderId": 7, "order_id": 8, "nope": 1}),
            lambda named: named.trigger({"orderid": 7}),
            lambda named: named.delay(7),
            lambda named: named.delay(order_id=7),
            lambda named: named.s(7).apply_async(),
            lambda named: start_workflow("inputs.taking", order_id=7),
            lambda named: start_workflow("inputs.taking", {"order_id": 7}),
            lambda named: run_workflow(named, {"order_id": 7}),
            lambda named: named(order_id=7),
        ],
    )
    def test_a_name_that_the_model_does_not_read(self, call):
        named = taking(Order, noting)
        with pytest.raises(TypeError, match="Order does not read; it reads orderId, note"):
            call(named)

    def test_what_models_may_say_of_names(self):
        assert taking(ByEither).trigger({"order_id": 7}).result(5) == 7
        assert taking(ByEither).delay(8).result(5) == 8
        assert taking(ByEither).trigger({"orderId": 9}).result(5) == 9
        assert taking(Lenient).trigger({"orderId": 7, "more": 1}).result(5) == 7
        with pytest.raises(TypeError, match="order_id, which Lenient does not read"):
            taking(Lenient).trigger({"order_id": 7})
        assert taking(Nested).trigger({"order": {"id": 7}}).result(5) == 7
        assert taking(Nested).trigger({"id": 8}).result(5) == 8
        assert taking(Legacy).trigger({"legacy": 7}).result(5) == 7
        assert taking(Legacy).trigger({"order_id": 8, "more": 1}).result(5) == 8
        rest = taking(Open, lambda ctx, order_id, **rest: [order_id, rest])
        assert rest.trigger({"order_id": 7, "more": 1}).result(5) == [7, {"more": 1}]
        whole = taking(Numbers, lambda ctx, root: root)
        assert whole.trigger({"a": "1"}).result(5) == {"a": 1}

    def test_what_the_model_gives_has_to_fit_the_body(self):
        assert taking(Two, noting).trigger({"order_id": 7}).result(5) == [7, "none"]
        with pytest.raises(TypeError, match="unexpected keyword argument 'note'.*read ctx.data"):
            taking(Two).trigger({"order_id": 7})
        with pytest.raises(TypeError, match="unexpected keyword argument 'note'"):
            taking(Two).delay(7)
        with pytest.raises(TypeError, match="unexpected keyword argument 'more'"):
            taking(Open).trigger({"order_id": 7, "more": 1})
        with pytest.raises(TypeError, match="missing a required argument: 'b'"):
            taking(Two, lambda ctx, order_id, note, b: 1).trigger({"order_id": 7})

    @pytest.mark.parametrize("data", [None, {}, {"order_id": "x"}, {"order_id": None}])
    def test_data_that_the_model_refuses(self, data):
        with pytest.raises(InputValidationError):
            taking(Two, noting).trigger(data)

    def test_a_body_that_takes_all_of_it_leaves_names_to_its_model(self):
        whole = taking(Order, lambda ctx: ctx.data.order_id)
        assert whole.trigger({"orderId": 7, "more": 1}).result(5) == 7


@dataclasses.dataclass
class Plain:
    a: int


class TestCallables:
    def test_what_it_returns_is_bound(self):
        def renamed(data):
            return {"a": int(data["A"])}

        named = taking(renamed, lambda ctx, a, b=2: [a, b])
        assert named.trigger({"A": "7"}).result(5) == [7, 2]
        assert named.delay(A="8").result(5) == [8, 2]
        assert named.s(A="9").apply_async().get(5) == [9, 2]
        with pytest.raises(InputValidationError):
            named.delay(7)

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (Plain(1), "made a Plain of it: return a dict"),
            ([1], "made a list of it"),
            (7, "made a int of it"),
            ({"z": 1}, "missing a required argument: 'a': its input= gives z"),
            ({"a": 1, "z": 1}, "unexpected keyword argument 'z'"),
            (None, "missing a required argument: 'a': its input= gives nothing"),
        ],
    )
    def test_what_it_returns_has_to_fit(self, made, said):
        named = taking(lambda _: made, lambda ctx, a: a)
        for call in (
            lambda: named.trigger({"a": 1}),
            lambda: named.delay(1),
            lambda: named.s(1).apply_async(),
        ):
            with pytest.raises(TypeError, match=said):
                call()

    def test_a_body_without_parameters_takes_whatever_it_returns(self):
        whole = taking(lambda data: Plain(**data), lambda ctx: ctx.data.a)
        assert whole.trigger({"a": 7}).result(5) == 7

    def test_an_async_one_is_refused(self):
        async def later(data):
            return data

        class Later:
            async def __call__(self, data):
                return data

        for refused in (later, Later(), functools.partial(later)):
            with pytest.raises(TypeError, match=r"input of inputs.taking is async"):
                taking(refused)


def test_a_signature_is_refused_where_it_is_sent():
    named = taking(Two, noting)
    for refused in (
        lambda: named.s("x").apply_async(),
        lambda: chain(named.s("x"), named.si(1)).apply_async(),
        lambda: group(named.s(1), named.s("x")).apply_async(),
        lambda: named.apply_async(["x"]),
    ):
        with pytest.raises(InputValidationError):
            refused()
    assert not WorkflowRun.objects.exists()


class TestNamesOfArguments:
    def test_steps(self):
        workflow("inputs.child")(lambda ctx: ctx.data)

        @workflow("inputs.naming")
        def naming(ctx):
            step = ctx.step
            one = step.run_workflow("one", workflow="inputs.child", data={"n": 1}, timeout="1h")
            two = step.run_workflow("two", "inputs.child", data=2, idempotency_key="two")
            three = step.start_workflow("three", "inputs.child", data=3).result()
            four = step.start_workflow("four", workflow="inputs.child", data=4).result()
            five = step.run_workflow("five", "inputs.child", 5)
            heard = step.wait_for_event("heard", key="k", timeout="1s")
            return [one, two, three, four, five, bool(heard)]

        run = run_inline(naming)
        assert run.output == [{"n": 1}, 2, 3, 4, 5, False]

    def test_run_workflow(self):
        kept = workflow("inputs.kept")(lambda ctx: ctx.data)
        assert run_workflow(kept, data={"n": 1}, timeout="1m") == {"n": 1}
        assert run_workflow(workflow="inputs.kept", data=2, run_id="two") == 2
        assert run_workflow(kept, 3) == 3


class TestDurations:
    def test_of_result(self, outbox, virtual):
        run = workflow("inputs.kept")(lambda ctx: ctx.data).trigger(1)
        for given, said in (("5s", 5), (timedelta(seconds=6), 6), (7, 7), (0, 0), (-1, -1)):
            begun = virtual.time()
            with pytest.raises(RunTimeout, match=f"within {said}(.0)? s"):
                run.result(given, interval="1s")
            assert virtual.time() - begun == max(0, said)
        with pytest.raises(RunTimeout):
            wait_workflow(run, "5s")
        for wrong in ([], True, object()):
            with pytest.raises(TypeError, match="timeout=.* must be seconds, a timedelta or"):
                run.result(wrong)
            with pytest.raises(TypeError, match="timeout="):
                run_workflow("inputs.kept", timeout=wrong)
        with pytest.raises(ValueError, match="timeout: 'soon' is not a duration"):
            run.result("soon")
        with pytest.raises(TypeError, match="interval="):
            run.result(5, interval=[])

    @pytest.mark.parametrize(
        ("given", "seconds"), [("5s", 5), ("1m30s", 90), (timedelta(minutes=1), 60), (0.5, 0.5)]
    )
    def test_of_calls(self, given, seconds):
        assert called(timeout=given).timeout == seconds

    @pytest.mark.parametrize("given", [0, -1, "0s", timedelta(0), "soon"])
    def test_that_no_call_can_have(self, given):
        with pytest.raises(ValueError, match="timeout"):
            called(timeout=given)

    @pytest.mark.parametrize("given", [None, True, [5]])
    def test_that_are_none(self, given):
        with pytest.raises(TypeError, match="timeout=.* must be seconds"):
            called(timeout=given)


def called(**options):
    words = {"method": "GET", "body": None, "headers": None, "timeout": 30, "verify": None}
    rest = {"raise_for_status": True, "via": "process"}
    return Call.of("https://api.example.com/", **{**words, **rest, **options})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": "5"}, "limit='5' must be a whole number"),
        ({"limit": None}, "limit=None must be"),
        ({"limit": True}, "limit=True must be"),
        ({"since": "yesterday"}, "since='yesterday' must be a datetime"),
        ({"since": timedelta(hours=1)}, "must be a datetime"),
        ({"status": ["failed"]}, "must be one status, a text such as 'failed'"),
        ({"status": {"failed"}}, "must be one status"),
    ],
)
def test_lists_refuse_what_they_cannot_look_for(given, said):
    with pytest.raises(TypeError, match=re.escape(said)):
        list_runs(**given)


def test_runs_since_a_time_of_the_site(outbox, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    run = workflow("inputs.kept")(lambda ctx: ctx.data).trigger()
    there = run.run.created_at.astimezone(ZoneInfo("Asia/Tokyo")).replace(tzinfo=None)
    for since, found in ((there, 1), (there + timedelta(seconds=1), 0)):
        assert len(list_runs(since=since)) == found


@pytest.mark.parametrize("persistence", [True, False])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"run_id": 5}, "run_id must be a text, not 5"),
        ({"run_id": ""}, "run_id='': an id has"),
        ({"run_at": "later"}, "run_at='later': 'later' is not an instant"),
        ({"delay": "soon"}, "delay='soon': 'soon' is not a duration"),
        ({"delay": 5, "run_at": 5}, "delay and run_at both say when to run"),
    ],
)
def test_trigger_speaks_of_its_own_options(given, said, persistence, settings):
    settings.DJANGO_QSTASH_WORKFLOW_PERSISTENCE = persistence
    kept = workflow("inputs.kept")(lambda ctx: ctx.data)
    with pytest.raises(OptionError, match=re.escape(said)):
        kept.trigger(**given)


def test_run_at(outbox, virtual):
    kept = workflow("inputs.kept")(lambda ctx: ctx.data)
    run = kept.trigger(run_at=virtual.time() + 60)
    assert run.run.wake_at.timestamp() == virtual.time() + 60
    assert outbox.sent[0].options["delay"] == "60s"


def declared(**options):
    registry.pop("inputs.declared", None)
    return workflow(**{"name": "inputs.declared", **options})(
        lambda ctx, *, a=1: [ctx.run.workflow, a]
    )


class TestOptions:
    @pytest.mark.parametrize(
        ("given", "error", "said"),
        [
            ({"failure_url": 7}, TypeError, "failure_url of inputs.declared must be a text"),
            ({"failure_url": "nope"}, ValueError, "failure_url of .* is 'nope', which is not an"),
            ({"failure_url": "ftp://x.example"}, ValueError, "http:// or https://"),
            ({"failure_url": "https://"}, ValueError, "http:// or https://"),
            ({"failure_url": "https://x example"}, ValueError, "http:// or https://"),
            ({"failure_url": "https://[x"}, ValueError, "http:// or https://"),
            ({"base_url": 7}, TypeError, "base_url of inputs.declared must be a text"),
            ({"base_url": "shop.example"}, ValueError, "base_url of .* is 'shop.example'"),
            ({"base_url": ""}, ValueError, "base_url of"),
            ({"base_url": "https://shop.example/?x=1"}, ValueError, "has no place in it"),
            ({"verbose": "yes please"}, TypeError, "verbose of .* must be True or False"),
            ({"verbose": 1}, TypeError, "verbose of .* must be True or False"),
            ({"strict": "x"}, TypeError, "strict of .* must be True or False"),
            ({"version": "x" * 101}, ValueError, "version of .* has at most 100"),
            ({"version": "a\0"}, ValueError, "printable"),
            ({"version": True}, TypeError, "version of .* must be a text or a number"),
            ({"version": ["1"]}, TypeError, "version of .* must be a text or a number"),
            ({"timeout": 1e12}, ValueError, "timeout of .* must be less than ten years"),
            ({"timeout": "3650d"}, ValueError, "less than ten years"),
            ({"timeout": 0}, ValueError, "timeout of .* must be more than nothing"),
            ({"timeout": "soon"}, ValueError, "timeout of inputs.declared: 'soon' is not"),
            ({"time_budget": 0}, ValueError, "time_budget of .* must be more than nothing"),
            ({"on_failure": "x"}, TypeError, "on_failure of .* must be a function, not 'x'"),
            ({"on_failure": lambda: 1}, TypeError, "on_failure of .* with one argument, ctx: too"),
            ({"on_failure": lambda a, b: 1}, TypeError, "missing a required argument: 'b'"),
            ({"initial_payload_parser": "json"}, TypeError, "initial_payload_parser of .* functio"),
            ({"name": 7}, TypeError, "A workflow's name is a text such as 'shop.order', not 7"),
            ({"name": ""}, ValueError, "1 to 255 printable characters"),
            ({"name": "x" * 256}, ValueError, "1 to 255 printable characters"),
            ({"name": "a\nb"}, ValueError, "1 to 255 printable characters"),
            ({"name": "a "}, ValueError, "no space at its ends"),
            ({"name": None, "workflow_id": ""}, ValueError, "1 to 255 printable characters"),
        ],
    )
    def test_that_cannot_be(self, given, error, said):
        with pytest.raises(error, match=said):
            declared(**given)

    def test_that_can(self):
        heard = []
        many = declared(
            failure_url="https://user@elsewhere.example.com:8443/failed?x=1",
            base_url="http://localhost:8000/",
            timeout=timedelta(days=3649),
            verbose=False,
            strict=True,
            on_failure=heard.append,
        )
        assert (many.strict, many.verbose, many.run_timeout) == (True, False, 3649 * 86400)
        for hook in (print, functools.partial(lambda a, b: 1, 1), type, lambda ctx, more=1: 1):
            declared(on_failure=hook)
        nothing = declared(verbose=None, strict=None, version=None, failure_url=None, timeout=None)
        assert (nothing.verbose, nothing.version) == (None, "")
        assert not nothing.strict

    @pytest.mark.parametrize(
        ("given", "kept"), [(0, "0"), (1.5, "1.5"), ("2", "2"), ("", ""), ("x" * 100, "x" * 100)]
    )
    def test_a_version(self, given, kept):
        run = declared(version=given).trigger().run
        assert run.version == kept


class Callable:
    """Speaks of the class."""

    def __call__(self, ctx, a):
        return a + 1


class AsyncCallable:
    async def __call__(self, ctx, a):
        return await ctx.step.run("one", int, a) + 2


def whole(ctx, a, b):
    return a + b


class TestHandlers:
    def test_that_have_no_name_of_their_own(self):
        for number, (handler, result) in enumerate(
            [
                (functools.partial(whole, b=3), 10),
                (functools.partial(functools.partial(whole, b=1), b=4), 11),
                (Callable(), 8),
                (AsyncCallable(), 9),
                (Callable().__call__, 8),
            ]
        ):
            made = define_workflow(f"inputs.handler{number}", handler=handler)
            assert run_inline(made, {"a": 7}).output == result
            assert (made.__doc__ or "").strip() == ""

    @pytest.mark.parametrize("handler", [functools.partial(whole, b=3), Callable()])
    def test_they_are_to_be_given_one(self, handler):
        with pytest.raises(TypeError, match="has no name of its own; give one"):
            workflow(handler)
        with pytest.raises(TypeError, match="has no name of its own; give one"):
            step(handler)

    def test_a_step_of_one(self):
        paid = step(name="paid")(functools.partial(int, base=2))

        assert run_inline(workflow("inputs.paying")(lambda ctx: paid("101"))).output == 5
        with pytest.raises(ValueError, match="A step's id has 1 to 200"):
            step(name="")(whole)
