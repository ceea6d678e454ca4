"""A call becomes a letter: options divided, arguments checked, and all of it made to fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django_qstash import conf, serialization
from django_qstash.conf import settings
from django_qstash.exceptions import EncodeError, OptionError, PayloadTooLarge
from django_qstash.messages import TaskMessage, new_id, new_run
from django_qstash.tasks import correlation
from django_qstash.tasks import options as call_options
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.request import current_delivery
from django_qstash.tasks.store import get_store

if TYPE_CHECKING:
    from django_qstash.tasks.request import Context
    from django_qstash.tasks.task import Task


def write(
    name: str,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    task: Task[..., Any] | None,
    *,
    check: bool = True,
) -> tuple[TaskMessage, dict[str, Any]]:
    """The letter that a call sends, and the delivery options that hold for its first copy alone.

    Keywords in ``options`` that are no options become the task's keyword arguments. Raises
    ``TypeError`` for arguments that do not fit, :class:`OptionError` for options that do not.
    """
    if conf.celery is not None:
        options = conf.celery.routed(name, args, kwargs, options, task)
    options, stamps = call_options.unstamped(options)
    celery, delivery, own = call_options.split(options)
    args, kwargs = _arguments(name, args, kwargs, own)
    if task is not None and check:
        task.check_call(args, kwargs)
    if task is not None and task.models is not None:
        args, kwargs = task.models.dumped(args, kwargs, bound=task.is_bound)
    task_id = celery.get("task_id")
    task_id = new_id() if task_id is None else call_options.check_task_id(task_id)
    found = current_delivery()
    parent = found[1] if found else None
    queue = celery.get("queue") or celery.get("routing_key")
    priority = celery.get("priority")
    expires = celery.get("expires")
    if task is not None:
        queue = queue or task.queue or task.routing_key
        priority = task.priority if priority is None else priority
        expires = task.expires if expires is None else expires
    if priority is None and parent is not None:
        priority = _inherited_priority(parent)
    shadow = celery.get("shadow")
    if shadow is None and task is not None:
        shadow = task.shadow_name(args, kwargs, options)
    timelimit = None
    if celery.keys() & {"time_limit", "soft_time_limit"}:
        timelimit = call_options.limits(celery, task)
    call_options.refuse_flow(name, queue, delivery, task)
    once: dict[str, Any] = {
        name: delivery.pop(name)
        for name in ("deduplication_id", "content_based_deduplication")
        if name in delivery
    }
    message = TaskMessage(
        task=name,
        id=task_id,
        run=new_run(),
        args=list(args),
        kwargs=dict(kwargs),
        eta=call_options.due(celery),
        expires=call_options.expiry(expires),
        root_id=parent.root_id if parent else None,
        parent_id=parent.id if parent else None,
        timelimit=timelimit,
        ignore_result=celery.get("ignore_result"),
        shadow=shadow,
        argsrepr=celery.get("argsrepr"),
        kwargsrepr=celery.get("kwargsrepr"),
        headers=correlation.carried(celery.get("headers"), parent),
        priority=priority,
        queue=call_options.check_queue(queue),
        callbacks=signature_dicts(celery.get("link")),
        errbacks=signature_dicts(celery.get("link_error")),
        stamps=stamps,
        stamped_headers=list(stamps),
        options=delivery,
    )
    return message, once


def _inherited_priority(parent: Context) -> Any:
    """The priority of the task that sends, with ``task_inherit_parent_priority``."""
    if conf.celery is None or not conf.celery.get("task_inherit_parent_priority"):
        return None
    return (parent.delivery_info or {}).get("priority")


def written(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    check: bool,
) -> TaskMessage:
    """The letter that a signature in a canvas sends: what its task's ``apply_async`` makes of it.

    A base class may override ``apply_async`` to add headers or arguments; that holds in canvases
    as well, so the override is called, and the letter caught before it leaves.
    """
    task = tasks.get(name)
    if task is not None and task.overrides_apply_async():
        with caught(task) as letters:
            task.apply_async(list(args), dict(kwargs), **options)
        if letters:
            return letters[0]
    return write(name, args, kwargs, options, task, check=check)[0]


#: The task whose next letter is caught rather than sent, and where it is put.
_catching: ContextVar[tuple[Any, list[TaskMessage]] | None] = ContextVar(
    "django_qstash_catching", default=None
)


@contextmanager
def caught(task: Task[..., Any]) -> Iterator[list[TaskMessage]]:
    """Catch the letter that ``task`` writes in this block."""
    letters: list[TaskMessage] = []
    token = _catching.set((task, letters))
    try:
        yield letters
    finally:
        _catching.reset(token)


def catch(task: Task[..., Any], message: TaskMessage) -> bool:
    """True if the letter was caught: it is not to be sent."""
    found = _catching.get()
    if found is None or found[0] is not task or found[1]:
        return False
    found[1].append(message)
    return True


def fit(message: TaskMessage, task: Task[..., Any] | None) -> TaskMessage:
    """The letter, what is large in it moved to the store if it is too large to travel.

    That needs ``DJANGO_QSTASH_STORE_LARGE_ARGS`` and the results app. Raises
    :class:`EncodeError` and :class:`PayloadTooLarge`.
    """
    try:
        seal_body(message, task)
    except PayloadTooLarge:
        if not (settings.DJANGO_QSTASH_STORE_LARGE_ARGS and get_store().durable):
            raise
        key = get_store().keep(message)
        message = message.emptied(key)
        seal_body(message, task)
    return message


def seal_body(message: TaskMessage, task: Task[..., Any] | None) -> bytes:
    """The letter's bytes. Raises :class:`EncodeError`, :class:`PayloadTooLarge`."""
    try:
        body = message.encode()
    except EncodeError:
        _name_the_argument(message, task)
        raise
    limit = settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE
    if len(body) > limit:
        raise PayloadTooLarge(
            f"The message of {message.task} takes {len(body):,} bytes, and "
            f"DJANGO_QSTASH_MAX_PAYLOAD_SIZE allows {limit:,}. Pass an id and let the task load "
            "the data, or raise the limit if your QStash plan allows it."
        )
    return body


