"""The ``Celery`` object: tasks, sending, finalization, and which one is meant."""

from __future__ import annotations

import gc
import json
import os
import threading
import weakref
from datetime import timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from django_qstash import Celery, Task, clock, current_app, shared_task, signature
from django_qstash.application import current
from django_qstash.exceptions import (
    AlwaysEagerIgnored,
    DuplicateTaskNameWarning,
    ImproperlyConfigured,
    OptionError,
)
from django_qstash.messages import TaskMessage
from django_qstash.tasks.registry import tasks as registry
from tests.shop import tasks as shop


class OfTheProject(Task):
    """A project's own base."""

    abstract = True
    max_retries = 7

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        pass


def letters(outbox):
    return [TaskMessage.from_dict(json.loads(envelope.body)) for envelope in outbox.sent]


class TestMaking:
    def test_it_takes_what_celerys_does(self):
        app = Celery(
            "proj",
            broker="redis://localhost",
            backend="rpc://",
            include=["tests.shop.tasks"],
            task_ignore_result=True,
            changes={"task_acks_late": True},
        )

        assert app.main == "proj"
        assert app.conf.broker_url == "redis://localhost"
        assert app.conf.result_backend == "rpc://"
        assert app.conf.include == ["tests.shop.tasks"]
        assert app.conf.task_ignore_result is True
        assert app.conf.task_acks_late is True
        assert repr(app).startswith("<Celery proj at 0x")
        assert repr(Celery()).startswith("<Celery __main__ at")

    @pytest.mark.parametrize("part", ["amqp", "events", "log", "control", "loader", "tasks"])
    def test_a_part_that_is_not_there_cannot_be_replaced(self, part):
        with pytest.raises(TypeError, match=rf"Celery\({part}=…\): there is no such part"):
            Celery("proj", **{part: "proj.parts:Own"})

    def test_a_subclass_is_told_at_the_end(self):
        class Own(Celery):
            def on_init(self):
                self.told = self.main

        assert Own("proj").told == "proj"

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("amqp", "no broker"),
            ("backend", "django_qstash.results"),
            ("worker_main", "no worker"),
            ("loader", "autodiscover_tasks"),
            ("nothing", "no attribute 'nothing'"),
        ],
    )
    def test_what_is_absent_says_why(self, name, why):
        app = Celery("proj")

        assert not hasattr(app, name)
        with pytest.raises(AttributeError, match=why):
            getattr(app, name)

    def test_what_a_report_of_a_bug_says(self):
        report = Celery("proj", task_ignore_result=True, broker="redis://u:p@h").bugreport()

        assert "django-qstash:" in report
        assert "task_ignore_result: True" in report
        assert "broker_url: '********'" in report


