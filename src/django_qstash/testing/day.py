"""One day of a workflow: calm, or with as much trouble as its seed has drawn."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import PublishError, WorkflowError
from django_qstash.tasks.outbox import in_transaction
from django_qstash.testing.chance import Lot
from django_qstash.testing.chaos import ChaosDay
from django_qstash.testing.inline import RehearsedRun, check, sweep, told, why_open
from django_qstash.testing.overrides import Overrides
from django_qstash.testing.sandbox import AFTER_PUBLISH, BEFORE_PUBLISH, QStashSandbox
from django_qstash.testing.stage import Role, looking
from django_qstash.workflows import rows
from django_qstash.workflows.control import notify
from django_qstash.workflows.handles import RunHandle

if TYPE_CHECKING:
    from django_qstash.workflows.definition import Workflow

#: The run's id, the same on every day: none of them is kept.
RUN_ID = "chaos"
#: Deliveries, and moves of the clock, after which a run will never end.
ENOUGH, MOVES = 2_000, 50_000
#: A message that was not taken, and one that was.
NO_ANSWER = {
    BEFORE_PUBLISH: "QStash could not be reached",
    AFTER_PUBLISH: "QStash took a message and did not answer",
}
#: How deep deliveries may overtake each other.
DEEP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is tried on each day."""

    workflow: Workflow
    data: Any
    faults: int
    effects: Callable[[], Any] | None
    once: frozenset[str]
    step_overrides: Mapping[str, Any]
    #: ``("signal" | "event", name, data)``
    tellings: Sequence[tuple[str, str, Any]]

    def spend(self, seed: int | None, calm: ChaosDay | None = None) -> ChaosDay:
        """One day, from the start of the run until nothing is left to be delivered."""
        look = self.effects or (lambda: None)
        # Repeatable on purpose.
        chance = random.Random(f"chaos {seed}")  # noqa: S311
        with _same_draws(), _undone(), _whole_seconds():
            before = look()
            day = _Day(self, seed, chance)
            day.pass_by()
            effects = _increase(look(), before)
            role, run = day.role, day.told()
        if calm is None:
            check(role, run)
        return ChaosDay(
            seed=seed,
            run=run,
            faults=day.faults,
            committed=dict(role.committed),
            effects=effects,
            problems=[
                *day.problems,
                *role.divergences,
                *([] if calm is None else self._compared(calm, run, effects, role.committed)),
            ],
        )

    def _compared(
        self, calm: ChaosDay, run: RehearsedRun, effects: Any, committed: Mapping[str, int]
    ) -> Iterator[str]:
        if run.succeeded != calm.run.succeeded:
            yield f"The run {_ended(run)}; on a calm day it {_ended(calm.run)}."
        yield from _differences(effects, calm.effects)
        for name, count in committed.items():
            usual = max(1, calm.committed.get(name, 0))
            if count > usual and self.once & {name, "*"}:
                yield f"Step {name!r} did its work {count} times instead of {usual}."


