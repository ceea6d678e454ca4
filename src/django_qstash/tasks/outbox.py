"""Who keeps letters that QStash does not have yet: the outbox app, or nobody.

With the app, a letter that is sent inside a transaction is part of it, and one that QStash cannot
take at the moment is sent later. Without it, every letter is sent at once or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils.module_loading import import_string

from django_qstash.conf import settings
from django_qstash.exceptions import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_qstash.exceptions import PublishError
    from django_qstash.messages import TaskMessage

#: The outbox app's label: a dictionary's key, where ``apps.is_installed`` walks all apps.
LABEL = "django_qstash_outbox"
OUTBOX = "django_qstash.outbox.flush.Flush"


class Letter(NamedTuple):
    """A letter, and the delivery options that hold for its first copy alone."""

    message: TaskMessage
    once: Mapping[str, Any] | None = None


class Outbox(Protocol):
    """The steps of the outbox that sending asks for. Section F of the delivery protocol.

    ``using`` names a database; ``None`` is the one that the router gives the outbox.
    """

    def defers(self, using: str | None) -> bool:
        """True inside an open transaction of that database: its letters wait for the commit."""
        ...

    def together(self, using: str | None) -> AbstractContextManager[None]:
        """A block whose letters are sent all at its end, or none of them."""
        ...

    def keep(self, letters: Sequence[Letter], using: str | None) -> None:
        """Write the letters in the transaction that is open; they are sent on its commit."""
        ...

    def shelve(self, letters: Sequence[Letter], using: str | None, problem: PublishError) -> None:
        """Write letters that QStash could not take just now; they are sent by a later sweep."""
        ...

    def sweep(self) -> None:
        """Send what was left behind, if it is time to look. Raises nothing."""
        ...


_outbox: Outbox | None = None


def get_outbox() -> Outbox | None:
    """The outbox app's, if it is installed."""
    global _outbox
    if LABEL not in apps.app_configs:
        return None
    if _outbox is None:
        _outbox = import_string(OUTBOX)()
    return _outbox


def sweep() -> None:
    """Let whoever passes by send what was left behind."""
    if (outbox := get_outbox()) is not None:
        outbox.sweep()


def together(using: str | None = None) -> AbstractContextManager[None]:
    """A block whose letters are sent all or not at all, where there is an outbox."""
    outbox = get_outbox()
    return nullcontext() if outbox is None else outbox.together(using)


def checked(using: Any) -> str | None:
    """The option ``using`` of a call. Raises :class:`OptionError`."""
    if using is None:
        return None
    if using not in connections.databases:
        raise OptionError(f"using={using!r}: DATABASES knows {', '.join(connections.databases)}.")
    if LABEL not in apps.app_configs:
        raise OptionError(
            f"using={using!r} names the database whose transaction the message is part of. That "
            "takes the outbox: add 'django_qstash.outbox' to INSTALLED_APPS and run migrate."
        )
    return str(using)


def in_transaction(alias: str) -> bool:
    """True inside an open ``atomic()`` block; those that Django's TestCase puts around a test are
    none, as little as they are for ``atomic(durable=True)``."""
    connection = connections[alias]
    if not connection.in_atomic_block:
        return False
    blocks = getattr(connection, "atomic_blocks", None)
    if blocks is None:
        return True
    return not all(getattr(block, "_from_testcase", False) for block in blocks)


class AfterCommit:
    """A call that waits for the commit of a transaction; it is made once."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call: Callable[[], Any] | None = call
        # Django names by it what failed after a commit, with ``robust=True``.
        self.__qualname__ = getattr(call, "__qualname__", type(call).__qualname__)

    def __call__(self) -> None:
        call, self.call = self.call, None
        if call is not None:
            call()


def on_commit(call: Callable[[], Any], using: str | None) -> None:
    """Send by ``call`` when the open transaction has been committed; at once outside of any.

    With an outbox the letter is part of the transaction, and cannot be lost after it.
    """
    outbox = get_outbox()
    if outbox is not None and not settings.DJANGO_QSTASH_ALWAYS_EAGER and outbox.defers(using):
        call()
    else:
        transaction.on_commit(AfterCommit(call), using=using or DEFAULT_DB_ALIAS)