def _name_the_argument(message: TaskMessage, task: Task[..., Any] | None) -> None:
    """Raise the EncodeError again with the name of the argument that is to blame."""
    names: list[str] = []
    if task is not None:
        names = [
            parameter.name
            for parameter in task.signature_of_run().parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    for index, value in enumerate(message.args):
        name = repr(names[index]) if index < len(names) else f"number {index + 1}"
        serialization.dumps(value, what=f"Argument {name} of {message.task}")
    for name, value in message.kwargs.items():
        serialization.dumps(value, what=f"Argument {name!r} of {message.task}")
    serialization.dumps(message.headers, what=f"headers of {message.task}")


def signature_dicts(signatures: Any) -> list[dict[str, Any]]:
    """Signatures, tasks or dicts as the dicts that letters carry."""
    if not signatures:
        return []
    from django_qstash.tasks.canvas import as_list, maybe_signature

    for each in as_list(signatures):
        if not isinstance(each, Mapping) and not hasattr(each, "apply_async"):
            raise OptionError(f"{each!r} cannot be called: link to signatures such as task.s().")
    return [dict(maybe_signature(sig)) for sig in as_list(signatures)]


def _arguments(
    name: str, args: Any, kwargs: Any, own: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    args = () if args is None else args
    kwargs = {} if kwargs is None else kwargs
    if not isinstance(args, (list, tuple)):
        raise TypeError(f"task args must be a list or tuple, not {args!r} (in a call of {name})")
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"task keyword arguments must be a mapping, not {kwargs!r} (of {name})")
    twice = sorted(kwargs.keys() & own.keys())
    if twice:
        raise TypeError(f"{name}: {', '.join(twice)} given in kwargs and as a keyword as well")
    return args, {**kwargs, **own}
