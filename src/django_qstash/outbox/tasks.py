"""Tasks that the outbox app brings along."""

from __future__ import annotations

from django_qstash.tasks.decorators import shared_task


@shared_task
def flush_outbox_task() -> int:
    """Send what was left in the outbox of every database; how many messages QStash took."""
    from django_qstash.outbox.flush import databases, flush_all

    return sum(flush_all(alias) for alias in databases())
