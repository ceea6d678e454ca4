"""Workflows under a test's own hand: started, told things, and looked at while they wait."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from django_qstash import durations
from django_qstash.messages import new_id
from django_qstash.testing.chaos import ChaosReport, chaos
from django_qstash.testing.inline import RehearsedRun, check, find, run_inline, told
from django_qstash.testing.overrides import Overrides
from django_qstash.testing.sandbox import QStashSandbox

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

    from typing_extensions import Self

    from django_qstash.testing.door import Delivered
    from django_qstash.testing.stage import Rehearsal, Role
    from django_qstash.workflows.handles import RunHandle


class WorkflowEnv:
    """A context manager: a :class:`QStashSandbox` in which runs are started and told things.

    Each call goes as far as it can at that time: runs then wait for others, or for the clock, which
    stands still until :meth:`advance`. At its end it raises, as :func:`run_inline` does, what is
    wrong with the runs that were started here and have ended.
    """

    def __init__(self) -> None:
        #: The QStash behind it, with all that was sent and delivered.
        self.qstash = QStashSandbox()
        self._roles: dict[str, Role] = {}
        self._stage: Rehearsal | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.qstash)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                for run_id in self._roles:
                    self._check(run_id)
        finally:
            self._open.__exit__(kind, error, traceback)

    # --- runs -------------------------------------------------------------------------------------

    def start(
        self,
        workflow: Any,
        data: Any = None,
        /,
        *,
        step_overrides: Mapping[str, Any] | None = None,
        always_replay: bool = False,
        run_id: str | None = None,
    ) -> RunHandle:
        """Start a run, and go on with it until it waits. Takes and raises as :func:`run_inline`."""
        from django_qstash.testing.stage import Role, looking

        found = find(workflow)
        if self._stage is None:
            self._stage = self._open.enter_context(looking(self.qstash))
        name = new_id() if run_id is None else run_id
        role = Role(run_id=name, overrides=Overrides(step_overrides), always_replay=always_replay)
        self._roles[name] = self._stage.add(role)
        handle: RunHandle = found.trigger(data, run_id=name)
        self.qstash.deliver_due()
        return handle

    def run(self, workflow: Any, data: Any = None, /, **options: Any) -> RehearsedRun:
        """:func:`run_inline`, among the runs that are here."""
        return run_inline(workflow, data, **options)

    def chaos(self, workflow: Any, data: Any = None, /, **options: Any) -> ChaosReport:
        """:func:`chaos`; what happens on its days leaves nothing here."""
        return chaos(workflow, data, **options)

    def outcome(self, run: str) -> RehearsedRun:
        """How a run that was started here stands, ended or not.

        Raises ``KeyError`` for one that was not.
        """
        from django_qstash.workflows.handles import RunHandle

        return told(RunHandle(run), self._roles[run], tuple(self.qstash.deliveries))

    # --- what happens to them ---------------------------------------------------------------------

    def signal(self, run: str, name: str, data: Any = None) -> None:
        """Send a signal to a run, and go on until all wait. Raises as :func:`send_signal`."""
        from django_qstash.workflows.control import send_signal

        send_signal(run, name, data)
        self.qstash.deliver_due()

    def notify(self, key: str, data: Any = None) -> int:
        """Send an event, and go on until all wait; how many runs it woke."""
        from django_qstash.workflows.control import notify

        woken = notify(key, data)
        self.qstash.deliver_due()
        return woken

    def cancel(self, run: str, reason: str = "") -> bool:
        """Cancel a run and its children; false if it has ended."""
        from django_qstash.workflows.control import cancel_workflow

        canceled = cancel_workflow(run, reason)
        self.qstash.deliver_due()
        return canceled

    def advance(self, duration: float | str | timedelta) -> list[Delivered]:
        """Move the clock on by seconds, a timedelta or ``"5m"``, and deliver what becomes due."""
        return self.qstash.advance(durations.seconds(duration))

    # --- within -----------------------------------------------------------------------------------

    def _check(self, run_id: str) -> None:
        found = self.outcome(run_id)
        if found.run_id.ready():
            check(self._roles[run_id], found)
