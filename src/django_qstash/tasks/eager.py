"""Tasks and canvases run here, with the results and errors that their deliveries would have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django_qstash import serialization, states
from django_qstash.conf import settings
from django_qstash.exceptions import Ignore, Reject, ResultsNotInstalled, Retry
from django_qstash.messages import TaskMessage, new_id, new_run
from django_qstash.tasks import execute
from django_qstash.tasks import options as call_options
from django_qstash.tasks.canvas import Lazy, Signature, as_list, maybe_signature
from django_qstash.tasks.eagerresult import EagerResult
from django_qstash.tasks.joining import allow_join_result
from django_qstash.tasks.plan import Call, Fan, Row, alone, plan
from django_qstash.tasks.recording import as_record
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.request import Context, current, hostname
from django_qstash.tasks.resultset import GroupResult
from django_qstash.tasks.store import Claimed, get_store
from django_qstash.tasks.successors import takes_the_exception
from django_qstash.tasks.write import seal_body

if TYPE_CHECKING:
    from django_qstash.tasks.task import Task

#: Options that are places in the tree of tasks.
_PLACES = ("task_id", "root_id", "parent_id", "group_id", "group_index")
#: After these there is no value to go on with.
_OVER = frozenset({states.IGNORED, states.REJECTED})


# --- one task ----------------------------------------------------------------------------------


def apply_task(
    task: Task[..., Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    *,
    task_id: str | None = None,
    retries: int = 0,
    throw: bool | None = None,
    link: Any = None,
    link_error: Any = None,
    headers: Mapping[str, Any] | None = None,
    options: Mapping[str, Any],
) -> Any:
    """See :meth:`Task.apply`."""
    throw = settings.DJANGO_QSTASH_EAGER_PROPAGATES if throw is None else throw
    context = _context(task, args, kwargs, task_id or new_id(), retries, headers, options)
    context.callbacks, context.errbacks = as_list(link) or None, as_list(link_error) or None
    outcome = execute.run(task, context)
    error = outcome.exception
    if throw and error is not None and not isinstance(error, (Ignore, Reject)):
        # As in Celery, where a retry rises as well, and no hook is told.
        execute.signal_end(task, context)
        raise error
    execute.conclude(task, context, outcome)
    if isinstance(error, Retry):
        again = error.sig
        given = {name: value for name, value in again.options.items() if value is not None}
        return apply_task(
            task,
            again.args,
            again.kwargs,
            task_id=context.id,
            retries=again.retries,
            throw=throw,
            link=given.pop("link", link),
            link_error=given.pop("link_error", link_error),
            headers=given.pop("headers", headers),
            options={**options, **given},
        )
    if _is_stored(task, context):
        _store(context, outcome)
    _call_back(context, outcome)
    return EagerResult(
        str(context.id), outcome.value, outcome.state, traceback=outcome.traceback, name=task.name
    )


def apply_message(task: Task[..., Any], message: TaskMessage) -> Any:
    """Run what ``apply_async`` would have sent, its arguments through JSON and back.

    So what a delivery could not carry fails in tests as well. Raises :class:`EncodeError`.
    """
    letter = serialization.loads(seal_body(message, task))
    hard, soft = message.timelimit or (None, None)
    return apply_task(
        task,
        letter.get("args"),
        letter.get("kwargs"),
        task_id=message.id,
        link=message.callbacks,
        link_error=message.errbacks,
        headers=message.headers,
        options={
            "ignore_result": message.ignore_result,
            "queue": message.queue,
            "priority": message.priority,
            "time_limit": hard,
            "soft_time_limit": soft,
            "stamped_headers": message.stamped_headers,
            **message.stamps,
        },
    )


def _context(
    task: Task[..., Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    task_id: str,
    retries: int,
    headers: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Context:
    options, stamps = call_options.unstamped(options)
    celery, _, own = call_options.split(options)
    found = current()
    parent = found[1] if found and found[1].id else None
    return Context(
        id=task_id,
        task=task.name,
        args=tuple(args or ()),
        kwargs={**(kwargs or {}), **own},
        parent_id=parent.id if parent else None,
        root_id=(parent.root_id if parent else None) or task_id,
        retries=retries,
        is_eager=True,
        called_directly=False,
        hostname=hostname(),
        correlation_id=task_id,
        headers=dict(headers or {}),
        # Celery's eager tasks, and only they, find each in a list.
        stamps={name: as_list(value) for name, value in stamps.items()} or None,
        stamped_headers=list(stamps) or None,
        timelimit=call_options.limits(celery, task),
        ignore_result=task.ignores_result(celery.get("ignore_result")),
        delivery_info={
            "is_eager": True,
            "exchange": None,
            "routing_key": celery.get("queue") or task.queue or task.routing_key,
            "priority": celery.get("priority"),
        },
    )


def _is_stored(task: Task[..., Any], context: Context) -> bool:
    wanted = task.store_eager_result
    wanted = settings.DJANGO_QSTASH_STORE_EAGER_RESULT if wanted is None else wanted
    return bool(wanted) and not context.ignore_result


def _store(context: Context, outcome: execute.Outcome) -> None:
    """Write the outcome as that of a delivery, so that it is found by the task's id."""
    store = get_store()
    if not store.durable:
        raise ResultsNotInstalled("Stored eager results")
    message = TaskMessage(
        task=str(context.task),
        id=str(context.id),
        run=new_run(),
        args=list(context.args or ()),
        kwargs=dict(context.kwargs or {}),
        parent_id=context.parent_id,
        root_id=context.root_id,
        headers=context.headers or {},
        queue=(context.delivery_info or {}).get("routing_key"),
    )
    claimed = store.claim(message, message_id="")
    if isinstance(claimed, Claimed):
        record, _ = as_record(message, context, outcome)
        store.record(message, claimed.token, record, "")


