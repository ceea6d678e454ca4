"""The steps of a run as bars over time: plain numbers, which a template draws as SVG."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from django_qstash.workflows.admin.shown import between, span, text_of
from django_qstash.workflows.history import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django_qstash.workflows.models import StepExecution, WorkflowRun

#: What people read for each kind of step.
KINDS = {
    Kind.RUN: _("step"),
    Kind.SLEEP: _("sleep"),
    Kind.CALL: _("call"),
    Kind.SIGNAL: _("signal"),
    Kind.EVENT: _("event"),
    Kind.CHILD: _("child"),
    Kind.START: _("child started"),
    Kind.TASK: _("task"),
    Kind.BRANCH: _("parallel"),
    Kind.VALUE: _("value"),
    Kind.VERSION: _("version"),
    Kind.ON_FAILURE: _("on_failure"),
}
#: Kinds in which nothing of ours runs while they last.
WAITS = frozenset({Kind.SLEEP, Kind.SIGNAL, Kind.EVENT, Kind.CHILD, Kind.TASK})
#: Seconds that may lie between two marks of the axis.
TICKS = (
    *(base * 10**power / 1000 for power in range(4) for base in (1, 2, 5)),
    *(10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(hours * 3600 for hours in (1, 2, 3, 6, 12, 24, 48, 168, 336, 720, 2160, 8760, 87600)),
)
MOST_TICKS = 5
#: Percent of the width that a bar has at least, so that it can be seen.
THINNEST = 0.6


@dataclass(frozen=True, slots=True)
class Bar:
    """One step. ``left`` and ``width`` are percent of the chart; ``None``: it has not begun."""

    step: StepExecution
    name: str
    kind: Any
    #: How it is drawn: ``work``, ``wait`` or ``beside``.
    look: str
    left: float | None
    width: float
    #: From when its first attempt may have begun, to its last one.
    lead_left: float
    lead_width: float
    took: str
    #: How long after the run's beginning it began.
    after: str
    child: WorkflowRun | None = None
    #: A wait that ended because its time ran out.
    timed_out: bool = False

    @property
    def result(self) -> str:
        return "" if self.step.result is None else text_of(self.step.result)

    @property
    def is_open(self) -> bool:
        return self.step.status not in Status.DONE


@dataclass(frozen=True, slots=True)
class Tick:
    left: float
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    begin: datetime
    end: datetime
    bars: list[Bar] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)

    @property
    def took(self) -> str:
        return span(between(self.begin, self.end))


def draw(
    run: WorkflowRun,
    steps: Sequence[StepExecution],
    children: Mapping[str, WorkflowRun],
    now: datetime,
) -> Timeline:
    """The timeline of a run, up to its end or to ``now``; ``children`` by their run ids."""
    begin = run.started_at or run.created_at
    end = max(
        run.completed_at or now,
        *(step.executed_at for step in steps if step.executed_at),
        begin + timedelta(milliseconds=1),
    )
    whole = (end - begin).total_seconds()

    def at(moment: datetime) -> float:
        return min(100.0, max(0.0, 100 * (moment - begin).total_seconds() / whole))

    bars = []
    before = begin
    for step in steps:
        bars.append(_bar(step, at, (begin, before, end), children.get(step.child_id)))
        if step.executed_at is not None and not step.fan:
            before = step.executed_at
    return Timeline(begin, end, bars, list(_ticks(whole)))


def _bar(
    step: StepExecution,
    at: Callable[[datetime], float],
    moments: tuple[datetime, datetime, datetime],
    child: WorkflowRun | None,
) -> Bar:
    """``moments``: the run's beginning, the end of the step before, and the chart's end."""
    begin, before, end = moments
    done = step.status in Status.DONE
    # While it is to be tried again it lasts, though nothing runs.
    until = (step.executed_at or end) if done or step.status != Status.PENDING else None
    left: float | None = None
    width = lead_left = lead_width = 0.0
    if step.started_at is not None and until is not None:
        left, right = at(step.started_at), at(until)
        width = max(THINNEST, right - left)
        left = min(left, 100 - width)
        if step.attempts > 1 and done:
            lead_left = at(before)
            lead_width = max(0.0, left - lead_left)
    look = "beside" if step.fan else "wait" if step.kind in WAITS else "work"
    return Bar(
        step=step,
        name=f"{step.step_id}#{step.occurrence}" if step.occurrence else step.step_id,
        kind=KINDS.get(step.kind, step.kind),
        look=look,
        left=None if left is None else round(left, 3),
        width=round(width, 3),
        lead_left=round(lead_left, 3),
        lead_width=round(lead_width, 3),
        took=span(between(step.started_at, until)),
        after=span(between(begin, step.started_at)),
        child=child,
        timed_out=step.status == Status.COMPLETED
        and step.kind in (Kind.SIGNAL, Kind.EVENT)
        and step.result is None,
    )


def _ticks(whole: float) -> Any:
    """Marks at round durations since the beginning."""
    size = next((each for each in TICKS if whole / each <= MOST_TICKS), TICKS[-1])
    count = min(int(whole / size), 3 * MOST_TICKS)
    for number in range(1, count + 1):
        left = 100 * number * size / whole
        # The text of one at the very end would stand outside.
        if left <= 97:
            yield Tick(round(left, 3), span(number * size))