class TestTasks:
    def test_bare_and_with_options(self):
        app = Celery("proj")

        @app.task
        def bare(x):
            """What it does."""
            return x

        @app.task(bind=True, name="proj.other", max_retries=5)
        def with_options(self, x):
            return self.name, self.max_retries, x

        assert bare.name == f"{__name__}.bare"
        assert bare(2) == 2
        assert bare.__doc__ == "What it does."
        assert with_options(1) == ("proj.other", 5, 1)
        assert app.tasks["proj.other"] is with_options
        assert bare.app is app
        assert isinstance(bare, app.Task)

    def test_lazy_and_filter_are_celerys_options(self):
        app = Celery("proj")
        wrapped = []

        def keep(task):
            wrapped.append(task.name)
            return task

        @app.task(lazy=False, filter=keep, shared=True)
        def one():
            pass

        assert wrapped == [one.name]
        assert not hasattr(type(one), "lazy")

    def test_one_registry_serves_the_process(self):
        app = Celery("proj")

        with pytest.raises(TypeError, match=r"shared=False\): one registry"):
            app.task(shared=False)

    @pytest.mark.parametrize("args", [("name",), (print, print)], ids=["text", "two"])
    def test_only_a_function_can_be_decorated(self, args):
        with pytest.raises(TypeError, match=r"@app.task takes one function"):
            Celery("proj").task(*args)

    def test_decorating_a_task_again_is_refused(self):
        app = Celery("proj")

        with pytest.raises(TypeError, match="is a task already"):
            app.task(shop.add)

    def test_the_main_module_is_called_by_the_name_of_the_object(self):
        app = Celery("proj")

        def script():
            pass

        script.__module__ = "__main__"

        assert app.task(script).name == "proj.script"
        assert Celery().gen_task_name("f", "__main__") == "__main__.f"

    def test_a_subclass_may_name_tasks(self):
        class Own(Celery):
            def gen_task_name(self, name, module):
                return super().gen_task_name(name.upper(), module.removeprefix("tests."))

        app = Own("proj")

        @app.task
        def named():
            pass

        assert named.name == "unit.application.test_app.NAMED"

    def test_the_first_of_a_name_stays(self):
        app = Celery("proj")

        @app.task(name="proj.same")
        def first():
            return 1

        with pytest.warns(DuplicateTaskNameWarning, match="'proj.same' is taken"):

            @app.task(name="proj.same")
            def second():
                return 2

        assert app.tasks["proj.same"] is first
        assert second is first

    def test_an_async_body(self):
        app = Celery("proj")

        @app.task
        async def later(x):
            return x + 1

        assert later(1) == 2

    def test_shared_tasks_are_its_tasks_too(self):
        app = Celery("proj")

        assert app.tasks["tests.shop.tasks.add"] is shop.add
        assert shop.add.app is app


class TestBaseClasses:
    @pytest.mark.parametrize(
        "base", [OfTheProject, f"{__name__}.OfTheProject", f"{__name__}:OfTheProject"], ids=str
    )
    def test_task_cls_is_the_base_of_all(self, base):
        app = Celery("proj", task_cls=base)

        @app.task
        def one():
            pass

        assert isinstance(one, OfTheProject)
        assert one.max_retries == 7
        assert issubclass(app.Task, OfTheProject)
        assert app.create_task_cls() is app.Task

    def test_a_subclass_of_the_object_may_set_it(self):
        class Own(Celery):
            task_cls = OfTheProject

        assert Own("proj").task(lambda: 1, name="proj.lambda").max_retries == 7

    def test_it_may_be_replaced_afterwards(self):
        app = Celery("proj")

        class Context(app.Task):
            abstract = True

            def __call__(self, *args, **kwargs):
                return "around", super().__call__(*args, **kwargs)

        app.Task = Context

        @app.task
        def one(x):
            return x

        assert one(3) == ("around", 3)
        assert one.apply((3,)).get() == ("around", 3)

    def test_base_of_one_task(self):
        app = Celery("proj")

        @app.task(base=OfTheProject)
        def one():
            pass

        assert one.max_retries == 7
        assert one.app is app

    def test_a_class_can_be_registered(self):
        app = Celery("proj")

        class Import(app.Task):
            """A task written as a class."""

            def run(self, x, y=1):
                return self.name, x + y

        task = app.register_task(Import())

        assert task.name == f"{__name__}.Import"
        assert app.tasks[task.name] is task
        assert task.apply((2,), {"y": 3}).get() == (task.name, 5)
        with pytest.raises(TypeError, match=r"Import\(\) missing a required argument"):
            task.delay()

    def test_so_can_the_class_itself_with_options(self):
        app = Celery("proj")

        class Export(Task):
            name = "proj.export"

            def run(self):
                return self.max_retries

        task = app.register_task(Export, max_retries=9)

        assert task() == 9
        assert task.app is app

    def test_what_is_no_task_cannot(self):
        with pytest.raises(TypeError, match="register_task takes an instance of a Task class"):
            Celery("proj").register_task(print)

    def test_strict_typing_may_be_turned_off(self, outbox):
        app = Celery("proj", strict_typing=False)

        @app.task
        def one(x):
            return x

        one.delay()

        assert len(outbox.sent) == 1


