"""Tasks that look whether they are still wanted. Celery: ``celery.contrib.abortable``."""

from __future__ import annotations

from typing import Any, TypeVar

from django_qstash import serialization
from django_qstash.tasks.result import AsyncResult
from django_qstash.tasks.store import get_store
from django_qstash.tasks.task import Task

R = TypeVar("R")

#: The state of a task that was asked to stop. Celery's name.
ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult[R]):
    """The handle on an :class:`AbortableTask`."""

    def is_aborted(self) -> bool:
        """True after :meth:`abort`, until the task has ended."""
        return self.state == ABORTED

    def abort(self) -> None:
        """Ask the task to stop: its ``is_aborted()`` is true from now on.

        One that has not begun does not run any more: it is revoked. Under Celery it would run, and
        find that it was aborted. Raises :class:`ResultsNotInstalled` without the results app.
        """
        if not get_store().update_state(self.id, ABORTED, serialization.dumps(None), None):
            self.revoke()


class AbortableTask(Task[..., Any]):
    """A base class for tasks that call :meth:`is_aborted` now and then, and return early."""

    abstract = True

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult[Any]:  # noqa: N802
        return AbortableAsyncResult(task_id, **kwargs)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Whether this call, or that of ``task_id``, was asked to stop.

        False for a task that was called as a function.
        """
        task_id = kwargs.get("task_id") or self.request.id
        return task_id is not None and self.AsyncResult(task_id).is_aborted()
