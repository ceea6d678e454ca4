"""The statements on the rows: written, taken, released, deleted. Each is conditional by itself."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections
from django.db.models import F, Max, Q

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.outbox.models import OutgoingMessage
from django_qstash.sql.clock import DatabaseClock
from django_qstash.sql.statements import storable
from django_qstash.tasks.store import get_store

if TYPE_CHECKING:
    from django_qstash.tasks.outbox import Letter

#: Seconds before what was not accepted is tried again; doubled with each refusal.
PAUSE = 10
LONGEST_PAUSE = 3600
#: Seconds beyond the time that publishing may take, in which nobody else takes the rows.
MARGIN = 10


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows that are ours to send."""

    token: str
    #: The last one's id.
    highest: int


@dataclass(slots=True)
class Outcome:
    """What became of the rows of one request."""

    sent: list[int] = field(default_factory=list)
    refused: dict[int, Exception] = field(default_factory=dict)


def write(
    alias: str, letters: Sequence[Letter], *, token: str = "", problem: Exception | None = None
) -> None:
    """Write letters: for the holder of ``token``, or for a sweep after ``problem``."""
    shown = get_store().expect([letter.message for letter in letters], within=alias)
    until = DatabaseClock() + (PAUSE * 1000 if problem else grace_ms())
    now = clock.now()
    _rows(alias).bulk_create(
        OutgoingMessage(
            task_id=letter.message.id,
            task_name=letter.message.task[:255],
            letter=letter.message.encode().decode("ascii"),
            once=dict(letter.once) if letter.once else None,
            token=token,
            until=until,
            attempts=1 if problem else 0,
            error=str(storable(str(problem))) if problem else "",
            shown=shown,
            date_created=now,
        )
        for letter in letters
    )


def take(
    alias: str, limit: int, *, idle: bool = False, after: int = 0, upto: int | None = None
) -> Taken | None:
    """Take rows whose time has come; with ``idle``, also those that only wait for it."""
    free = Q(until__lt=DatabaseClock())
    if idle:
        free |= Q(token="")
    rows = _rows(alias).filter(free, id__gt=after)
    if upto is not None:
        rows = rows.filter(id__lte=upto)
    ids = list(rows.order_by("id").values_list("id", flat=True)[:limit])
    if not ids:
        return None
    token = secrets.token_hex(16)
    # Whoever was faster has moved "until": then they are not free any more.
    _rows(alias).filter(free, id__in=ids).update(token=token, until=_later(grace_ms()))
    return Taken(token, ids[-1])


def held(alias: str, token: str, limit: int) -> list[OutgoingMessage]:
    """The rows that bear the token, the oldest first."""
    return list(_rows(alias).filter(token=token).order_by("id")[:limit])


def settle(alias: str, outcome: Outcome) -> None:
    """Delete what QStash took; let what it refused wait."""
    if outcome.sent:
        _rows(alias).filter(id__in=outcome.sent).delete()
    for pk, error in outcome.refused.items():
        row = _rows(alias).filter(id=pk)
        attempts = row.values_list("attempts", flat=True).first() or 0
        pause = min(LONGEST_PAUSE, PAUSE * 2 ** min(attempts, 16))
        row.update(**_failed(error, pause))


def renew(alias: str, token: str) -> None:
    """Hold on to the rows that bear the token while the next of them are sent."""
    _rows(alias).filter(token=token).update(until=_later(grace_ms()))


def release(alias: str, token: str, error: Exception) -> None:
    """Let all rows that bear the token wait for a later sweep."""
    _rows(alias).filter(token=token).update(**_failed(error, PAUSE))


def newest(alias: str) -> int:
    return _rows(alias).aggregate(newest=Max("id"))["newest"] or 0


def failures(alias: str) -> Iterable[str]:
    """What was last said of the rows that are there, each text once."""
    texts = _rows(alias).exclude(error="").order_by().values_list("error", flat=True)
    return list(dict.fromkeys(texts[:1000]))


def has_table(alias: str) -> bool:
    """True if there is an outbox in that database, and it can be reached."""
    try:
        tables = connections[alias].introspection.table_names()
    except (DatabaseError, AssertionError):
        # Django's TestCase has an AssertionError for databases that a test does not name.
        return False
    return OutgoingMessage._meta.db_table in tables  # noqa: SLF001 - documented


def grace_ms() -> int:
    """For how long rows are left to who is about to send them."""
    tries = 1 + settings.DJANGO_QSTASH_PUBLISH_RETRIES
    return int((settings.DJANGO_QSTASH_PUBLISH_TIMEOUT * tries + MARGIN) * 1000)


def _failed(error: Exception, pause: float) -> Mapping[str, Any]:
    return {
        "token": "",
        "until": _later(int(pause * 1000)),
        "attempts": F("attempts") + 1,
        "error": storable(str(error)),
    }


def _later(milliseconds: int) -> Any:
    return DatabaseClock() + milliseconds


def _rows(alias: str) -> Any:
    return OutgoingMessage.objects.using(alias)
