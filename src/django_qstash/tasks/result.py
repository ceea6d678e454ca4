"""``AsyncResult``: a handle on what became of a task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.apps import apps
from django.utils.module_loading import import_string

from django_qstash import states
from django_qstash.exceptions import (
    IncompleteStream,
    TimeoutError,  # noqa: A004 - Celery's name
)
from django_qstash.tasks.failure import to_exception
from django_qstash.tasks.graph import DependencyGraph
from django_qstash.tasks.joining import Wait, assert_will_not_block
from django_qstash.tasks.store import TaskRecord, get_store

R = TypeVar("R")

#: A run of a workflow has a result, too; its app stands above the tasks, and is asked for by name.
WORKFLOWS = "django_qstash.workflows"
CANCEL = "django_qstash.workflows.control.cancel_if_run"


class AsyncResult(Generic[R]):
    """What is known of a task by its id. An unknown id is PENDING, as in Celery.

    Everything but ``id`` and ``parent`` needs the app ``django_qstash.results``.
    """

    TimeoutError = TimeoutError

    #: True if the call said that nobody wants the result; ``get`` then returns ``None`` at once.
    ignored: bool = False
    #: QStash's id of the message, where this process has just sent it.
    message_id: str | None = None
    #: The QStash account that has the message.
    account: str = ""

    def __init__(self, id: str, *_: Any, parent: Any = None, **__: Any) -> None:  # noqa: A002
        if not id:
            raise ValueError(f"AsyncResult requires valid id, not {type(id)}")
        self.id = id
        #: The result of the step before this one in a chain.
        self.parent = parent
        self._final: TaskRecord | None = None
        self._callbacks: list[tuple[Callable[..., Any], Callable[..., Any] | None]] = []

    # --- what is known --------------------------------------------------------------------------

    @property
    def task_id(self) -> str:
        return self.id

    @property
    def status(self) -> str:
        """The task's state; PENDING while nothing is known of it."""
        return self._record().status

    state = status

    @property
    def result(self) -> Any:
        """What the task returned, raised, or has told by ``update_state``; else ``None``."""
        record = self._record()
        if record.status in states.EXCEPTION_STATES and record.result is not None:
            return to_exception(record.result)
        return record.result

    info = result

    @property
    def traceback(self) -> str | None:
        return self._record().traceback

    @property
    def name(self) -> str | None:
        return self._record().name

    @property
    def args(self) -> Any:
        return self._record().args

    @property
    def kwargs(self) -> Any:
        return self._record().kwargs

    @property
    def retries(self) -> int:
        return self._record().retries

    @property
    def worker(self) -> str | None:
        return self._record().worker

    @property
    def queue(self) -> str | None:
        return self._record().queue

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC."""
        return self._record().date_done

    @property
    def children(self) -> list[Any] | None:
        """The results of what the task has sent; ``None`` until it has ended."""
        record = self._record()
        if record.status not in states.READY_STATES:
            return None
        from django_qstash.tasks.resultset import result_from_tuple

        return [result_from_tuple(child) for child in record.meta.get("children", ())]

    def exists(self) -> bool:
        """True if the store knows of the task at all. Celery 5.7."""
        return get_store().fetch(self.id) is not None

    def ready(self) -> bool:
        """True once it has ended, well or badly."""
        return self.status in states.READY_STATES

    def successful(self) -> bool:
        return self.status == states.SUCCESS

    def failed(self) -> bool:
        return self.status == states.FAILURE

    # --- waiting --------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        no_ack: bool = True,  # noqa: ARG002 - speaks of a broker
        follow_parents: bool = True,
        callback: Callable[[str, R], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait for the task to end, and return what it returned.

        ``timeout`` is in seconds; ``interval`` fixes the time between two looks, which otherwise
        grows from 20 ms to 2 s. ``propagate=False`` returns an exception instead of raising it.
        With ``follow_parents`` the failure of an earlier step of a chain, or of a chord's header,
        is raised as itself. ``on_message`` is called with the record each time its state changes.

        Raises the task's own exception; :class:`TimeoutError`; :class:`TaskRevokedError`; and
        ``RuntimeError`` inside a task.
        """
        if self.ignored:
            return None  # type: ignore[return-value]
        if disable_sync_subtasks:
            assert_will_not_block()
        follow_parents = follow_parents and propagate
        wait = Wait(f"The task {self.id}", timeout, interval)
        self._await(wait, follow_parents, on_message, on_interval)
        if follow_parents:
            # Also at the end: a parent's failure is recorded together with this one's.
            self._raise_of_parents()
        self.maybe_throw(propagate)
        value: R = self.result
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """:meth:`get` for async code: the event loop goes on while this waits."""
        from asgiref.sync import sync_to_async

        if disable_sync_subtasks and not self.ignored:
            assert_will_not_block()
        wait = Wait(f"The task {self.id}", timeout, None)
        while not self.ignored and not await sync_to_async(self.ready)():
            await wait.apause()
        value: R = await sync_to_async(self.get)(propagate=propagate, disable_sync_subtasks=False)
        return value

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None
    ) -> Any:
        """Raise the task's exception if it ended with one; else the result."""
        record = self._record()
        if propagate and record.status in states.PROPAGATE_STATES:
            raise to_exception(record.result)
        value = self.result
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[Any], Any] | None = None,
        weak: bool = False,  # noqa: ARG002 - callbacks are kept as long as this result is
    ) -> AsyncResult[R]:
        """Call ``callback`` with this result once this object has seen it end well.

        ``on_error`` if it ended badly. Nothing is pushed to this process: it is seen when somebody
        asks, by ``ready()``, ``get()`` or any attribute. Returns this result.
        """
        self._callbacks.append((callback, on_error))
        self._record()
        if self._final is not None:
            self._fulfil()
        return self

    # --- doing something about it ---------------------------------------------------------------

    def revoke(
        self,
        connection: Any = None,  # noqa: ARG002 - a broker's
        terminate: bool = False,
        signal: Any = None,  # noqa: ARG002 - no process is signalled
        wait: bool = False,  # noqa: ARG002 - there is nobody to answer
        timeout: float | None = None,  # noqa: ARG002
    ) -> None:
        """Have the task not run, if it has not begun. Celery: ``AsyncResult.revoke``.

        Its message is withdrawn from QStash where this process has sent it; wherever it is
        delivered all the same, it is recorded as REVOKED. ``terminate`` discards what a running
        task comes to, and interrupts it where Python lets that happen.
        """
        self._final = None
        get_store().revoke(self.id, terminate=terminate)
        if apps.is_installed(WORKFLOWS):
            import_string(CANCEL)(self.id)
        if self.message_id is not None:
            from django_qstash.transport import get_transport

            get_transport(self.account).cancel(self.message_id)

    def forget(self) -> None:
        """Remove the result, and its parents'. A late delivery is still known and does not run."""
        self._final = None
        if self.parent is not None:
            self.parent.forget()
        get_store().forget(self.id)

    # --- the tree of tasks ----------------------------------------------------------------------

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """``(result, value)`` of this task and of all that it led to, waiting for each."""
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, node.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last task that this one led to."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """``(parent, result)`` pairs, breadth first.

        Raises :class:`IncompleteStream` at a task that has not ended, unless ``intermediate``.
        """
        waiting: deque[tuple[Any, Any]] = deque([(None, self)])
        while waiting:
            parent, node = waiting.popleft()
            yield parent, node
            if node.ready():
                waiting.extend((node, child) for child in node.children or [])
            elif not intermediate:
                raise IncompleteStream

    @property
    def graph(self) -> DependencyGraph:
        """This task and all that it led to, each with what led to it.

        Raises :class:`IncompleteStream` while one of them has not ended.
        """
        return self.build_graph()

    def build_graph(self, intermediate: bool = False) -> DependencyGraph:
        """:attr:`graph`; with ``intermediate`` also of what has not ended."""
        found = DependencyGraph(root=self)
        for parent, node in self.iterdeps(intermediate):
            found.add_arc(node)
            if parent is not None:
                found.add_edge(parent, node)
        return found

    def as_tuple(self) -> Any:
        """``((id, parent), None)``: a form that JSON carries; see ``result_from_tuple``."""
        return (self.id, self.parent and self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """This id and those of its parents, the last first."""
        return [self.id, *(self.parent.as_list() if self.parent else ())]

    @property
    def is_final(self) -> bool:
        """True once this object knows how the task ended, without asking."""
        return self._final is not None

    # --- within ---------------------------------------------------------------------------------

    def _await(
        self,
        wait: Wait,
        follow_parents: bool,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
    ) -> None:
        seen = None
        while True:
            record = self._record()
            if on_message is not None and record.status != seen:
                seen = record.status
                on_message({"task_id": self.id, "status": seen, "result": record.result})
            if record.status in states.READY_STATES:
                return
            if follow_parents:
                self._raise_of_parents()
            if on_interval is not None:
                on_interval()
            wait.pause()

    def _parents(self) -> Iterator[Any]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def _raise_of_parents(self) -> None:
        for node in reversed(list(self._parents())):
            node.maybe_throw()

    def _record(self) -> TaskRecord:
        if self._final is not None:
            return self._final
        record = get_store().fetch(self.id)
        if record is None:
            return TaskRecord(task_id=self.id, status=states.PENDING)
        self.take(record)
        return record

    def take(self, record: TaskRecord) -> None:
        """Go by a record that was read together with others."""
        if record.status in states.READY_STATES:
            self._final = record
            self._fulfil()

    def _fulfil(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback, on_error in callbacks:
            if self.status == states.SUCCESS:
                callback(self)
            elif on_error is not None:
                on_error(self)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __copy__(self) -> AsyncResult[R]:
        return type(self)(self.id, parent=self.parent)

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.id, self.parent)


def _restore(kind: type[AsyncResult[Any]], id: str, parent: Any) -> AsyncResult[Any]:  # noqa: A002
    return kind(id, parent=parent)