class TestSettingsOfTasks:
    """Attributes that tasks do not set come from the object, each time they are asked for."""

    def test_the_objects_settings_are_defaults(self, outbox):
        app = Celery("proj")
        app.conf.update(
            task_ignore_result=True,
            task_time_limit=30,
            task_soft_time_limit=20,
            task_acks_late=False,
            task_default_priority=4,
            task_default_rate_limit="10/m",
            task_store_errors_even_if_ignored=True,
        )

        @app.task
        def one():
            pass

        @app.task(ignore_result=False, time_limit=60, priority=None)
        def two():
            pass

        assert (one.ignore_result, one.time_limit, one.soft_time_limit) == (True, 30, 20)
        assert (one.acks_late, one.priority, one.rate_limit) == (False, 4, "10/m")
        assert one.store_errors_even_if_ignored is True
        assert (two.ignore_result, two.time_limit, two.priority) == (False, 60, 4)
        one.delay()
        (envelope,) = outbox.sent
        assert envelope.options["timeout"] == "40s"
        assert envelope.options["flow_control"]["key"] == one.name
        (letter,) = letters(outbox)
        assert letter.priority == 4

    def test_a_setting_may_change_after_the_task_was_made(self):
        app = Celery("proj")

        @app.task
        def one():
            pass

        app.conf.task_soft_time_limit = 5

        assert one.soft_time_limit == 5
        del app.conf.task_soft_time_limit
        assert one.soft_time_limit is None

    def test_a_wrong_one_is_found_at_the_decorator(self):
        app = Celery("proj")

        with pytest.raises(OptionError, match="'often' of .*one is not a rate"):

            @app.task(rate_limit="often")
            def one():
                pass


