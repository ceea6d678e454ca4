"""Django's own task framework over QStash: ``TASKS = {"default": {"BACKEND": …QStashBackend}}``.

For ``django.tasks`` of Django 6, and for the package ``django-tasks`` on older versions. A function
with Django's ``@task`` is registered under its dotted path, and comes in by the same door, with the
same claim and the same record, as any other task.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from django.core.checks import CheckMessage, Error, Info
from django.utils.module_loading import import_string

from django_qstash import clock, states
from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured, OptionError
from django_qstash.tasks import eager, execute, send, write
from django_qstash.tasks import options as call_options
from django_qstash.tasks.failure import to_exception
from django_qstash.tasks.outbox import get_outbox
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.request import hostname
from django_qstash.tasks.store import TaskRecord, get_store
from django_qstash.tasks.task import Task


def _family() -> str:
    """The framework that there is: Django's own, or the package it came from."""
    for name in ("django.tasks", "django_tasks"):
        if find_spec(name) is not None:
            return name
    raise ImproperlyConfigured(
        "django_qstash.backend needs Django's task framework: Django 6, or the package "
        "'django-tasks' on an older version (pip install django-tasks)."
    )


FAMILY = _family()
_base: Any = import_module(f"{FAMILY}.base")
_exceptions: Any = import_module(f"{FAMILY}.exceptions")
_signals: Any = import_module(f"{FAMILY}.signals")
_Backend: Any = import_module(f"{FAMILY}.backends.base").BaseTaskBackend
_normalize: Any = import_string(
    "django.utils.json.normalize_json"
    if FAMILY == "django.tasks"
    else "django_tasks.utils.normalize_json"
)
#: Django 6 and the package name it differently.
InvalidTask: Any = getattr(_exceptions, "InvalidTask", None) or _exceptions.InvalidTaskError
Status: Any = _base.TaskResultStatus

_STATUS = {
    states.PENDING: Status.READY,
    states.RECEIVED: Status.READY,
    states.RETRY: Status.READY,
    states.SUCCESS: Status.SUCCESSFUL,
    states.FAILURE: Status.FAILED,
    states.REVOKED: Status.FAILED,
}


class Runner(Task[..., Any]):
    """A task of Django's, as deliveries run it."""

    abstract: ClassVar[bool] = True
    typing = False

    def __init__(self, django_task: Any) -> None:
        self.django_task = django_task
        self.name = django_task.module_path
        self.__name__ = django_task.func.__qualname__
        self.__module__ = django_task.func.__module__
        self.__doc__ = django_task.func.__doc__
        self.__wrapped__ = django_task.func

    def run(self, *args: Any, **kwargs: Any) -> Any:
        self.request.update(began=clock.now())
        result = self._result(Status.RUNNING)
        _signals.task_started.send(sender=QStashBackend, task_result=result)
        given = (_base.TaskContext(task_result=result),) if self.django_task.takes_context else ()
        return _normalize(self.django_task.call(*given, *args, **kwargs))

    @cached_property
    def _signature(self) -> inspect.Signature:
        """Without the context, which the delivery gives."""
        found = inspect.signature(self.django_task.func)
        taken = list(found.parameters.values())[1 if self.django_task.takes_context else 0 :]
        return found.replace(parameters=taken)

    def after_return(self, status: str, retval: Any, *_: Any) -> None:
        ended = self._result(_STATUS[status], finished=True)
        if status == states.SUCCESS:
            object.__setattr__(ended, "_return_value", retval)
        else:
            kind = type(retval)
            text = execute.format_traceback(retval)
            ended.errors.append(_error(kind.__module__, kind.__qualname__, text))
        _signals.task_finished.send(sender=QStashBackend, task_result=ended)

    def _result(self, status: Any, *, finished: bool = False) -> Any:
        """The call under way as Django shows it."""
        context = self.request
        headers = context.headers or {}
        return _result(
            self.django_task,
            str(context.id),
            status,
            args=context.args or (),
            kwargs=context.kwargs or {},
            backend=headers.get(BACKEND, self.django_task.backend),
            workers=[hostname()] * context.attempts,
            started=context.get("began"),
            finished=clock.now() if finished else None,
        )


#: The header that carries the alias of the backend.
BACKEND = "django_tasks_backend"


