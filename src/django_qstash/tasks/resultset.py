"""Many results at once: ``ResultSet``, and ``GroupResult``, which has an id and can be saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django_qstash import states
from django_qstash.messages import new_id
from django_qstash.tasks.eagerresult import EagerResult
from django_qstash.tasks.joining import Wait, assert_will_not_block
from django_qstash.tasks.result import AsyncResult
from django_qstash.tasks.store import get_store


class ResultSet:
    """Results in an order. Celery: ``ResultSet``."""

    def __init__(self, results: Iterable[Any], **_: Any) -> None:
        self.results: list[Any] = list(results)

    # --- a collection ---------------------------------------------------------------------------

    def add(self, result: Any) -> None:
        """Append a result that is not there yet."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Any) -> None:
        """Raises ``KeyError`` if it is not there."""
        if isinstance(result, str):
            result = AsyncResult(result)
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        if result in self.results:
            self.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        for result in results:
            self.add(result)

    def clear(self) -> None:
        self.results.clear()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    # --- what is known --------------------------------------------------------------------------

    def successful(self) -> bool:
        """True if all of them ended well."""
        known = self._known()
        return len(known) == len(self.results) and all(result.successful() for result in known)

    def failed(self) -> bool:
        """True if one of them failed."""
        return any(result.failed() for result in self._known())

    def waiting(self) -> bool:
        """True if one of them has not ended."""
        return not self.ready()

    def ready(self) -> bool:
        """True once all of them have ended."""
        known = self._known()
        return len(known) == len(self.results) and all(result.ready() for result in known)

    def completed_count(self) -> int:
        """How many ended well, in one query for each 500 of them: for progress bars."""
        return sum(result.successful() for result in self._known())

    def maybe_throw(
        self, callback: Callable[[str, Any], Any] | None = None, propagate: bool = True
    ) -> None:
        """Raise the exception of the first that ended with one."""
        for result in self._known():
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    # --- waiting --------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,  # noqa: ARG002 - speaks of a broker
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[Any]:
        """Wait for all of them; what each returned, in order.

        Raises the exception of the first that failed, unless ``propagate=False``, which puts it
        into the list; :class:`TimeoutError` after ``timeout`` seconds in all. ``callback`` is
        called with ``(id, value)`` for each, and the list is then empty.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        wait = Wait(f"The {len(self.results)} tasks", timeout, interval)
        values: list[Any] = []
        for result in self.results:
            while not self._is_ready(result):
                if on_interval is not None:
                    on_interval()
                wait.pause()
                self._look()
            value = result.get(
                propagate=propagate, on_message=on_message, disable_sync_subtasks=False
            )
            if callback is None:
                values.append(value)
            else:
                callback(result.id, value)
        return values

    join = get
    join_native = get

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[Any], Any] | None = None,
        weak: bool = False,
    ) -> ResultSet:
        """Call ``callback`` with each result once it is seen to have ended well."""
        for result in self.results:
            result.then(callback, on_error, weak)
        return self

    # --- doing something about it ---------------------------------------------------------------

    def forget(self) -> None:
        for result in self.results:
            result.forget()

    def revoke(self, connection: Any = None, terminate: bool = False, **kwargs: Any) -> None:
        for result in self.results:
            result.revoke(connection, terminate, **kwargs)

    # --- within ---------------------------------------------------------------------------------

    def _known(self) -> list[Any]:
        """Those that have ended, looked up together, and those that cannot be."""
        self._look()
        return [result for result in self.results if not _is_plain(result) or result.is_final]

    def _look(self) -> None:
        """Read the records of all plain members that have not ended, together."""
        open_ones = [each for each in self.results if _is_plain(each) and not each.is_final]
        if not open_ones:
            return
        records = get_store().fetch_many([result.id for result in open_ones])
        for result in open_ones:
            if (record := records.get(result.id)) is not None:
                result.take(record)

    def _is_ready(self, result: Any) -> bool:
        if isinstance(result, AsyncResult):
            return result.ignored or result.is_final or result.ready()
        return bool(result.ready())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return other.results == self.results
        return NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        ids = ", ".join(str(result.id) for result in self.results)
        return f"<{type(self).__name__}: [{ids}]>"


def _is_plain(result: Any) -> bool:
    return isinstance(result, AsyncResult) and not isinstance(result, EagerResult)


class GroupResult(ResultSet):
    """The results of a group, in the order of its members. Celery: ``GroupResult``."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - Celery's name
        results: Iterable[Any] = (),
        parent: Any = None,
        **_: Any,
    ) -> None:
        super().__init__(results)
        self.id = id or new_id()
        #: The result of what came before the group in a chain.
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        return self.results

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[Any]:
        """As :meth:`ResultSet.get`; what failed before the group is what is raised then."""
        try:
            return super().get(
                timeout, propagate, interval, callback, no_ack, on_message,
                disable_sync_subtasks, on_interval,
            )  # fmt: skip
        except Exception:
            if propagate:
                self._raise_of_parents()
            raise

    join = get
    join_native = get

    def _raise_of_parents(self) -> None:
        before: list[Any] = []
        node = self.parent
        while node is not None:
            before.insert(0, node)
            node = node.parent
        for node in before:
            node.maybe_throw()

    def save(self) -> Any:
        """Keep it under its id, for :meth:`restore`."""
        get_store().save_group(self.id, json.dumps(self.as_tuple()))
        return self

    def delete(self) -> None:
        """Remove what :meth:`save` has kept."""
        get_store().delete_group(self.id)

    @classmethod
    def restore(cls, id: str, **_: Any) -> GroupResult | None:  # noqa: A002 - Celery's name
        """The saved result of this id; ``None`` if there is none."""
        text = get_store().fetch_group(id)
        found: GroupResult | None = None if text is None else result_from_tuple(json.loads(text))
        return found

    def as_tuple(self) -> Any:
        """``((id, parent), [members])``."""
        parent = self.parent and self.parent.as_tuple()
        return (self.id, parent), [result.as_tuple() for result in self.results]

    def as_list(self) -> list[str]:
        return [self.id, *(self.parent.as_list() if self.parent else ())]

    def forget(self) -> None:
        super().forget()
        if self.parent is not None:
            self.parent.forget()

    @property
    def status(self) -> str:
        """SUCCESS once all members have; FAILURE if one has failed; else PENDING."""
        if self.failed():
            return states.FAILURE
        return states.SUCCESS if self.successful() else states.PENDING

    state = status

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (
                other.id == self.id
                and other.results == self.results
                and other.parent == self.parent
            )
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        ids = ", ".join(str(result.id) for result in self.results)
        return f"<GroupResult: {self.id} [{ids}]>"

    def __reduce__(self) -> Any:
        return _restore, (type(self), self.id, self.results, self.parent)


def _restore(
    kind: type[GroupResult], group_id: str, results: list[Any], parent: Any
) -> GroupResult:
    return kind(group_id, results, parent)


def result_from_tuple(data: Any) -> Any:
    """What ``as_tuple`` was called on. Celery: ``result_from_tuple``."""
    if not isinstance(data, (list, tuple)):
        return data
    found, members = data
    found, parent = found if isinstance(found, (list, tuple)) else (found, None)
    parent = result_from_tuple(parent) if parent is not None else None
    if members is not None:
        return GroupResult(found, [result_from_tuple(member) for member in members], parent)
    return AsyncResult(found, parent=parent)
