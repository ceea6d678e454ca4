"""Stages become letters: at a call, and after every outcome that something follows.

Everything that a canvas will send is decided when it is applied: each task's id stands in the
letters before it, and its run is derived from the run of what sends it. So whoever publishes a
letter again, after a crash or a duplicate, publishes the same one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from django_qstash.conf import settings
from django_qstash.exceptions import OptionError, ResultsNotInstalled
from django_qstash.messages import TaskMessage, derived_run, new_run
from django_qstash.tasks import options as call_options
from django_qstash.tasks import outbox, send, write
from django_qstash.tasks.plan import (
    Call,
    Fan,
    Row,
    Stage,
    alone,
    as_signatures,
    calls,
    leaves,
    plan,
    result_of_row,
)
from django_qstash.tasks.request import current, current_delivery
from django_qstash.tasks.resultset import GroupResult
from django_qstash.tasks.store import get_store

if TYPE_CHECKING:
    from django_qstash.tasks.canvas import Signature

#: Options of a signature that are places in the tree of tasks; letters have fields for them.
_PLACES = ("root_id", "parent_id", "group_id", "group_index", "task_id", "chord", "chain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who sends: what the runs are derived from, and the places in the tree of tasks."""

    #: The run that sends; ``None`` for a caller, whose letters have random ones.
    run: str | None = None
    #: What the letters are to that run.
    relation: str = ""
    parent_id: str | None = None
    root_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    #: The join that the row reports to at its end, as letters carry it.
    chord: Mapping[str, Any] | None = None
    #: Arguments for whoever comes first: values, or the key of the join whose values they are.
    args: Sequence[Any] = ()
    header: str | None = None
    #: Fields that every letter has besides.
    fields: Mapping[str, Any] = field(default_factory=dict)

    def at(self, index: int | str) -> Origin:
        """The origin of one among several rows."""
        return replace(self, relation=f"{self.relation}/{index}")

    def new_run(self) -> str:
        return new_run() if self.run is None else derived_run(self.run, self.relation)


def launch(sig: Signature) -> Any:
    """Send a canvas (a copy that may be changed), and return its result.

    Raises :class:`PublishError`, whose ``sent`` and ``unsent`` are task ids where a group was sent
    in part; :class:`ResultsNotInstalled` for a chord without results; :class:`OptionError` for a
    ``using`` that cannot be.
    """
    given = sig.options.get("using")
    row = plan(sig)
    if not row:
        return None
    using = outbox.checked(_database(row[0], given))
    _check_later_options(row[1:], using)
    found = current_delivery()
    parent = found[1] if found else None
    origin = Origin(
        parent_id=parent.id if parent else sig.options.get("parent_id"),
        root_id=(parent.root_id if parent else None) or sig.options.get("root_id"),
        group=sig.options.get("group_id"),
    )
    if isinstance(row[0], Fan) and isinstance(row[0].members, Iterator):
        with outbox.together(using):
            result = _launch_lazily(row[0], row[1:], origin, using)
    else:
        letters = list(letters_of(row, origin))
        result = alone(result_of_row(row))
        message_ids = send.send_many(letters, using=using)
        if len(row) == 1 and isinstance(row[0], Call):
            result.message_id = message_ids[0]
            result.account = send.account_of(letters[0])
    running = current()
    if running and sig.options.get("add_to_parent", True):
        running[0].add_trail(result)
    return result


def _database(first: Stage, given: Any) -> Any:
    """The option ``using`` of a canvas, which goes out through one database."""
    if given is not None or (isinstance(first, Fan) and isinstance(first.members, Iterator)):
        return given
    named = {call.sig.options.get("using") for call in calls([first])}
    if len(named) > 1:
        raise OptionError(
            f"using={sorted(map(str, named))}: a canvas is sent through one database; give it the "
            "option, as in group(…).apply_async(using=…), and not its members."
        )
    return named.pop() if named else None


def _check_later_options(later: Row, using: Any) -> None:
    """What a delivery sends is in no transaction of the caller's, and has options that can be."""
    for call in calls(later):
        named = call.sig.options.get("using")
        if named not in (None, using):
            raise OptionError(
                f"using={named!r} on {call.sig.task}: a later step is sent by a delivery, in no "
                "transaction of yours. Give the option to the whole canvas."
            )
        # Wrong ones would be found by that delivery, which nobody waits for.
        call_options.check(call.sig.options)


# --- rows to letters -----------------------------------------------------------------------------


