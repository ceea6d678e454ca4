"""What a transport is, and which one is in use."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from django_qstash.conf import settings
from django_qstash.exceptions import ImproperlyConfigured, PublishError
from django_qstash.transport.accounts import find

if TYPE_CHECKING:
    from django_qstash.wire.envelope import Envelope, Receipt


class Transport(Protocol):
    """Carries envelopes to QStash. One instance serves all threads of a process."""

    def publish(self, envelope: Envelope) -> Receipt:
        """Hand one message to QStash. Raises :class:`PublishError`."""
        ...

    def batch(self, envelopes: Sequence[Envelope]) -> list[Receipt | PublishError]:
        """Hand many over in one request; an item that QStash refused is a PublishError *value*.

        Raises :class:`PublishError` when the request as a whole came to nothing.
        """
        ...

    def cancel(self, message_id: str) -> bool:
        """Withdraw a message; false if QStash does not have it any more. Raises PublishError."""
        ...

    def prepare_queue(self, name: str, parallelism: int) -> None:
        """Have QStash deliver so many messages of a FIFO queue at once. Raises PublishError."""
        ...

    def schedule(self, envelope: Envelope) -> str:
        """Make the schedule that the envelope's options name, or replace it; its id.

        Raises :class:`PublishError`.
        """
        ...

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any other call of QStash's API; the decoded JSON answer. Raises PublishError."""
        ...

    def for_account(self, name: str) -> Transport:
        """The transport to another QStash account of this site. Asked for named ones only."""
        ...


_transport: tuple[str, Transport] | None = None
#: Two threads that publish first at the same time must not get a transport each.
_making = threading.RLock()
#: What stands in for it in this thread or coroutine.
_instead: ContextVar[Transport | None] = ContextVar("django_qstash_transport", default=None)


def get_transport(account: str = "") -> Transport:
    """The instance of ``DJANGO_QSTASH_TRANSPORT``, made at first use; its one for an account.

    Raises :class:`ImproperlyConfigured` when the setting names no class, or there is no such
    account.
    """
    transport = _default_transport()
    if not account:
        return transport
    find(account)
    if not hasattr(transport, "for_account"):
        path = settings.DJANGO_QSTASH_TRANSPORT
        raise ImproperlyConfigured(
            f"{_name(path)} carries messages to one account only, as it has no for_account()."
        )
    return transport.for_account(account)


def _default_transport() -> Transport:
    global _transport
    if (instead := _instead.get()) is not None:
        return instead
    path = settings.DJANGO_QSTASH_TRANSPORT
    found = _transport
    if found is None or found[0] != path:
        with _making:
            found = _transport
            if found is None or found[0] != path:
                found = _transport = (path, _load(path)())
    return found[1]


@contextmanager
def use(transport: Transport) -> Iterator[None]:
    """Let this thread or coroutine publish through ``transport`` in this block."""
    token = _instead.set(transport)
    try:
        yield
    finally:
        _instead.reset(token)


def _load(path: str) -> type[Transport]:
    try:
        named = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{_name(path)} cannot be imported: {error}.") from error
    if not isinstance(named, type):
        raise ImproperlyConfigured(f"{_name(path)} is no class.")
    return named


def _name(path: str) -> str:
    return f"DJANGO_QSTASH_TRANSPORT={path!r}"


def _forget(*, setting: str, **_: Any) -> None:
    global _transport
    if setting == "DJANGO_QSTASH_TRANSPORT" and _transport is not None:
        close = getattr(_transport[1], "close", None)
        _transport = None
        if close is not None:
            close()


setting_changed.connect(_forget, dispatch_uid="django_qstash.transport.forget")
