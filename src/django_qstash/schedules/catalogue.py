"""The tasks and workflows that can be scheduled, as people choose among them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django_qstash import serialization
from django_qstash.exceptions import EncodeError
from django_qstash.tasks.registry import tasks

if TYPE_CHECKING:
    from django_qstash.tasks.task import Task


def choices() -> list[tuple[str, str]]:
    """Names, and names with what each does, which is searched as well."""
    return [(name, _shown(name, task)) for name, task in tasks.listed()]


def described() -> dict[str, Any]:
    """What each does and takes, by name: for the page on which one is chosen."""
    return {name: description(task) for name, task in tasks.listed()}


def description(task: Task[..., Any]) -> Mapping[str, Any]:
    return {"doc": inspect.getdoc(task) or "", "parameters": list(map(_parameter, _taken(task)))}


def _taken(task: Task[..., Any]) -> list[inspect.Parameter]:
    return list(task.signature_of_run().parameters.values())


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    starred = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    if parameter.kind is parameter.VAR_KEYWORD:
        starred = "**"
    shown: dict[str, Any] = {"name": f"{starred}{parameter.name}"}
    if parameter.default is not parameter.empty:
        try:
            shown["default"] = serialization.dumps(parameter.default)
        except EncodeError:
            shown["default"] = repr(parameter.default)
    elif not starred:
        shown["required"] = True
    return shown


def _shown(name: str, task: Task[..., Any]) -> str:
    first = (inspect.getdoc(task) or "").partition("\n")[0].strip()
    return f"{name} - {first}" if first else name
