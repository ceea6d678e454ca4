"""Names to tasks. Filled by the decorator; what is not in here is never run."""

from __future__ import annotations

import difflib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from warnings import warn

from django_qstash.exceptions import DuplicateTaskNameWarning, NotRegistered

if TYPE_CHECKING:
    from django_qstash.tasks.task import Task

#: The modules of an app that may define tasks.
MODULES = ("tasks", "workflows")
_OURS = "django_qstash"


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two functions that claim one name."""

    name: str
    kept: str
    refused: str


class TaskRegistry(dict[str, "Task[..., Any]"]):
    """The tasks of this process by name."""

    NotRegistered = NotRegistered

    def __init__(self) -> None:
        super().__init__()
        self.duplicates: list[Duplicate] = []
        #: Called with every task that comes from now on.
        self.listeners: list[Callable[[Task[..., Any]], None]] = []
        #: Asked for a name that nobody has registered, before it is unknown.
        self.finders: list[Callable[[str], Task[..., Any] | None]] = []
        self._by_path: dict[str, set[str]] = {}

    def register(self, task: Task[..., Any]) -> Task[..., Any]:
        """Add a task; the one that answers to its name from now on.

        The first to take a name keeps it, as in Celery: another function under it is remembered in
        ``duplicates`` and warned about, the same function imported twice is not.
        """
        name = task.name
        if not name:
            raise ValueError(f"{task!r} has no name.")
        holder = self.setdefault(name, task)
        if holder is not task and _origin(holder) != _origin(task):
            duplicate = Duplicate(name, _place(holder), _place(task))
            self.duplicates.append(duplicate)
            warn(
                f"The task name {name!r} is taken by {duplicate.kept}; {duplicate.refused} is not "
                "registered. Give one of them another name=.",
                DuplicateTaskNameWarning,
                stacklevel=4,
            )
        self._by_path.setdefault(path_of(holder), set()).add(name)
        if holder is task:
            for listener in self.listeners:
                listener(task)
        return holder

    def unregister(self, name: str | Task[..., Any]) -> None:
        """Remove a task. Raises :class:`NotRegistered`."""
        key = name if isinstance(name, str) else name.name
        task = self.pop(key, None)
        if task is None:
            raise NotRegistered(key)
        self._by_path.get(path_of(task), set()).discard(key)

    def find(self, name: str) -> Task[..., Any]:
        """The task of this name, or of this dotted path.

        A task that was given another name is found by the path of its function too, and
        ``pkg.tasks.f`` by ``pkg.f``, if that is one task only. Raises :class:`NotRegistered`,
        which names what is closest.
        """
        task = self.get(name)
        if task is not None:
            return task
        package, _, function = name.rpartition(".")
        for path in (name, f"{package}.tasks.{function}", f"{package}.workflows.{function}"):
            names = self._by_path.get(path, set()) | ({path} & self.keys())
            if len(names) == 1:
                return self[names.pop()]
        for look in self.finders:
            if (found := look(name)) is not None:
                return found
        raise NotRegistered(self._regret(name))

    def listed(self) -> list[tuple[str, Task[..., Any]]]:
        """Names and tasks as people are shown them, by the paths of their functions."""
        shown = [(name, task) for name, task in self.items() if not task.internal]
        return sorted(shown, key=lambda item: path_of(item[1]))

    def _regret(self, name: str) -> str:
        close = difflib.get_close_matches(name, self, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return (
            f"No task {name!r} is registered.{hint} Tasks are found in the 'tasks' module of every "
            "app in INSTALLED_APPS, and wherever else a decorated function is imported at start-up."
        )


tasks = TaskRegistry()


def path_of(task: Task[..., Any]) -> str:
    """The dotted path of the function behind a task."""
    return f"{task.__module__}.{task.__name__}"


def autodiscover() -> None:
    """Import the task modules of every installed app, and of the package of the settings.

    An error inside such a module rises: a site that starts without its tasks would lose them.
    """
    from django.apps import apps

    importlib.import_module("django_qstash.tasks.builtin")
    for config in apps.get_app_configs():
        if config.name == _OURS:
            # Its ``tasks`` and ``workflows`` are rooms of this house, the second an app by itself.
            continue
        for module in MODULES:
            _import(config.name, module)
    for package in settings_packages():
        for module in MODULES:
            _import(package, module)


def settings_packages() -> Iterator[str]:
    """The packages around the settings module, from the innermost to the outermost."""
    from django.conf import settings

    name = getattr(settings, "SETTINGS_MODULE", None) or ""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _import(package: str, module: str) -> None:
    name = f"{package}.{module}"
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return
    if spec is None:
        return
    found = importlib.import_module(name)
    for inner in pkgutil.walk_packages(getattr(found, "__path__", ()), f"{name}."):
        importlib.import_module(inner.name)


def _origin(task: Task[..., Any]) -> Any:
    """Equal for one function however often its module was imported."""
    code = getattr(getattr(task, "__wrapped__", None), "__code__", None)
    if code is None:
        return path_of(task)
    return code.co_filename, code.co_firstlineno, code.co_name


def _place(task: Task[..., Any]) -> str:
    code = getattr(getattr(task, "__wrapped__", None), "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return path_of(task) + where
