"""``EagerResult``: the handle on a task that ran in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_qstash import states
from django_qstash.exceptions import TaskRevokedError
from django_qstash.tasks.failure import to_exception
from django_qstash.tasks.joining import assert_will_not_block
from django_qstash.tasks.result import AsyncResult, R
from django_qstash.tasks.store import TaskRecord


class EagerResult(AsyncResult[R]):
    """The result of a task that ran in this process; nothing is looked up."""

    def __init__(
        self,
        id: str,  # noqa: A002 - Celery's name
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id)
        self._value = ret_value
        self._final = TaskRecord(
            task_id=id, status=state, result=ret_value, traceback=traceback, name=name
        )

    @property
    def result(self) -> Any:
        return self._value

    info = result

    @property
    def children(self) -> list[Any] | None:
        return []

    def ready(self) -> bool:
        """Always true: it has ended."""
        return True

    def exists(self) -> bool:
        return True

    def get(
        self,
        timeout: float | None = None,  # noqa: ARG002 - it has ended already
        propagate: bool = True,
        interval: float | None = None,  # noqa: ARG002
        no_ack: bool = True,  # noqa: ARG002
        follow_parents: bool = True,  # noqa: ARG002
        callback: Callable[[str, R], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,  # noqa: ARG002
        on_interval: Callable[[], Any] | None = None,  # noqa: ARG002
        disable_sync_subtasks: bool = True,
    ) -> R:
        """What the task returned; its exception rises unless ``propagate=False``."""
        if disable_sync_subtasks:
            assert_will_not_block()
        self.maybe_throw(propagate, callback)
        value: R = self._value
        return value

    wait = get

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None
    ) -> Any:
        if propagate and self.status in states.PROPAGATE_STATES:
            raise to_exception(self._value)
        if callback is not None:
            callback(self.id, self._value)
        return self._value

    maybe_reraise = maybe_throw

    def revoke(self, *_: Any, **__: Any) -> None:
        """Celery 5.7: it has run, and is now said to be revoked."""
        self._value = TaskRevokedError("revoked")
        self._final = TaskRecord(task_id=self.id, status=states.REVOKED, result=self._value)

    def forget(self) -> None:
        """Nothing to remove."""

    def __reduce__(self) -> Any:
        return type(self), (self.id, self._value, self.status, self.traceback, self.name)
