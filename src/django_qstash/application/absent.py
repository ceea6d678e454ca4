"""What Celery's object has and this one cannot have, each with the sentence that says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

_NO_BROKER = "there is no broker; messages go to QStash over HTTP."
_NO_WORKER = "there is no worker; the web server's processes run the tasks that QStash delivers."
_NO_EVENTS = "there is no event bus; use the signals, or the results app."

#: Attributes of ``Celery``.
ABSENT: Mapping[str, str] = {
    "amqp": _NO_BROKER,
    "backend": "results are kept by django_qstash.results; use AsyncResult, or its model.",
    "broker_connection": _NO_BROKER,
    "connection": _NO_BROKER,
    "connection_for_read": _NO_BROKER,
    "connection_for_write": _NO_BROKER,
    "connection_or_acquire": _NO_BROKER,
    "default_connection": _NO_BROKER,
    "events": _NO_EVENTS,
    "loader": "tasks are imported when Django starts; use autodiscover_tasks, imports or include.",
    "log": "Django sets logging up, from LOGGING.",
    "pool": _NO_BROKER,
    "producer_or_acquire": _NO_BROKER,
    "producer_pool": _NO_BROKER,
    "select_queues": _NO_WORKER,
    "setup_security": "QStash signs what it delivers; there is no other signature.",
    "config_from_cmdline": _NO_WORKER,
    "start": _NO_WORKER,
    "steps": _NO_WORKER,
    "user_options": _NO_WORKER,
    "worker_main": _NO_WORKER,
    "Beat": "QStash fires the schedules; there is no beat.",
    "WorkController": _NO_WORKER,
    "Worker": _NO_WORKER,
}

#: Attributes of ``app.control`` and of what ``inspect()`` returns.
CONTROL: Mapping[str, str] = {
    "add_consumer": _NO_WORKER,
    "autoscale": _NO_WORKER,
    "broadcast": _NO_WORKER,
    "cancel_consumer": _NO_WORKER,
    "clock": _NO_WORKER,
    "disable_events": _NO_EVENTS,
    "election": _NO_WORKER,
    "enable_events": _NO_EVENTS,
    "heartbeat": _NO_EVENTS,
    "hello": _NO_WORKER,
    "mailbox": _NO_BROKER,
    "memdump": _NO_WORKER,
    "memsample": _NO_WORKER,
    "objgraph": _NO_WORKER,
    "pool_grow": _NO_WORKER,
    "pool_restart": _NO_WORKER,
    "pool_shrink": _NO_WORKER,
    "rate_limit": "QStash keeps to the rate_limit that a task is decorated with; change it there.",
    "report": _NO_WORKER,
    "revoke_by_stamped_headers": "stamps travel in the messages; revoke tasks by their ids.",
    "shutdown": _NO_WORKER,
    "time_limit": "a task keeps to the limits that it is decorated with; change them there.",
}

#: Modules of Celery's, below ``celery``.
MODULES: Mapping[str, str] = {
    "apps": _NO_WORKER,
    "backends": "results are kept by django_qstash.results, and there is no other backend.",
    "beat": "QStash fires the schedules; there is no beat.",
    "bin": "there are no programs to start; 'manage.py help' lists the commands.",
    "bootsteps": _NO_WORKER,
    "concurrency": _NO_WORKER,
    "events": _NO_EVENTS,
    "fixups": "Django is all there is.",
    "loaders": "Django imports the tasks when it starts; use autodiscover_tasks or imports.",
    "platforms": _NO_WORKER,
    "security": "QStash signs what it delivers; there is no other signature.",
    "worker": _NO_WORKER,
}


def refuse_module(name: str) -> NoReturn:
    """Raises ``ImportError`` for one of Celery's modules, and says why it is not here."""
    raise ImportError(f"celery.{name} has no place here: {MODULES[name]}")
