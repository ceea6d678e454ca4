"""Tasks that the results app brings along."""

from __future__ import annotations

from django_qstash.tasks.decorators import shared_task


@shared_task
def clear_stale_results_task(since: float | None = None) -> int:
    """Remove finished results older than ``since`` seconds (DJANGO_QSTASH_RESULT_TTL)."""
    from django_qstash.results.cleanup import clear

    return clear(since)
