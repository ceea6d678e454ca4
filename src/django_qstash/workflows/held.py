"""Rows that a delivery claims, a run or a branch of one, and how long others wait for them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import transaction
from django.db.models import F, Model

from django_qstash import clock
from django_qstash.exceptions import LeaseLost
from django_qstash.sql.clock import DatabaseClock
from django_qstash.sql.lease import lease_ms
from django_qstash.tasks.receive import MARGIN
from django_qstash.workflows import letters
from django_qstash.workflows.usage import Meter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django_qstash.messages import WorkflowMessage

Row = TypeVar("Row", bound=Model)


@dataclass(slots=True, eq=False)
class Held(Generic[Row]):
    """A row that is claimed: what this delivery may write to it while the lease is its own."""

    row: Row
    token: str
    alias: str
    #: A step's own transaction holds the row: whoever renews from outside would wait for it.
    in_transaction: bool = False
    meter: Meter = field(default_factory=Meter)

    def mine(self) -> Any:
        """The row while the lease is ours."""
        rows = type(self.row)._default_manager.using(self.alias)  # noqa: SLF001 - documented
        return rows.filter(pk=self.row.pk, lease_token=self.token)

    def renew(self, message: WorkflowMessage | None = None, token: str = "") -> bool:  # noqa: ARG002 - the keeper's
        """Lengthen the lease; false if it is not ours any more."""
        return self.in_transaction or self._lengthen()

    def can_renew_within(self, *, atomic: bool) -> bool:  # noqa: ARG002 - the keeper's
        return True

    @contextmanager
    def fenced(self, **columns: Any) -> Iterator[None]:
        """A transaction that begins by lengthening the lease: a takeover waits for its end.

        ``columns`` are written to the row with it. Raises :class:`LeaseLost`.
        """
        with transaction.atomic(using=self.alias):
            if not self._lengthen(**columns):
                raise LeaseLost
            self.in_transaction = True
            try:
                yield
            finally:
                self.in_transaction = False

    def _lengthen(self, **columns: Any) -> bool:
        return bool(self.mine().update(lease_until=DatabaseClock() + lease_ms(), **columns))


def looked_at(rows: Any) -> Any:
    """The first of these rows, with ``left``: the milliseconds that its lease still holds."""
    return rows.annotate(left=F("lease_until") - DatabaseClock()).first()


def wait_for(row: Any) -> float:
    """Seconds until a row that was :func:`looked_at` can be claimed: its lease and its time."""
    held = 0.0 if row.lease_token is None else max(0.0, float(row.left or 0) / 1000) + MARGIN
    return max(held, letters.seconds_until(row.wake_at, clock.now()))
