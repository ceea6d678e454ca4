"""A workflow run to its end within one call, by the engine that runs it everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_qstash.conf import settings
from django_qstash.exceptions import NonDeterminismError, WorkflowError
from django_qstash.messages import new_id
from django_qstash.tasks.outbox import in_transaction
from django_qstash.testing.overrides import Overrides, unknown
from django_qstash.testing.sandbox import QStashSandbox
from django_qstash.testing.transport import open_sandboxes

if TYPE_CHECKING:
    from django_qstash.testing.door import Delivered
    from django_qstash.testing.stage import Role
    from django_qstash.workflows.handles import RunHandle

#: Every moment of every step.
EVERY = "*"
#: Sweeps in a row that may find something to send.
SWEEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedStep:
    """One step as it is recorded."""

    id: str
    #: run, sleep, signal, event, child, start, task, call, branch, value, version, on_failure
    kind: str
    #: completed or failed; or where it stood when the run ended without it.
    status: str
    #: What the step came to. Of a signal or an event: its data, ``None`` when the time ran out.
    value: Any = None
    #: What the step raised in the body.
    error: Exception | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedRun:
    """A run that has ended."""

    run_id: RunHandle
    #: True if the body has returned.
    succeeded: bool
    #: What it returned, as JSON brings it back.
    output: Any = None
    #: What it raised, as its own class where that is imported; :class:`RunCanceled` of a canceled
    #: run. ``None`` if it has succeeded.
    error: BaseException | None = None
    #: By their names, such as ``"page"`` and ``"page#1"``, in the order of their records.
    steps: Mapping[str, RehearsedStep] = field(default_factory=dict)
    #: How often the function of each step has run to its end.
    calls: Mapping[str, int] = field(default_factory=dict)
    #: The moments that the steps came to, each once: what ``crash_at`` takes.
    moments: tuple[str, ...] = ()
    #: What QStash delivered meanwhile, and what came of it.
    deliveries: tuple[Delivered, ...] = ()


def run_inline(
    workflow: Any,
    data: Any = None,
    /,
    *,
    step_overrides: Mapping[str, Any] | None = None,
    crash_at: str | Iterable[str] = (),
    duplicate_at: str | Iterable[str] = (),
    always_replay: bool = False,
    run_id: str | None = None,
    idempotency_key: str | None = None,
) -> RehearsedRun:
    """Run a workflow to its end: real rows, real letters, no network, and no time that passes.

    ``workflow`` is the decorated function or its name, ``data`` its input. It works inside a
    ``TestCase``, in the sandbox that is open or else in one of its own, whose clock skips sleeps
    and time-outs.

    ``step_overrides`` has a value, a callable or an exception for steps by their names: ``"page"``
    for all of that id, ``"page#1"`` for the second one. A callable is given what the step is about.

    ``crash_at`` names moments such as ``"pay:body"`` at which the process dies, each once; QStash
    then delivers again. ``duplicate_at`` names moments at which the delivery at work is delivered
    once more beside itself. ``"*"`` is every moment of every step. With ``always_replay`` the run
    is put down after each step, so that the next one replays all of them.

    Raises ``ValueError`` for names that the run has not met, :class:`NonDeterminismError` where a
    replay has asked for other steps than the one before, :class:`WorkflowError` where the run waits
    for something that nobody sends; and what :meth:`Workflow.trigger` raises. What the body raises
    is in ``error``.
    """
    found = find(workflow)
    from django_qstash.testing.stage import Role, looking

    overrides = Overrides(step_overrides)
    name = new_id() if run_id is None else run_id
    with ExitStack() as stack:
        qstash = open_sandboxes[-1] if open_sandboxes else stack.enter_context(QStashSandbox())
        mishaps = Mishaps(qstash, crash_at, duplicate_at)
        role = Role(run_id=name, overrides=overrides, always_replay=always_replay, at=mishaps)
        stack.enter_context(looking(qstash)).add(role)
        before = len(qstash.deliveries)
        handle = found.trigger(data, run_id=name, idempotency_key=idempotency_key)
        settle(qstash, handle)
        run = told(handle, role, tuple(qstash.deliveries[before:]))
    check(role, run)
    if wrong := mishaps.unused():
        raise unknown("crash_at and duplicate_at", wrong, role.moments) from run.error
    if not handle.ready():
        raise WorkflowError(
            f"{found.name} stands still and has not ended: {why_open(handle.run)}. Let "
            "step_overrides= stand in for what it waits for, or use WorkflowEnv (the fixture "
            "workflow_env), whose runs can be told things."
        )
    return run


def find(workflow: Any) -> Any:
    """The workflow. Raises :class:`PersistenceOff` where runs are not kept in the database."""
    from django_qstash.workflows import persistence
    from django_qstash.workflows.definition import find_workflow

    found = find_workflow(workflow)
    persistence.require(f"Testing {found.name}")
    return found


def check(role: Role, run: RehearsedRun) -> None:
    """Raises ``ValueError`` for stand-ins that nobody met, :class:`NonDeterminismError`."""
    if wrong := role.overrides.unused():
        raise unknown("step_overrides", wrong, role.met) from run.error
    if role.divergences:
        raise NonDeterminismError("\n".join(role.divergences)) from run.error


class Mishaps:
    """Deaths and duplicates at moments that have names."""

    def __init__(
        self,
        qstash: QStashSandbox,
        crash_at: str | Iterable[str],
        duplicate_at: str | Iterable[str],
    ) -> None:
        self._qstash = qstash
        self._crashes = _moments("crash_at", crash_at)
        self._doubles = _moments("duplicate_at", duplicate_at)
        self._died: set[str] = set()
        self._doubled: set[str] = set()
        self._owed = 0

    def unused(self) -> list[str]:
        """The names of moments that did not come."""
        left = [*(self._crashes - self._died), *(self._doubles - self._doubled)]
        return [name for name in dict.fromkeys(left) if name != EVERY]

    def __call__(self, moment: str) -> None:
        from django_qstash.workflows import rows

        if self._doubles & {EVERY, moment} and moment not in self._doubled:
            self._doubled.add(moment)
            self._owed += 1
        if self._owed and not in_transaction(rows.alias()):
            # Nobody comes in the middle of another's transaction: after it, then.
            owed, self._owed = self._owed, 0
            for _ in range(owed):
                self._qstash.again()
        if self._crashes & {EVERY, moment} and moment not in self._died:
            self._died.add(moment)
            self._qstash.die(f"at {moment}")


def _moments(what: str, given: str | Iterable[str]) -> set[str]:
    from django_qstash.testing.stage import MOMENTS

    names = {given} if isinstance(given, str) else set(given)
    for name in names - {EVERY}:
        step, _, moment = name.rpartition(":")
        if not step or moment not in MOMENTS:
            known = ", ".join(f'"{step or name}:{each}"' for each in MOMENTS)
            raise ValueError(f'{what}={name!r} names no moment of a step: {known}, or "*" for all.')
    return names


def settle(qstash: QStashSandbox, handle: RunHandle) -> None:
    """Deliver until nothing is left, and sweep as a schedule would if that leaves the run open."""
    qstash.deliver_all()
    for _ in range(SWEEPS):
        if handle.ready() or not sweep(qstash):
            return
        qstash.deliver_all()


def sweep(qstash: QStashSandbox) -> bool:
    """Have sent what a process died before sending: true if there was anything."""
    from django_qstash.workflows import sweep as sweeping

    # Only then can nobody else come and do it.
    qstash.clock.advance(2 * settings.DJANGO_QSTASH_LEASE + sweeping.MARGIN + 1)
    sweeping.sweep()
    # Of an outbox as well, if there is one.
    qstash.commit()
    return not qstash.is_idle


def why_open(run: Any) -> str:
    """What keeps a run from ending, in words."""
    return f"it waits for {run.waits}" if run.waits else f"it is {run.status}"


def told(handle: RunHandle, role: Role, deliveries: tuple[Delivered, ...]) -> RehearsedRun:
    """What became of a run."""
    from django_qstash.workflows.children import failure_of
    from django_qstash.workflows.models import FINAL, RunStatus

    run = handle.run
    error: BaseException | None = None
    if run.status in FINAL:
        error = failure_of(run, run.run_id)
        if run.status == RunStatus.FAILED:
            error = role.error
    return RehearsedRun(
        run_id=handle,
        succeeded=run.status == RunStatus.COMPLETED,
        output=run.result,
        error=error,
        steps=_steps(run),
        calls=Counter(role.calls),
        moments=tuple(role.moments),
        deliveries=deliveries,
    )


def _steps(run: Any) -> dict[str, RehearsedStep]:
    from django_qstash.workflows import failures, records, rows
    from django_qstash.workflows.history import Kind

    found: dict[str, RehearsedStep] = {}
    for key, entry in records.read(rows.alias(), run).entries.items():
        value = entry.value
        if entry.kind in (Kind.SIGNAL, Kind.EVENT) and value is not None:
            value = value["data"]
        found[str(key)] = RehearsedStep(
            id=str(key),
            kind=entry.kind,
            status=entry.status,
            value=value,
            error=None if entry.error is None else failures.rebuild(entry.error),
            attempts=entry.attempts,
        )
    return found
