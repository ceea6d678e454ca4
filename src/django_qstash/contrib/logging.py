"""Task, and what it belongs to, in every line of a log.

::

    LOGGING = {
        "version": 1,
        "filters": {"task": {"()": "django_qstash.contrib.logging.TaskFilter"}},
        "formatters": {"json": {"()": "django_qstash.contrib.logging.JSONFormatter"}},
        "handlers": {
            "console": {"class": "logging.StreamHandler", "filters": ["task"], "formatter": "json"},
        },
        "root": {"handlers": ["console"], "level": "INFO"},
    }

Records are then to be formatted with ``%(task_name)s[%(task_id)s]`` and ``%(correlation_id)s``.
Loggers of :func:`get_task_logger` add the first two by themselves, as Celery's do.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

from django_qstash.tasks.correlation import correlated, correlation_id
from django_qstash.tasks.request import current

__all__ = [
    "JSONFormatter",
    "TaskFilter",
    "TaskFormatter",
    "correlated",
    "correlation_id",
    "get_logger",
    "get_task_logger",
]

#: What stands in a record for a task where there is none (Celery).
NO_TASK = "???"
#: The parents of the loggers that are asked for by Celery's functions, as in Celery.
BASE, TASK = "celery", "celery.task"


class TaskFilter(logging.Filter):
    """Gives records ``task_id``, ``task_name`` and ``correlation_id``; lets all of them pass.

    On a handler, it sees the records of every logger. Outside of a task the first two are ``???``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        found = current()
        task, context = found or (None, None)
        if not hasattr(record, "task_id"):
            record.task_id = (context and context.id) or NO_TASK
        if not hasattr(record, "task_name"):
            record.task_name = task.name if task is not None else NO_TASK
        if not hasattr(record, "correlation_id"):
            record.correlation_id = correlation_id()
        return True


class TaskFormatter(logging.Formatter):
    """A formatter whose format may name the task: ``"%(task_name)s[%(task_id)s] %(message)s"``.

    Celery: ``celery.app.log.TaskFormatter``; ``use_color`` is taken, and nothing is coloured.
    """

    def __init__(
        self,
        fmt: str | None = None,
        use_color: bool = False,  # noqa: ARG002 - a terminal's business
        datefmt: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fmt, datefmt, **kwargs)

    def format(self, record: logging.LogRecord) -> str:
        _complete.filter(record)
        return super().format(record)


class JSONFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the task, and what it belongs to.

    What a call gives as ``extra`` is added; a value that JSON cannot carry is shown by its repr.
    """

    def format(self, record: logging.LogRecord) -> str:
        _complete.filter(record)
        moment = datetime.fromtimestamp(record.created, tz=timezone.utc)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and name[0] != "_" and value not in (None, NO_TASK):
                line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=repr)


def get_logger(name: str) -> logging.Logger:
    """The logger of a name, below that of ``celery``. Celery: ``celery.utils.log.get_logger``."""
    return _below(BASE, name)


def get_task_logger(name: str) -> logging.Logger:
    """The logger for a module of tasks: below ``celery.task``, its records name their task.

    Celery: ``celery.utils.log.get_task_logger``. Raises ``RuntimeError`` for a reserved name.
    """
    if name in (BASE, TASK):
        raise RuntimeError(f"The logger's name {name!r} is reserved.")
    logger = _below(TASK, name)
    if _complete not in logger.filters:
        logger.addFilter(_complete)
    return logger


def _below(parent: str, name: str) -> logging.Logger:
    """A logger whose records go up by way of ``parent``, whatever its own name says."""
    logger = logging.getLogger(name)
    above = logging.getLogger(parent)
    found: logging.Logger | None = logger
    while found is not None and found is not above:
        found = found.parent
    if found is None and logger is not logging.root:
        logger.parent = above
    return logger


_complete = TaskFilter()
#: What every record has.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
