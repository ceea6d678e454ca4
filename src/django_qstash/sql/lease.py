"""A lease on a row: a token, and until when by the database's clock."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from django_qstash.conf import settings
from django_qstash.sql.clock import DatabaseClock


def free(rows: Any) -> Any:
    """Those rows that nobody is at work on."""
    return rows.filter(Q(lease_token=None) | Q(lease_until__lt=DatabaseClock()))


def lease_ms() -> int:
    """How long a lease holds without being renewed, in milliseconds."""
    return int(settings.DJANGO_QSTASH_LEASE * 1000)
