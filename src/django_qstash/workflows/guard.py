"""Running code for what it would do: every database is rolled back, the network is refused."""

from __future__ import annotations

import re
import sys
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, connections, transaction

from django_qstash.exceptions import Interrupt
from django_qstash.transport.base import use

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Statements that change something, read or written by people.
_WRITES = re.compile(
    r"\s*(?:(INSERT|UPDATE|DELETE|REPLACE|MERGE|TRUNCATE|CREATE|ALTER|DROP|CALL)\b"
    r"|WITH\b.*?\b(INSERT|UPDATE|DELETE|MERGE)\b)",
    re.IGNORECASE | re.DOTALL,
)
_TABLE = re.compile(r"\b(?:INTO|UPDATE|FROM|TABLE)\s+[`\"]?([\w.]+)", re.IGNORECASE)
#: What Python's own sockets tell, and which of its arguments is the address.
_EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}


class NetworkRefused(Interrupt):
    """The code that is tried reaches for the network. Not for its ``except`` clauses."""


@dataclass(slots=True, eq=False)
class Noticed:
    """What the code did that was taken back or refused."""

    #: Such as ``INSERT shop_order``, each once.
    writes: list[str] = field(default_factory=list)
    #: Addresses, or what was to be published; the first ended it.
    network: list[str] = field(default_factory=list)
    #: Threads that were there before, which go on as they like. Not their idents: a new thread may
    #: have that of one that has ended meanwhile.
    _others: frozenset[threading.Thread] = frozenset()

    def statement(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        """A wrapper of a connection's statements."""
        if found := _WRITES.match(str(sql)):
            verb = (found[1] or found[2]).upper()
            about = _TABLE.search(str(sql))
            said = f"{verb} {about[1]}" if about else verb
            if said not in self.writes:
                self.writes.append(said)
        return execute(sql, params, many, context)

    def refuse(self, what: str) -> None:
        self.network.append(what)
        raise NetworkRefused(what)


@contextmanager
def tried() -> Iterator[Noticed]:
    """Whatever this block writes to any database is rolled back, and it reaches no network.

    The latter holds for this thread and for those that the block starts: :class:`NetworkRefused`.
    """
    others = frozenset(threading.enumerate()) - {threading.current_thread()}
    noticed = Noticed(_others=others)
    with ExitStack() as stack:
        for alias in connections:
            try:
                connections[alias].ensure_connection()
            except DatabaseError:
                # What is not to be reached now, the block cannot reach either.
                continue
            stack.enter_context(_rolled_back(alias, noticed))
        stack.enter_context(use(_Refusing(noticed)))
        stack.enter_context(_refused(noticed))
        yield noticed


@contextmanager
def _rolled_back(alias: str, noticed: Noticed) -> Iterator[None]:
    block = transaction.atomic(using=alias)
    # As in a test, a block that is durable may stand within this one.
    block._from_testcase = True  # type: ignore[attr-defined] # noqa: SLF001
    with block:
        try:
            with connections[alias].execute_wrapper(noticed.statement):
                yield
        finally:
            transaction.set_rollback(True, using=alias)


# --- the network ----------------------------------------------------------------------------------

_refusing: list[Noticed] = []
_lock = threading.Lock()
_is_listening = False


@contextmanager
def _refused(noticed: Noticed) -> Iterator[None]:
    global _is_listening
    with _lock:
        if not _is_listening:
            # Nothing takes such a hook away again; while nobody refuses, it looks at one list.
            sys.addaudithook(_hear)
            _is_listening = True
    _refusing.append(noticed)
    try:
        yield
    finally:
        _refusing.remove(noticed)


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if not _refusing or event not in _EVENTS:
        return
    address = args[_EVENTS[event]]
    if event == "socket.connect" and isinstance(address, (str, bytes)):
        # A Unix socket: the system's log, or a database's.
        return
    for noticed in _refusing:
        if threading.current_thread() not in noticed._others:  # noqa: SLF001
            noticed.refuse(_shown(address))


def _shown(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return address.decode(errors="replace") if isinstance(address, bytes) else str(address)


class _Refusing:
    """A transport that takes nothing, for those that use no sockets."""

    def __init__(self, noticed: Noticed) -> None:
        self._noticed = noticed

    def _refuse(self, *_: Any) -> Any:
        self._noticed.refuse("QStash")

    publish = batch = cancel = prepare_queue = schedule = request = for_account = _refuse
