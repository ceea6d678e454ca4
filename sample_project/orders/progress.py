"""What is known of the jobs of an order, in words for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

from django.utils import timezone

from django_qstash import states
from django_qstash.results.models import TaskResult
from orders.models import Job

#: The stations of a job, and how far each state has come.
STATIONS = ("sent", "running", "done")
_WORDS = {
    states.PENDING: ("sent", 1),
    states.STARTED: ("running", 2),
    states.RETRY: ("will be tried again", 2),
    states.SUCCESS: ("done", 3),
    states.FAILURE: ("failed", 3),
    states.REVOKED: ("revoked", 3),
}


@dataclass(frozen=True)
class Progress:
    """A job and what became of it so far; without a row it is on its way."""

    job: Job
    row: TaskResult | None

    @property
    def state(self) -> str:
        return self.row.status if self.row else states.PENDING

    @property
    def is_over(self) -> bool:
        return self.state in states.READY_STATES

    @property
    def word(self) -> str:
        if self.state == states.PENDING and (wait := self.seconds_left):
            return f"due in {wait} s"
        if self.state == "PRINTING":
            printed, copies = self.row.result
            return f"printing, {printed} of {copies}"
        word = _WORDS.get(self.state, (self.state.lower(), 2))[0]
        return f"{word}, try {self.row.retries + 1}" if self.row and self.row.retries else word

    @property
    def reached(self) -> list[bool]:
        """For each station, whether the job has come to it."""
        steps = _WORDS.get(self.state, ("", 2))[1]
        return [number < steps for number in range(len(STATIONS))]

    @property
    def seconds_left(self) -> int:
        if self.job.due is None:
            return 0
        return max(0, ceil((self.job.due - timezone.now()).total_seconds()))

    @property
    def result(self) -> str:
        return str(self.row.result) if self.row and self.state == states.SUCCESS else ""

    @property
    def error(self) -> str:
        if not self.row or self.state not in states.EXCEPTION_STATES:
            return ""
        error = self.row.result or {}
        return f"{error.get('exc_type')}: {' '.join(map(str, error.get('exc_message', ())))}"

    @property
    def seconds(self) -> float | None:
        return self.row.runtime if self.row and self.is_over else None


def progress_of(jobs: Iterable[Job]) -> Iterator[Progress]:
    """One query for all of them."""
    jobs = list(jobs)
    rows = TaskResult.objects.filter(task_id__in=[job.task_id for job in jobs])
    by_id = {row.task_id: row for row in rows}
    for job in jobs:
        yield Progress(job, by_id.get(job.task_id))
