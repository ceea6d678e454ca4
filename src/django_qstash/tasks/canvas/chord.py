"""A header side by side, and a body behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django_qstash.conf import settings
from django_qstash.messages import new_id
from django_qstash.tasks.canvas.chain import _chain
from django_qstash.tasks.canvas.group import group, members_of, signatures_of
from django_qstash.tasks.canvas.lazy import Lazy
from django_qstash.tasks.canvas.signature import Composite, Signature, maybe_signature


@Signature.register_type("chord")
class _chord(Composite):  # noqa: N801 - Celery's name
    """A header side by side, and a body that is called with the list of its results."""

    @property
    def tasks(self) -> Any:
        return self.kwargs["header"]

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.kwargs["header"] = tasks

    @property
    def body(self) -> Any:
        return self.kwargs["body"]

    @body.setter
    def body(self, body: Any) -> None:
        self.kwargs["body"] = body

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Any = None,  # noqa: ARG002
        **options: Any,
    ) -> None:
        if isinstance(header, _chain):
            # As in Celery: its steps side by side. As one member it is written [chain].
            header = header.tasks
        inner = {**(kwargs or {"kwargs": {}}), "header": members_of((header,))}
        super().__init__(task, args, {**inner, "body": maybe_signature(body)}, options)
        self.subtask_type = "chord"
        if isinstance(header, group) and "task_id" in header.options:
            # Frozen before it became a header: the group's id stays known.
            self.options["header_id"] = header.options["task_id"]

    @classmethod
    def _inner(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        header = kwargs.get("header") or ()
        if isinstance(header, dict):
            header = maybe_signature(header).tasks
        body = maybe_signature(kwargs.get("body"))
        return {**kwargs, "header": signatures_of(header), "body": body}

    def copy_inner(self) -> None:
        if not isinstance(self.tasks, Lazy):
            self.kwargs["header"] = [task.clone() for task in self.tasks]
        self.kwargs["body"] = None if self.body is None else self.body.clone()

    def __call__(self, body: Any = None, **options: Any) -> Any:
        return self.apply_async((), {"body": body} if body is not None else {}, **options)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Send it. ``args`` go to the members of the header; ``kwargs["body"]`` is the body."""
        return super().apply_async(args, self._with_body(kwargs), **options)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply(args, self._with_body(kwargs), **options)

    def _with_body(self, kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
        given = dict(kwargs or {})
        if given.get("body") is not None:
            given["body"] = maybe_signature(given["body"])
        elif self.body is None:
            raise TypeError("A chord needs a body: chord(header)(body).")
        return given

    def fix_ids(self, task_id: str | None) -> None:
        self.kwargs["header"] = list(self.tasks)
        self.options.setdefault("header_id", new_id())
        for task in self.tasks:
            task.fix_ids(None)
        if self.body is not None:
            self.body.fix_ids(self.options.get("task_id") or task_id)
            self.options["task_id"] = self.body.options.get("task_id")

    def link(self, callback: Any) -> Any:
        """On the body."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """On the body; on the header's tasks too with ``task_allow_error_cb_on_chord_header``."""
        errback = maybe_signature(errback)
        self.kwargs["header"] = list(self.tasks)
        for task in self.tasks:
            if settings.DJANGO_QSTASH_ALLOW_ERROR_CB_ON_CHORD_HEADER:
                task.link_error(errback.clone(immutable=True))
            elif isinstance(task, _chord):
                task.link_error(errback)
        self.body.link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Of the header, as in Celery; the body keeps its own."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def __repr__(self) -> str:
        if self.body is None:
            return f"<chord without body: {list(self.tasks)!r}>"
        return f"chord({list(self.tasks)!r}, {self.body!r})"


chord = _chord
