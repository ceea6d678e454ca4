"""Tasks as their authors use them: decorated, called, sent, run eagerly."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
from django.utils.functional import lazystr
from django.utils.translation import gettext_lazy

from django_qstash import (
    AsyncResult,
    EagerResult,
    EncodeError,
    NotRegistered,
    OptionError,
    PayloadTooLarge,
    PublishError,
    Task,
    clock,
    current_task,
    shared_task,
    stashed_task,
)
from django_qstash.exceptions import DuplicateTaskNameWarning
from django_qstash.messages import TaskMessage
from django_qstash.tasks.registry import autodiscover
from django_qstash.tasks.registry import tasks as registry
from tests.shop import tasks


@pytest.fixture(autouse=True)
def tidy_registry():
    names = set(registry)
    yield
    for name in set(registry) - names:
        registry.unregister(name)
    registry.duplicates.clear()


def sent(outbox) -> TaskMessage:
    (envelope,) = outbox.sent
    return TaskMessage.from_dict(json.loads(envelope.body))


class TestDecorating:
    def test_bare_and_with_options(self):
        @shared_task
        def bare():
            """What it does."""

        @shared_task(name="other", max_retries=7)
        def with_options():
            pass

        assert bare.name == f"{__name__}.bare"
        assert bare.__doc__ == "What it does."
        assert bare.__name__ == "bare"
        assert with_options.name == "other"
        assert with_options.max_retries == 7
        assert registry["other"] is with_options

    def test_stashed_task_is_the_same(self):
        @stashed_task(name="stashed")
        def stashed():
            return 1

        assert stashed() == 1
        assert registry["stashed"] is stashed

    def test_a_base_class_gives_its_attributes_and_methods(self):
        class Base(Task):
            queue = "mail"

            def helper(self):
                return self.name

        @shared_task(base=Base, bind=True, name="based")
        def based(self):
            return self.helper()

        assert based.queue == "mail"
        assert based() == "based"

    def test_what_is_no_function_is_refused(self):
        for wrong in (7, "name", None):
            with pytest.raises(TypeError):
                shared_task(wrong)

    def test_a_task_is_not_decorated_twice(self):
        with pytest.raises(TypeError, match="task already"):
            shared_task(tasks.add)

    def test_a_base_that_is_no_task_is_refused(self):
        with pytest.raises(TypeError, match="not a subclass"):
            shared_task(base=dict)(lambda: None)

    @pytest.mark.parametrize(
        "option",
        [
            {"retries": -1},
            {"timeout": "soon"},
            {"flow_control": {"rate": 1}},
            {"callback": "nowhere"},
            {"serializer": "pickle"},
            {"deduplication_id": "x"},
            {"expires": "soon"},
            {"queue": 5},
            {"time_limit": "5"},
            {"time_limit": -1},
            {"soft_time_limit": True},
            {"priority": "high"},
        ],
        ids=str,
    )
    def test_a_wrong_option_is_refused_where_it_is_written(self, option):
        with pytest.raises(OptionError, match=next(iter(option))):
            shared_task(name="wrong", **option)(lambda: None)
        assert "wrong" not in registry

    @pytest.mark.parametrize("name", ["autoretry_for", "dont_autoretry_for"])
    @pytest.mark.parametrize("kinds", [ValueError, ["ValueError"], (ValueError(),)], ids=str)
    def test_what_is_no_tuple_of_exceptions_is_not_retried_for(self, name, kinds):
        with pytest.raises(TypeError, match=name):
            shared_task(name="wrong", **{name: kinds})(lambda: None)
        assert "wrong" not in registry

    def test_two_functions_with_one_name_the_first_wins_with_a_warning(self):
        @shared_task(name="twice")
        def first():
            return 1

        with pytest.warns(DuplicateTaskNameWarning, match=r"first.*second"):

            @shared_task(name="twice")
            def second():
                return 2

        assert registry["twice"]() == 1
        assert second() == 1

    def test_the_same_function_imported_twice_is_fine(self):
        def make():
            @shared_task(name="again")
            def again():
                return 1

            return again

        assert make() is make()
        assert registry.duplicates == []


class TestFinding:
    def test_tasks_of_every_app_and_of_the_settings_package(self):
        assert {"tests.shop.tasks.add", "tests.tasks.of_the_settings_package"} <= set(registry)
        assert "django_qstash.results.tasks.clear_stale_results_task" in registry

    def test_every_module_of_a_tasks_package(self):
        assert {"tests.packaged.tasks.first", "tests.packaged.tasks.deep.second"} <= set(registry)

    def test_none_of_an_app_that_is_not_installed(self):
        code = (
            "import sys, django\n"
            "from django.conf import settings\n"
            "settings.configure(INSTALLED_APPS=['django_qstash'])\n"
            "django.setup()\n"
            "from django_qstash.discovery.utils import discover_tasks\n"
            "assert discover_tasks(paths_only=True) == []\n"
            "inside = [name for name in sys.modules if name.startswith('django_qstash.')]\n"
            "print([name for name in inside if name.endswith(('.models', '.migrations'))])\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True
        )
        assert (run.stdout, run.stderr) == ("[]\n", "")

    def test_looking_again_changes_nothing(self):
        before = dict(registry)
        autodiscover()
        assert registry == before

    def test_a_name_may_leave_the_tasks_module_out(self):
        assert registry.find("tests.shop.add") is tasks.add
        assert (
            registry.find("django_qstash.results.clear_stale_results_task").name
            == "django_qstash.results.tasks.clear_stale_results_task"
        )

    def test_a_renamed_task_is_found_by_the_path_of_its_function_unless_there_are_two(self):
        def f():
            pass

        one = shared_task(name="one")(f)
        assert registry.find(f"{__name__}.f") is one
        shared_task(name="two")(f)
        with pytest.raises(NotRegistered):
            registry.find(f"{__name__}.f")

    def test_an_unknown_name_is_answered_with_the_closest(self):
        with pytest.raises(NotRegistered, match=r"'tests\.shop\.tasks\.add'"):
            registry.find("tests.shop.tasks.ad")


class TestCalling:
    def test_runs_it_here(self, outbox):
        assert tasks.add(2, 3) == 5
        assert outbox.sent == []

    def test_needs_no_configuration_at_all(self):
        code = (
            "from django_qstash import shared_task\n"
            "@shared_task\n"
            "def add(x, y): return x + y\n"
            "@shared_task(bind=True)\n"
            "def me(self): return self.request.called_directly, self.request.id\n"
            "@shared_task\n"
            "async def later(x): return x\n"
            "assert add(2, 3) == 5\n"
            "assert me() == (True, None)\n"
            "assert later(7) == 7\n"
        )
        environment = {"PATH": "", "PYTHONPATH": ":".join(sys.path)}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)

    def test_an_async_body_is_run_to_its_end_or_awaited_where_a_loop_runs(self):
        async def inside():
            return await tasks.add_async(2, 3)

        assert tasks.add_async(2, 3) == 5
        assert asyncio.run(inside()) == 5

    def test_a_bound_task_knows_that_it_was_called_directly(self):
        @shared_task(bind=True)
        def bound(self):
            return self.request.called_directly, self.request.id, current_task.name

        assert bound() == (True, None, bound.name)
        assert not current_task

    def test_an_exception_rises_as_it_is(self):
        with pytest.raises(ValueError, match="it broke"):
            tasks.fail()


class TestSending:
    def test_delay_sends_the_arguments_and_nothing_else(self, outbox):
        result = tasks.add.delay(2, 3)

        (envelope,) = outbox.sent
        assert envelope.url == "https://shop.example.com/qstash/webhook/"
        assert json.loads(envelope.body) == {
            "v": 1,
            "kind": "task",
            "task": "tests.shop.tasks.add",
            "id": result.id,
            "run": sent(outbox).run,
            "args": [2, 3],
        }
        assert len(envelope.body) < 250

    def test_keywords_that_are_no_options_are_the_task_s(self, outbox):
        @shared_task(name="export")
        def export(a, b, save_to_file=False):
            pass

        export.apply_async(args=(12, 454), save_to_file=True)
        export.delay(12, 454, save_to_file=True)

        first, second = (json.loads(envelope.body) for envelope in outbox.sent)
        for body in (first, second):
            del body["id"], body["run"]
        assert first["args"] == [12, 454]
        assert first["kwargs"] == {"save_to_file": True}
        assert second == first

    def test_given_twice_is_a_type_error(self, outbox):
        with pytest.raises(TypeError, match="save_to_file"):
            tasks.add.apply_async((1,), {"save_to_file": 1}, save_to_file=2)
        with pytest.raises(TypeError):
            tasks.add.apply_async((1, 2), x=2)
        assert outbox.sent == []

    @pytest.mark.parametrize("call", [((1,), {}), ((1, 2, 3), {}), ((1, 2), {"z": 3})], ids=str)
    def test_arguments_that_do_not_fit_are_refused_at_the_call(self, outbox, call):
        args, kwargs = call
        with pytest.raises(TypeError, match=r"tests\.shop\.tasks\.add\(\)"):
            tasks.add.delay(*args, **kwargs)
        assert outbox.sent == []

    def test_typing_false_leaves_that_to_the_body(self, outbox):
        loose = shared_task(name="loose", typing=False)(lambda: None)
        loose.delay(1, 2, 3)
        assert sent(outbox).args == [1, 2, 3]

    @pytest.mark.parametrize(
        ("args", "kwargs"), [("ab", None), ({"a": 1}, None), (None, [("a", 1)])], ids=str
    )
    def test_args_must_be_a_list_or_tuple_and_kwargs_a_mapping(self, outbox, args, kwargs):
        with pytest.raises(TypeError, match="must be"):
            tasks.add.apply_async(args, kwargs)

    def test_what_json_cannot_carry_is_refused_naming_the_argument(self, outbox):
        with pytest.raises(EncodeError, match=r"Argument 'y' of tests\.shop\.tasks\.add"):
            tasks.add.delay(1, object())
        with pytest.raises(EncodeError, match=r"Argument 'y' .* at \['deep'\]\[1\]"):
            tasks.add.delay(1, y={"deep": [1, object()]})
        assert outbox.sent == []

    def test_a_model_is_answered_with_advice(self, outbox):
        from tests.shop.models import Effect

        with pytest.raises(EncodeError, match="primary key"):
            tasks.add.delay(Effect(name="x"), 1)

    def test_lazy_strings_travel_as_text(self, outbox):
        tasks.add.delay(lazystr("ab"), 1)
        assert sent(outbox).args == ["ab", 1]

    def test_arguments_over_the_size_limit_are_refused(self, outbox, settings):
        settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 1000
        with pytest.raises(PayloadTooLarge, match="DJANGO_QSTASH_MAX_PAYLOAD_SIZE"):
            tasks.add.delay("x" * 1000, 1)
        assert outbox.sent == []

    def test_qstash_down_is_one_publish_error(self, settings):
        settings.DJANGO_QSTASH_TRANSPORT = "tests.transports.Down"
        with pytest.raises(PublishError):
            tasks.add.delay(1, 2)

    def test_a_countdown_is_a_delay_and_an_eta(self, outbox, virtual):
        tasks.add.apply_async((1, 2), countdown=90)

        assert outbox.sent[0].options["delay"] == "90s"
        eta = datetime.fromisoformat(sent(outbox).eta)
        assert eta == clock.now() + timedelta(seconds=90)

    @pytest.mark.parametrize(
        ("countdown", "delay"),
        [(0.2, "1s"), (1.5, "2s"), ("2m", "120s"), (timedelta(hours=1), "3600s")],
    )
    def test_a_countdown_is_rounded_up_to_what_qstash_counts(
        self, outbox, virtual, countdown, delay
    ):
        tasks.add.apply_async((1, 2), countdown=countdown)
        assert outbox.sent[0].options["delay"] == delay

    @pytest.mark.parametrize("countdown", [0, -5])
    def test_a_countdown_of_nothing_is_no_delay(self, outbox, countdown):
        tasks.add.apply_async((1, 2), countdown=countdown)
        assert "delay" not in outbox.sent[0].options

    def test_an_eta_without_a_zone_is_in_the_site_s_time_zone(self, outbox, virtual, settings):
        settings.TIME_ZONE = "Europe/Berlin"
        tasks.add.apply_async((1, 2), eta=datetime(2027, 7, 1, 12, 0))
        assert datetime.fromisoformat(sent(outbox).eta) == datetime(
            2027, 7, 1, 10, 0, tzinfo=timezone.utc
        )

    def test_an_eta_in_the_past_is_at_once(self, outbox, virtual):
        tasks.add.apply_async((1, 2), eta=clock.now() - timedelta(days=1))
        assert "delay" not in outbox.sent[0].options

    @pytest.mark.parametrize(
        "option",
        [
            {"countdown": "soon"},
            {"eta": "tomorrow"},
            {"expires": "never"},
            {"countdown": 1, "eta": 2},
            {"task_id": ""},
            {"task_id": "a\0b"},
            {"task_id": " a"},
            {"task_id": "x" * 256},
            {"task_id": 7},
            {"retries": "many"},
            {"serializer": "pickle"},
            {"queue": "a\nb"},
            {"priority": "high"},
            {"priority": 3.5},
            {"priority": True},
            {"shadow": 5},
            {"argsrepr": 5},
            {"headers": [1]},
            {"headers": "x"},
            {"link": 5},
            {"link_error": "name"},
        ],
        ids=str,
    )
    def test_a_wrong_option_is_refused_at_the_call(self, outbox, option):
        with pytest.raises(OptionError):
            tasks.add.apply_async((1, 2), **option)
        assert outbox.sent == []

    @pytest.mark.django_db
    def test_an_option_of_another_kind_is_carried_as_what_it_means(self, loopback):
        result = tasks.add.apply_async(
            (1, 2), ignore_result=1, shadow=gettext_lazy("sum"), expires=timedelta(minutes=5)
        )
        assert result.state == "SUCCESS"
        assert AsyncResult(result.id).result is None

    def test_a_task_id_of_one_s_own(self, outbox):
        result = tasks.add.apply_async((1, 2), task_id="order-7")
        assert result.id == "order-7"
        assert sent(outbox).id == "order-7"

    def test_one_id_applied_twice_is_two_runs(self, outbox):
        for _ in range(2):
            tasks.add.apply_async((1, 2), task_id="order-7")
        first, second = (json.loads(envelope.body) for envelope in outbox.sent)
        assert first["run"] != second["run"]
        assert (
            outbox.sent[0].options["deduplication_id"] != outbox.sent[1].options["deduplication_id"]
        )

    def test_qstash_options_of_the_task_and_of_the_call_the_call_wins(self, outbox):
        busy = shared_task(name="busy", retries=1, label="slow", timeout=30)(lambda: None)
        busy.apply_async(retries=5, deduplication_id="once", flow_control={"key": "k", "rate": 2})

        options = outbox.sent[0].options
        assert options["retries"] == 5
        assert options["label"] == "slow"
        assert options["timeout"] == "30s"
        assert options["deduplication_id"] == "once"
        assert options["flow_control"] == {"key": "k", "rate": 2}

    def test_qstash_waits_for_a_call_s_own_time_limit(self, outbox):
        slow = shared_task(name="slow", time_limit=10)(lambda: None)
        patient = shared_task(name="patient", time_limit=10, timeout=500)(lambda: None)
        slow.delay()
        slow.apply_async(time_limit=100)
        slow.apply_async(time_limit=100, timeout=300)
        slow.apply_async(soft_time_limit=5)
        patient.apply_async(time_limit=100)

        waits = [envelope.options["timeout"] for envelope in outbox.sent]
        assert waits == ["20s", "110s", "300s", "20s", "500s"]

    def test_a_decorator_s_options_do_not_travel_in_the_body(self, outbox):
        secret = shared_task(name="secret", callback_headers={"Forward-Token": "s3cret"})(
            lambda: None
        )
        secret.delay()
        assert b"s3cret" not in outbox.sent[0].body

    def test_a_queue_is_a_fifo_queue_of_qstash_only_if_the_settings_name_it(self, outbox, settings):
        tasks.add.apply_async((1, 2), queue="mail")
        settings.DJANGO_QSTASH_QUEUES = {"mail": {"parallelism": 2}}
        tasks.add.apply_async((1, 2), queue="mail")

        assert [envelope.queue for envelope in outbox.sent] == [None, "mail"]
        assert all(json.loads(envelope.body)["queue"] == "mail" for envelope in outbox.sent)

    def test_a_routing_key_is_a_queue_where_none_is_named(self, outbox):
        keyed = shared_task(name="keyed", routing_key="slow")(lambda: None)
        keyed.delay()
        keyed.apply_async(queue="fast")
        keyed.apply_async(routing_key="other")
        queues = [json.loads(envelope.body)["queue"] for envelope in outbox.sent]
        assert queues == ["slow", "fast", "other"]

    @pytest.mark.django_db
    def test_headers_come_back_in_the_request_and_travel_as_http_headers(self, loopback, outbox):
        tasks.whoami.apply_async(headers={"X-Tenant": "7", "deep": {"a": 1}})
        assert outbox.sent[0].options["headers"] == {"X-Tenant": "7"}
        assert sent(outbox).headers == {"X-Tenant": "7", "deep": {"a": 1}}

    def test_from_async_code(self, outbox):
        async def send():
            one = await tasks.add.adelay(1, 2)
            two = await tasks.add.aapply_async((1, 2), countdown=5)
            return one, two

        one, two = asyncio.run(send())
        assert isinstance(one, AsyncResult)
        assert len(outbox.sent) == 2

    @pytest.mark.django_db
    def test_a_task_sent_by_a_task_knows_its_parent_and_root(self, loopback):
        seen = {}

        @shared_task(bind=True, name="child")
        def child(self):
            seen["child"] = (self.request.parent_id, self.request.root_id)

        @shared_task(name="parent")
        def parent():
            child.delay()

        @shared_task(name="grandparent")
        def grandparent():
            seen["parent"] = parent.delay().id

        root = grandparent.delay().id
        assert seen["child"] == (seen["parent"], root)


class TestEager:
    def test_apply_runs_it_here_and_returns_what_became_of_it(self):
        result = tasks.add.apply((2, 3))
        assert isinstance(result, EagerResult)
        assert (result.get(), result.state, result.ready()) == (5, "SUCCESS", True)

    def test_a_failure_is_kept_and_raised_by_get(self):
        result = tasks.fail.apply()
        assert result.failed()
        assert "ValueError: it broke" in result.traceback
        with pytest.raises(ValueError, match="it broke"):
            result.get()
        assert isinstance(result.get(propagate=False), ValueError)

    def test_throw_lets_it_rise(self):
        with pytest.raises(ValueError, match="it broke"):
            tasks.fail.apply(throw=True)

    def test_a_bound_task_has_a_request(self):
        result = tasks.whoami.apply(task_id="t", headers={"a": 1}).get()
        assert result == {"id": "t", "retries": 0, "headers": {"a": 1}}

    def test_always_eager_runs_delay_here(self, outbox, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True
        result = tasks.add.delay(2, 3)
        assert (result.get(), result.state) == (5, "SUCCESS")
        assert outbox.sent == []

    def test_always_eager_needs_no_other_configuration(self, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True
        settings.DJANGO_QSTASH_DOMAIN = ""
        settings.QSTASH_TOKEN = ""
        assert tasks.add.delay(2, 3).get() == 5

    def test_always_eager_keeps_an_exception_unless_it_is_to_rise(self, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True
        assert tasks.fail.delay().failed()
        settings.DJANGO_QSTASH_EAGER_PROPAGATES = True
        with pytest.raises(ValueError, match="it broke"):
            tasks.fail.delay()

    def test_always_eager_carries_the_arguments_through_json(self, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True
        echo = shared_task(name="echo")(lambda value: value)
        assert echo.delay((1, 2)).get() == [1, 2]
        with pytest.raises(EncodeError, match="'value'"):
            echo.delay(object())

    def test_get_inside_a_task_is_refused(self):
        outer = shared_task(name="outer")(lambda: tasks.add.apply((1, 2)).get())
        with pytest.raises(RuntimeError, match="Never call result.get"):
            outer.apply(throw=True)


@pytest.mark.django_db
class TestReading:
    def test_an_unknown_id_is_pending(self):
        result = AsyncResult("nobody")
        assert (result.state, result.result, result.ready()) == ("PENDING", None, False)

    def test_get_gives_up_in_time(self, virtual):
        from django_qstash import TimeoutError as TaskTimeout

        with pytest.raises(TaskTimeout, match="nobody"):
            AsyncResult("nobody").get(timeout=3)

    def test_get_waits_longer_and_longer(self, virtual):
        moments = []
        with pytest.raises(Exception, match="did not end"):
            AsyncResult("nobody").get(timeout=30, on_interval=lambda: moments.append(clock.time()))
        pauses = [b - a for a, b in zip(moments, moments[1:], strict=False)]
        assert pauses[0] < 0.1
        assert max(pauses) <= 2.001
        assert len(moments) < 40

    def test_get_inside_a_task_is_refused(self, loopback):
        waits = shared_task(name="waits")(lambda: AsyncResult("nobody").get(timeout=1))
        with pytest.raises(RuntimeError, match="Never call result.get"):
            waits.delay().get(timeout=1)

    def test_propagate_false_returns_the_exception(self, loopback):
        assert isinstance(tasks.fail.delay().get(timeout=1, propagate=False), ValueError)

    def test_an_ignored_result_is_none_at_once(self, loopback):
        assert tasks.add.apply_async((2, 3), ignore_result=True).get() is None

    def test_an_exception_class_that_is_not_imported_here_is_named_all_the_same(self):
        from django_qstash.tasks.failure import to_exception

        error = to_exception(
            {"exc_type": "Odd", "exc_module": "nowhere.at.all", "exc_message": ["x"]}
        )
        assert type(error).__name__ == "Odd"
        assert error.args == ("x",)
        assert "nowhere" not in sys.modules

    @pytest.mark.parametrize(
        "data",
        [
            {"exc_type": "system", "exc_module": "os", "exc_message": ["true"]},
            {"exc_type": "SystemExit", "exc_module": "builtins", "exc_message": []},
            {"exc_type": "dict", "exc_module": "builtins", "exc_message": []},
            {"exc_type": "__import__", "exc_module": "builtins", "exc_message": ["os"]},
            {"exc_type": 7, "exc_module": 7, "exc_message": None},
        ],
        ids=str,
    )
    def test_what_is_no_exception_class_is_never_called(self, data):
        from django_qstash.tasks.failure import to_exception

        error = to_exception(data)
        assert isinstance(error, Exception)
        assert type(error).__module__ != "builtins"
