"""What a caller holds of a run: its id, which knows what can be asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_qstash.exceptions import RunTimeout, TimeoutError, WorkflowError  # noqa: A004
from django_qstash.tasks.joining import Wait, assert_will_not_block
from django_qstash.workflows import persistence
from django_qstash.workflows.context import current_run
from django_qstash.workflows.options import Duration, seconds_of

if TYPE_CHECKING:
    from django_qstash.workflows.models import StepExecution, WorkflowRun


class RunHandle(str):
    """A run, as a text that is its id: it can be stored, sent and compared like one."""

    __slots__ = ()

    @property
    def id(self) -> str:
        return str(self)

    @property
    def run(self) -> WorkflowRun:
        """The row, read now. Raises :class:`WorkflowError` if there is none."""
        from django_qstash.workflows.control import get_run

        return get_run(self)

    @property
    def status(self) -> str:
        """pending, running, waiting, completed, failed or canceled."""
        return str(self.run.status)

    def state(self) -> dict[str, Any]:
        """How it stands: ``{"status", "result", "error", "workflow", "attempt", …}``.

        And what it has used: ``messages``, ``bytes_sent``, ``compute_seconds``,
        ``database_seconds``, and ``price``, an estimate in US dollars (a ``Decimal``).
        """
        return state_of(self.run)

    def ready(self) -> bool:
        """True once it has ended."""
        return self.run.is_final

    def successful(self) -> bool:
        return self.status == "completed"

    def failed(self) -> bool:
        return self.status == "failed"

    def result(self, timeout: Duration | None = None, interval: Duration | None = None) -> Any:
        """Wait for its end, and return what the body returned.

        ``timeout`` and ``interval`` are durations; by default the pauses grow.

        Raises :class:`RunFailed` with the cause, :class:`RunCanceled`, :class:`RunTimeout` when it
        has not ended in time, and ``RuntimeError`` inside a task or a run, which would hold one
        delivery open for another: there, ``ctx.step.run_workflow`` waits.
        """
        check_may_wait()
        persistence.require_table(str(self))
        from django_qstash.workflows.children import failure_of

        given = {"timeout": timeout, "interval": interval}
        seconds = {
            name: None if value is None else seconds_of(name, value)
            for name, value in given.items()
        }
        wait = Wait(f"The run {str(self)!r}", **seconds)
        while True:
            run = self.run
            if run.is_final:
                break
            try:
                wait.pause()
            except TimeoutError as error:
                raise RunTimeout(str(error), run_id=str(self)) from None
        failure = failure_of(run, str(self))
        if failure is not None:
            raise failure
        return run.result

    def get(self, timeout: Duration | None = None, propagate: bool = True, **_: Any) -> Any:
        """:meth:`result` by Celery's name; without ``propagate`` an exception is returned."""
        try:
            return self.result(timeout)
        except RunTimeout:
            raise
        except WorkflowError as error:
            if propagate:
                raise
            return error

    def signal(self, name: str, data: Any = None) -> None:
        """See :func:`send_signal`."""
        from django_qstash.workflows.control import send_signal

        send_signal(self, name, data)

    def cancel(self, reason: str = "") -> bool:
        """See :func:`cancel_workflow`."""
        from django_qstash.workflows.control import cancel_workflow

        return cancel_workflow(self, reason)

    def revoke(self, *_: Any, **__: Any) -> None:
        """:meth:`cancel` by Celery's name."""
        self.cancel("revoked")

    def steps(self) -> list[StepExecution]:
        """Its steps, in the order in which they were recorded."""
        from django_qstash.workflows.control import get_run_steps

        return get_run_steps(self)

    def __repr__(self) -> str:
        return f"<run {str(self)!r}>"


def state_of(run: WorkflowRun) -> dict[str, Any]:
    """How a run stands, as :meth:`RunHandle.state` says it."""
    from django_qstash.workflows import price

    return {
        "run_id": run.run_id,
        "workflow": run.workflow_id,
        "status": str(run.status),
        "data": run.data,
        "result": run.result,
        "error": run.error_message or None,
        "failed_step": run.failed_step or None,
        "attempt": run.attempt,
        "waits_for": run.waits or None,
        "wake_at": run.wake_at,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "messages": run.messages,
        "bytes_sent": run.bytes_sent,
        "compute_seconds": run.compute_seconds,
        "database_seconds": run.database_seconds,
        "price": price.of(run.messages),
    }


def check_may_wait() -> None:
    """Raises ``RuntimeError`` inside a task or a run."""
    assert_will_not_block()
    if current_run() is not None:
        raise RuntimeError(
            "A run must not wait for another by result(): it would hold its delivery open. Use "
            "ctx.step.run_workflow, or ctx.step.start_workflow and its handle."
        )
