"""Which ``Celery`` object is meant where none is named: ``current_app``.

The one that was made last, in all threads; a thread that was started later has no other in Celery
either, where it then gets one without any configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from django_qstash.application.app import Celery

_current: Celery | None = None
_default: Celery | None = None
#: Every object that is alive: each has its own settings, and its own signals.
_apps: WeakSet[Celery] = WeakSet()


def get_current_app() -> Celery:
    """The current object; one without any settings is made where a project makes none."""
    return existing() or _fallback()


def existing() -> Celery | None:
    """The current object, if there is any."""
    return _current or _default


def set_current(app: Celery | None) -> None:
    global _current
    _current = app


def set_default(app: Celery | None) -> None:
    """The object that is meant while none is current."""
    global _default
    _default = app


def register(app: Celery) -> None:
    _apps.add(app)


def forget(app: Celery) -> None:
    """Whatever named this object does so no longer."""
    _apps.discard(app)
    if _current is app:
        set_current(None)
    if _default is app:
        set_default(None)


def all_apps() -> list[Celery]:
    """Every object there is."""
    return list(_apps)


@contextmanager
def preserved() -> Iterator[None]:
    """What is current and default is so again after this block."""
    before = _current, _default
    try:
        yield
    finally:
        set_current(before[0])
        set_default(before[1])


def _fallback() -> Celery:
    from django_qstash.application.app import Celery

    app = Celery("default", set_as_current=False)
    set_default(app)
    return app


class CurrentApp:
    """Stands for whichever object is current when it is asked. Celery: ``current_app``."""

    __slots__ = ()

    def _get_current_object(self) -> Celery:
        return get_current_app()

    def __getattr__(self, name: str) -> Any:
        return getattr(get_current_app(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(get_current_app(), name, value)

    def __eq__(self, other: object) -> bool:
        return get_current_app() == other

    def __hash__(self) -> int:
        return hash(get_current_app())

    def __repr__(self) -> str:
        return repr(get_current_app())


current_app: Any = CurrentApp()


def app_or_default(app: Celery | None = None) -> Celery:
    """``app``, or the current one. Celery: ``celery.app.app_or_default``."""
    return get_current_app() if app is None else app
