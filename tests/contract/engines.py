"""One body of tasks, run by real Celery and by us, and everything that can be seen of it.

A *body* is a function of a :class:`Kit`. It defines tasks with ``kit.task``, calls them by way of
``kit.celery`` (the package ``celery``, or ours at Celery's addresses) and returns the results::

    def body(kit):
        @kit.task(bind=True, max_retries=1)
        def flaky(self, x):
            kit.note("tried", self.request.retries)
            raise self.retry(countdown=0)

        return flaky.delay(2)

``engine.run(body)`` comes to an :class:`Observed`, and those of two engines can be compared with
``==``: ids, times and tracebacks are not in it. What the tasks did is kept for each *call* by
itself (its retries included), in order; the order among calls is the engine's own.
"""

from __future__ import annotations

import importlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
#: Seconds after which a body is said to hang.
PATIENCE = 20
SIGNALS = (
    "task_prerun",
    "task_success",
    "task_failure",
    "task_retry",
    "task_revoked",
    "task_postrun",
)


@dataclass(frozen=True)
class Seen:
    """What a result handle tells once everything has come to rest."""

    state: str
    #: ``result.result``: the value, or the exception.
    value: Any
    #: What ``get()`` raises; ``None`` if it returns the value.
    raised: Any
    has_traceback: bool


@dataclass(frozen=True)
class SeenGroup:
    """What a group's handle tells."""

    members: list[Any]
    successful: bool
    failed: bool
    completed: int
    raised: Any


#: Stands for the exception of any one of several failed members.
ONE_OF_THEM = "what one of its members failed with"


@dataclass(frozen=True)
class Observed:
    """All of a run that two engines have to agree on."""

    #: What the body returned: handles as :class:`Seen` or :class:`SeenGroup`, in its own shape.
    returned: Any
    #: What the body raised, by itself: a call that was refused.
    raised: Any
    #: ``(task name, events)`` of every call, sorted.
    calls: list[tuple[str, list[Any]]]
    #: What was said with ``kit.aside``, sorted.
    asides: list[Any]

    def lines(self) -> list[str]:
        """The same as text, a line each, of which a difference is easy to read."""
        told = [f"returned {self.returned}", f"raised {self.raised}"]
        for name, events in self.calls:
            told += [f"{name}: {event}" for event in events]
        return told + [f"aside {each}" for each in self.asides]

    def of(self, name: str) -> list[list[Any]]:
        """The events of each call of one task."""
        return [events for each, events in self.calls if each == name]


@dataclass
class Record:
    """What happened so far; tasks of several threads may write."""

    calls: dict[str, tuple[str, list[Any]]] = field(default_factory=dict)
    asides: list[Any] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, task_id: Any, name: str, *event: Any) -> None:
        told = plain(event)
        with self.lock:
            self.calls.setdefault(f"{name}/{task_id}", (name, []))[1].append(told)