def _call_back(context: Context, outcome: execute.Outcome) -> None:
    if outcome.state == states.SUCCESS:
        for callback in context.callbacks or ():
            maybe_signature(callback).clone((outcome.value,)).apply()
    elif outcome.state == states.FAILURE:
        for each in context.errbacks or ():
            errback = maybe_signature(each)
            if takes_the_exception(errback):
                errback(context, outcome.exception, outcome.traceback)
            else:
                errback.clone((context.id,)).apply()


# --- a canvas ----------------------------------------------------------------------------------


def apply(sig: Signature) -> Any:
    """Run a canvas (a copy that may be changed); an ``EagerResult`` or a ``GroupResult`` of them.

    As in Celery, a step that failed raises when the next one needs its value. Within a group it
    does not: the other members run, and the row that failed is a result that says so.
    """
    row = plan(sig)
    try:
        return alone(_row(row, ())) if row else None
    except _Stopped as stop:
        error = stop.error
    # Out here, where its own cause and context stay what they are.
    raise error


class _Stopped(Exception):
    """A row has ended early: what the next step needs is the value of something that failed."""

    def __init__(self, result: Any, error: Exception) -> None:
        super().__init__()
        self.result, self.error = result, error


def _row(row: Row, args: Sequence[Any]) -> Any:
    result = None
    for stage in row:
        given = args if result is None else (_value(result),)
        following = _call(stage, given) if isinstance(stage, Call) else _fan(stage, given)
        following.parent = result
        result = following
        if isinstance(result, EagerResult) and result.state in _OVER:
            break
    return result


def _fan(fan: Fan, args: Sequence[Any]) -> GroupResult:
    results: list[Any] = []
    for member in fan.rows():
        try:
            result = _row(member, args)
        except _Stopped as stop:
            result = EagerResult(member[-1].id, stop.error, states.FAILURE)
            result.parent = stop.result
        results.append(result)
    return GroupResult(fan.id, results)


def _value(result: Any) -> Any:
    with allow_join_result():
        try:
            return result.get()
        except Exception as error:
            raise _Stopped(result, error) from error


def _call(call: Call, given: Sequence[Any]) -> Any:
    sig = call.sig
    options = dict(sig.options)
    task_id = call.id
    for name in (
        "task_id",
        "root_id",
        "parent_id",
        "group_id",
        "group_index",
        "link",
        "link_error",
    ):
        options.pop(name, None)
    options.pop("replaced_task_nesting", None)
    return apply_task(
        tasks.find(sig.task),
        [*(() if sig.immutable else given), *sig.args],
        {name: list(v) if isinstance(v, Lazy) else v for name, v in sig.kwargs.items()},
        task_id=task_id,
        throw=options.pop("throw", None),
        link=sig.options.get("link"),
        link_error=sig.options.get("link_error"),
        headers=options.pop("headers", None),
        options=options,
    )
