"""Which of Celery's modules and names are here; the mirror itself is asked."""

from __future__ import annotations

import importlib
from functools import cache

#: The packages that a name may be imported from: the face first, since it reads best.
FACE, MIRROR = "django_qstash", "django_qstash.celery"


def is_celerys(module: str | None) -> bool:
    """True for ``celery`` and what stands below it."""
    return module is not None and (module == "celery" or module.startswith("celery."))


@cache
def why_not(module: str, name: str | None = None) -> str | None:
    """Why ``from module import name`` has no counterpart; ``None`` if it has one."""
    ours = MIRROR + module.removeprefix("celery")
    try:
        found = importlib.import_module(ours)
    except ModuleNotFoundError:
        return f"{module} has no counterpart here."
    except ImportError as error:
        return str(error)
    if name is None or name == "*" or hasattr(found, name):
        return None
    below = why_not(f"{module}.{name}")
    if below is None or "no counterpart" not in below:
        return below
    return f"{module}.{name} has no counterpart here."


def home(module: str, names: list[str]) -> str:
    """Where these names of a module of Celery's are to be imported from."""
    if module == "celery":
        face = importlib.import_module(FACE)
        if set(names) <= set(face.__all__):
            return FACE
    return MIRROR + module.removeprefix("celery")