class Kit:
    """What a body works with. ``celery`` is the package; ``eager`` says whether calls are."""

    def __init__(
        self, celery: ModuleType, make: Callable[..., Any], record: Record, eager: bool
    ) -> None:
        self.celery = celery
        self.eager = eager
        self._make = make
        self._record = record
        #: Say that tasks were registered otherwise than by ``task``.
        self.refresh: Callable[[], None] = _at_rest
        #: Wait, in the body, until everything that was sent has been run.
        self.rest: Callable[[], None] = _at_rest
        #: The base of every task that names no other: its hooks are events.
        self.Task = recording(celery.Task, record)

    def task(self, fun: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Define a task, named as its function is; hooks are recorded unless ``base=`` is given."""
        if fun is None:
            return lambda found: self.task(found, **options)
        options.setdefault("name", fun.__name__)
        options.setdefault("base", self.Task)
        return self._make(fun, **options)

    def note(self, *what: Any) -> None:
        """Say something of the call that is being run."""
        task = self.celery.current_task._get_current_object()
        self._record.add(task.request.id, task.name, "note", *what)

    def aside(self, *what: Any) -> None:
        """Say something that belongs to no call, such as from an errback."""
        with self._record.lock:
            self._record.asides.append(plain(what))

    def module(self, name: str) -> ModuleType:
        """A module of Celery's by what stands behind ``celery.``, such as ``"exceptions"``."""
        return importlib.import_module(f"{self.celery.__name__}.{name}")


class Engine(Protocol):
    def run(self, body: Callable[[Kit], Any], *, eager: bool = False) -> Observed: ...


class OurEngine:
    """This package, delivering to its own door in process. Needs the test's database."""

    def run(self, body: Callable[[Kit], Any], *, eager: bool = False) -> Observed:
        from django.test import override_settings

        import django_qstash.celery
        from django_qstash import shared_task
        from django_qstash.tasks.registry import tasks

        names, record = set(tasks), Record()
        kit = Kit(django_qstash.celery, lambda fun, **o: shared_task(**o)(fun), record, eager)
        transport = "django_qstash.transport.local.Loopback"
        with ExitStack() as stack:
            stack.enter_context(
                override_settings(
                    DJANGO_QSTASH_TRANSPORT=transport, DJANGO_QSTASH_ALWAYS_EAGER=eager
                )
            )
            stack.enter_context(heard(kit.module("signals"), record))
            try:
                # Loopback has delivered everything when a call returns.
                return observed(body, kit, record, _at_rest)
            finally:
                for name in set(tasks) - names:
                    tasks.unregister(name)


class CeleryEngine:
    """Celery, with its in-memory broker and result backend, and one worker in a thread."""

    def __init__(self) -> None:
        from celery import Celery

        # Without its fixup for Django, which would close this process's connections.
        self.app = Celery("contract", fixups=[], set_as_current=False)
        self.app.conf.update(
            broker_url="memory://",
            result_backend="cache+memory://",
            broker_transport_options={"polling_interval": 0.005},
            broker_connection_retry_on_startup=True,
            worker_redirect_stdouts=False,
            # A retry's countdown of 0 is not waited for longer than it takes.
            worker_timer_precision=0.01,
            worker_enable_remote_control=False,
            worker_send_task_events=False,
            result_extended=True,
        )
        self._worker: Any = None

    @contextmanager
    def working(self) -> Iterator[CeleryEngine]:
        """The engine, while its worker runs."""
        from celery import signals
        from celery.contrib.testing.worker import start_worker

        # With a receiver, Celery leaves logging as it is: other tests read the log.
        signals.setup_logging.connect(_leave_logging)
        self.app.set_current()
        with start_worker(self.app, pool="solo", perform_ping_check=False) as self._worker:
            yield self

    def run(self, body: Callable[[Kit], Any], *, eager: bool = False) -> Observed:
        import celery

        names, record = set(self.app.tasks), Record()
        kit = Kit(celery, self._make, record, eager)
        kit.refresh = self._learn
        self.app.conf.task_always_eager = eager
        self.app.set_current()
        with heard(kit.module("signals"), record), Traffic(kit.module("signals")) as traffic:
            try:
                return observed(body, kit, record, traffic.wait)
            finally:
                for name in set(self.app.tasks) - names:
                    self.app.tasks.unregister(name)
                    self._worker.consumer.strategies.pop(name, None)

    def _make(self, fun: Callable[..., Any], **options: Any) -> Any:
        task = self.app.task(**options)(fun)
        self._learn()
        return self.app.tasks[task.name]

    def _learn(self) -> None:
        """The worker learnt its tasks when it started."""
        self._worker.consumer.update_strategies()


class Traffic:
    """Counts what was published to a worker and what has ended, so that rest can be seen."""

    def __init__(self, signals: ModuleType) -> None:
        self._signals = signals
        self._changed = threading.Condition()
        self._open = 0

    def __enter__(self):
        self._signals.before_task_publish.connect(self._begins, weak=False)
        self._signals.task_postrun.connect(self._ends, weak=False)
        self._signals.task_revoked.connect(self._revoked, weak=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._signals.before_task_publish.disconnect(self._begins)
        self._signals.task_postrun.disconnect(self._ends)
        self._signals.task_revoked.disconnect(self._revoked)

    def wait(self) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._open == 0, PATIENCE):
                raise AssertionError(f"{self._open} messages were not run.")

    def _begins(self, **_: Any) -> None:
        self._count(1)

    def _ends(self, task: Any, retval: Any, **_: Any) -> None:
        # What is put back on the queue comes again; what is eager never was on it.
        if not task.request.is_eager and not getattr(retval, "requeue", False):
            self._count(-1)

    def _revoked(self, **_: Any) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self._open += change
            self._changed.notify_all()


def _leave_logging(**_: Any) -> None:
    """Keeps Celery from setting logging up."""


def _at_rest() -> None:
    """Of what delivers before a call returns, nothing is left to wait for."""


def observed(
    body: Callable[[Kit], Any], kit: Kit, record: Record, rest: Callable[[], None]
) -> Observed:
    """Run the body, wait for rest, and look at everything."""
    returned: Any = None
    raised: Any = None
    kit.rest = rest
    try:
        returned = body(kit)
    except Exception as error:
        raised = plain(error)
    rest()
    told = seen(returned)
    # Reading a result sends nothing, but a body may have left a callback on it.
    rest()
    return Observed(
        returned=told,
        raised=raised,
        calls=sorted(record.calls.values(), key=_by_text),
        asides=sorted(record.asides, key=_by_text),
    )


def seen(handle: Any) -> Any:
    """What a handle, or a list or dict of them, tells."""
    if isinstance(handle, Mapping):
        return {name: seen(each) for name, each in handle.items()}
    if isinstance(handle, (list, tuple)):
        return [seen(each) for each in handle]
    if hasattr(handle, "completed_count"):
        members = [seen(each) for each in handle.results]
        raised = _raised(handle)
        failures = [each.raised for each in members if each.raised]
        return SeenGroup(
            members=members,
            successful=handle.successful(),
            failed=handle.failed(),
            completed=handle.completed_count(),
            # Of several failures Celery raises the one that its backend happens to read first.
            raised=ONE_OF_THEM if len(failures) > 1 and raised in failures else raised,
        )
    if hasattr(handle, "get") and hasattr(handle, "state"):
        return Seen(
            state=handle.state,
            value=plain(handle.result),
            raised=_raised(handle),
            has_traceback=bool(handle.traceback),
        )
    return plain(handle)


def _raised(handle: Any) -> Any:
    try:
        # What is not ready by now never will be; what is may take a slow machine a moment to read.
        handle.get(timeout=PATIENCE if handle.ready() else 0.01, disable_sync_subtasks=True)
    except Exception as error:
        return [type(error).__name__] if "Timeout" in type(error).__name__ else plain(error)
    return None


def recording(base: type, record: Record) -> type:
    """A base class for tasks whose hooks are events."""

    class Recording(base):  # type: ignore[misc, valid-type]
        abstract = True

        def before_start(self, task_id, args, kwargs):
            record.add(task_id, self.name, "before_start", args, kwargs)

        def on_success(self, retval, task_id, args, kwargs):
            record.add(task_id, self.name, "on_success", retval, args, kwargs)

        def on_failure(self, exc, task_id, args, kwargs, einfo):
            record.add(task_id, self.name, "on_failure", exc, args, kwargs, bool(einfo.traceback))

        def on_retry(self, exc, task_id, args, kwargs, einfo):
            record.add(task_id, self.name, "on_retry", exc, args, kwargs, bool(einfo.traceback))

        def after_return(self, status, retval, task_id, args, kwargs, einfo):
            record.add(task_id, self.name, "after_return", status, retval, args, kwargs)

    return Recording


@contextmanager
def heard(signals: ModuleType, record: Record) -> Iterator[None]:
    """The signals around a task are events while this lasts."""

    def listener(name: str) -> Callable[..., None]:
        def listen(sender: Any, **told: Any) -> None:
            request = told.get("request") or getattr(sender, "request", None)
            task_id = told.get("task_id") or request.id
            kept = {
                key: told[key]
                for key in ("args", "kwargs", "retval", "state", "result", "exception", "reason",
                            "expired", "terminated")
                if key in told
            }  # fmt: skip
            record.add(task_id, sender.name, name, kept)

        return listen

    listeners = {name: listener(name) for name in SIGNALS}
    for name, listen in listeners.items():
        getattr(signals, name).connect(listen, weak=False)
    try:
        yield
    finally:
        for name, listen in listeners.items():
            getattr(signals, name).disconnect(listen)


def plain(value: Any) -> Any:
    """A value as two libraries can agree on it: exceptions by name and arguments, no ids."""
    if isinstance(value, BaseException):
        if type(value).__name__ == "Retry":
            return ["Retry", plain(value.exc)]
        cause = value.__cause__ if type(value).__name__ == "ChordError" else None
        if cause is not None:
            return ["ChordError", plain(cause)]
        # Some classes have their message in their arguments and some in their text.
        return [type(value).__name__, plain(value.args)]
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, str):
        return _ID.sub("<id>", value)
    if isinstance(value, (int, float, bool, type(None))):
        return value
    return f"<{type(value).__name__}>"


def _by_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)
