"""Any canvas as stages in a row: what is called, and what is called side by side.

A chain is its steps in a row; a group is one stage that fans out; a chord is a fan with something
behind it. Nested chains vanish, a group in a group is part of it, an empty group is nothing. A fan
that something follows is joined: what follows gets the list of its values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django_qstash.messages import new_id
from django_qstash.tasks.canvas import (
    Lazy,
    Signature,
    _chain,
    _chord,
    as_list,
    chunks,
    group,
    maybe_signature,
)
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.result import AsyncResult
from django_qstash.tasks.resultset import GroupResult


@dataclass(slots=True)
class Call:
    """One task."""

    sig: Signature

    @property
    def id(self) -> str:
        return self.sig.options.setdefault("task_id", new_id())  # type: ignore[no-any-return]


@dataclass(slots=True)
class Fan:
    """Rows side by side. ``members`` may be an iterator, which is read once, by the launcher."""

    members: Iterable[list[Stage]]
    #: The group's id, if it is fixed already.
    fixed_id: str | None = None
    #: Written as a chord, so that even a single member gives a list.
    is_header: bool = False

    @property
    def id(self) -> str:
        if self.fixed_id is None:
            self.fixed_id = new_id()
        return self.fixed_id

    def rows(self) -> list[list[Stage]]:
        """The members, read now."""
        if not isinstance(self.members, list):
            self.members = list(self.members)
        return self.members


Stage = Call | Fan
Row = list[Stage]


def plan(sig: Signature) -> Row:
    """The stages of a canvas. ``sig`` is a copy that may be changed."""
    row = list(_stages(sig))
    kept = [stage for stage in row if not _is_empty(stage)]
    # A canvas of empty groups alone is an empty group.
    return kept or row[:1]


def _stages(sig: Signature) -> Iterator[Stage]:
    if isinstance(sig, _chain):
        yield from _of_chain(sig)
    elif isinstance(sig, _chord):
        yield from _of_chord(sig)
    elif isinstance(sig, chunks):
        yield from _stages(sig.group())
    elif isinstance(sig, group):
        yield _fan(sig, sig.tasks, sig.options.get("task_id"))
    else:
        yield Call(sig)


def _of_chain(sig: _chain) -> Iterator[Stage]:
    steps = sig.unchain_tasks()
    if sig.immutable and steps:
        steps[0].set_immutable(True)
    for index, step in enumerate(steps):
        stages = list(_stages(step))
        if len(steps) > index + 1:
            stages = [stage for each in stages for stage in _unrolled(each)]
        yield from stages


def _of_chord(sig: _chord) -> Iterator[Stage]:
    options = dict(sig.options)
    header_id = options.pop("header_id", None)
    body_id = options.pop("task_id", None)
    body = sig.body.clone()
    for link in as_list(options.pop("link", None)):
        body.link(link)
    for errback in as_list(options.pop("link_error", None)):
        body.link_error(errback)
    delay = {name: options.pop(name) for name in ("countdown", "eta") if name in options}
    body.options.update({name: value for name, value in options.items() if name != "chain"})
    if body_id is not None:
        body.options["task_id"] = body_id
    header = group(sig.tasks, **options, **delay)
    header.args, header.kwargs = sig.args, {**header.kwargs, **_extra(sig, _CHORD_KEYS)}
    fan = _fan(header, sig.tasks, header_id)
    fan.is_header = True
    if _is_empty(fan):
        # Nothing to wait for: the body is called at once, with no results.
        yield from _stages(body.clone(([],), **delay))
        return
    yield fan
    yield from _stages(body)


_CHORD_KEYS = {"header", "body", "kwargs"}


def _fan(sig: Signature, tasks: Iterable[Any], fan_id: str | None) -> Fan:
    options = {name: value for name, value in sig.options.items() if name != "task_id"}
    args, kwargs = sig.args, _extra(sig, {"tasks"})
    rows = (
        plan(member.clone(args, kwargs, **options) if args or kwargs or options else member)
        for member in _flat(tasks)
    )
    # A member that comes to nothing, such as a group without members, is none.
    kept = (row for row in rows if row and not _is_empty(row[0]))
    return Fan(kept if isinstance(tasks, Lazy) else list(kept), fan_id)


def _flat(tasks: Iterable[Any]) -> Iterator[Signature]:
    """The members of a group, those of groups within it in their places."""
    for task in tasks:
        member = maybe_signature(task)
        if isinstance(member, group):
            options = {name: v for name, v in member.options.items() if name != "task_id"}
            for inner in _flat(member.tasks):
                yield inner.clone(member.args, _extra(member, {"tasks"}), **options)
        else:
            yield member.clone()


def _extra(sig: Signature, own: set[str]) -> dict[str, Any]:
    """Keyword arguments that were given to a canvas for the tasks in it."""
    return {name: value for name, value in sig.kwargs.items() if name not in own}


def _unrolled(stage: Stage) -> Row:
    """A group of one that is followed by something is that one, unless it was a chord's header."""
    if isinstance(stage, Fan) and not stage.is_header and isinstance(stage.members, list):
        rows = stage.rows()
        if len(rows) == 1:
            return rows[0]
    return [stage]


