"""Branches as the body sees them: begun together as a fan, a letter each, and joined by a count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from django_qstash.workflows import letters, records, rows
from django_qstash.workflows.history import Entry, Key, Kind, Status
from django_qstash.workflows.models import StepExecution, WorkflowRun
from django_qstash.workflows.usage import adding, sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django_qstash.wire.envelope import Envelope
    from django_qstash.workflows.asks import Ask
    from django_qstash.workflows.turn import Turn


def begin(turn: Turn, branches: Sequence[tuple[Ask, Key]]) -> None:
    """Write the rows of branches, and publish a letter for each. Raises PublishError."""
    fan = turn.history.last_fan() + 1
    run = turn.hold.run
    written = [
        StepExecution(
            workflow_run_id=run.pk,
            step_id=key.step_id,
            occurrence=key.occurrence,
            kind=ask.kind,
            status=Status.PENDING,
            input_hash=ask.input_hash,
            fan=fan,
            limit=ask.limit,
        )
        for ask, key in branches
    ]
    envelopes = _letters(run, written)
    # The count says until the run is put down that these letters may not have been sent.
    with turn.hold.fenced(branches=len(branches), **adding(sent(*envelopes))):
        StepExecution.objects.using(turn.alias).bulk_create(written, batch_size=500)
    for ask, key in branches:
        entry = Entry(kind=ask.kind, status=Status.PENDING, input_hash=ask.input_hash, fan=fan)
        turn.history.put(key, entry)
    letters.post_all(envelopes)


def republish(run: WorkflowRun) -> None:
    """Publish the letters of branches that nobody has begun. Raises :class:`PublishError`."""
    pending = records.steps(rows.alias(), run).filter(
        kind=Kind.BRANCH, status=Status.PENDING, deliveries=0
    )
    if envelopes := _letters(run, pending):
        letters.post_all(envelopes)


def _letters(run: WorkflowRun, branches: Iterable[StepExecution]) -> list[Envelope]:
    return [
        letters.seal(letters.of_branch(run, row), run.options, limit=row.limit) for row in branches
    ]


def join(turn: Turn, keys: Sequence[Key]) -> None:
    """Have the history know how these branches ended, or wait until they have."""
    run, alias = turn.hold.run, turn.alias
    entries = turn.history.entries
    while True:
        open_keys = {key for key in keys if not entries[key].is_done}
        ended = records.ended(alias, run, {entries[key].fan for key in open_keys})
        entries.update((key, entry) for key, entry in ended if key in open_keys)
        if all(entries[key].is_done for key in keys):
            return
        fans = {entries[key].fan for key in keys}
        wanted = set(keys)
        whole = all(key in wanted for key, entry in entries.items() if entry.fan in fans)
        undone = records.steps(alias, run).exclude(status__in=Status.DONE)
        undone = undone.filter(fan__in=fans) if whole else undone.filter(_named(keys))
        mark = _Mark(records.steps(alias, run), undone)
        turn.suspend(waits="branches", branches=mark.counted, before=mark)


@dataclass(slots=True)
class _Mark:
    """Says on the rows of branches that the run waits for them, and counts those."""

    all: Any
    undone: Any
    count: int = 0

    def __call__(self) -> bool:
        # Each branch's row before the run's: their ends take them in the same order.
        self.all.filter(awaited=True).update(awaited=False)
        self.count = self.undone.update(awaited=True)
        return self.count > 0

    def counted(self) -> int:
        return self.count


def _named(keys: Sequence[Key]) -> Q:
    named = Q()
    for key in keys:
        named |= Q(step_id=key.step_id, occurrence=key.occurrence)
    return named
