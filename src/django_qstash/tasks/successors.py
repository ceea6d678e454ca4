"""What an outcome owes: links, the next step of a chain, a chord's body, errbacks.

All of it is computed from the letter and the outcome alone, so that computing it again, after a
crash or for a duplicate, gives equal letters.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from django_qstash.exceptions import NotRegistered
from django_qstash.tasks import send
from django_qstash.tasks.canvas import Signature
from django_qstash.tasks.failure import exception_as_data
from django_qstash.tasks.launch import Origin, letters_of
from django_qstash.tasks.plan import Call, Row, from_signatures, plan
from django_qstash.tasks.registry import tasks

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage

#: Characters of a traceback that an errback is told: its end says most, and letters are small.
TOLD = 8000

_NAMESPACE = uuid.UUID("0d6a7b5e-3c07-5d0e-8a57-2a6d8f6c8a11")


# --- success -----------------------------------------------------------------------------------


def after_success(message: TaskMessage, value: Any) -> list[TaskMessage]:
    """The letters of the links, and of the next step of the chain, each given the value."""
    origin = replace(_from(message), args=(value,))
    letters: list[TaskMessage] = []
    for index, callback in enumerate(message.callbacks):
        relation = f"link/{index}"
        row = named(Signature.from_dict(callback), message, relation)
        letters += letters_of(row, replace(origin, relation=relation))
    letters += next_step(message, origin)
    return letters


def next_step(message: TaskMessage, origin: Origin) -> Iterator[TaskMessage]:
    """The letters of the rest of the chain that ``message`` stands in."""
    if message.chain:
        origin = replace(
            origin,
            relation="chain",
            chord=message.chord,
            group=message.group,
            group_index=message.group_index,
        )
        yield from letters_of(from_signatures(reversed(message.chain)), origin)


def body_of(chord: Mapping[str, Any], member: TaskMessage | None) -> list[TaskMessage]:
    """The letters of a chord's body: the same runs, whichever member has them published."""
    origin = Origin(
        run=chord["key"],
        relation="body",
        parent_id=member.id if member else None,
        root_id=(member.root_id or member.id) if member else None,
        chord=chord.get("chord"),
        group=chord.get("group"),
        group_index=chord.get("group_index"),
        header=chord["key"],
        fields=chord.get("fields") or {},
    )
    return list(letters_of(from_signatures(chord["body"]), origin))


def fire(message: TaskMessage) -> None:
    """Publish the body of the chord that ``message`` is a member of. Raises :class:`PublishError`.

    Whoever finds it due does so again: the runs stay the same, and a second letter does nothing.
    """
    if message.chord is not None:
        send.follow([send.announced(letter) for letter in body_of(message.chord, message)])


# --- failure ------------------------------------------------------------------------------------


def errbacks(
    message: TaskMessage, error: BaseException, traceback: str | None
) -> list[TaskMessage]:
    """The letters of the errbacks of a task that has failed.

    An errback that takes more than one argument gets ``(request, exc, traceback)``, another one the
    id of the task, by Celery's rules. Both are tasks of their own here, so that a crash loses none;
    Celery calls the former in the process in which the task failed.
    """
    origin = _from(message)
    letters: list[TaskMessage] = []
    for index, each in enumerate(message.errbacks):
        errback = Signature.from_dict(each)
        relation = f"errback/{index}"
        row = named(errback, message, relation)
        told = {
            "request": _request(message),
            "exc": exception_as_data(error),
            "tb": (traceback or "")[-TOLD:],
        }
        if takes_the_exception(errback):
            given = replace(origin, relation=relation, fields={"errback": told})
        else:
            given = replace(origin, relation=relation, args=(message.id,))
        letters += letters_of(row, given)
    return letters


def takes_the_exception(errback: Signature) -> bool:
    """True for an errback of the newer style: more than one argument is left to give it.

    An immutable one is given nothing. A bound task is sent, so that it can retry itself, and so is
    one that nobody knows here (Celery).
    """
    if errback.subtask_type is not None or errback.immutable:
        return False
    try:
        task = tasks.find(errback.task)
    except NotRegistered:
        return False
    if task.is_bound:
        return False
    wanted = 0
    for parameter in task.signature_of_run().parameters.values():
        if parameter.kind == Parameter.VAR_POSITIONAL:
            return True
        if parameter.kind in _POSITIONAL and parameter.name not in errback.kwargs:
            wanted += 1
    return wanted - len(errback.args) > 1


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Doomed:
    """A letter that will never be sent, since what should have sent it has failed."""

    message: TaskMessage
    #: It begins the body of the chord that failed: its errbacks are called.
    is_body: bool = False


def doomed(message: TaskMessage) -> Iterator[Doomed]:
    """Everything that would have come after ``message`` in its own row."""
    yield from _doomed(list(next_step(message, _from(message))), message.chord)


def doomed_body(chord: Mapping[str, Any], member: TaskMessage) -> Iterator[Doomed]:
    """The body of a chord that will not fire, and what would have come after it."""
    body = body_of(chord, member)
    for letter in body:
        yield Doomed(letter, is_body=True)
    for each in _after(body, chord.get("chord")):
        # Chords behind it have bodies of their own, which fail with it and say nothing.
        yield Doomed(each.message)


def _doomed(letters: list[TaskMessage], outer: Any) -> Iterator[Doomed]:
    for letter in letters:
        yield Doomed(letter)
    yield from _after(letters, outer)


def _after(letters: list[TaskMessage], outer: Any) -> Iterator[Doomed]:
    """What would have come after ``letters``, up to the join ``outer`` that it all reports to."""
    seen = {outer["key"]} if outer else set()
    for letter in letters:
        yield from _doomed(list(next_step(letter, _from(letter))), letter.chord)
        chord = letter.chord
        if chord is not None and chord["key"] not in seen:
            seen.add(chord["key"])
            yield from doomed_body(chord, letter)


# --- within --------------------------------------------------------------------------------------


def _from(message: TaskMessage) -> Origin:
    return Origin(run=message.run, parent_id=message.id, root_id=message.root_id or message.id)


def _request(message: TaskMessage) -> dict[str, Any]:
    """What an errback is told of the request that failed, as plain values."""
    return {
        "id": message.id,
        "task": message.task,
        "args": list(message.args),
        "kwargs": dict(message.kwargs),
        "retries": message.retries,
        "root_id": message.root_id or message.id,
        "parent_id": message.parent_id,
        "group": message.group,
        "group_index": message.group_index,
        "headers": dict(message.headers),
        "eta": message.eta,
        "expires": message.expires,
    }


def named(sig: Signature, message: TaskMessage, relation: str) -> Row:
    """The row of a callback; ids that nobody has fixed are derived, so that they come out again."""
    row = plan(sig)
    _name(row, f"{message.run}/{relation}")
    return row


def _name(row: Row, base: str) -> None:
    for index, stage in enumerate(row):
        derived = str(uuid.uuid5(_NAMESPACE, f"{base}/{index}"))
        if isinstance(stage, Call):
            stage.sig.options.setdefault("task_id", derived)
        else:
            stage.fixed_id = stage.fixed_id or derived
            for place, member in enumerate(stage.rows()):
                _name(member, f"{base}/{index}/{place}")
