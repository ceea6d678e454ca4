"""A workflow called as a function: its steps are done at once, in memory, and nothing is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_qstash import clock, serialization
from django_qstash.exceptions import WorkflowError
from django_qstash.messages import new_id
from django_qstash.tasks.joining import allow_join_result
from django_qstash.workflows import failures
from django_qstash.workflows.calls import fetch, idempotency_key
from django_qstash.workflows.context import Context, RunInfo
from django_qstash.workflows.definition import find_workflow
from django_qstash.workflows.history import Entry, History, Key, Kind, Status
from django_qstash.workflows.invoke import value_of_call
from django_qstash.workflows.replay import replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.definition import Workflow


def run_here(workflow: Workflow, data: Any) -> Any:
    """The result of the body; raises what it raises.

    A step is tried as often as its policy says, sleeps are slept, children and tasks are called.
    Nobody can send a signal or an event to such a run: without a time-out that is an error.
    """
    host = Memory(workflow)
    context = Context(
        host,
        run=RunInfo(
            id=host.run_id, workflow=workflow.name, max_attempts=workflow.policy.max_attempts
        ),
        data=workflow.input.validated(data),
        is_async=workflow.is_async,
        strict=workflow.strict,
    )
    host.context = context
    args, kwargs = workflow.input.arguments(context.data)
    ended = replay(workflow.function, context, args, kwargs)
    if ended.error is not None:
        raise ended.error
    return ended.value


@dataclass(slots=True, eq=False)
class Memory:
    """A :class:`Host` that does each step when it is asked for."""

    workflow: Workflow
    run_id: str = field(default_factory=new_id)
    history: History = field(default_factory=History)
    context: Context | None = None

    def perform(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:  # noqa: ARG002
        attempts = 0
        policy = ask.options.policy or self.workflow.policy
        while True:
            attempts += 1
            try:
                return self._entry(ask, Status.COMPLETED, self._do(ask, key))
            except Exception as error:
                pause = None
                if ask.kind in (Kind.RUN, Kind.BRANCH, Kind.CALL):
                    pause = policy.next_attempt(error, attempts)
                if isinstance(error, WorkflowError) and ask.kind not in (Kind.RUN, Kind.BRANCH):
                    raise
                if pause is None:
                    done = self._entry(ask, Status.FAILED, None)
                    done.error = failures.of_step(str(key), attempts, error)
                    return done
                clock.sleep(pause)

    def start(self, branches: Sequence[tuple[Ask, Key]]) -> None:
        for ask, key in branches:
            self.history.put(key, self.perform(ask, key, None))

    def join(self, keys: Sequence[Key]) -> None:
        """They have all ended when they were started."""

    def reached(self, ask: Ask, key: Key) -> None: ...

    def _entry(self, ask: Ask, status: str, text: str | None) -> Entry:
        return Entry(
            kind=ask.kind,
            status=status,
            result=text,
            target=ask.target,
            input_hash=ask.input_hash,
        )

    def _do(self, ask: Ask, key: Key) -> str:
        if ask.kind in (Kind.SLEEP, Kind.SIGNAL, Kind.EVENT):
            due = ask.due(clock.time())
            if due is None:
                raise WorkflowError(
                    f"Step {str(key)!r} waits for {ask.target!r}, which nobody can send to a "
                    "workflow that is called as a function; start it with .trigger() or .delay()."
                )
            clock.sleep(max(0.0, due - clock.time()))
            return "null"
        if ask.kind in (Kind.CHILD, Kind.START):
            return self._child(ask)
        if ask.kind == Kind.TASK:
            with allow_join_result():
                return serialization.dumps(ask.payload.apply().get())
        if ask.kind == Kind.CALL:
            return serialization.dumps(fetch(ask.payload, idempotency_key(self.run_id, key)))
        return value_of_call(ask, self.context)

    def _child(self, ask: Ask) -> str:
        if ask.child_id:
            return serialization.dumps(self._children[ask.child_id])
        value = run_here(find_workflow(ask.target), ask.payload)
        if ask.kind == Kind.CHILD:
            return serialization.dumps(value)
        run_id = new_id()
        self._children[run_id] = value
        return serialization.dumps(run_id)

    _children: dict[str, Any] = field(default_factory=dict)
