"""Runs that have not ended, replayed against this code without doing a step: what would break."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from django_qstash import serialization
from django_qstash.exceptions import (
    InputValidationError,
    NonDeterminismError,
    Suspend,
    UnknownWorkflowError,
)
from django_qstash.tasks.transient import is_transient
from django_qstash.workflows import failures, guard, records, rows, search
from django_qstash.workflows.bodies import make_context, play
from django_qstash.workflows.context import ChangedInputWarning, named, silenced
from django_qstash.workflows.definition import Workflow, find_workflow
from django_qstash.workflows.entries import completed
from django_qstash.workflows.history import Entry, History, Key, Kind
from django_qstash.workflows.models import OPEN, StepExecution, WorkflowRun

if TYPE_CHECKING:
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.context import Context

#: Runs that are read at once.
BATCH = 200


class Reason:
    """Why a run would break."""

    #: The body asks for something else than is recorded, or has no use for its version any more.
    NONDETERMINISM = "nondeterminism"
    #: The run's workflow, or that of a child, is not registered.
    UNKNOWN_WORKFLOW = "unknown_workflow"
    #: What the run was started with does not fit the body's parameters, or ``input=``.
    INPUT = "input"
    #: The body raises something else.
    ERROR = "error"


@dataclass(slots=True, kw_only=True)
class Finding:
    """What became of one run."""

    run_id: str
    workflow: str
    status: str
    #: A :class:`Reason`; ``""`` for a run that would go on.
    reason: str = ""
    #: What it would break with.
    error: str = ""
    #: The step at which it would break, or go on; ``""`` where the body would end.
    step: str = ""
    #: What is recorded under that id, and what the code asks for now, in words.
    recorded: str = ""
    asked: str = ""
    #: Recorded steps that the body had not asked for when it came to ``step``.
    ahead: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def breaks(self) -> bool:
        return bool(self.reason)

    def as_data(self) -> dict[str, Any]:
        return {"breaks": self.breaks, **asdict(self)}


def forecast_all(workflow: str | None = None, limit: int | None = None) -> Iterator[Finding]:
    """Every run that has not ended, the newest first; those of ``workflow``, at most ``limit``.

    No step is done, nothing is published, no row changes, and no signal or log entry tells of it.
    """
    found = rows.runs().filter(status__in=OPEN).order_by("-created_at", "-pk")
    if workflow is not None:
        found = found.filter(workflow_id=workflow)
    ids = list(found.values_list("pk", flat=True)[:limit])
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        # Some may have ended since.
        still = {run.pk: run for run in rows.runs().filter(pk__in=batch, status__in=OPEN)}
        yield from (forecast(still[pk]) for pk in batch if pk in still)


def forecast(run: WorkflowRun) -> Finding:
    """Replay one run up to the first step that is not recorded as done.

    Raises ``DatabaseError`` when the database is in the way.
    """
    finding = Finding(run_id=run.run_id, workflow=run.workflow_id, status=str(run.status))
    with warnings.catch_warnings(record=True) as said, silenced():
        warnings.simplefilter("always", ChangedInputWarning)
        with guard.tried() as noticed:
            try:
                _replay(run, finding)
            except guard.NetworkRefused:
                """It is noticed."""
            except Exception as error:
                if is_transient(error):
                    raise
                if not noticed.network:
                    _tell(finding, error)
    changed = {str(each.message) for each in said if each.category is ChangedInputWarning}
    finding.warnings += sorted(changed)
    if noticed.network:
        finding.warnings.append(
            f"The body reaches for the network ({noticed.network[0]}) outside of a step: each "
            "replay does so again. What comes after that could not be looked at."
        )
    if noticed.writes:
        finding.warnings.append(
            f"The body writes to the database ({', '.join(noticed.writes)}) outside of a step: "
            "each replay does so again."
        )
    return finding


def _replay(run: WorkflowRun, finding: Finding) -> None:
    """Play the body, and note where it would go on. Raises whatever would break it."""
    workflow = find_workflow(run.workflow_id)
    history = records.read(rows.alias(), run)
    onlooker = Onlooker(history)
    context = make_context(workflow, run, onlooker)
    _bind(workflow, context)
    try:
        ended = play(workflow, context)
    finally:
        finding.ahead = history.ahead
    if ended.error is not None:
        raise ended.error
    if ended.paused:
        finding.step, finding.asked = onlooker.step, onlooker.asked
    _find_branches(workflow, run, onlooker)


def _bind(workflow: Workflow, context: Context) -> None:
    """Raises :class:`InputValidationError` for input that does not fit the body any more."""
    try:
        args, kwargs = workflow.input.arguments(context.data)
        workflow.input.signature.bind(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise InputValidationError(f"{workflow.name}() {error}") from error


def _find_branches(workflow: Workflow, run: WorkflowRun, onlooker: Onlooker) -> None:
    """The deliveries of open branches have to come to where these were started."""
    astray = [
        entry.pk
        for key, entry in onlooker.history.entries.items()
        if entry.kind == Kind.BRANCH and not entry.is_done and key not in onlooker.branches
    ]
    if astray:
        row = StepExecution.objects.using(rows.alias()).get(pk=astray[0])
        search.find(rows.alias(), workflow, run, row)


def _tell(finding: Finding, error: Exception) -> None:
    if isinstance(error, NonDeterminismError):
        finding.reason = Reason.NONDETERMINISM
        finding.step, finding.recorded, finding.asked = error.step, error.recorded, error.asked
    elif isinstance(error, UnknownWorkflowError):
        finding.reason = Reason.UNKNOWN_WORKFLOW
    elif isinstance(error, InputValidationError):
        finding.reason = Reason.INPUT
    else:
        finding.reason = Reason.ERROR
    finding.error = failures.describe(error)


@dataclass(slots=True, eq=False)
class Onlooker:
    """A :class:`Host` that does nothing: the body pauses at the first step that is to be done."""

    history: History
    #: The branches whose start the body has come to.
    branches: set[Key] = field(default_factory=set)
    #: Where it paused, and what is to be done there.
    step: str = ""
    asked: str = ""

    def perform(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:
        if ask.kind == Kind.VERSION:
            # A choice of ours, which has no effects.
            assert ask.function is not None  # noqa: S101 - such asks have one
            return completed(ask, entry, serialization.dumps(ask.function()))
        raise self._pause(key, ask.kind, ask.target)

    def start(self, branches: Sequence[tuple[Ask, Key]]) -> None:
        ask, key = branches[0]
        raise self._pause(key, ask.kind, ask.target)

    def join(self, keys: Sequence[Key]) -> None:
        waits = next(key for key in keys if not self.history.entries[key].is_done)
        raise self._pause(waits, Kind.BRANCH, "")

    def reached(self, ask: Ask, key: Key) -> None:  # noqa: ARG002
        self.branches.add(key)

    def _pause(self, key: Key, kind: str, target: str) -> Suspend:
        self.step, self.asked = str(key), named(kind, target)
        return Suspend()
