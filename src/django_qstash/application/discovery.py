"""Importing the modules that tasks stand in, and what else waits until Django has started."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Iterator
from datetime import timezone, tzinfo
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.apps import apps

from django_qstash.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django_qstash.application.configuration import Configuration

#: Where a project's Celery object stands, beside its settings.
MODULES = ("celery", "celery_app", "celeryapp")
_CLASS = "django_qstash.application.app"


def has_started() -> bool:
    """True once Django has loaded every app."""
    return apps.ready


def start(packages: Iterable[str]) -> None:
    """Import the ``celery.py`` of the settings' packages, and finalize every Celery object.

    A project's package imports it by itself, as Celery's documentation has it; where that was left
    to the worker's ``-A``, nobody else would. A module that is not about this package is let be.
    """
    for package in packages:
        for name in MODULES:
            if f"{package}.{name}" not in sys.modules and _is_ours(package, name):
                import_module(f"{package}.{name}")
    if _CLASS in sys.modules:
        from django_qstash.application.app import finalize_all
        from django_qstash.application.current import all_apps

        finalize_all(all_apps())


def import_related(packages: Any, related_name: str | None) -> None:
    """Import a module of each package where there is one; ``None``: the packages themselves."""
    found = packages() if callable(packages) else packages
    if not found:
        found = [config.name for config in apps.get_app_configs()]
    for package in [found] if isinstance(found, str) else found:
        if related_name is None:
            import_module(package)
        elif _exists(package, related_name):
            import_module(f"{package}.{related_name}")


def import_all(modules: Any) -> None:
    """Import every module that is named."""
    for module in [modules] if isinstance(modules, str) else modules:
        import_module(module)


def zone(conf: Configuration) -> tzinfo:
    """The zone that the settings name. Raises :class:`ImproperlyConfigured`."""
    named = conf.timezone
    if isinstance(named, tzinfo):
        return named
    if not named:
        return timezone.utc
    try:
        return ZoneInfo(named)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ImproperlyConfigured(f"timezone={named!r} is no time zone: {error}.") from None


def _exists(package: str, name: str) -> bool:
    try:
        return importlib.util.find_spec(f"{package}.{name}") is not None
    except ModuleNotFoundError as error:
        # The app is a plain module, or its name is that of a class in it: it has no such module.
        if error.name is not None and f"{package}.{name}".startswith(error.name):
            return False
        raise


def _is_ours(package: str, name: str) -> bool:
    """True for a module whose text imports this package: real Celery's stays unread by us."""
    try:
        spec = importlib.util.find_spec(f"{package}.{name}")
    except (ImportError, ValueError):
        return False
    origin = spec.origin if spec is not None else None
    if not origin or not origin.endswith(".py"):
        return False
    return any(_imports_us(line) for line in _lines(Path(origin)))


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return


def _imports_us(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and words[0] in ("from", "import") and "django_qstash" in words[1]
