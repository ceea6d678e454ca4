"""Django's task framework over QStash, as Django 6 and the package ``django-tasks`` ask for it."""

from __future__ import annotations

import importlib
import sys
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec

import pytest
from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.db import transaction

from django_qstash import AsyncResult, clock, shared_task
from django_qstash.exceptions import PublishError
from django_qstash.tasks.registry import tasks as registry
from django_qstash.testing import QStashSandbox
from tests.door import knock, letter
from tests.shop.models import Effect

FAMILY = next((name for name in ("django.tasks", "django_tasks") if find_spec(name)), None)

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(FAMILY is None, reason="there is no django.tasks, nor django-tasks"),
]
TASKS = {
    "default": {
        "BACKEND": "django_qstash.backend.QStashBackend",
        "QUEUES": ["default", "mail"],
    },
    "labelled": {
        "BACKEND": "django_qstash.backend.QStashBackend",
        "OPTIONS": {"label": "django", "retries": 7},
    },
}


def family(name):
    return importlib.import_module(f"{FAMILY}.{name}" if name else FAMILY)


@pytest.fixture
def jobs(settings):
    settings.TASKS = TASKS
    if FAMILY == "django_tasks":
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_tasks"]
    return importlib.import_module("tests.djangotasks.jobs")


@pytest.fixture
def qstash(jobs):
    with QStashSandbox() as sandbox:
        yield sandbox


def backend(alias="default"):
    return family("").task_backends[alias]


class TestEnqueue:
    def test_a_result_that_waits(self, jobs, qstash):
        result = jobs.add.enqueue(2, y=3)

        assert (result.status, result.task, result.backend) == ("READY", jobs.add, "default")
        assert (result.args, result.kwargs) == ([2], {"y": 3})
        assert (result.errors, result.worker_ids, result.attempts) == ([], [], 0)
        assert result.enqueued_at == clock.now()
        assert result.started_at is result.finished_at is result.last_attempted_at is None
        assert not result.is_finished
        with pytest.raises(ValueError, match="not finished"):
            result.return_value  # noqa: B018

    def test_it_is_run_by_a_delivery(self, jobs, qstash):
        result = jobs.add.enqueue(2, 3)
        qstash.deliver_all()
        result.refresh()

        assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", 5, 1)
        assert result.is_finished
        assert result.started_at == result.last_attempted_at
        assert result.started_at <= result.finished_at
        assert AsyncResult(result.id).get(timeout=0) == 5

    def test_it_is_registered_by_its_path(self, jobs, qstash):
        jobs.add.enqueue(2, 3)

        assert qstash.assert_sent("tests.djangotasks.jobs.add", 2, 3)
        assert "tests.djangotasks.jobs.add" in dict(registry.listed())

    def test_it_takes_what_its_function_takes(self, jobs, qstash):
        """For who schedules it in the admin."""
        jobs.add.enqueue(2, 3)
        jobs.with_context.enqueue("x")

        taken = {
            name: list(registry[f"tests.djangotasks.jobs.{name}"].signature_of_run().parameters)
            for name in ("add", "with_context")
        }
        assert taken == {"add": ["x", "y"], "with_context": ["word"]}

    def test_async_functions(self, jobs, qstash):
        result = jobs.add_async.enqueue(2, 3)
        qstash.deliver_all()
        result.refresh()

        assert result.return_value == 5

    def test_from_async_code(self, jobs, qstash):
        async def story():
            result = await jobs.add.aenqueue(2, 3)
            again = await jobs.add.aget_result(result.id)
            await result.arefresh()
            return again

        assert async_to_sync(story)().status == "READY"

    def test_arguments_that_are_options_elsewhere(self, jobs, qstash):
        result = jobs.note.enqueue("x", queue="mine", countdown=5, task_id="not an id")
        qstash.deliver_all()
        result.refresh()

        assert result.return_value == [
            "x",
            {"queue": "mine", "countdown": 5, "task_id": "not an id"},
        ]
        assert result.id != "not an id"

    @pytest.mark.parametrize("value", [object(), datetime(2026, 1, 1), {1, 2}])
    def test_arguments_are_json_s(self, jobs, qstash, value):
        with pytest.raises(TypeError, match="Unsupported type"):
            jobs.add.enqueue(value, 1)

        qstash.assert_nothing_sent()

    def test_qstash_down_is_an_error(self, jobs, qstash):
        qstash.is_down = True
        with pytest.raises(PublishError):
            jobs.add.enqueue(2, 3)

    def test_the_options_of_a_backend_are_qstash_s(self, jobs, qstash):
        jobs.add.using(backend="labelled").enqueue(2, 3)

        options = qstash.assert_sent("tests.djangotasks.jobs.add").options
        assert (options["retries"], options["label"]) == (7, "django")

    def test_run_inline(self, jobs, settings):
        settings.DJANGO_QSTASH_ALWAYS_EAGER = True

        done, failed = jobs.add.enqueue(2, 3), jobs.fail.enqueue("no")

        assert (done.status, done.return_value, done.attempts) == ("SUCCESSFUL", 5, 1)
        assert (failed.status, failed.errors[0].exception_class) == ("FAILED", ValueError)


