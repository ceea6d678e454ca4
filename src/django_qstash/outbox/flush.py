"""Letters are kept in the sender's transaction, sent after its commit, and swept when that failed.

Section F of the delivery protocol. A row is deleted only after QStash has taken its letter; a crash
in between, or two sweeps at once, sends equal letters, of which the receiving claim runs one.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.db import DatabaseError, connections, router, transaction

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.outbox import rows
from django_qstash.outbox.models import OutgoingMessage
from django_qstash.outbox.publish import publish
from django_qstash.tasks.outbox import AfterCommit, in_transaction

if TYPE_CHECKING:
    from django_qstash.tasks.outbox import Letter

logger = logging.getLogger("django_qstash.outbox")

#: Seconds between two looks of one process for what was left behind.
LOOK_EVERY = 10.0


class Batch:
    """What one transaction sends; all its letters bear the same token."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.token = secrets.token_hex(16)
        self.done = False

    def send(self) -> None:
        """After the commit: send what has survived of it. What fails is swept later."""
        if self.done:
            return
        self.done = True
        try:
            flush(self.alias, self.token)
        except (DatabaseError, PublishError, ImproperlyConfigured) as error:
            # The transaction is committed: its sender is not to be told that it failed.
            logger.warning("Messages are kept in the outbox, to be sent later: %s", error)


class Flush:
    """What ``django_qstash.tasks.outbox`` asks for, by the rows of :class:`OutgoingMessage`."""

    def __init__(self) -> None:
        #: The batch of each connection's transaction. One that was rolled back is used again.
        self._batches: WeakKeyDictionary[Any, Batch] = WeakKeyDictionary()
        self._looked = 0.0
        #: Databases, besides the router's, that hold an outbox: those that were used, or found.
        self._known: set[str] = set()

    def defers(self, using: str | None) -> bool:
        return in_transaction(using or default_alias())

    @contextmanager
    def together(self, using: str | None) -> Iterator[None]:
        alias = using or default_alias()
        if in_transaction(alias):
            yield
            return
        with transaction.atomic(using=alias):
            yield
        # Inside Django's TestCase nothing is ever committed, but this block has come to its end.
        if (batch := self._batches.get(connections[alias])) is not None:
            batch.send()

    def keep(self, letters: Sequence[Letter], using: str | None) -> None:
        alias = using or default_alias()
        self._known.add(alias)
        batch = self._batch(alias)
        rows.write(alias, letters, token=batch.token)
        # One call for each letter: those of a savepoint that is rolled back are dropped with it,
        # and whichever call comes first sends for all.
        transaction.on_commit(AfterCommit(batch.send), using=alias, robust=True)

    def shelve(self, letters: Sequence[Letter], using: str | None, problem: PublishError) -> None:
        alias = using or default_alias()
        self._known.add(alias)
        rows.write(alias, letters, problem=problem)
        logger.warning("%d messages were kept, to be sent later: %s", len(letters), problem)

    def sweep(self) -> None:
        now = clock.time()
        if 0 <= now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        for alias in self._databases():
            if in_transaction(alias):
                continue
            try:
                if taken := rows.take(alias, settings.DJANGO_QSTASH_BATCH_SIZE):
                    flush(alias, taken.token)
                    # There may be more, and whoever comes next need not wait for it.
                    self._looked = 0.0
            except (DatabaseError, PublishError, ImproperlyConfigured) as error:
                logger.warning("The outbox in %r was not swept: %s", alias, error)

    def _batch(self, alias: str) -> Batch:
        connection = connections[alias]
        batch = self._batches.get(connection)
        if batch is None or batch.done:
            batch = self._batches[connection] = Batch(alias)
        return batch

    def _databases(self) -> list[str]:
        if not self._known:
            self._known.update(databases())
        return list(dict.fromkeys([default_alias(), *sorted(self._known)]))


def flush(alias: str, token: str) -> int:
    """Send the letters that bear the token, in batches; how many QStash took.

    Raises :class:`PublishError` when QStash cannot be reached: they are swept later.
    """
    sent, size = 0, settings.DJANGO_QSTASH_BATCH_SIZE
    more = True
    while more and (found := rows.held(alias, token, size)):
        try:
            outcome = publish(found)
        except (PublishError, ImproperlyConfigured) as error:
            rows.release(alias, token, error)
            raise
        sent += len(outcome.sent)
        rows.settle(alias, outcome)
        if more := len(found) == size:
            rows.renew(alias, token)
    return sent


def flush_all(alias: str) -> int:
    """Send all that nobody is at work on; how many QStash took. Raises :class:`PublishError`."""
    sent = 0
    # Each row once: what is refused waits for its next turn.
    last, after = rows.newest(alias), 0
    while taken := rows.take(
        alias, settings.DJANGO_QSTASH_BATCH_SIZE, idle=True, after=after, upto=last
    ):
        sent += flush(alias, taken.token)
        after = taken.highest
    return sent


def default_alias() -> str:
    """The database that the router gives the outbox."""
    return router.db_for_write(OutgoingMessage)


def databases() -> list[str]:
    """Every database that has an outbox."""
    return [
        alias
        for alias, configured in connections.databases.items()
        if not (configured.get("TEST") or {}).get("MIRROR")
        and router.allow_migrate_model(alias, OutgoingMessage)
        and rows.has_table(alias)
    ]
