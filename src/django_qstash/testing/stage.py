"""The testing tools' place in the engine: stand-ins, moments, and what each replay asks for."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction

from django_qstash.exceptions import Suspend
from django_qstash.tasks.outbox import AfterCommit, in_transaction
from django_qstash.workflows import rehearsal, rows
from django_qstash.workflows.context import ChangedInputWarning
from django_qstash.workflows.history import Key, Kind
from django_qstash.workflows.signals import run_failed, step_input_changed

if TYPE_CHECKING:
    from django_qstash.testing.overrides import Overrides
    from django_qstash.testing.sandbox import QStashSandbox
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.history import Entry
    from django_qstash.workflows.models import WorkflowRun
    from django_qstash.workflows.turn import Performer, Turn

#: About to be begun · its function has returned, nothing is recorded · it is recorded that the run
#: waits for it, or that it is to be tried again · it is recorded as done.
MOMENTS = BEFORE, BODY, WAITING, AFTER = "before", "body", "waiting", "after"
#: The steps whose functions do something.
_DOING = (Kind.RUN, Kind.BRANCH, Kind.CALL)


@dataclass(slots=True, eq=False, kw_only=True)
class Role:
    """One run that is looked at: what is to happen to it, and what has."""

    run_id: str
    overrides: Overrides
    always_replay: bool = False
    #: Called at every moment of a step, with ``"<step>:<moment>"``.
    at: Callable[[str], None] = lambda _: None
    #: The steps that were come to, in their order, and the moments.
    met: dict[str, None] = field(default_factory=dict)
    moments: dict[str, None] = field(default_factory=dict)
    #: How often the function of each step has run to its end, and how often that was committed;
    #: children are counted with it, as ``"<workflow>:<step>"``.
    calls: Counter[str] = field(default_factory=Counter)
    committed: Counter[str] = field(default_factory=Counter)
    #: What it has failed with.
    error: BaseException | None = None
    #: Where a replay has asked for something else than the replays before it.
    divergences: list[str] = field(default_factory=list)

    def diverged(self, said: str) -> None:
        if said not in self.divergences:
            self.divergences.append(said)


@contextmanager
def looking(sandbox: QStashSandbox) -> Iterator[Rehearsal]:
    """Look on at what this sandbox delivers; together with whoever does so already."""
    current = rehearsal.stage
    if isinstance(current, Rehearsal) and current.sandbox is sandbox:
        yield current
        return
    new = Rehearsal(sandbox)
    with ExitStack() as stack:
        stack.enter_context(rehearsal.on(new))
        # Told as a divergence, and not in the middle of the body.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", ChangedInputWarning)
        for signal, heard in ((step_input_changed, new.input_changed), (run_failed, new.failed)):
            signal.connect(heard, weak=False)
            stack.callback(signal.disconnect, heard)
        yield new


class Rehearsal:
    """The :class:`Stage` of a sandbox; each run that is looked at has a :class:`Role`."""

    def __init__(self, sandbox: QStashSandbox) -> None:
        self.sandbox = sandbox
        self.roles: dict[str, Role] = {}
        self._asked: dict[int, tuple[Ask, Role | None, str, str]] = {}

    def add(self, role: Role) -> Role:
        """Look at a run from now on."""
        self.roles[role.run_id] = role
        return role

    # --- what the engine tells --------------------------------------------------------------------

    def step(
        self, turn: Turn, ask: Ask, key: Key, entry: Entry | None, perform: Performer
    ) -> Entry:
        run = turn.hold.run
        if entry is None and ask.kind != Kind.VERSION:
            self._compare(turn, f"before it asked for {str(key)!r}")
        role = self.roles.get(run.run_id)
        if role is not None:
            if role.always_replay and not role.divergences:
                # One that asks for something new each time would never end.
                turn.budget = 0.0
            self._tell(role, key, BEFORE)
            perform = role.overrides.performer(ask, key) or perform
        self._expect(ask, run, key)
        try:
            done = perform(turn, ask, key, entry)
        except Suspend:
            self._tell(role, key, WAITING)
            raise
        self._tell(role, key, AFTER)
        return done

    def called(self, ask: Ask) -> None:
        if id(ask) not in self._asked:
            return
        _, role, name, told_as = self._asked.pop(id(ask))
        if role is None:
            return
        if ask.kind in _DOING:
            _count(role, told_as)
        if name == told_as:
            self._tell(role, name, BODY)

    def branch(self, run: WorkflowRun, key: Key, ask: Ask) -> None:
        role = self.roles.get(run.run_id)
        if role is not None:
            self._tell(role, key, BEFORE)
            role.overrides.replace_function(ask, key)
        self._expect(ask, run, key)

    def branched(self, run: WorkflowRun, key: Key, entry: Entry) -> None:
        self._tell(self.roles.get(run.run_id), key, AFTER if entry.is_done else WAITING)

    def ended(self, turn: Turn) -> None:
        self._compare(turn, "before it ended")

    def input_changed(self, sender: Any, **told: Any) -> None:
        role = self.roles.get(told["run_id"])
        if role is not None:
            key = Key(told["step_id"], told["occurrence"])
            role.diverged(
                f"A replay of {getattr(sender, 'name', sender)} gave step {str(key)!r} other "
                "arguments than those it ran with."
            )

    def failed(self, run_id: str, error: BaseException, **_: Any) -> None:
        if run_id in self.roles:
            # As it was raised: what the row keeps of it is less.
            self.roles[run_id].error = error

    # --- within -----------------------------------------------------------------------------------

    def _tell(self, role: Role | None, key: Key | str, moment: str) -> None:
        if role is None:
            return
        role.met[str(key)] = None
        where = f"{key}:{moment}"
        role.moments[where] = None
        self.sandbox.moment(where)
        role.at(where)

    def _expect(self, ask: Ask, run: WorkflowRun, key: Key) -> None:
        role = self._role_of(run)
        told_as = str(key)
        if role is not None and role.run_id != run.run_id:
            told_as = f"{run.workflow_id}:{key}"
        # With the ask itself, so that no other gets its id.
        self._asked[id(ask)] = (ask, role, str(key), told_as)

    def _role_of(self, run: WorkflowRun) -> Role | None:
        """That of the run itself, or of the nearest run that it is a child of."""
        found: WorkflowRun | None = run
        while found is not None and found.run_id not in self.roles:
            found = found.parent
        return None if found is None else self.roles[found.run_id]

    def _compare(self, turn: Turn, where: str) -> None:
        """Steps that are recorded, and that this replay has not asked for, were asked for before.

        A body that is tried again after an error of its own may go another way.
        """
        history, run = turn.history, turn.hold.run
        role = self._role_of(run)
        if role is None or not history.ahead or run.attempt > 1:
            return
        left = [
            repr(str(key))
            for key, entry in history.entries.items()
            if entry.kind != Kind.VERSION and key.occurrence >= history.asked.get(key.step_id, 0)
        ]
        role.diverged(
            f"A replay of {turn.workflow.name} did not ask for {', '.join(left)} {where}; an "
            "earlier one did."
        )


def _count(role: Role, name: str) -> None:
    role.calls[name] += 1

    def count() -> None:
        role.committed[name] += 1

    alias = rows.alias()
    if in_transaction(alias):
        transaction.on_commit(AfterCommit(count), using=alias)
    else:
        count()