class TestDefer:
    def test_it_runs_when_it_is_due(self, jobs, qstash):
        later = datetime.now(tz=timezone.utc) + timedelta(hours=2)
        result = jobs.add.using(run_after=later).enqueue(2, 3)
        qstash.advance(7100)
        result.refresh()
        assert result.status == "READY"

        qstash.advance(200)
        result.refresh()
        assert result.status == "SUCCESSFUL"

    def test_a_time_without_a_zone_is_refused(self, jobs, qstash):
        with pytest.raises(invalid(), match="aware"):
            jobs.add.using(run_after=datetime(2030, 1, 1))


class TestValidation:
    def test_no_priorities(self, jobs):
        with pytest.raises(invalid(), match="priority"):
            jobs.add.using(priority=10)

    def test_only_the_queues_of_the_backend(self, jobs):
        with pytest.raises(invalid(), match="Queue 'other'"):
            jobs.add.using(queue_name="other")

    def test_only_functions_of_a_module(self, jobs):
        with pytest.raises(invalid(), match="module level"):
            jobs.task(lambda: None)

    def test_a_context_needs_its_argument(self, jobs):
        with pytest.raises(invalid(), match="context"):
            jobs.task(takes_context=True)(jobs.add.func)

    def test_a_task_of_both_kinds_is_refused(self, jobs):
        from tests.djangotasks.late import plain

        shared_task(name="tests.djangotasks.late.plain")(plain)
        try:
            with pytest.raises(invalid(), match="already"):
                jobs.task(plain)
        finally:
            registry.unregister("tests.djangotasks.late.plain")


def invalid():
    exceptions = family("exceptions")
    return getattr(exceptions, "InvalidTask", None) or exceptions.InvalidTaskError


class TestResults:
    def test_a_failure(self, jobs, qstash):
        result = jobs.fail.enqueue("no paper")
        qstash.deliver_all()
        result.refresh()

        (error,) = result.errors
        assert (result.status, error.exception_class) == ("FAILED", ValueError)
        assert "raise ValueError(message)" in error.traceback
        with pytest.raises(ValueError, match="Task failed"):
            result.return_value  # noqa: B018

    def test_a_value_that_is_not_json_s_is_a_failure(self, jobs, qstash):
        result = jobs.unstorable.enqueue()
        qstash.deliver_all()
        result.refresh()

        assert result.errors[0].exception_class is TypeError

    def test_a_process_that_died_is_an_attempt(self, jobs, qstash):
        result = jobs.note.enqueue("x")
        qstash.deliver_all(crash_at=3)
        result.refresh()

        assert (result.status, result.attempts) == ("SUCCESSFUL", 2)

    def test_they_are_found_by_id_and_by_their_own_task_alone(self, jobs, qstash):
        result = jobs.add.enqueue(2, 3)

        assert jobs.add.get_result(result.id).args == [2, 3]
        assert backend().get_result(result.id).task == jobs.add
        with pytest.raises(family("exceptions").TaskResultMismatch):
            jobs.note.get_result(result.id)

    def test_one_that_nobody_knows(self, jobs, qstash):
        with pytest.raises(family("exceptions").TaskResultDoesNotExist):
            backend().get_result("nobody")

    def test_another_task_s_result_is_none_of_its(self, jobs, qstash):
        from tests.shop.tasks import add

        sent = add.delay(1, 2)
        qstash.deliver_all()
        with pytest.raises(family("exceptions").TaskResultDoesNotExist):
            backend().get_result(sent.id)

    def test_the_queue_is_remembered(self, jobs, qstash):
        result = jobs.add.using(queue_name="mail").enqueue(2, 3)

        assert jobs.add.get_result(result.id).task.queue_name == "mail"
        assert jobs.post.enqueue("x").task.queue_name == "mail"

    def test_without_the_results_app(self, jobs, settings):
        settings.INSTALLED_APPS = [
            app for app in settings.INSTALLED_APPS if app != "django_qstash.results"
        ]
        with QStashSandbox() as qstash:
            result = jobs.note.enqueue("x")
            qstash.deliver_all()
            with pytest.raises(NotImplementedError):
                result.refresh()
        assert Effect.objects.count() == 1
        assert backend().supports_get_result is False


