"""What stands in for the steps of a run: for each kind of step a value, a callable or an exception.

The engine records what a stand-in comes to as it records the step itself, so that the body, a
replay and the history see no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from django_qstash import clock, serialization
from django_qstash.exceptions import RunCanceled, RunFailed, RunTimeout
from django_qstash.messages import new_id
from django_qstash.workflows import entries, failures, functions
from django_qstash.workflows.asks import Ask, Received
from django_qstash.workflows.calls import checked
from django_qstash.workflows.history import Entry, Key, Kind
from django_qstash.workflows.policy import RetryPolicy

if TYPE_CHECKING:
    from django_qstash.workflows.calls import Call
    from django_qstash.workflows.turn import Performer, Turn

#: What a wait for a signal or an event comes to when its time runs out.
TIMED_OUT = Received(timed_out=True)
#: What is never tried again: the engine's own waits do not fail, and a task has its own retries.
_ONCE = RetryPolicy(max_attempts=1)


class Overrides:
    """The stand-ins of one run, by the ids of its steps.

    ``"page"`` stands for every step of that id, ``"page#1"`` for the second of them alone (and
    ``"page#0"`` for the first), as they are named everywhere.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._given = dict(given or {})
        self._used: set[str] = set()
        #: The children that were not started, by the ids they would have had.
        self._children: dict[str, Callable[[], Any]] = {}

    def unused(self) -> list[str]:
        """The names that no step of the run had."""
        return [name for name in self._given if name not in self._used]

    def performer(self, ask: Ask, key: Key) -> Performer | None:
        """How to do a step of the body; ``None``: as ever."""
        if ask.child_id in self._children:
            return self._child(self._children[ask.child_id])
        how = self._find(key)
        if how is None:
            return None
        if ask.kind == Kind.CHILD:
            return self._child(lambda: how(ask.payload))
        if ask.kind == Kind.START:
            return self._start(lambda: how(ask.payload))
        return _as_function(how)

    def replace_function(self, ask: Ask, key: Key) -> None:
        """Give a parallel step another function, if there is one for it."""
        how = self._find(key)
        if how is not None:
            ask.function = how

    def _find(self, key: Key) -> Callable[..., Any] | None:
        for name in (f"{key.step_id}#{key.occurrence}", key.step_id):
            if name in self._given:
                self._used.add(name)
                return _callable(self._given[name])
        return None

    def _start(self, outcome: Callable[[], Any]) -> Performer:
        def perform(turn: Turn, ask: Ask, key: Key, entry: Entry | None) -> Entry:
            run_id = new_id()
            self._children[run_id] = outcome
            done = entries.completed(ask, entry, serialization.dumps(run_id))
            return turn.record(key, entry, done, started_at=clock.now())

        return perform

    @staticmethod
    def _child(outcome: Callable[[], Any]) -> Performer:
        def perform(turn: Turn, ask: Ask, key: Key, entry: Entry | None) -> Entry:
            try:
                what = f"What stands in for step {str(key)!r}"
                done = entries.completed(ask, entry, serialization.dumps(outcome(), what=what))
            except Exception as error:  # noqa: BLE001 - recorded, as a child's is
                data = failures.of_run(_as_failed_run(error, ask), str(key))
                done = entries.failed(ask, entry, data)
            return turn.record(key, entry, done, started_at=clock.now())

        return perform


def _callable(given: Any) -> Callable[..., Any]:
    if isinstance(given, BaseException) or (
        isinstance(given, type) and issubclass(given, BaseException)
    ):

        def fail(*_: Any, **__: Any) -> Any:
            raise given

        return fail
    return given if callable(given) else lambda *_, **__: given


def _as_function(how: Callable[..., Any]) -> Performer:
    """The engine's own way with functions: their retries, atomic blocks and records."""

    def perform(turn: Turn, ask: Ask, key: Key, entry: Entry | None) -> Entry:
        _prepare(ask, how)
        return functions.perform(turn, ask, key, entry)

    return perform


def _prepare(ask: Ask, how: Callable[..., Any]) -> None:
    """Make a step of any kind one that calls ``how`` with what the step is about."""
    if ask.kind in (Kind.RUN, Kind.VALUE, Kind.VERSION):
        # With the arguments that are there.
        ask.function = how
        return
    policy: RetryPolicy | None = _ONCE
    given: tuple[Any, ...] = ()
    named: Mapping[str, Any] = {}
    shape: Callable[[Any], Any] = _as_is
    if ask.kind == Kind.SLEEP:
        given = (max(0.0, (ask.due(clock.time()) or 0.0) - clock.time()),)
    elif ask.kind in (Kind.SIGNAL, Kind.EVENT):
        given, shape = (ask.target,), _received
    elif ask.kind == Kind.TASK:
        given, named = tuple(ask.payload.args), ask.payload.kwargs
    elif ask.kind == Kind.CALL:
        call: Call = ask.payload
        given, shape = (call,), partial(_answered, call)
        policy = ask.options.policy if call.via == "process" else _ONCE
    ask.function = lambda: shape(how(*given, **named))
    ask.args, ask.kwargs = (), {}
    ask.options = replace(ask.options, policy=policy, timeout=None)


def _as_is(value: Any) -> Any:
    return value


def _received(value: Any) -> Any:
    if isinstance(value, Received):
        at = value.at or clock.now()
        return None if value.timed_out else {"data": value.data, "at": at}
    return {"data": value, "at": clock.now()}


def _answered(call: Call, answer: Any) -> dict[str, Any]:
    """An answer as ``step.call`` records it. Raises :class:`CallFailed` as a real one does."""
    result = {"status_code": 200, "data": answer, "headers": {}}
    if isinstance(answer, Mapping) and "status_code" in answer:
        result = {"status_code": 200, "data": "", "headers": {}, **answer}
    return checked(call.raise_for_status, call.method, call.url, result)


def _as_failed_run(error: Exception, ask: Ask) -> RunFailed | RunCanceled | RunTimeout:
    if isinstance(error, (RunFailed, RunCanceled, RunTimeout)):
        return error
    failed = RunFailed(f"The run of {ask.target} has failed: {failures.describe(error)}")
    failed.__cause__ = error
    return failed


def unknown(what: str, names: Iterable[str], met: Iterable[str]) -> ValueError:
    """The error for names of steps, or of moments, that the run did not come to."""
    told = ", ".join(map(repr, names))
    known = ", ".join(dict.fromkeys(met)) or "none"
    return ValueError(f"{what}: the run has met no {told}. It has met: {known}.")