def letters_of(row: Row, origin: Origin) -> Iterator[TaskMessage]:
    """The letters that begin a row; what comes later travels in them."""
    first, rest = row[0], row[1:]
    if isinstance(first, Call):
        yield _letter(first, rest, origin)
        return
    if rest:
        size = sum(leaves(member) for member in first.rows())
        origin = replace(origin, chord=_join(first, rest, origin, size))
    yield from _fan_out(first, first.rows(), origin, joined=bool(rest))


def _fan_out(
    fan: Fan, rows: Iterable[Row], origin: Origin, *, joined: bool
) -> Iterator[TaskMessage]:
    # A fan at the end of a row reports to the row's own join, one place deeper.
    place = () if joined or origin.chord is None else tuple(origin.chord["index"])
    for index, row in enumerate(rows):
        chord = origin.chord
        if chord is not None:
            chord = {**chord, "index": [*place, index]}
        member = replace(origin.at(index), group=fan.id, group_index=index, chord=chord)
        yield from letters_of(row, member)


def _join(fan: Fan, rest: Row, origin: Origin, size: int | None) -> dict[str, Any]:
    """What each member's letter says of the join: its key, its size, and what comes behind it.

    ``size`` is ``None`` while it is not known.
    """
    if not get_store().durable:
        raise ResultsNotInstalled("Chords (a group that something follows)")
    # One key for each application of a chord: a frozen chord applied twice is two chords.
    key = hashlib.sha256(f"{origin.new_run()}\0{fan.id}".encode()).hexdigest()[:40]
    join: dict[str, Any] = {"key": key, "index": [], "body": as_signatures(rest)}
    outer = {
        "size": size,
        "chord": origin.chord,
        "group": origin.group,
        "group_index": origin.group_index,
        "fields": dict(origin.fields) or None,
    }
    return join | {name: value for name, value in outer.items() if value is not None}


def _letter(call: Call, rest: Row, origin: Origin) -> TaskMessage:
    sig = call.sig
    options = dict(sig.options)
    task_id = call.id
    links, errbacks = options.pop("link", None), options.pop("link_error", None)
    nesting = options.pop("replaced_task_nesting", 0)
    joins = options.pop("joins", None)
    for name in _PLACES:
        options.pop(name, None)
    given = () if sig.immutable else origin.args
    message = write.written(
        sig.task,
        [*given, *sig.args],
        sig.kwargs,
        {**options, "task_id": task_id},
        # What a delivery sends fails in its own delivery, if its arguments do not fit.
        check=origin.run is None,
    )
    fields: dict[str, Any] = {
        "run": origin.new_run(),
        "parent_id": origin.parent_id,
        "root_id": origin.root_id,
        "group": origin.group or sig.options.get("group_id"),
        "group_index": origin.group_index,
        "chain": list(reversed(as_signatures(rest))),
        "chord": joins or origin.chord,
        "header": None if sig.immutable else origin.header,
        "callbacks": write.signature_dicts(links),
        "errbacks": write.signature_dicts(errbacks),
        "replaced_task_nesting": nesting,
    }
    return message.but(**{**fields, **origin.fields})


# --- groups that are made while they are sent ---------------------------------------------------


def _launch_lazily(fan: Fan, rest: Row, origin: Origin, using: str | None) -> Any:
    """Send a group a batch at a time, its members read meanwhile.

    A chord gets its size at the end, when it is known, and fires then if all were that fast.
    """
    store = get_store()
    chord: Mapping[str, Any] | None = None
    if rest:
        chord = _join(fan, rest, origin, size=None)
        store.open_chord(chord["key"])
        origin = replace(origin, chord=chord)
    results: list[Any] = []
    size = 0

    def rows() -> Iterator[Row]:
        nonlocal size
        for row in fan.members:
            results.append(result_of_row(row))
            size += leaves(row)
            yield row

    letters = _fan_out(fan, rows(), origin, joined=chord is not None)
    sent: list[str] = []
    last: TaskMessage | None = None
    while batch := list(islice(letters, settings.DJANGO_QSTASH_BATCH_SIZE)):
        send.send_many(batch, before=sent, using=using)
        sent += [message.id for message in batch]
        last = batch[-1]
    result: Any = GroupResult(fan.id, results)
    if chord is not None:
        result = result_of_row(rest, result)
        if store.close_chord(chord["key"], size):
            from django_qstash.tasks.successors import body_of

            send.send_many(body_of(chord, last), using=using)
    return alone(result)