class QStashBackend(_Backend):  # type: ignore[misc]
    """Enqueued tasks go to QStash, and come back as signed requests to this site.

    ``run_after`` is honoured, coroutines are run, and results are read where
    ``django_qstash.results`` is installed. QStash has no priorities, so there are none. ``OPTIONS``
    are QStash's options for all tasks of this backend: ``retries``, ``timeout``, ``label`` …
    """

    supports_defer = True
    supports_async_task = True
    supports_priority = False

    @property
    def supports_get_result(self) -> bool:
        """True where ``django_qstash.results`` is installed."""
        return get_store().durable

    def validate_task(self, task: Any) -> None:
        """Raises ``InvalidTask`` for what cannot be run; what can is registered by its path."""
        super().validate_task(task)
        runner_of(task)

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Send the task; with the outbox app, as part of the open transaction.

        Raises ``TypeError`` or ``ValueError`` for arguments that are not JSON's, and
        :class:`PublishError` when QStash cannot be reached.
        """
        self.validate_task(task)
        runner = runner_of(task)
        args, kwargs = _normalize(list(args)), _normalize(dict(kwargs))
        options = {
            **self.options,
            "queue": task.queue_name,
            "eta": task.run_after,
            "headers": {BACKEND: self.alias},
        }
        message, once = write.write(runner.name, args, kwargs, options, runner)
        result = _result(
            task, message.id, Status.READY, args, kwargs, self.alias, enqueued=clock.now()
        )
        _signals.task_enqueued.send(sender=type(self), task_result=result)
        if settings.DJANGO_QSTASH_ALWAYS_EAGER:
            return self._ran(result, eager.apply_message(runner, message))
        send.send(message, once)
        if get_outbox() is None:
            # Django's tasks can be looked up from the moment on that they are enqueued.
            get_store().expect([message])
        return result

    def get_result(self, result_id: str) -> Any:
        """What became of a task. Raises ``TaskResultDoesNotExist``.

        ``NotImplementedError`` where ``django_qstash.results`` is not installed.
        """
        if not self.supports_get_result:
            return super().get_result(result_id)
        record = get_store().fetch(str(result_id))
        runner = None if record is None or record.name is None else find(record.name)
        if record is None or runner is None:
            raise _exceptions.TaskResultDoesNotExist(result_id)
        return self._recorded(record, runner.django_task)

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """E040 OPTIONS that QStash would refuse; I040 results that cannot be read."""
        found: list[CheckMessage] = list(super().check(**kwargs))
        unknown = sorted(set(self.options) - call_options.TASK_DELIVERY)
        problem = f"QStash has no option {', '.join(unknown)}" if unknown else None
        try:
            call_options.split(self.options)
        except OptionError as error:
            problem = problem or str(error)
        if problem is not None:
            found.append(
                Error(
                    f"OPTIONS of TASKS[{self.alias!r}]: {problem}.",
                    hint=f"Known are {', '.join(sorted(call_options.TASK_DELIVERY))}.",
                    id="django_qstash.E040",
                )
            )
        if not self.supports_get_result:
            found.append(
                Info(
                    f"TASKS[{self.alias!r}]: results of tasks cannot be read.",
                    hint="Add 'django_qstash.results' to INSTALLED_APPS and run migrate.",
                    id="django_qstash.I040",
                )
            )
        return found

    def _recorded(self, record: TaskRecord, task: Any) -> Any:
        status = _STATUS.get(record.status, Status.RUNNING)
        started = record.date_started
        queue = record.queue or task.queue_name
        result = _result(
            task if queue == task.queue_name else task.using(queue_name=queue),
            record.task_id,
            status,
            record.args or (),
            record.kwargs or {},
            self.alias,
            enqueued=record.date_created,
            started=started,
            finished=record.date_done,
            workers=[record.worker or ""] * record.attempts,
        )
        if status == Status.SUCCESSFUL:
            object.__setattr__(result, "_return_value", record.result)
        elif status == Status.FAILED:
            kind = type(to_exception(record.result))
            known = record.result if isinstance(record.result, Mapping) else {}
            module = known.get("exc_module") or kind.__module__
            name = known.get("exc_type") or kind.__qualname__
            result.errors.append(_error(module, name, record.traceback or ""))
        return result

    def _ran(self, result: Any, ran: Any) -> Any:
        """The result of a task that has run inline."""
        now = clock.now()
        changes = {
            "status": _STATUS[ran.state],
            "started_at": now,
            "last_attempted_at": now,
            "finished_at": now,
            "worker_ids": [hostname()],
        }
        if ran.state == states.SUCCESS:
            changes["_return_value"] = ran.result
        else:
            kind = type(ran.result)
            changes["errors"] = [_error(kind.__module__, kind.__qualname__, ran.traceback or "")]
        for name, value in changes.items():
            object.__setattr__(result, name, value)
        return result


def runner_of(task: Any) -> Runner:
    """What runs a task of Django's; registered when it is first seen. Raises ``InvalidTask``."""
    found = tasks.get(task.module_path)
    if isinstance(found, Runner):
        return found
    if found is not None:
        raise InvalidTask(f"{task.module_path} is a task of django_qstash already.")
    runner = Runner(task)
    tasks.register(runner)
    return runner


def find(name: str) -> Runner | None:
    """The runner of the task at a dotted path, imported if need be; ``None``: there is none."""
    found = tasks.get(name)
    if found is None and "." in name:
        try:
            named = import_string(name)
        except Exception:  # noqa: BLE001 - whatever is wrong with that module, it is no task of ours
            return None
        if isinstance(named, _base.Task) and isinstance(named.get_backend(), QStashBackend):
            found = runner_of(named)
    return found if isinstance(found, Runner) else None


def _result(
    task: Any,
    task_id: str,
    status: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    backend: str,
    *,
    enqueued: Any = None,
    started: Any = None,
    finished: Any = None,
    workers: Sequence[str] = (),
) -> Any:
    return _base.TaskResult(
        task=task,
        id=task_id,
        status=status,
        enqueued_at=enqueued,
        started_at=started,
        last_attempted_at=started,
        finished_at=finished,
        args=list(args),
        kwargs=dict(kwargs),
        backend=backend,
        errors=[],
        worker_ids=list(workers),
    )


def _error(module: str, name: str, traceback: str) -> Any:
    return _base.TaskError(exception_class_path=f"{module}.{name}", traceback=traceback)


tasks.finders.append(find)