class _Day:
    def __init__(self, plan: Plan, seed: int | None, chance: random.Random) -> None:
        self._chance = chance
        self._tellings = list(plan.tellings)
        faults = 0 if seed is None else chance.randint(min(1, plan.faults), plan.faults)
        self._lot = Lot(chance, faults, chance.choice((2, 6, 20)))
        knobs = {} if seed is None else _knobs(chance)
        self.qstash = QStashSandbox(faults=knobs)
        self.qstash.on_moment = self._moment
        self.role = Role(
            run_id=RUN_ID,
            overrides=Overrides(plan.step_overrides),
            always_replay=seed is not None and chance.random() < 0.3,
        )
        self.faults: list[str] = []
        self.problems: list[str] = []
        self._workflow, self._data = plan.workflow, plan.data
        self._handle = RunHandle(RUN_ID)

    def told(self) -> RehearsedRun:
        return self._told

    def pass_by(self) -> None:
        """Start the run, and deliver until nothing is left."""
        with self.qstash, looking(self.qstash) as stage:
            stage.add(self.role)
            self._began = clock.time()
            self._handle = self._workflow.trigger(self._data, run_id=RUN_ID)
            for _ in range(MOVES):
                self.qstash.deliver_due()
                if len(self.qstash.deliveries) > ENOUGH:
                    self.problems.append("It never ends: there is always more to be delivered.")
                    break
                if self._deliver_old() or self._tell_next():
                    continue
                if not (self.qstash.to_next() or sweep(self.qstash)):
                    break
            self.qstash.commit()
            self._told = told(self._handle, self.role, tuple(self.qstash.deliveries))
            if not self._handle.ready():
                self.problems.append(f"The run stands still: {why_open(self._handle.run)}.")

    # --- what is told to the run ------------------------------------------------------------------

    def _tell_next(self) -> bool:
        """Send the next signal or event; false if there is none, or it is too late."""
        if not self._tellings or self._handle.ready():
            return False
        kind, name, data = self._tellings.pop(0)
        with self.qstash.aside():
            contextvars.Context().run(self._tell, kind, name, data)
        return True

    def _tell(self, kind: str, name: str, data: Any) -> None:
        if kind == "event":
            notify(name, data)
            return
        try:
            self._handle.signal(name, data)
        except WorkflowError:
            self._note(f"the signal {name!r} came too late")

    # --- what goes wrong --------------------------------------------------------------------------

    def _moment(self, where: str) -> None:
        """A delivery has come to a moment at which something may go wrong."""
        is_free = not any(
            in_transaction(connection.alias)
            for connection in connections.all(initialized_only=True)
        )
        if self._tellings and is_free and self._chance.random() < 0.05:
            self._tell_next()
        if not self._lot.falls():
            return
        if where in NO_ANSWER and self._chance.random() < 0.4:
            self._note(NO_ANSWER[where])
            raise PublishError(f"{NO_ANSWER[where]}.")
        if is_free and self.qstash.depth <= DEEP and self._chance.random() < 0.5:
            self._overtake(where)
            return
        self._note(f"the process died, {where}")
        self.qstash.die(where)

    def _overtake(self, where: str) -> None:
        """The delivery hangs; others are made meanwhile, and then it goes on."""
        pause = self._chance.choice((0, 0, settings.DJANGO_QSTASH_LEASE + 5))
        self._note(f"the process hung for {pause} s, {where}; others were delivered meanwhile")
        if pause:
            # A pause is not to decide between a signal and its time-out.
            while self._tell_next():
                pass
            self.qstash.clock.advance(pause)
        for _ in range(self._chance.randint(1, 2)):
            if self._chance.random() < 0.5:
                self.qstash.again()
            else:
                self.qstash.deliver_due()

    def _deliver_old(self) -> bool:
        """Something that was answered long ago comes once more."""
        if not self.qstash.deliveries or not self._lot.falls(0.05):
            return False
        old = self._chance.choice(self.qstash.deliveries)
        self._note("a message came again that was answered before")
        self.qstash.again(old)
        return True

    def _note(self, what: str) -> None:
        self.faults.append(f"+{clock.time() - self._began:g} s: {what}")


def _knobs(chance: random.Random) -> dict[str, Any]:
    chances = (0.0, 0.0, 0.1, 0.4)
    drawn = {name: chance.choice(chances) for name in ("duplicate", "drop_ack", "reorder", "delay")}
    return {**drawn, "delay_by": 5, "reorder_by": 5, "seed": chance.getrandbits(32)}


# --- the same day for the same seed ---------------------------------------------------------------


@contextmanager
def _same_draws() -> Iterator[None]:
    """What others draw, such as the pauses before retries, is the same on each day."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def _whole_seconds() -> Iterator[None]:
    """Fractions decide by which second a message is due."""
    with clock.use(clock.VirtualClock(float(int(clock.time())))):
        yield


@contextmanager
def _undone() -> Iterator[None]:
    """A transaction around a day, to which nobody commits."""
    aliases = dict.fromkeys((DEFAULT_DB_ALIAS, rows.alias()))
    with ExitStack() as stack:
        for alias in aliases:
            block = transaction.atomic(using=alias)
            # As the blocks of Django's own TestCase: what is inside is not in a transaction.
            block._from_testcase = True  # type: ignore[attr-defined]  # noqa: SLF001
            stack.enter_context(block)
        try:
            yield
        finally:
            for alias in aliases:
                transaction.set_rollback(True, using=alias)


# --- what is compared -----------------------------------------------------------------------------


def _ended(run: RehearsedRun) -> str:
    if run.succeeded:
        return "completed"
    return "has not ended" if run.error is None else f"ended with {run.error!r}"


def _increase(after: Any, before: Any) -> Any:
    if isinstance(after, Mapping):
        old = before if isinstance(before, Mapping) else {}
        names = dict.fromkeys([*after, *old])
        return {name: _increase(after.get(name, 0), old.get(name, 0)) for name in names}
    if _is_number(after) and _is_number(before):
        return after - before
    return after


def _is_number(value: Any) -> bool:
    return hasattr(value, "__sub__") and hasattr(value, "__abs__")


def _differences(found: Any, wanted: Any) -> Iterator[str]:
    if not isinstance(found, Mapping) or not isinstance(wanted, Mapping):
        if found != wanted:
            yield f"effects() came to {found!r} instead of {wanted!r}."
        return
    for name in dict.fromkeys([*wanted, *found]):
        one, other = found.get(name, 0), wanted.get(name, 0)
        if one != other:
            yield f"The effect {name!r} came to {one!r} instead of {other!r}."
