"""An outcome as the store keeps it: its value as JSON, the letters it owes, its children."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django_qstash import serialization, states
from django_qstash.exceptions import EncodeError, OptionError, PayloadTooLarge
from django_qstash.tasks import execute, send
from django_qstash.tasks.failure import exception_as_data
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import Outcome
from django_qstash.tasks.successors import after_success, errbacks

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage
    from django_qstash.tasks.request import Context

logger = logging.getLogger("django_qstash.tasks")


def as_record(
    message: TaskMessage, context: Context, outcome: execute.Outcome
) -> tuple[Outcome, execute.Outcome]:
    """The outcome as the store keeps it; a value that JSON cannot carry makes it a failure."""
    text = None
    ignored = context.ignore_result
    if ignored and outcome.einfo is not None:
        ignored = not _keeps_errors(message)
    if ignored and message.chord is None:
        pass
    elif outcome.einfo is not None:
        error: Any = outcome.einfo.exception
        if outcome.state == states.RETRY:
            error = error.exc
        text = None if error is None else serialization.dumps(exception_as_data(error))
    else:
        try:
            text = serialization.dumps(outcome.value, what=f"The result of {message.task}")
        except EncodeError as error:
            return as_record(message, context, execute.failure(error))
    try:
        letters = _owed(message, outcome)
    except (EncodeError, PayloadTooLarge, OptionError, TypeError, ValueError) as error:
        if outcome.state != states.FAILURE:
            return as_record(message, context, execute.failure(error))
        # It has failed already: that counts, whoever cannot be told of it.
        logger.exception("Nobody is told that %s[%s] failed.", message.task, message.id)
        letters = []
    record = Outcome(
        status=outcome.state,
        result=None if ignored else text,
        joined=text,
        error=outcome.exception,
        traceback=None if ignored else outcome.traceback,
        follow=[letter.as_dict() for letter in letters],
        meta=_meta(context, letters),
    )
    return record, outcome


def _keeps_errors(message: TaskMessage) -> bool:
    """True for a task whose errors are kept even where its result is ignored."""
    task = tasks.get(message.task)
    return task is not None and bool(task.store_errors_even_if_ignored)


def _owed(message: TaskMessage, outcome: execute.Outcome) -> list[TaskMessage]:
    """The letters that follow, as they will leave: what cannot leave is found before the record."""
    letters = list(outcome.follow)
    if outcome.state == states.SUCCESS:
        letters += after_success(message, outcome.value)
    elif outcome.state == states.FAILURE and outcome.exception is not None:
        letters += errbacks(message, outcome.exception, outcome.traceback)
    return [_prepared(letter) for letter in letters]


def _prepared(letter: TaskMessage) -> TaskMessage:
    try:
        return send.prepared(letter)
    except PayloadTooLarge:
        if letter.errback is None:
            raise
        # Of a failure, less is told rather than nothing.
        request = {**letter.errback["request"], "args": None, "kwargs": None}
        return send.prepared(letter.but(errback={**letter.errback, "request": request, "tb": ""}))


def _meta(context: Context, letters: Sequence[TaskMessage]) -> Mapping[str, Any]:
    children = [child.as_tuple() for child in context.children if hasattr(child, "as_tuple")]
    seen = set()
    for letter in letters:
        # A group that follows is one child, and so is each task that does by itself.
        if letter.id == context.id or letter.errback is not None:
            continue
        key = letter.group if letter.group != context.group else None
        if key is None:
            children.append(((letter.id, None), None))
        elif key not in seen:
            seen.add(key)
            members = [each.id for each in letters if each.group == key]
            children.append(((key, None), [((member, None), None) for member in members]))
    return {"children": children} if children else {}
