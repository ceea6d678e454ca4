"""Removing results that nobody will ask for any more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import router

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.results.models import (
    Chord,
    GroupMember,
    GroupResult,
    PastRun,
    Phase,
    StoredFields,
    TaskResult,
)
from django_qstash.results.reads import EMPTY

BATCH = 1000


def clear(since: float | None = None) -> int:
    """Remove finished results older than ``since`` seconds; how many were removed.

    Counted from ``date_done``; by default ``DJANGO_QSTASH_RESULT_TTL``. What is younger than
    ``DJANGO_QSTASH_DELIVERY_TTL`` is emptied of everything a user sees, but stays as the memory
    that keeps a late duplicate from running. Works in batches, so no table is locked for long.
    """
    ttl = settings.DJANGO_QSTASH_RESULT_TTL if since is None else since
    now = clock.now()
    alias = router.db_for_write(TaskResult)
    rows = TaskResult.rows.using(alias)
    stale = rows.filter(
        phase=Phase.DONE, date_done__lte=now - timedelta(seconds=ttl), cleared=False
    )
    cleared = 0
    while ids := list(stale.order_by("id").values_list("id", flat=True)[:BATCH]):
        # Applied again in the meantime: then it is a new run's row, and stays.
        cleared += rows.filter(id__in=ids, phase=Phase.DONE).update(cleared=True, **EMPTY)
    forgotten = now - timedelta(seconds=max(ttl, settings.DJANGO_QSTASH_DELIVERY_TTL))
    while ids := list(
        rows.filter(cleared=True, date_done__lt=forgotten).values_list("id", flat=True)[:BATCH]
    ):
        rows.filter(id__in=ids).delete()
    # Sent, and never delivered: should it come after all, it is as new.
    never = {"phase": Phase.OPEN, "attempts": 0, "date_created__lt": forgotten}
    while ids := list(rows.filter(**never).values_list("id", flat=True)[:BATCH]):
        rows.filter(id__in=ids, **never).delete()
    for model in (PastRun, StoredFields, Chord, GroupMember):
        _delete_older(model.objects.using(alias), forgotten)
    _delete_older(GroupResult.objects.using(alias), now - timedelta(seconds=ttl))
    return cleared


def _delete_older(rows: Any, moment: datetime) -> None:
    while ids := list(rows.filter(date_created__lt=moment).values_list("id", flat=True)[:BATCH]):
        rows.filter(id__in=ids).delete()
