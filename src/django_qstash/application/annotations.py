"""``task_annotations``: attributes of tasks that are set by the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django_qstash.application.imports import symbol_by_name
from django_qstash.conf import UNSET
from django_qstash.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from django_qstash.application.app import Celery

#: What a task is known by cannot be changed by a setting.
_FIXED = frozenset({"name", "abstract", "app"})


def annotate(app: Celery, task: Any) -> None:
    """Set on ``task`` what the object's ``task_annotations`` say of it.

    ``{"name": {…}}``, ``{"*": {…}}``, objects with ``annotate(task)`` and ``annotate_any()``, or a
    list of these, as in Celery; ``"@method": f`` puts ``f(method)`` in the method's place, and what
    is said of ``"*"`` stands before what is said of the task itself. Raises
    :class:`ImproperlyConfigured`.
    """
    changed = False
    for found in _found(app.conf.peek("task_annotations"), task):
        for name, value in found.items():
            _apply(task, name, value)
            changed = True
    if changed:
        task.options_changed()


def _apply(task: Any, name: str, value: Any) -> None:
    attribute = name.removeprefix("@")
    if attribute in _FIXED:
        raise ImproperlyConfigured(
            f"task_annotations sets {attribute!r} of {task.name}, which no setting can change."
        )
    kind = type(task)
    if not name.startswith("@"):
        setattr(kind, attribute, value)
        return
    original = getattr(kind, attribute)
    # Wrapped once, however often the configuration is applied.
    original = getattr(original, "_annotated", original)
    around = value(original)
    around._annotated = original  # noqa: SLF001 - our own mark
    is_static = isinstance(vars(kind).get(attribute), staticmethod)
    setattr(kind, attribute, staticmethod(around) if is_static else around)


def _found(annotations: Any, task: Any) -> Iterator[Mapping[str, Any]]:
    if annotations is UNSET or annotations is None:
        return
    several = annotations if isinstance(annotations, (list, tuple)) else [annotations]
    # As in Celery: one for this task from the first who has it, then one for any.
    kinds = [_asked(each) for each in several]
    for index in (0, 1):
        for kind in kinds:
            found = kind[index](task)
            if found:
                yield found
                break


def _asked(annotation: Any) -> tuple[Any, Any]:
    if isinstance(annotation, str):
        annotation = symbol_by_name(annotation)
        annotation = annotation() if isinstance(annotation, type) else annotation
    if isinstance(annotation, Mapping):
        return (
            lambda task: annotation.get(task.name),
            lambda task: annotation.get("*"),  # noqa: ARG005 - asked as the other one is
        )
    own = getattr(annotation, "annotate", None)
    anyone = getattr(annotation, "annotate_any", None)
    if own is None and anyone is None:
        raise ImproperlyConfigured(
            f"task_annotations holds {annotation!r}, which is no mapping and has no annotate()."
        )
    return (
        own or (lambda task: None),  # noqa: ARG005
        (lambda task: anyone()) if anyone else (lambda task: None),  # noqa: ARG005
    )
