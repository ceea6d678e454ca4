"""What people ask and tell of tasks: results, states of their own, revocation, saved groups."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, router, transaction
from django.db.models import F

from django_qstash import clock, states
from django_qstash.exceptions import TaskRevokedError
from django_qstash.results.chords import Chords
from django_qstash.results.claims import REVOKED_RUN, Claims
from django_qstash.results.models import GroupResult, Phase, StoredFields, TaskResult
from django_qstash.serialization import dumps
from django_qstash.sql.clock import DatabaseClock
from django_qstash.sql.lease import free
from django_qstash.sql.statements import raw
from django_qstash.tasks import options as call_options
from django_qstash.tasks.failure import exception_as_data
from django_qstash.tasks.store import TaskRecord

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage

#: What goes when a result is forgotten: all that a person could read in it.
EMPTY: dict[str, None] = dict.fromkeys(("result", "traceback", "args", "kwargs", "meta"))
#: Ids in one query: SQLite takes no more than 999 parameters in older versions.
FETCH = 500
REVOKED = exception_as_data(TaskRevokedError("revoked"))


class Reads(Claims):
    """Everything that is not a step of a delivery."""

    def fetch(self, task_id: str) -> TaskRecord | None:
        return self.fetch_many([task_id]).get(task_id)

    def is_open(self, task_id: str, heard_within: float | None = None) -> bool | None:
        rows = TaskResult.rows.using(self.alias).filter(task_id=task_id)
        columns = ("phase", "follow", "date_created", "date_started", "date_done", "left")
        row = rows.annotate(left=F("lease_until") - DatabaseClock()).values(*columns).first()
        if row is None or row["phase"] == Phase.DONE:
            return None if row is None else False
        return heard_within is None or _silence(row) < heard_within

    def fetch_many(self, task_ids: Sequence[str]) -> Mapping[str, TaskRecord]:
        rows = TaskResult.objects.using(router.db_for_read(TaskResult))
        found: dict[str, TaskRecord] = {}
        for start in range(0, len(task_ids), FETCH):
            for row in rows.filter(task_id__in=task_ids[start : start + FETCH]):
                found[row.task_id] = as_record(row)
        return found

    def forget(self, task_id: str) -> None:
        rows = TaskResult.rows.using(self.alias).filter(task_id=task_id)
        rows.update(cleared=True, **EMPTY)

    def update_state(self, task_id: str, status: str, result: str, token: str | None) -> bool:
        rows = TaskResult.rows.using(self.alias).filter(task_id=task_id, phase=Phase.OPEN)
        if token is not None:
            rows = rows.filter(lease_token=token)
        return bool(rows.update(status=status[:50], result=raw(result)))

    def revoke(self, task_id: str, *, terminate: bool) -> None:
        """A row that waits is marked; none, and one is made that the letter will find.

        The letter's own delivery records REVOKED, since a chord may have to hear of it.
        """
        rows = TaskResult.rows.using(self.alias).filter(task_id=task_id)
        open_rows = rows.exclude(phase=Phase.DONE)
        told = {"status": states.REVOKED, "result": raw(dumps(REVOKED))}
        if free(open_rows).update(revoked=True, **told):
            return
        if terminate and open_rows.update(
            phase=Phase.DONE,
            lease_token=None,
            lease_until=None,
            date_done=clock.now(),
            **told,
        ):
            return
        if open_rows.update(revoked=True) or rows.exists():
            return
        now = clock.now()
        with contextlib.suppress(IntegrityError), transaction.atomic(using=self.alias):
            TaskResult.rows.using(self.alias).create(
                task_id=task_id,
                run=REVOKED_RUN,
                status=states.REVOKED,
                phase=Phase.DONE,
                revoked=True,
                result=REVOKED,
                date_created=now,
                date_done=now,
            )

    def reopen(self, message: TaskMessage) -> bool:
        failed = TaskResult.rows.using(self.alias).filter(
            task_id=message.id,
            run=message.run,
            retries=message.retries,
            phase=Phase.DONE,
            status=states.FAILURE,
        )
        pending = states.PENDING
        return bool(failed.update(phase=Phase.OPEN, status=pending, attempts=0, date_done=None))

    # --- what is too large for a letter ---------------------------------------------------------

    def keep(self, message: TaskMessage) -> str:
        key = secrets.token_hex(16)
        StoredFields.objects.using(self.alias).create(
            key=key, fields=message.large(), date_created=clock.now()
        )
        return key

    def kept(self, key: str) -> Mapping[str, Any] | None:
        found = StoredFields.objects.using(self.alias).filter(key=key)
        fields: Mapping[str, Any] | None = found.values_list("fields", flat=True).first()
        return fields

    def drop(self, key: str) -> None:
        StoredFields.objects.using(self.alias).filter(key=key).delete()

    # --- chords ---------------------------------------------------------------------------------

    def open_chord(self, key: str) -> None:
        Chords(self.alias).open(key)

    def close_chord(self, key: str, size: int) -> bool:
        with transaction.atomic(using=self.alias):
            return Chords(self.alias).close(key, size)

    def add_to_chord(self, chord: Mapping[str, Any], index: Sequence[Any]) -> None:
        with transaction.atomic(using=self.alias):
            Chords(self.alias).add(chord, index)

    def has_fired(self, key: str) -> bool:
        return Chords(self.alias).has_fired(key)

    def header_values(self, key: str) -> list[Any]:
        return Chords(self.alias).values(key)

    # --- saved groups ---------------------------------------------------------------------------

    def save_group(self, group_id: str, data: str) -> None:
        GroupResult.objects.using(self.alias).update_or_create(
            group_id=group_id, defaults={"data": data, "date_created": clock.now()}
        )

    def fetch_group(self, group_id: str) -> str | None:
        found = GroupResult.objects.using(self.alias).filter(group_id=group_id)
        data: str | None = found.values_list("data", flat=True).first()
        return data

    def delete_group(self, group_id: str) -> None:
        GroupResult.objects.using(self.alias).filter(group_id=group_id).delete()


def _silence(row: Mapping[str, Any]) -> float:
    """Seconds since an open row was heard of; negative while it has a lease, or its eta to come."""
    moments = [row[name] for name in ("date_created", "date_started", "date_done")]
    # A retry's letter is at QStash until then.
    moments += [letter.get("eta") for letter in row["follow"] or ()]
    silence = clock.time() - max(call_options.instant(each) for each in moments if each)
    return silence if row["left"] is None else min(silence, -row["left"] / 1000)


def as_record(row: TaskResult, **meta: Any) -> TaskRecord:
    """A row as the tasks know it; ``meta`` is added to what it holds."""
    return TaskRecord(
        task_id=row.task_id,
        status=row.status,
        result=row.result,
        traceback=row.traceback,
        name=row.task_name or None,
        args=row.args,
        kwargs=row.kwargs,
        retries=row.retries,
        attempts=row.attempts,
        worker=row.worker or None,
        queue=row.queue or None,
        root_id=row.root_id or None,
        parent_id=row.parent_id or None,
        group_id=row.group_id or None,
        message_id=row.message_id or None,
        schedule_name=row.schedule_name or None,
        date_created=row.date_created,
        date_started=row.date_started,
        date_done=row.date_done,
        meta={**(row.meta or {}), **meta},
    )