class TestContext:
    def test_it_tells_the_attempt_and_the_result(self, jobs, qstash):
        result = jobs.with_context.enqueue("word")
        qstash.deliver_all()
        result.refresh()

        assert result.return_value == [1, result.id, "word"]
        (context,) = jobs.seen[-1:]
        assert context.task_result.status == "RUNNING"
        assert context.task_result.args == ["word"]


class TestSignals:
    def test_in_their_order(self, jobs, qstash):
        signals = family("signals")
        told = []

        def receiver(signal, sender, task_result, **_):
            told.append((names[signal], sender.__name__, task_result.status, task_result.id))

        names = {
            signals.task_enqueued: "enqueued",
            signals.task_started: "started",
            signals.task_finished: "finished",
        }
        for signal in names:
            signal.connect(receiver)
        try:
            done, failed = jobs.add.enqueue(2, 3), jobs.fail.enqueue("x")
            qstash.deliver_all()
        finally:
            for signal in names:
                signal.disconnect(receiver)

        assert [(name, status) for name, _, status, pk in told if pk == done.id] == [
            ("enqueued", "READY"),
            ("started", "RUNNING"),
            ("finished", "SUCCESSFUL"),
        ]
        assert [status for _, _, status, pk in told if pk == failed.id][-1] == "FAILED"
        assert {sender for _, sender, _, _ in told} == {"QStashBackend"}


class TestDeliveries:
    def test_a_module_that_is_not_imported_yet(self, jobs, loopback):
        sys.modules.pop("tests.djangotasks.late", None)

        assert knock(letter("tests.djangotasks.late.late")).status_code == 200

    @pytest.mark.parametrize(
        "path", ["tests.djangotasks.late.plain", "os.system", "tests.nowhere.at_all"]
    )
    def test_what_is_no_task_is_not_run(self, jobs, loopback, path):
        assert knock(letter(path)).status_code == 404

    def test_in_a_transaction_with_the_outbox(self, jobs, qstash, outbox_app):
        with transaction.atomic():
            result = jobs.add.enqueue(2, 3)
            assert outbox_app.objects.count() == 1
        assert jobs.add.get_result(result.id).status == "READY"
        qstash.deliver_all()

        assert jobs.add.get_result(result.id).return_value == 5


class TestChecks:
    def check(self, **params):
        found = family("").task_backends["default"].__class__("default", params).check()
        return [(message.id, message.msg) for message in found]

    def test_all_is_well(self, jobs):
        assert self.check() == []
        assert not [message for message in run_checks() if message.id == "django_qstash.E040"]

    def test_an_option_that_qstash_has_not(self, jobs):
        assert self.check(OPTIONS={"priority": 1}) == [
            ("django_qstash.E040", "OPTIONS of TASKS['default']: QStash has no option priority.")
        ]

    def test_a_value_that_qstash_refuses(self, jobs):
        ((number, text),) = self.check(OPTIONS={"retries": -1})
        assert (number, "retries" in text) == ("django_qstash.E040", True)

    def test_results_that_cannot_be_read(self, jobs, settings):
        settings.INSTALLED_APPS = [
            app for app in settings.INSTALLED_APPS if app != "django_qstash.results"
        ]
        assert [number for number, _ in self.check()] == ["django_qstash.I040"]
