"""``Celery``: the object that a project's ``celery.py`` makes.

There is one registry of tasks in a process, whichever object made them: a delivery names a task,
and nothing else. A task is made where it is decorated, not at the object's finalization.

The file is long because Celery's object has that many words; what they do stands beside it.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from django.utils.module_loading import import_string

from django_qstash import clock, conf, signals
from django_qstash.application import current, discovery, periodic
from django_qstash.application.absent import ABSENT
from django_qstash.application.annotations import annotate
from django_qstash.application.configuration import Configuration, Source
from django_qstash.application.imports import symbol_by_name
from django_qstash.application.meaning import CurrentSettings
from django_qstash.exceptions import AlwaysEagerIgnored, ImproperlyConfigured
from django_qstash.signals import TaskSignal
from django_qstash.tasks import options as call_options
from django_qstash.tasks import outbox, retry, send, write
from django_qstash.tasks.decorators import make_task
from django_qstash.tasks.registry import TaskRegistry, tasks
from django_qstash.tasks.request import get_current_task
from django_qstash.tasks.result import AsyncResult
from django_qstash.tasks.task import Task as AnyTask

if TYPE_CHECKING:
    from typing_extensions import Self

    from django_qstash.application.control import Control
    from django_qstash.tasks.decorators import Decorator

#: Parts of Celery's object that a project may replace there, and cannot here.
_PARTS = ("amqp", "events", "log", "control", "loader", "tasks", "fixups")


class Celery:
    """An application. Celery: ``Celery``.

    ``main`` names tasks of a script that is run by itself; ``task_cls`` is the base of all tasks;
    ``config_source``, ``namespace`` and ``changes`` are settings; any further keyword is a setting,
    too. What speaks of a broker or a worker is taken, and listed by a system check.

    Raises ``TypeError`` for a part of Celery's machinery that is not there to be replaced.
    """

    #: A class, or the dotted path of one; subclasses may set it.
    task_cls: Any = AnyTask

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: Any = None,
        include: Sequence[str] | None = None,
        set_as_current: bool = True,
        config_source: Any = None,
        namespace: str | None = None,
        task_cls: Any = None,
        autofinalize: bool = True,
        strict_typing: bool = True,
        changes: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        for name in _PARTS:
            if settings.pop(name, None) is not None:
                raise TypeError(f"Celery({name}=…): there is no such part here to be replaced.")
        self.main = main
        self.namespace = namespace
        self.set_as_current = set_as_current
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.configured = False
        self.finalized = False
        if task_cls is not None:
            self.task_cls = task_cls
        preset = {"broker_url": broker, "result_backend": backend, "include": include, **settings}
        given = {name: value for name, value in preset.items() if value is not None}
        self.conf = Configuration({**(changes or {}), **given}, self.load)
        self._lock = threading.RLock()
        self._pending_periodic: list[tuple[str, dict[str, Any], bool]] = []
        self._pending_defaults: list[Callable[[], Mapping[str, Any]]] = []
        self._pending_modules: list[Callable[[], None]] = []
        if not callable(getattr(type(self), "on_configure", None)):
            self.on_configure: Any = TaskSignal("app.on_configure")
        self.on_after_configure = TaskSignal("app.on_after_configure")
        self.on_after_finalize = TaskSignal("app.on_after_finalize")
        self.on_after_fork = TaskSignal("app.on_after_fork")
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        if set_as_current:
            self.set_current()
        if conf.celery is None:
            conf.celery = CurrentSettings()
        current.register(self)
        self.on_init()

    def on_init(self) -> None:
        """Called at the end of ``__init__``; for subclasses."""

    # --- settings -------------------------------------------------------------------------------

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> Configuration | None:
        """Read settings from a module, an object, a mapping, or ``"django.conf:settings"``.

        With ``namespace="CELERY"`` ``CELERY_TASK_ROUTES`` is ``task_routes``. Nothing is read
        before a setting is asked for, unless ``force``; ``silent`` lets a module be missing.
        """
        self.namespace = namespace or self.namespace
        self.conf.read_from(Source(obj, self.namespace, silent))
        if not (force or self.configured):
            return None
        self.load()
        return self.conf

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> Any:
        """The same, from the module that an environment variable names.

        Raises :class:`ImproperlyConfigured` if the variable is not set, unless ``silent``.
        """
        module = os.environ.get(variable_name)
        if module:
            return self.config_from_object(module, silent=silent, force=force)
        if silent:
            return False
        raise ImproperlyConfigured(
            f"The environment variable {variable_name} is not set; it is to name a module of "
            "settings."
        )

    def add_defaults(self, fun: Any) -> None:
        """Settings as a mapping, or as a function that is called when they are first read."""
        if not callable(fun):
            self.conf.add_defaults(fun)
        elif self.configured:
            self.conf.add_defaults(fun())
        else:
            self._pending_defaults.append(fun)

    def load(self) -> None:
        """Read the configuration, once; then receivers of ``on_after_configure`` are called."""
        with self._lock:
            if self.configured:
                return
            self.configured = True
            if isinstance(self.on_configure, TaskSignal):
                self.on_configure.emit(self)
            else:
                self.on_configure()
            while self._pending_defaults:
                self.conf.add_defaults(self._pending_defaults.pop(0)())
            while self._pending_periodic:
                periodic.enter(self.conf, *self._pending_periodic.pop(0))
            self.on_after_configure.emit(self, source=self.conf)

    @property
    def timezone(self) -> tzinfo:
        """The zone of instants that name none: ``timezone``, else Django's, else UTC."""
        return discovery.zone(self.conf)

    def uses_utc_timezone(self) -> bool:
        return str(self.timezone) == "UTC"

    def now(self) -> datetime:
        """The time, in :attr:`timezone`."""
        return clock.now().astimezone(self.timezone)

    # --- tasks ----------------------------------------------------------------------------------

    @property
    def tasks(self) -> TaskRegistry:
        """All tasks of this process by name, shared ones too. Finalizes this object.

        Raises ``RuntimeError`` where ``autofinalize=False`` and nobody has finalized it.
        """
        self.finalize(auto=True)
        return tasks

    if TYPE_CHECKING:
        # With the decorated function's own types, which take overloads to say.
        task: Decorator
    else:

        def task(self, *args: Any, **options: Any) -> Any:
            """Make a function a task: ``@app.task``, or with options ``@app.task(bind=True)``.

            As :func:`django_qstash.shared_task`, with :attr:`Task` as its base. Raises
            ``TypeError``.
            """
            return self._decorator(args, options)

    def _decorator(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if len(args) > 1 or (args and not callable(args[0])):
            raise TypeError("@app.task takes one function, or keyword options only.")
        if options.pop("shared", True) is False:
            raise TypeError("@app.task(shared=False): one registry serves the whole process.")
        options.pop("lazy", None)
        chosen = options.pop("filter", None)
        make = partial(self._make_task, options, chosen)
        return make(args[0]) if args else make

    def _make_task(self, options: Mapping[str, Any], chosen: Any, function: Any) -> Any:
        given = dict(options)
        given["base"] = given.get("base") or self.Task
        if not given.get("name") and hasattr(function, "__name__"):
            given["name"] = self.gen_task_name(function.__name__, function.__module__)
        task = make_task(function, app=self, **given)
        return chosen(task) if chosen is not None else task

    def register_task(self, task: Any, **options: Any) -> AnyTask[..., Any]:
        """Register an instance of a task class, or a class; ``options`` become its attributes."""
        made = task() if isinstance(task, type) else task
        if not isinstance(made, AnyTask):
            raise TypeError(f"register_task takes an instance of a Task class, not {task!r}.")
        kind = type(made)
        if not made.name:
            made.name = kind.name = self.gen_task_name(kind.__name__, kind.__module__)
        for name, value in options.items():
            setattr(kind, name, value)
        if not hasattr(made, "__name__"):
            made.__name__ = kind.__name__
        kind.app_made_by = self
        retry.check(made)
        made.delivery_options()
        made.options_changed()
        return tasks.register(made)

    def gen_task_name(self, name: str, module: str) -> str:
        """The name of a task that is given none; subclasses may give others."""
        return f"{self.main if module == '__main__' and self.main else module}.{name}"

    @cached_property
    def Task(self) -> Any:  # noqa: N802 - Celery's name
        """The base of this object's tasks; may be set to another class."""
        base = symbol_by_name(self.task_cls)
        return type(
            "Task",
            (base,),
            {
                "app_made_by": self,
                "typing": base.typing and self.strict_typing,
                "abstract": True,
                "__module__": base.__module__,
                "__doc__": base.__doc__,
            },
        )

    def create_task_cls(self) -> Any:
        """Celery: the class that :attr:`Task` is."""
        return self.Task

    @property
    def current_task(self) -> AnyTask[..., Any] | None:
        """The task under way in this thread or coroutine."""
        return get_current_task()

    def autodiscover_tasks(
        self,
        packages: Any = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import the ``related_name`` module of each package: by default of every installed app.

        ``packages`` may be a function. They are imported when Django has started, or at once with
        ``force`` or where it has. An error in such a module rises.
        """
        find = partial(discovery.import_related, packages, related_name)
        if force or discovery.has_started():
            find()
        else:
            self._pending_modules.append(find)

    def import_modules(self) -> None:
        """Import what ``autodiscover_tasks``, ``include`` and ``imports`` name."""
        signals.import_modules.emit(self)
        for name in ("include", "imports"):
            discovery.import_all(self.conf.get(name) or ())
        while self._pending_modules:
            self._pending_modules.pop(0)()

    def finalize(self, auto: bool = False) -> None:
        """Apply ``task_annotations`` to every task, now and later; call ``on_after_finalize``."""
        with self._lock:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError("Contract breach: app not finalized")
            self.load()
            self.finalized = True
            for task in list(tasks.values()):
                self._adopt(task)
            tasks.listeners.append(self._adopt)
            self.on_after_finalize.emit(self)

    def _adopt(self, task: AnyTask[..., Any]) -> None:
        """Annotate a task that is this object's, or nobody's while this object is current."""
        made_by = task.app_made_by
        if made_by is self or (made_by is None and current.existing() is self):
            annotate(self, task)

    # --- sending --------------------------------------------------------------------------------

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        result_cls: Any = None,
        add_to_parent: bool = True,
        **options: Any,
    ) -> Any:
        """Send a task by its name, which need not be known here. Options as ``apply_async``'s.

        Never eager; the arguments are not checked. Raises :class:`PublishError` and the like.
        """
        if conf.settings.DJANGO_QSTASH_ALWAYS_EAGER:
            warnings.warn(
                AlwaysEagerIgnored("task_always_eager has no effect on send_task"), stacklevel=2
            )
        using = outbox.checked(options.pop("using", None))
        given = {**options, "task_id": task_id}
        unknown = sorted(call_options.split(given)[2])
        if unknown:
            raise TypeError(
                f"send_task({name!r}) got {', '.join(unknown)}: no option; give the task's keyword "
                "arguments as kwargs={…}."
            )
        task = tasks.get(name)
        message, once = write.write(name, args, kwargs, given, task, check=False)
        result: AsyncResult[Any] = (result_cls or AsyncResult)(message.id)
        result.ignored = bool(message.ignore_result or (task and task.ignores_result(None)))
        result.message_id = send.send(message, once, using)
        result.account = send.account_of(message)
        running = get_current_task()
        if add_to_parent and running is not None:
            running.add_trail(result)
        return result

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """A call by name or of a task, to be made later."""
        from django_qstash.tasks.canvas import signature

        return signature(*args, **kwargs)

    def add_periodic_task(
        self,
        schedule: Any,
        sig: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """Add to ``app.conf.beat_schedule``; the entry's name.

        ``schedule`` is seconds, a timedelta or a ``crontab``. Without ``name`` the call as text is
        the name, so the same signature twice is one entry.
        """
        key, entry = periodic.entry(schedule, sig, args, kwargs or {}, name, options)
        if self.configured:
            periodic.enter(self.conf, key, entry, name is not None)
        else:
            self._pending_periodic.append((key, entry, name is not None))
        return key

    @property
    def AsyncResult(self) -> Any:  # noqa: N802 - Celery's name
        return AsyncResult

    @property
    def GroupResult(self) -> Any:  # noqa: N802 - Celery's name
        return import_string("django_qstash.tasks.resultset.GroupResult")

    @property
    def ResultSet(self) -> Any:  # noqa: N802 - Celery's name
        return import_string("django_qstash.tasks.resultset.ResultSet")

    @cached_property
    def control(self) -> Control:
        """Revoke, purge, inspect: what can be done and seen without workers."""
        from django_qstash.application.control import Control

        return Control(self)

    # --- which one is meant ---------------------------------------------------------------------

    def set_current(self) -> None:
        """Make this the current object, in all threads."""
        current.set_current(self)

    def set_default(self) -> None:
        """Make this the object that is meant while none is current."""
        current.set_default(self)

    def close(self) -> None:
        """Forget this object. Its tasks stay registered."""
        current.forget(self)
        if self._adopt in tasks.listeners:
            tasks.listeners.remove(self._adopt)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        if name in ABSENT:
            raise AttributeError(f"app.{name}: {ABSENT[name]}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'} at {id(self):#x}>"

    def either(self, default_key: str, *values: Any) -> Any:
        """The first of ``values`` that is not ``None``, else the setting of that name."""
        found = next((value for value in values if value is not None), None)
        return self.conf.get(default_key) if found is None else found

    def bugreport(self) -> str:
        """What a report of a bug should say of versions and settings."""
        import platform
        from importlib.metadata import version

        import django

        return (
            f"django-qstash:{version('django-qstash')} django:{django.get_version()} "
            f"python:{platform.python_version()} system:{platform.system()}\n"
            f"{self.conf.humanize()}"
        )


def _forked() -> None:
    for app in current.all_apps():
        app.on_after_fork.emit(app)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


def finalize_all(apps: Iterable[Celery]) -> None:
    """What is left to do when Django has started: import the tasks, and finalize."""
    for app in apps:
        app.import_modules()
        if app.autofinalize:
            app.finalize()