class TestSending:
    def test_delay(self, outbox):
        app = Celery("proj")

        @app.task
        def one(x):
            pass

        result = one.delay(1)

        (letter,) = letters(outbox)
        assert (letter.task, letter.args, letter.id) == (one.name, [1], result.id)

    def test_send_task_needs_no_task(self, outbox):
        app = Celery("proj")

        result = app.send_task(
            "elsewhere.work", (1,), {"y": 2}, task_id="seven", countdown=60, queue="far"
        )

        (letter,) = letters(outbox)
        assert (letter.task, letter.args, letter.kwargs) == ("elsewhere.work", [1], {"y": 2})
        assert letter.id == result.id == "seven"
        assert letter.queue == "far"
        assert letter.eta is not None
        assert result.message_id

    def test_send_task_applies_the_options_of_a_task_that_is_here(self, outbox):
        app = Celery("proj")

        @app.task(queue="mine", expires=60, ignore_result=True, time_limit=9)
        def one():
            pass

        result = app.send_task(one.name, args=("not", "checked"))

        (letter,) = letters(outbox)
        assert letter.queue == "mine"
        assert letter.expires is not None
        assert result.ignored
        assert outbox.sent[0].options["timeout"] == "19s"

    def test_send_task_knows_what_is_no_option(self, outbox):
        with pytest.raises(TypeError, match=r"got colour: no option; give the task's keyword"):
            Celery("proj").send_task("elsewhere.work", colour="red")
        assert outbox.sent == []

    def test_send_task_is_never_eager(self, outbox, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True

        with pytest.warns(AlwaysEagerIgnored, match="no effect on send_task"):
            Celery("proj").send_task("elsewhere.work")

        assert len(outbox.sent) == 1

    def test_a_result_of_another_class(self, outbox):
        from django_qstash import AsyncResult

        class Own(AsyncResult):
            pass

        assert type(Celery("proj").send_task("a.b", result_cls=Own)) is Own

    def test_what_a_task_sends_by_name_is_its_child(self, outbox):
        app = Celery("proj")
        seen = []

        @app.task(bind=True)
        def parent(self):
            kept = app.send_task("elsewhere.work")
            app.send_task("elsewhere.work", add_to_parent=False)
            seen.extend(self.request.children)
            return kept.id

        result = parent.apply()

        assert [child.id for child in seen] == [result.get()]
        assert {letter.parent_id for letter in letters(outbox)} == {result.id}

    def test_signatures_by_name(self, outbox):
        app = Celery("proj")

        sig = app.signature("elsewhere.work", (1,), countdown=5)

        assert sig == signature("elsewhere.work", (1,), countdown=5)
        sig.delay()
        assert letters(outbox)[0].task == "elsewhere.work"

    def test_results_by_id(self):
        app = Celery("proj")

        assert app.AsyncResult("seven").id == "seven"
        assert app.GroupResult("eight", []).id == "eight"
        assert len(app.ResultSet([])) == 0

    def test_the_task_under_way(self):
        app = Celery("proj")

        @app.task
        def one():
            return app.current_task.name

        assert app.current_task is None
        assert one() == one.name


class TestFinalizing:
    def test_signals_in_their_order_and_once(self):
        app = Celery("proj")
        heard = []

        @app.on_configure.connect
        def configuring(sender, **_):
            heard.append(("configure", sender))

        @app.on_after_configure.connect
        def configured(sender, source, **_):
            heard.append(("after configure", sender, source))

        @app.on_after_finalize.connect
        def finalized(sender, **_):
            heard.append(("after finalize", sender))

        app.finalize()
        app.finalize()
        app.load()

        assert heard == [
            ("configure", app),
            ("after configure", app, app.conf),
            ("after finalize", app),
        ]

    def test_reading_a_setting_configures(self):
        app = Celery("proj")
        heard = []
        app.on_after_configure.connect(lambda **_: heard.append("configured"), weak=False)

        app.conf.task_ignore_result = True
        assert heard == []
        assert app.conf.task_ignore_result is True
        assert heard == ["configured"]

    def test_a_subclass_may_configure(self):
        class Own(Celery):
            def on_configure(self):
                self.conf.task_ignore_result = True

        assert Own("proj").conf.task_ignore_result is True

    def test_asking_for_the_tasks_finalizes(self):
        app = Celery("proj")

        assert not app.finalized
        assert "tests.shop.tasks.add" in app.tasks
        assert app.finalized

    def test_not_by_itself_where_it_was_told_so(self):
        app = Celery("proj", autofinalize=False)

        with pytest.raises(RuntimeError, match="not finalized"):
            _ = app.tasks

        app.finalize()
        assert app.tasks is registry


class TestPeriodicTasks:
    def test_in_on_after_configure_as_celerys_documentation_has_it(self):
        app = Celery("proj")

        @app.task
        def say(what):
            pass

        @app.on_after_configure.connect
        def set_up(sender, **kwargs):
            sender.add_periodic_task(10.0, say.s("hello"), name="every 10", expires=10)
            sender.add_periodic_task(timedelta(minutes=1), say.s("again"))
            sender.add_periodic_task(30.0, say, ("bare",), name="a task")

        app.finalize()

        entries = app.conf.beat_schedule
        assert entries["every 10"] == {
            "schedule": 10.0,
            "task": say.name,
            "args": ("hello",),
            "kwargs": {},
            "options": {"expires": 10},
        }
        assert entries[repr(say.s("again"))]["schedule"] == timedelta(minutes=1)
        assert entries["a task"]["args"] == ("bare",)

    def test_before_the_configuration_is_read(self):
        app = Celery("proj")
        app.add_periodic_task(60, shop.add.s(1), args=(2,), name="early")

        assert app.conf.beat_schedule["early"]["args"] == (2, 1)

    def test_the_same_call_twice_is_one_entry_and_told(self, caplog):
        app = Celery("proj")
        app.finalize()

        app.add_periodic_task(60, shop.add.s(1, 2))
        app.add_periodic_task(30, shop.add.s(1, 2))

        assert [entry["schedule"] for entry in app.conf.beat_schedule.values()] == [30]
        assert "replaces one before it" in caplog.text

    def test_only_a_task_or_a_signature(self):
        with pytest.raises(TypeError, match="takes a signature or a task, not 'shop.add'"):
            Celery("proj").add_periodic_task(60, "shop.add")

    def test_all_entries_of_the_site(self, settings):
        from django_qstash.application.periodic import entries

        settings.DJANGO_QSTASH_BEAT_SCHEDULE = {"ours": {"task": "a.b", "schedule": 60}}
        first, second = Celery("first"), Celery("second")
        first.conf.beat_schedule = {"one": {"task": "a.b", "schedule": 60}}
        second.add_periodic_task(30, shop.add.s(1, 2), name="two")

        assert {"one", "two", "ours"} <= set(entries())


class TestTimes:
    def test_the_zone_is_djangos_unless_it_is_set(self, settings):
        settings.TIME_ZONE = "Asia/Tokyo"
        app = Celery("proj")
        app.config_from_object("django.conf:settings", namespace="CELERY")

        assert app.timezone == ZoneInfo("Asia/Tokyo")
        settings.CELERY_TIMEZONE = "Europe/Berlin"
        assert app.timezone == ZoneInfo("Europe/Berlin")
        assert not app.uses_utc_timezone()
        with clock.use(clock.VirtualClock()) as virtual:
            assert app.now().timestamp() == virtual.time()
            assert app.now().tzinfo == ZoneInfo("Europe/Berlin")

    def test_an_object_without_django_settings_is_in_utc(self):
        assert Celery("proj").timezone is timezone.utc

    def test_a_zone_that_is_none(self):
        app = Celery("proj", timezone="Mars/Olympus")

        with pytest.raises(ImproperlyConfigured, match="'Mars/Olympus' is no time zone"):
            _ = app.timezone

    def test_an_eta_without_a_zone_is_in_the_objects(self, outbox):
        from datetime import datetime

        Celery("proj", timezone="Asia/Tokyo")

        shop.add.apply_async((1, 2), eta=datetime(2050, 1, 1, 9))

        assert letters(outbox)[0].eta == "2050-01-01T00:00:00+00:00"


class TestWhichOneIsMeant:
    def test_the_last_that_was_made(self):
        first = Celery("first")
        second = Celery("second")
        third = Celery("third", set_as_current=False)

        assert current_app == second
        assert current_app._get_current_object() is second
        first.set_current()
        assert current_app.main == "first"
        assert current.app_or_default() is first
        assert current.app_or_default(third) is third

    def test_in_every_thread(self):
        app = Celery("proj")
        found = []

        thread = threading.Thread(target=lambda: found.append(current_app.main))
        thread.start()
        thread.join()

        assert found == [app.main]

    def test_the_default_while_none_is_current(self):
        app = Celery("proj", set_as_current=False)
        app.set_default()

        assert current_app == app
        other = Celery("other")
        assert current_app == other
        other.close()
        assert current_app == app

    def test_one_is_made_where_the_project_makes_none(self):
        assert current.existing() is None
        assert current_app.main == "default"
        assert current_app == current.existing()

    def test_the_current_one_can_be_written_to(self):
        app = Celery("proj")

        current_app.marked = True

        assert app.marked is True
        assert hash(current_app) == hash(app)
        assert repr(current_app) == repr(app)

    def test_closing_forgets_it(self):
        with Celery("proj") as app:
            app.finalize()
            assert current.existing() is app
        assert current.existing() is None
        assert app not in current.all_apps()
        assert app._adopt not in registry.listeners

    def test_one_that_nobody_holds_is_gone(self):
        app = Celery("proj", set_as_current=False)
        gone = weakref.ref(app)
        del app
        gc.collect()

        assert gone() is None

    def test_a_shared_task_asks_for_the_current_one(self):
        @shared_task
        def one():
            pass

        app = Celery("proj")

        assert one.app is app


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_is_told_to_the_objects_of_it():
    app = Celery("proj")
    read, write = os.pipe()
    here = os.getpid()

    @app.on_after_fork.connect
    def forked(sender, **_):
        os.write(write, f"{sender.main} {os.getpid() != here}".encode())

    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(read, 100) == b"proj True"
    os.close(read)
    os.close(write)
