"""A workflow on many bad days, one for each seed: what was done twice, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_qstash.testing.inline import find
from django_qstash.testing.overrides import unknown

if TYPE_CHECKING:
    from django_qstash.testing.inline import RehearsedRun

#: Bad days that an error tells of in full.
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosDay:
    """What a run came to on one day."""

    #: ``None`` for the calm day that the others are compared with.
    seed: int | None
    run: RehearsedRun
    #: What went wrong, in its order, in words.
    faults: Sequence[str] = ()
    #: How often the function of each step has done its work, in transactions that were committed.
    #: The steps of children are called ``"<workflow>:<step>"``.
    committed: Mapping[str, int] = field(default_factory=dict)
    #: The increase of ``effects()``, or what it said at the end of the day.
    effects: Any = None
    #: What is not as it has to be.
    problems: Sequence[str] = ()

    def __str__(self) -> str:
        lines = [f"Seed {self.seed}:", *(f"  {problem}" for problem in self.problems)]
        lines += ["  What went wrong on that day:", *(f"    {fault}" for fault in self.faults)]
        return "\n".join(lines)


class ChaosError(AssertionError):
    """Something was done twice, was lost, or came out differently; ``report`` has it all."""

    def __init__(self, report: ChaosReport) -> None:
        self.report = report
        super().__init__(str(report))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosReport:
    """What a workflow came to on each day; as a text, what went wrong, with the seeds."""

    workflow: str
    #: Without any fault.
    calm: ChaosDay
    days: Sequence[ChaosDay]

    @property
    def bad(self) -> list[ChaosDay]:
        """The days after which something is not as it has to be."""
        return [day for day in self.days if day.problems]

    @property
    def repeated(self) -> dict[str, int]:
        """The steps that were called more often than on the calm day, and at most how often.

        What their functions do outside of the database has to bear that.
        """
        usual, most = self.calm.run.calls, Counter[str]()
        for day in self.days:
            for name, count in day.run.calls.items():
                if count > usual.get(name, 0):
                    most[name] = max(most[name], count)
        return dict(sorted(most.items()))

    def __str__(self) -> str:
        bad, faults = self.bad, sum(len(day.faults) for day in self.days)
        said = f"{self.workflow}: {len(self.days)} days with {faults} faults, {len(bad)} went wrong"
        if not bad:
            return f"{said}."
        lines = [f"{said}; again with seeds={[day.seed for day in bad]}", *map(str, bad[:SHOWN])]
        if len(bad) > SHOWN:
            lines.append(f"… and {len(bad) - SHOWN} more.")
        return "\n".join(lines)


def chaos(
    workflow: Any,
    data: Any = None,
    /,
    *,
    seeds: int | Iterable[int] = 20,
    faults: int = 4,
    effects: Callable[[], Any] | None = None,
    once: str | Iterable[str] = (),
    step_overrides: Mapping[str, Any] | None = None,
    signals: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
    events: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
    check: bool = True,
) -> ChaosReport:
    """Run a workflow on a calm day and on many bad ones, and compare.

    On a bad day QStash delivers late, twice and out of order, refuses messages, or takes them and
    does not say so; and processes die, or hang and are overtaken, at any write, publish or step
    boundary. ``seeds`` is how many days, or which: the same seed is the same day. ``faults`` is how
    much goes wrong on one at most, beside late and double deliveries. What is written to the
    database is taken back after each day, so all of them begin alike.

    ``effects()`` says what has happened to the world: a number or a mapping of numbers, whose
    increase counts, or any other value. On a bad day it has to be what it is on the calm one.
    ``once`` names steps, or ``"*"`` for all, whose functions may do their work no more often than
    on the calm day. A step that is not atomic is called again when the process dies before its
    record. Whatever is asked for, the run has to end, and as on the calm day, and its replays have
    to ask for the same steps.

    ``signals`` and ``events`` (pairs, or a mapping of names to data) are sent to the run at moments
    drawn by lot; ``step_overrides`` are those of :func:`run_inline`.

    Raises :class:`ChaosError`, whose text has the seeds, unless ``check`` is false; ``ValueError``
    for names that the calm run has not met.
    """
    from django_qstash.testing.day import Plan

    named = frozenset({once} if isinstance(once, str) else once)
    plan = Plan(
        workflow=find(workflow),
        data=data,
        faults=faults,
        effects=effects,
        once=named,
        step_overrides=dict(step_overrides or {}),
        tellings=[*_pairs("signal", signals), *_pairs("event", events)],
    )
    calm = plan.spend(None)
    if wrong := named - {"*"} - calm.committed.keys():
        raise unknown("once", sorted(wrong), calm.committed) from calm.run.error
    numbers = range(seeds) if isinstance(seeds, int) else seeds
    days = [plan.spend(seed, calm) for seed in numbers]
    report = ChaosReport(workflow=plan.workflow.name, calm=calm, days=days)
    if check and report.bad:
        raise ChaosError(report)
    return report


def _pairs(
    kind: str, given: Mapping[str, Any] | Iterable[tuple[str, Any]]
) -> list[tuple[str, str, Any]]:
    pairs = given.items() if isinstance(given, Mapping) else given
    return [(kind, name, data) for name, data in pairs]
