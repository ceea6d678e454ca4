"""``discover_tasks`` under its documented name of django-qstash 0.x; the registry does the work."""

from __future__ import annotations

from typing import TypedDict

from django_qstash.tasks.registry import autodiscover, path_of, tasks


class TaskInfo(TypedDict):
    """A task as forms and commands show it."""

    name: str
    location: str
    field_label: str


def discover_tasks(
    locations_only: bool = False, *, paths_only: bool = False
) -> list[TaskInfo] | list[str]:
    """Every registered task, built-in ones included, sorted by location.

    With ``locations_only`` or ``paths_only`` (the same) the dotted paths alone, as strings.
    """
    autodiscover()
    found = tasks.listed()
    if locations_only or paths_only:
        return list(dict.fromkeys(path_of(task) for _, task in found))
    return [
        TaskInfo(
            name=name,
            location=path_of(task),
            field_label=name if name == path_of(task) else f"{name} ({path_of(task)})",
        )
        for name, task in found
    ]
