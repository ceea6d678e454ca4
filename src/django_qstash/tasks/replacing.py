"""A canvas takes a running task's place, or joins its chord."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash.exceptions import Ignore, ImproperlyConfigured
from django_qstash.tasks import send
from django_qstash.tasks.canvas import Signature, _chain, as_list, group, maybe_signature
from django_qstash.tasks.joining import allow_join_result
from django_qstash.tasks.launch import Origin, letters_of
from django_qstash.tasks.plan import from_signatures, leaves, plan, result_of_row
from django_qstash.tasks.store import get_store
from django_qstash.tasks.successors import named

if TYPE_CHECKING:
    from django_qstash.tasks.task import Task


def replace(task: Task[..., Any], sig: Any) -> Any:
    """See :meth:`Task.replace`."""
    request = task.request
    sig = maybe_signature(sig, clone=True)
    if isinstance(sig, _chain) and not sig.tasks:
        raise ImproperlyConfigured("Cannot replace with an empty chain")
    if "chord" in sig.options:
        raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
    if _ends_in_a_group(sig):
        # What waits for this task waits for one value under its id: the group's list.
        sig = sig | Signature("celery.accumulate", kwargs={"index": 0})
    if not request.is_eager:
        # An eager task gets the canvas's value, and its own callbacks follow that.
        for callback in request.callbacks or ():
            sig.link(maybe_signature(callback))
        for errback in request.errbacks or ():
            sig.link_error(maybe_signature(errback))
    return task.on_replace(sig)


def take_place(task: Task[..., Any], sig: Signature) -> Any:
    """End the call under way; its letters are now the canvas's. Raises :class:`Ignore`."""
    request = task.request
    if request.is_eager:
        with allow_join_result():
            return sig.apply().get()
    message = request.message
    if message is None:
        raise Ignore("Replaced by new task")
    row = plan(sig.clone())
    # Whoever waits for this task's id finds the last one of those that replace it.
    last = row[-1]
    last.sig.options["task_id"] = message.id  # type: ignore[union-attr] # no group is last
    row += from_signatures(reversed(message.chain))
    origin = Origin(
        run=message.run,
        relation=f"replace/{message.retries}",
        parent_id=message.parent_id,
        root_id=message.root_id or message.id,
        chord=message.chord,
        group=message.group,
        group_index=message.group_index,
        # Its stamps stay behind, as in Celery: on_replace() may put some on what comes instead.
        fields={"replaced_task_nesting": message.replaced_task_nesting + 1},
    )
    request.replacement = list(letters_of(row, origin))
    raise Ignore("Replaced by new task")


def add_to_chord(task: Task[..., Any], sig: Any, *, lazy: bool) -> Any:
    """See :meth:`Task.add_to_chord`."""
    request = task.request
    message = request.message
    if message is None or message.chord is None:
        raise ValueError(f"{task.name}[{request.id}] is not a member of any chord")
    sig = maybe_signature(sig, clone=True)
    if leaves(plan(sig.clone())) != 1:
        raise ValueError("What is added to a chord must end in one task, not in a group.")
    request.added_to_chord += 1
    # Its place is derived from this task's, so a delivery that comes again adds the same one.
    relation = f"added/{message.retries}/{request.added_to_chord}"
    place = "-".join(map(str, message.chord["index"]))
    chord = {**message.chord, "index": [f"~{place}+{request.added_to_chord}"]}
    get_store().add_to_chord(message.chord, chord["index"])
    sig.options["joins"] = chord
    if lazy:
        return sig
    row = named(sig, message, relation)
    origin = Origin(
        run=message.run,
        relation=relation,
        parent_id=message.id,
        root_id=message.root_id or message.id,
        group=message.group,
    )
    send.send_many(list(letters_of(row, origin)))
    return task.add_trail(result_of_row(row))


def _ends_in_a_group(sig: Signature) -> bool:
    if isinstance(sig, group):
        return True
    return isinstance(sig, _chain) and isinstance(as_list(sig.tasks)[-1], group)