def _is_empty(stage: Stage) -> bool:
    return isinstance(stage, Fan) and isinstance(stage.members, list) and not stage.members


# --- counting and naming -----------------------------------------------------------------------


def leaves(row: Row) -> int:
    """How many values a row ends in: one, or those of the fan that it ends with."""
    last = row[-1]
    return sum(leaves(member) for member in last.rows()) if isinstance(last, Fan) else 1


def calls(row: Iterable[Stage]) -> Iterator[Call]:
    """Every call in a row, in the order of the canvas."""
    for stage in row:
        if isinstance(stage, Call):
            yield stage
        else:
            yield from itertools.chain.from_iterable(calls(member) for member in stage.rows())


def result_of(sig: Signature) -> Any:
    """The result that a canvas will have; its ids are fixed by that."""
    return result_of_row(plan(sig.clone()))


def result_of_row(row: Sequence[Stage], parent: Any = None) -> Any:
    """The result of the last stage; those before are its parents."""
    result = parent
    for stage in row:
        if isinstance(stage, Call):
            result = _result_of_call(stage, result)
            result.ignored = bool(stage.sig.options.get("ignore_result"))
        else:
            members = [result_of_row(member) for member in stage.rows()]
            result = GroupResult(stage.id, members, parent=result)
    return result


def _result_of_call(call: Call, parent: Any) -> AsyncResult[Any]:
    """What the task's own class makes of an id: some classes have handles that can do more."""
    task = tasks.get(call.sig.task)
    return task.AsyncResult(call.id, parent=parent) if task else AsyncResult(call.id, parent=parent)


def alone(result: Any) -> Any:
    """A group of one row that ends in a group has that group's result, as in Celery."""
    if isinstance(result, GroupResult) and len(result) == 1 and isinstance(result[0], GroupResult):
        return result[0]
    return result


# --- stages as signatures again, for letters ---------------------------------------------------


def as_signatures(row: Row) -> list[dict[str, Any]]:
    """The stages as signature dicts in order: calls, chords where a fan is followed, a group."""
    found: list[dict[str, Any]] = []
    waiting = list(row)
    while waiting:
        stage = waiting.pop(0)
        if isinstance(stage, Fan) and waiting:
            body = _as_signature(waiting.pop(0))
            found.append(dict(_chord(_members_of(stage), body, header_id=stage.id)))
        else:
            found.append(dict(_as_signature(stage)))
    return found


def from_signatures(dicts: Iterable[Any]) -> Row:
    """The inverse of :func:`as_signatures`."""
    return [stage for each in dicts for stage in plan(Signature.from_dict(each))]


def _as_signature(stage: Stage) -> Signature:
    if isinstance(stage, Call):
        stage.sig.options.setdefault("task_id", new_id())
        return stage.sig
    return group(_members_of(stage), task_id=stage.id)


def _members_of(fan: Fan) -> list[Any]:
    rows = [as_signatures(row) for row in fan.rows()]
    return [found[0] if len(found) == 1 else _chain(found) for found in rows]
