"""Signatures side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django_qstash.messages import new_id
from django_qstash.tasks.canvas.lazy import Lazy
from django_qstash.tasks.canvas.signature import (
    Composite,
    Signature,
    certain_signature,
    maybe_signature,
)


@Signature.register_type()
class group(Composite):  # noqa: N801 - Celery's name
    """Signatures side by side. A single argument is an iterable of them, read when it is needed."""

    @property
    def tasks(self) -> Any:
        return self.kwargs["tasks"]

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.kwargs["tasks"] = tasks

    def __init__(self, *tasks: Any, **options: Any) -> None:
        options.pop("app", None)
        super().__init__("celery.group", (), {"tasks": members_of(tasks)}, options)
        self.subtask_type = "group"

    @classmethod
    def _inner(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**kwargs, "tasks": signatures_of(kwargs.get("tasks") or ())}

    def copy_inner(self) -> None:
        if not isinstance(self.tasks, Lazy):
            self.kwargs["tasks"] = [task.clone() for task in self.tasks]

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        for name in ("link", "link_error"):
            if options.get(name) is not None:
                raise TypeError("Cannot add link to group: use a chord, or link each task.")
        return super().apply_async(args, kwargs, **options)

    def fix_ids(self, task_id: str | None) -> None:
        self.options.setdefault("task_id", task_id or new_id())
        self.kwargs["tasks"] = list(self.tasks)
        for task in self.tasks:
            task.fix_ids(None)

    def link(self, callback: Any) -> Any:
        """On the first member alone, and without its result, as in Celery: use a chord.

        Raises ``IndexError`` for a group without members.
        """
        alone = maybe_signature(callback).clone().set(immutable=True)
        for task in self.tasks:
            if not is_empty_group(task):
                return task.link(alone)
        raise IndexError("A group without members has nobody to link to.")

    def link_error(self, errback: Any) -> Any:
        """On each member, so it is called once for each that fails."""
        errback = maybe_signature(errback)
        self.kwargs["tasks"] = list(self.tasks)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def set_immutable(self, immutable: bool) -> None:
        for task in self.tasks:
            task.set_immutable(immutable)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Any:
        """Give each member a countdown: ``start``, then ``step`` more, but within ``stop``."""
        countdown = start
        for task in self.tasks:
            task.set(countdown=countdown)
            if stop is None or countdown + step <= stop:
                countdown += step
        return self

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        # Asked of the members, not of their number: a generator is not read for that.
        return bool(self.tasks)

    def __repr__(self) -> str:
        return f"group({list(self.tasks)!r})" if self.tasks else "group(<empty>)"


def is_empty_group(sig: Any) -> bool:
    """True for a group without members, as far as that can be told without reading them."""
    return isinstance(sig, group) and not isinstance(sig.tasks, Lazy) and not sig.tasks


def unroll(sig: Any) -> Any:
    """The one member of a group of one; anything else as it is."""
    if isinstance(sig, group) and not isinstance(sig.tasks, Lazy) and len(sig.tasks) == 1:
        return members_of((sig,))[0]
    return sig


def members_of(tasks: tuple[Any, ...]) -> Any:
    """What a group or header was made of, as signatures; an iterator stays unread."""
    if len(tasks) == 1:
        (found,) = tasks
        if isinstance(found, dict):
            found = maybe_signature(found)
            return _given(found) if isinstance(found, group) else [found.clone()]
        return signatures_of(found)
    return signatures_of(tasks)


def _given(sig: group) -> Any:
    """The members of a group, its own arguments and options given to them."""
    options = {name: value for name, value in sig.options.items() if name != "task_id"}
    extra = {name: value for name, value in sig.kwargs.items() if name != "tasks"}
    if not (sig.args or extra or options):
        return sig.tasks if isinstance(sig.tasks, Lazy) else list(sig.tasks)
    given = (task.clone(sig.args, extra, **options) for task in sig.tasks)
    return Lazy(given) if isinstance(sig.tasks, Lazy) else list(given)


def signatures_of(tasks: Iterable[Any]) -> Any:
    """Each as a signature; an iterator stays unread. Raises ``TypeError`` for what is none."""
    if isinstance(tasks, (list, tuple)):
        return [certain_signature(task) for task in tasks]
    if isinstance(tasks, Lazy):
        return tasks
    return Lazy(certain_signature(task) for task in tasks)
