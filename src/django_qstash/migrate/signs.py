"""What in a source file shows that a feature of Celery's is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["option", "argument", "setting", "imported", "attribute"]


@dataclass(frozen=True)
class Sign:
    """One way to tell; made by the functions below, and looked for by the scan."""

    kind: Kind
    name: str
    keyword: str = ""

    def __str__(self) -> str:
        return f"{self.name}({self.keyword}=)" if self.kind == "argument" else self.name


def option(name: str) -> Sign:
    """A keyword of a task's decorator, or an attribute of a task class: ``acks_late``."""
    return Sign("option", name)


def argument(call: str, keyword: str) -> Sign:
    """A keyword in a call of something of this name: ``revoke(terminate=…)``."""
    return Sign("argument", call, keyword)


def setting(name: str) -> Sign:
    """A setting by Celery's present name; ``broker_*`` is every one that begins so.

    It is found under the names that it has in Django's settings, as an attribute of ``app.conf``,
    as a keyword of ``Celery(…)`` and of ``app.conf.update(…)``.
    """
    return Sign("setting", name)


def imported(name: str) -> Sign:
    """A module of Celery's, or something in one: ``celery.bootsteps``, ``celery.signals.x``."""
    return Sign("imported", name)


def attribute(dotted: str) -> Sign:
    """The end of a chain of names: ``control.broadcast`` is found in ``app.control.broadcast``."""
    return Sign("attribute", dotted)
