"""Tasks that were sent and have not begun: shown as PENDING, where there is an outbox."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django_qstash import clock, states
from django_qstash.results.claims import Claims, shown
from django_qstash.results.models import TaskResult

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage


class Pending(Claims):
    """Rows that nobody has claimed yet; the letter's first delivery takes them (section A, 2)."""

    def expect(self, messages: Sequence[TaskMessage], within: str | None = None) -> bool:
        alias = self.alias
        if within is not None and within != alias:
            return False
        now = clock.now()
        # One that is there has its own story: it has begun already, or is an earlier run's.
        TaskResult.rows.using(alias).bulk_create(
            [_pending(message, now) for message in messages], ignore_conflicts=True
        )
        return True


def _pending(message: TaskMessage, now: datetime) -> TaskResult:
    args, kwargs = (None, None) if message.ignore_result else shown(message)
    return TaskResult(
        task_id=message.id,
        run=message.run,
        retries=message.retries,
        status=states.PENDING,
        task_name=message.task[:255],
        args=args,
        kwargs=kwargs,
        root_id=message.root_id or "",
        parent_id=message.parent_id or "",
        group_id=message.group or "",
        queue=message.queue or "",
        schedule_name=(message.schedule or "")[:255],
        schedule_id=message.schedule_id,
        date_created=now,
    )
