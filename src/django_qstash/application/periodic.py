"""``beat_schedule``: schedules in code, in Celery's shape, wherever a project writes them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django_qstash.application import current
from django_qstash.conf import settings
from django_qstash.tasks.canvas import Signature

if TYPE_CHECKING:
    from django_qstash.application.configuration import Configuration

logger = logging.getLogger("django_qstash.application")


def entry(
    schedule: Any,
    sig: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    name: str | None,
    options: Mapping[str, Any],
) -> tuple[str, dict[str, Any]]:
    """The name and the entry that ``add_periodic_task`` makes of a signature or a task."""
    if not isinstance(sig, Signature) and not hasattr(sig, "name"):
        raise TypeError(f"add_periodic_task takes a signature or a task, not {sig!r}.")
    call = sig.clone(args, kwargs) if isinstance(sig, Signature) else Signature(sig, args, kwargs)
    return name or repr(call), {
        "schedule": schedule,
        "task": call.task,
        "args": call.args,
        "kwargs": call.kwargs,
        "options": {**call.options, **options},
    }


def enter(conf: Configuration, key: str, made: Mapping[str, Any], named: bool) -> None:
    """Put an entry into ``beat_schedule``; one without a name of its own may hide another."""
    entries = conf.beat_schedule
    if not named and key in entries:
        logger.warning("The periodic task %r replaces one before it; give them names.", key)
    entries[key] = made


def entries() -> dict[str, Any]:
    """Every entry that this site has in code, by name.

    Those of ``DJANGO_QSTASH_BEAT_SCHEDULE``, and those of the Celery objects: of
    ``app.conf.beat_schedule``, which ``add_periodic_task`` adds to. Ours stand before Celery's.
    """
    found: dict[str, Any] = {}
    for app in current.all_apps():
        found.update(app.conf.beat_schedule or {})
    found.update(settings.DJANGO_QSTASH_BEAT_SCHEDULE)
    return found
