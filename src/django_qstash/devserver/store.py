"""The journal in a file: SQLite, one transaction for whatever happened since the last one.

A request is answered only after its transaction is committed, so a process that is killed at any
moment has lost nothing that it accepted. It may have delivered a message and not written that
down: such a message is delivered again, which at-least-once allows.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from django_qstash.devserver import codec
from django_qstash.devserver.dlq import position
from django_qstash.devserver.events import MAX_EVENTS, Event
from django_qstash.devserver.journal import Journal
from django_qstash.devserver.message import Answer

if TYPE_CHECKING:
    from django_qstash.devserver.message import Message
    from django_qstash.devserver.state import State

FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, data TEXT NOT NULL, progress TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    serial INTEGER PRIMARY KEY, time REAL NOT NULL, state TEXT NOT NULL,
    message TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_message ON events (message);
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, key TEXT NOT NULL, data TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, key)
);
"""
_NEW = "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?)"
_PROGRESS = "UPDATE messages SET progress = ? WHERE id = ?"
_EVENT = "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?)"
_FORGET = "DELETE FROM messages WHERE id = ?"
_FORGET_EVENTS = "DELETE FROM events WHERE message = ?"
_KEEP = "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)"
_DROP = "DELETE FROM records WHERE kind = ? AND key = ?"


class StoreError(OSError):
    """The file cannot be used as a journal; the text says why."""


class Store(Journal):
    """A journal in ``path``. Raises :class:`StoreError`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._pending: list[tuple[str, tuple[Any, ...]]] = []
        try:
            # The embedded server opens it in one thread and uses it in another.
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=0.2
            )
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise StoreError(f"{path} is in use by another server") from None
            raise StoreError(f"{path}: {error}") from None
        except sqlite3.Error as error:
            raise StoreError(f"{path} is not a journal of this server: {error}") from None

    def _open(self) -> None:
        # Nobody else may write to it, and a kill -9 releases the lock.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        # Survives the end of the process at any moment; only a power cut may cost the last moments.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._db.execute(statement)
        self._db.execute("INSERT OR IGNORE INTO about VALUES ('format', ?)", (str(FORMAT),))
        self._db.execute("COMMIT")
        (found,) = self._db.execute("SELECT value FROM about WHERE name = 'format'").fetchone()
        if found != str(FORMAT):
            raise StoreError(f"{self.path} was written by another version (format {found})")

    # What the state tells.

    def message(self, message: Message) -> None:
        data = codec.dump(codec.write_message(message))
        progress = codec.dump(codec.write_progress(message))
        self._pending.append((_NEW, (message.id, data, progress, message.spec.body)))

    def progress(self, message: Message) -> None:
        progress = codec.dump(codec.write_progress(message))
        self._pending.append((_PROGRESS, (progress, message.id)))

    def forget(self, message: Message) -> None:
        self._pending.append((_FORGET, (message.id,)))
        self._pending.append((_FORGET_EVENTS, (message.id,)))

    def event(self, event: Event) -> None:
        detail = codec.dump(codec.write_detail(event.detail))
        self._pending.append(
            (_EVENT, (event.serial, event.time, event.state, event.message.id, detail))
        )

    def keep(self, kind: str, key: str, value: object) -> None:
        data, body = codec.write_record(value)
        self._pending.append((_KEEP, (kind, key, codec.dump(data), body)))

    def drop(self, kind: str, key: str) -> None:
        self._pending.append((_DROP, (kind, key)))

    # What the server asks.

    def commit(self) -> None:
        """Write down what happened. Raises :class:`StoreError`, and keeps it for the next time."""
        if not self._pending:
            return
        try:
            self._db.execute("BEGIN")
            try:
                for statement, values in self._pending:
                    self._db.execute(statement, values)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be written: {error}") from error
        self._pending.clear()

    def close(self) -> None:
        self._db.close()

    def restore(self, state: State) -> None:
        """Fill a new state. What was in flight is due again; missed schedule ticks are dropped."""
        self._restore_records(state)
        messages = self._restore_messages()
        self._restore_events(state, messages)
        done = [message for message in messages.values() if message.done]
        for message in sorted(done, key=lambda message: message.finished or 0.0):
            state.machine.recall(message)
        waiting = [message for message in messages.values() if not message.done]
        # A queue's line is by the time at which its messages came to stand in it.
        state.machine.readmit(
            sorted(waiting, key=lambda message: (message.next_time, message.serial))
        )

    def _records(self, kind: str, by: str = "created") -> list[tuple[str, dict[str, Any], bytes]]:
        rows = self._db.execute("SELECT key, data, body FROM records WHERE kind = ?", (kind,))
        found = [(key, json.loads(data), body) for key, data, body in rows]
        return sorted(found, key=lambda record: record[1].get(by, 0.0))

    def _restore_records(self, state: State) -> None:
        machine = state.machine
        for _, data, _ in self._records("keys"):
            state.keys.current, state.keys.next = data["current"], data["next"]
        for key, data, _ in self._records("queue"):
            machine.gates.queues[key] = codec.read_queue(data)
        for key, data, _ in self._records("flow"):
            machine.gates.flows[key] = codec.read_flow_key(data)
        for key, data, _ in self._records("group"):
            state.groups[key] = codec.read_group(data)
        for key, data, _ in self._records("seen", by="until"):
            state.seen.restore(key, codec.read_seen(data))
        dead = [codec.read_dead_letter(data, body) for _, data, body in self._records("dead")]
        for entry in sorted(dead, key=lambda entry: position(entry.id)):
            machine.dead.restore(entry)
        for _, data, body in self._records("schedule"):
            state.schedules.restore(codec.read_schedule(data, body))

    def _restore_messages(self) -> dict[str, Message]:
        rows = self._db.execute("SELECT id, data, progress, body FROM messages")
        messages: dict[str, Message] = {}
        for message_id, data, progress, body in rows:
            message = codec.read_message(json.loads(data), json.loads(progress), body)
            messages[message_id] = message
        return messages

    def _restore_events(self, state: State, messages: dict[str, Message]) -> None:
        rows = self._db.execute(
            "SELECT serial, time, state, message, detail FROM events ORDER BY serial DESC LIMIT ?",
            (MAX_EVENTS,),
        ).fetchall()
        for serial, time, name, message_id, detail in reversed(rows):
            message = messages.get(message_id)
            if message is None:
                continue
            read = codec.read_detail(json.loads(detail))
            if isinstance(read, Answer):
                message.last = read
            state.machine.events.restore(Event(serial, time, name, message, read))
