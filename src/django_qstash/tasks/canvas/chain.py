"""Signatures one after another."""

from __future__ import annotations

from typing import Any

from django_qstash.tasks.canvas.group import is_empty_group
from django_qstash.tasks.canvas.signature import (
    Composite,
    Signature,
    as_list,
    certain_signature,
    maybe_signature,
)


@Signature.register_type("chain")
class _chain(Composite):  # noqa: N801 - Celery's name
    """Signatures one after another, each with the result of the one before."""

    @property
    def tasks(self) -> Any:
        return self.kwargs["tasks"]

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self.kwargs["tasks"] = tasks

    def __init__(self, *tasks: Any, **options: Any) -> None:
        options.pop("app", None)
        found = tasks[0] if len(tasks) == 1 and not isinstance(tasks[0], dict) else tasks
        steps = [certain_signature(task) for task in found]
        super().__init__("celery.chain", (), {"tasks": steps}, options)
        self.subtask_type = "chain"

    @classmethod
    def _inner(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**kwargs, "tasks": [maybe_signature(task) for task in kwargs.get("tasks") or ()]}

    def copy_inner(self) -> None:
        self.kwargs["tasks"] = [task.clone() for task in self.tasks]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply_async(args, kwargs) if self.tasks else None

    def unchain_tasks(self) -> list[Any]:
        """Copies of the steps, the chain's own arguments, options and links given to them."""
        steps = [task.clone() for task in self.tasks]
        if not steps:
            return steps
        options = dict(self.options)
        links, errbacks = options.pop("link", None), options.pop("link_error", None)
        last_id = options.pop("task_id", None)
        extra = {name: value for name, value in self.kwargs.items() if name != "tasks"}
        if self.args or extra or options:
            steps[0] = steps[0].clone(self.args, extra, **options)
        # A group without members is no step: nothing of it could be linked or named.
        last = next((step for step in reversed(steps) if not is_empty_group(step)), None)
        if last is not None:
            for link in as_list(links):
                last.link(link)
        for errback in as_list(errbacks):
            for step in steps:
                step.link_error(errback)
        if last_id is not None:
            (steps[-1] if last is None else last).options["task_id"] = last_id
        return steps

    def fix_ids(self, task_id: str | None) -> None:
        *firsts, last = self.tasks or (None,)
        for step in firsts:
            step.fix_ids(None)
        if last is not None:
            last.fix_ids(self.options.get("task_id") or task_id)
            self.options["task_id"] = last.options.get("task_id")

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}: empty>"
        return " | ".join(repr(task) for task in self.tasks)


class chain(_chain):  # noqa: N801 - Celery's name
    """``chain(a, b, c)`` is ``a | b | c``; a single argument is an iterable of signatures.

    The result is whatever the operator yields: a chain, a chord, a group, or the one task.
    """

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        if cls is chain and tasks and not options:
            single = len(tasks) == 1
            if not single or not isinstance(tasks[0], dict):
                from django_qstash.tasks.canvas.algebra import chained

                return chained(tasks[0] if single else tasks)
        return super().__new__(cls)
