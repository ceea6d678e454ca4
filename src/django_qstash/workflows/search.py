"""What a branch is to call: found by replaying the body, since its arguments are in no row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django_qstash.exceptions import Interrupt, NonDeterminismError
from django_qstash.workflows import records
from django_qstash.workflows.bodies import make_context, play
from django_qstash.workflows.history import Entry, History, Key, Kind, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.definition import Workflow
    from django_qstash.workflows.models import StepExecution, WorkflowRun


def find(alias: str, workflow: Workflow, run: WorkflowRun, row: StepExecution) -> Ask:
    """What the body asks of this branch; raises what the body raises on the way.

    :class:`NonDeterminismError` where it does not come there any more.
    """
    key = Key(row.step_id, row.occurrence)
    entry = Entry(kind=Kind.BRANCH, status=Status.RUNNING, fan=row.fan, pk=row.pk)
    context = make_context(workflow, run, Search(records.read(alias, run, branch=entry), key))
    try:
        ended = play(workflow, context)
    except Found as found:
        found.ask.context = context
        context.begin_branch()
        return found.ask
    raise ended.error or NonDeterminismError(
        f"The code does not come to the parallel step {str(key)!r} any more."
    )


class Found(Interrupt):
    """The body has come to where this branch was started."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        super().__init__(ask.step_id)


@dataclass(slots=True, eq=False)
class Search:
    """The :class:`Host` of a branch: it replays the body up to the branch's start."""

    history: History
    key: Key

    def perform(self, ask: Ask, key: Key, entry: Entry | None) -> Entry:  # noqa: ARG002
        raise self._astray(key)

    def start(self, branches: Sequence[tuple[Ask, Key]]) -> None:
        """Others of its fan, which are not read."""

    def join(self, keys: Sequence[Key]) -> None:
        raise NonDeterminismError(
            f"The code now waits for the parallel step {str(keys[0])!r} without having started "
            f"{str(self.key)!r}, which did not wait for it when it was started."
        )

    def reached(self, ask: Ask, key: Key) -> None:
        if key == self.key:
            raise Found(ask)

    def _astray(self, key: Key) -> NonDeterminismError:
        return NonDeterminismError(
            f"On the way to the parallel step {str(self.key)!r} the code now asks for "
            f"{str(key)!r}, which was not there when it was started."
        )
