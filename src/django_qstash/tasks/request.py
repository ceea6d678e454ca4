"""What a running task knows of its call: ``self.request`` and ``current_task``."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django_qstash.tasks import options as call_options

if TYPE_CHECKING:
    from django_qstash.exceptions import Retry
    from django_qstash.messages import TaskMessage
    from django_qstash.tasks.task import Task
    from django_qstash.wire.delivery import Delivery


class Context:
    """The variables of one call, by Celery's names and with Celery's defaults."""

    id: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    retries: int = 0
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    chord: Any = None
    chain: Sequence[Any] | None = None
    callbacks: Sequence[Any] | None = None
    errbacks: Sequence[Any] | None = None
    eta: str | None = None
    expires: str | None = None
    called_directly: bool = True
    is_eager: bool = False
    delivery_info: Mapping[str, Any] | None = None
    properties: Mapping[str, Any] | None = None
    headers: Mapping[str, Any] | None = None
    hostname: str | None = None
    origin: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    ignore_result: bool = False
    timelimit: Sequence[float | None] | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    shadow: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    task: str | None = None
    utc: bool = True
    loglevel: int = 0
    logfile: str | None = None
    stamps: Mapping[str, Any] | None = None
    stamped_headers: Sequence[str] | None = None
    replaced_task_nesting: int = 0
    taskset: str | None = None
    #: The letter behind this call; ``None`` when called directly. Ours, not Celery's.
    message: TaskMessage | None = None
    #: What ``self.retry(max_retries=…)`` said in this call; automatic retries go by it as well.
    override_max_retries: int | None = None
    #: The retry that ``self.retry(throw=False)`` has asked for.
    unthrown_retry: Retry | None = None
    #: The letters of the canvas that takes this call's place.
    replacement: Sequence[TaskMessage] = ()
    #: How many members this call has added to its chord.
    added_to_chord: int = 0
    #: The hard time limit has passed, and was recorded.
    timed_out: bool = False
    #: Deliveries that began this letter, this one included. Ours, not Celery's.
    attempts: int = 1
    #: The lease token under which this call may write.
    token: str | None = None

    def __init__(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    def update(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        self.__dict__.update(*args, **kwargs)
        limits = self.__dict__.get("timelimit")
        if limits and len(limits) >= 2:
            self.time_limit, self.soft_time_limit = limits[0], limits[1]

    def as_execution_options(self) -> dict[str, Any]:
        """The options of ``apply_async`` that this call was made with. Celery's method."""
        hard, soft = self.timelimit or (None, None)
        return {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": dict(self.headers or {}),
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
            **({"stamped_headers": self.stamped_headers} if self.stamped_headers else {}),
            **(self.stamps or {}),
        }

    def enter_body(self) -> bool:
        """True for the one call of the body that a delivery makes; later calls are direct ones."""
        if self.called_directly or self.__dict__.get("_entered"):
            return False
        self.__dict__["_entered"] = True
        return True

    def clear(self) -> None:
        self.__dict__.clear()

    def get(self, key: str, default: Any = None) -> Any:
        return getattr(self, key, default)

    @property
    def children(self) -> list[Any]:
        """The results of what this call has sent so far."""
        children: list[Any] = self.__dict__.setdefault("_children", [])
        return children

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"


#: The calls under way in this thread or coroutine, outermost first.
_stack: ContextVar[tuple[tuple[Task[..., Any], Context], ...]] = ContextVar(
    "django_qstash_tasks", default=()
)


@contextmanager
def running(task: Task[..., Any], context: Context) -> Iterator[Context]:
    """Make ``task`` the current task inside this block."""
    token = _stack.set((*_stack.get(), (task, context)))
    try:
        yield context
    finally:
        _stack.reset(token)


class RequestStack:
    """The contexts of one task's calls that are under way. Celery: ``Task.request_stack``."""

    __slots__ = ("_task",)

    def __init__(self, task: Task[..., Any]) -> None:
        self._task = task

    @property
    def stack(self) -> list[Context]:
        """The contexts, the outermost first."""
        return [context for task, context in _stack.get() if task is self._task]

    @property
    def top(self) -> Context | None:
        """The context of the innermost call; ``None`` outside of any."""
        return context_of(self._task)

    def push(self, context: Context) -> None:
        _stack.set((*_stack.get(), (self._task, context)))

    def pop(self) -> Context | None:
        """Remove the innermost; ``None`` if there is none."""
        found = _stack.get()
        for index in reversed(range(len(found))):
            if found[index][0] is self._task:
                _stack.set((*found[:index], *found[index + 1 :]))
                return found[index][1]
        return None

    def __len__(self) -> int:
        return len(self.stack)


def current() -> tuple[Task[..., Any], Context] | None:
    """The innermost task under way and its context."""
    stack = _stack.get()
    return stack[-1] if stack else None


def context_of(task: Task[..., Any]) -> Context | None:
    """The context of the innermost call of this very task."""
    context: Context
    for candidate, context in reversed(_stack.get()):
        if candidate is task:
            return context
    return None


def current_delivery() -> tuple[Task[..., Any], Context] | None:
    """The innermost task that was sent rather than called directly."""
    for task, context in reversed(_stack.get()):
        if not context.called_directly:
            return task, context
    return None


@lru_cache(maxsize=1)
def hostname() -> str:
    """This machine's name, as ``request.hostname`` shows it."""
    return socket.gethostname()


class CurrentTask:
    """Stands for whichever task is running; false when none is. Celery: ``current_task``."""

    __slots__ = ()

    def _get_current_object(self) -> Task[..., Any] | None:
        found = current()
        return found[0] if found else None

    def __getattr__(self, name: str) -> Any:
        task = self._get_current_object()
        if task is None:
            raise AttributeError(f"No task is running, so current_task has no {name!r}.")
        return getattr(task, name)

    def __bool__(self) -> bool:
        return self._get_current_object() is not None

    def __eq__(self, other: object) -> bool:
        return self._get_current_object() == other

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())


current_task = CurrentTask()


def get_current_task() -> Task[..., Any] | None:
    """The task under way in this thread or coroutine. Celery: ``get_current_task``."""
    found = current()
    return found[0] if found else None


def make_context(message: TaskMessage, delivery: Delivery, task: Task[..., Any] | None) -> Context:
    """``self.request`` of the delivery of a letter."""
    return Context(
        id=message.id,
        task=message.task,
        args=message.args,
        kwargs=message.kwargs,
        retries=message.retries,
        root_id=message.root_id or message.id,
        parent_id=message.parent_id,
        group=message.group,
        group_index=message.group_index,
        chord=message.chord,
        chain=message.chain or None,
        callbacks=message.callbacks or None,
        errbacks=message.errbacks or None,
        eta=message.eta,
        expires=message.expires,
        shadow=message.shadow,
        argsrepr=message.argsrepr,
        kwargsrepr=message.kwargsrepr,
        stamps=message.stamps or None,
        stamped_headers=message.stamped_headers or None,
        replaced_task_nesting=message.replaced_task_nesting,
        timelimit=message.timelimit or call_options.limits({}, task),
        called_directly=False,
        headers=dict(message.headers),
        hostname=hostname(),
        correlation_id=message.id,
        ignore_result=(
            task.ignores_result(message.ignore_result)
            if task is not None
            else bool(message.ignore_result)
        ),
        delivery_info={
            "exchange": "",
            "routing_key": message.queue,
            "priority": message.priority,
            "redelivered": delivery.retried > 0,
        },
        properties={"correlation_id": message.id, "message_id": delivery.message_id},
        message=message,
    )
