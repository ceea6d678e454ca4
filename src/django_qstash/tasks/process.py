"""The process that runs tasks: its first delivery and its end, told by Celery's worker signals.

A web server's process stands for a worker. It becomes one with its first delivery, since only then
is it certain that it was forked, and that it will run tasks.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from typing import Any

from django.utils.module_loading import import_string

from django_qstash import conf, signals
from django_qstash.tasks.request import hostname

#: The logger whose receivers set it up for tasks, as in Celery.
TASK_LOGGER = "celery.task"
_CURRENT_APP = "django_qstash.application.current.get_current_app"

#: The process that has begun: not this one, if it was forked from that one.
_begun: int | None = None
_beginning = threading.Lock()


def _forked() -> None:
    """The lock may have been held by a thread that stayed behind in the parent."""
    global _beginning
    _beginning = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forked)


class WebProcess:
    """What the worker signals are sent by: ``sender.app``, ``sender.hostname``, ``sender.pid``."""

    def __init__(self) -> None:
        self.hostname = hostname()
        self.pid = os.getpid()

    @property
    def app(self) -> Any:
        """The current Celery object."""
        return import_string(_CURRENT_APP)()

    def __repr__(self) -> str:
        return f"<WebProcess: {self.hostname} {self.pid}>"


def begin() -> None:
    """Tell receivers, once in each process, that it is about to run its first task.

    Other threads that come meanwhile wait until all receivers are done.
    """
    if _begun == os.getpid():
        return
    _begin()


def _begin() -> None:
    global _begun
    with _beginning:
        if _begun == os.getpid():
            return
        process = WebProcess()
        task_logger = logging.getLogger(TASK_LOGGER)
        told = conf.celery.get("worker_task_log_format") if conf.celery is not None else None
        signals.after_setup_task_logger.emit(
            None,
            logger=task_logger,
            loglevel=task_logger.getEffectiveLevel(),
            logfile=None,
            format=told,
            colorize=False,
        )
        signals.worker_init.emit(process)
        signals.worker_process_init.emit(process)
        signals.worker_ready.emit(process)
        atexit.register(_end, process)
        _begun = process.pid


def stopping(signum: str) -> None:
    """The process was told to stop, and finishes what it is at."""
    if _begun == os.getpid():
        signals.worker_shutting_down.emit(hostname(), sig=signum, how="Warm", exitcode=0)


def _end(process: WebProcess) -> None:
    # A process that was forked afterwards has inherited this call, but did not begin.
    if process.pid == os.getpid():
        signals.worker_process_shutdown.emit(process, pid=process.pid, exitcode=0)
        signals.worker_shutdown.emit(process)
