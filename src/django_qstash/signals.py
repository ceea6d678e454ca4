"""Celery's signals by their names and with their arguments, as Django signals.

They are connected to as Celery's are: also as a decorator, and for one task by its name or by
itself. A receiver that raises is logged, never felt by the task.

Those of tasks are sent around every task. A web process that runs tasks stands for Celery's worker:
its signals are sent once for each such process, before its first task. Those in ``SILENT`` are
there to be connected to, and never sent; a system check names who connects to them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any
from weakref import ReferenceType

from django.dispatch import Signal

logger = logging.getLogger("django_qstash.signals")

#: Every task name that a receiver was connected for, or a signal sent for. Django tells senders
#: apart by what they are rather than by what they equal, so there must be one text of each name.
_NAMES: dict[str, str] = {}


class TaskSignal(Signal):
    """A Django signal that behaves as Celery's do."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __repr__(self) -> str:
        return f"<TaskSignal: {self.name}>"

    def connect(
        self,
        receiver: Callable[..., Any] | None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable | None = None,
    ) -> Any:
        """As Django's, but returns the receiver, and is a decorator where none is given.

        ``sender`` is a task or its name.
        """
        if receiver is None:
            return partial(self.connect, sender=sender, weak=weak, dispatch_uid=dispatch_uid)
        super().connect(receiver, _one(sender), weak, dispatch_uid)
        return receiver

    def disconnect(
        self,
        receiver: Callable[..., Any] | None = None,
        sender: Any = None,
        dispatch_uid: Hashable | None = None,
    ) -> bool:
        return super().disconnect(receiver, _one(sender), dispatch_uid)

    def _live_receivers(self, sender: Any) -> Any:
        return super()._live_receivers(_one(sender))

    def is_heard(self) -> bool:
        """True if anybody receives it, from whatever sender."""
        # Django keeps the references of receivers that are gone until the next one connects.
        held = (entry[1] for entry in self.receivers)
        return any(not isinstance(one, ReferenceType) or one() is not None for one in held)

    def emit(self, sender: Any, **named: Any) -> None:
        """Call every receiver. Free of cost where there is none."""
        if not self.receivers:
            return
        try:
            # Django logs what a receiver raises, and calls the next.
            self.send_robust(sender, **named)
        except Exception:
            # It stumbles over a receiver without a name, and over an async one in a running loop.
            logger.exception("A receiver of %s could not be called", self.name)


def _one(sender: Any) -> Any:
    name = sender if isinstance(sender, str) else getattr(sender, "name", None)
    return _NAMES.setdefault(name, name) if isinstance(name, str) else sender


before_task_publish = TaskSignal("before_task_publish")
after_task_publish = TaskSignal("after_task_publish")
task_received = TaskSignal("task_received")
task_prerun = TaskSignal("task_prerun")
task_postrun = TaskSignal("task_postrun")
task_success = TaskSignal("task_success")
task_retry = TaskSignal("task_retry")
task_failure = TaskSignal("task_failure")
task_revoked = TaskSignal("task_revoked")
task_rejected = TaskSignal("task_rejected")
task_unknown = TaskSignal("task_unknown")
task_internal_error = TaskSignal("task_internal_error")

# A process that runs tasks, from its first delivery to its end.
after_setup_task_logger = TaskSignal("after_setup_task_logger")
worker_init = TaskSignal("worker_init")
worker_process_init = TaskSignal("worker_process_init")
worker_ready = TaskSignal("worker_ready")
worker_shutting_down = TaskSignal("worker_shutting_down")
worker_process_shutdown = TaskSignal("worker_process_shutdown")
worker_shutdown = TaskSignal("worker_shutdown")
#: Sent by every Celery object when the modules with tasks are about to be imported.
import_modules = TaskSignal("import_modules")

# Nobody sends these: no worker program, no beat, no event loop of Celery's.
after_setup_logger = TaskSignal("after_setup_logger")
beat_embedded_init = TaskSignal("beat_embedded_init")
beat_init = TaskSignal("beat_init")
celeryd_after_setup = TaskSignal("celeryd_after_setup")
celeryd_init = TaskSignal("celeryd_init")
eventlet_pool_apply = TaskSignal("eventlet_pool_apply")
eventlet_pool_postshutdown = TaskSignal("eventlet_pool_postshutdown")
eventlet_pool_preshutdown = TaskSignal("eventlet_pool_preshutdown")
eventlet_pool_started = TaskSignal("eventlet_pool_started")
heartbeat_sent = TaskSignal("heartbeat_sent")
setup_logging = TaskSignal("setup_logging")
task_sent = TaskSignal("task_sent")
user_preload_options = TaskSignal("user_preload_options")
worker_before_create_process = TaskSignal("worker_before_create_process")

_NO_WORKER = "no worker program is started"
_NO_BEAT = "QStash fires the schedules"
_DJANGO_LOGS = "Django sets logging up, from LOGGING"
_NO_POOL = "tasks run in the web server's own processes"

#: The signals that are never sent, and why.
SILENT: dict[str, str] = {
    "after_setup_logger": _DJANGO_LOGS,
    "beat_embedded_init": _NO_BEAT,
    "beat_init": _NO_BEAT,
    "celeryd_after_setup": _NO_WORKER,
    "celeryd_init": _NO_WORKER,
    "eventlet_pool_apply": _NO_POOL,
    "eventlet_pool_postshutdown": _NO_POOL,
    "eventlet_pool_preshutdown": _NO_POOL,
    "eventlet_pool_started": _NO_POOL,
    "heartbeat_sent": _NO_WORKER,
    "setup_logging": _DJANGO_LOGS,
    "task_sent": "Celery itself no longer sends it; use after_task_publish",
    "user_preload_options": _NO_WORKER,
    "worker_before_create_process": _NO_POOL,
}
