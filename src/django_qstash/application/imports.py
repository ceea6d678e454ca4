"""Celery's ways of naming a thing by its path: ``celery.utils.imports``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from django.utils.module_loading import import_string


def symbol_by_name(
    name: Any,
    aliases: Mapping[str, str] | None = None,
    package: str | None = None,
    default: Any = None,
) -> Any:
    """The object behind ``"module:attribute"`` or ``"module.attribute"``, or ``name`` itself.

    ``default`` is returned where there is no such thing. Raises ``ImportError`` or
    ``AttributeError``.
    """
    if not isinstance(name, str):
        return name
    name = (aliases or {}).get(name) or name
    module, mark, attribute = name.partition(":")
    try:
        if not mark:
            return import_string(name)
        found = import_module(module, package)
        return getattr(found, attribute) if attribute else found
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Call the class behind a path."""
    return symbol_by_name(name)(*args, **kwargs)


def qualname(obj: Any) -> str:
    """The path of a class or function, or of the class of anything else."""
    named = obj if hasattr(obj, "__name__") else type(obj)
    return f"{named.__module__}.{named.__qualname__}"


def gen_task_name(app: Any, name: str, module: str | None) -> str:
    """The name that ``app`` gives a task of this function and module."""
    return str(app.gen_task_name(name, module or "__main__"))
