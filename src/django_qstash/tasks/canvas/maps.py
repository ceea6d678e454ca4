"""One task for many arguments: in one delivery, or so many in each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, ClassVar

from django_qstash.tasks.canvas.group import group
from django_qstash.tasks.canvas.lazy import Lazy
from django_qstash.tasks.canvas.signature import Composite, Signature, maybe_signature


class _Map(Signature):
    """A task called for many arguments, one call after another, in one delivery."""

    _task_name: ClassVar[str]
    #: How each item is given to the task.
    _given: ClassVar[str] = "x"

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        options.pop("app", None)
        kwargs = {"task": maybe_signature(task), "it": Lazy(it)}
        super().__init__(self._task_name, (), kwargs, options, immutable=True)
        self.subtask_type = type(self).__name__

    @classmethod
    def _inner(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**kwargs, "task": maybe_signature(kwargs["task"])}

    def __repr__(self) -> str:
        return f"[{self.kwargs['task'].task}({self._given}) for x in {self.kwargs['it']!r}]"


@Signature.register_type()
class xmap(_Map):  # noqa: N801 - Celery's name
    """``[task(x) for x in it]`` in one delivery."""

    _task_name = "celery.map"


@Signature.register_type()
class xstarmap(_Map):  # noqa: N801 - Celery's name
    """``[task(*x) for x in it]`` in one delivery."""

    _task_name = "celery.starmap"
    _given = "*x"


@Signature.register_type()
class chunks(Composite):  # noqa: N801 - Celery's name
    """A task called for many arguments, ``n`` in each delivery: a group of starmaps."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        options.pop("app", None)
        if n < 1:
            raise ValueError(f"chunks of {n!r}: the size must be one or more.")
        kwargs = {"task": maybe_signature(task), "it": Lazy(it), "n": n}
        super().__init__("celery.chunks", (), kwargs, options, immutable=True)
        self.subtask_type = "chunks"

    @classmethod
    def _inner(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**kwargs, "task": maybe_signature(kwargs["task"])}

    def __call__(self, **options: Any) -> Any:
        return self.apply_async(**options)

    def group(self) -> Any:
        """The group of starmaps that it is."""
        task, items, size = self.kwargs["task"], iter(self.kwargs["it"]), self.kwargs["n"]
        parts = iter(lambda: list(itertools.islice(items, size)), [])
        return group((xstarmap(task, part) for part in parts), **self.options)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Any = None) -> Any:  # noqa: ARG003
        return cls(task, it, n)()
