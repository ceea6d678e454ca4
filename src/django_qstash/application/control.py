"""``app.control``: what can be told of and done about tasks without a worker to ask.

Replies are Celery's in form: ``{host: …}``. They come from the results app's table and from this
process, so they are true for the whole site, and no host has to answer in time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.utils.module_loading import import_string

from django_qstash.application.absent import CONTROL
from django_qstash.conf import settings
from django_qstash.exceptions import ResultsNotInstalled
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.request import hostname
from django_qstash.tasks.result import AsyncResult
from django_qstash.tasks.store import get_store
from django_qstash.transport import get_transport
from django_qstash.transport.address import webhook_url

if TYPE_CHECKING:
    from django_qstash.application.app import Celery

_ACCOUNT = "django_qstash.results.account"
#: Messages that one request withdraws: as many as QStash allows.
PURGE = 500


class Control:
    """Celery: ``app.control``."""

    def __init__(self, app: Celery | None = None) -> None:
        self.app = app

    def inspect(self, destination: Any = None, **options: Any) -> Inspect:
        """What the site's tasks are at; of the hosts in ``destination`` only, where it is given."""
        return Inspect(destination, app=self.app, **options)

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,  # noqa: ARG002 - a task is revoked on every host
        terminate: bool = False,
        signal: str = "SIGTERM",  # noqa: ARG002 - no process is signalled
        **_: Any,
    ) -> None:
        """Have tasks not run, if they have not begun; with ``terminate`` discard what they do.

        Raises :class:`ResultsNotInstalled`.
        """
        for one in [task_id] if isinstance(task_id, str) else list(task_id):
            AsyncResult(one).revoke(terminate=terminate)

    def terminate(self, task_id: str | Iterable[str], **options: Any) -> None:
        """``revoke(…, terminate=True)``."""
        self.revoke(task_id, terminate=True, **options)

    def purge(self, connection: Any = None) -> int:  # noqa: ARG002 - a broker's
        """Withdraw every message to this site that QStash has not delivered; how many there were.

        Whatever waits: tasks to come, retries, later ones. Raises :class:`PublishError`.
        """
        # Only those for our own door: an account may serve other sites.
        query = urlencode({"url": webhook_url(), "count": PURGE})
        done = 0
        for account in ("", *settings.DJANGO_QSTASH_ACCOUNTS):
            transport = get_transport(account)
            while cancelled := _cancelled(transport.request("DELETE", f"/v2/messages?{query}")):
                done += cancelled
        return done

    discard_all = purge

    def ping(self, destination: Any = None, timeout: float = 1.0, **_: Any) -> list[dict[str, Any]]:  # noqa: ARG002
        """``[{host: {"ok": "pong"}}]``: this process is here to run tasks."""
        reply = self.inspect(destination).ping()
        return [reply] if reply else []

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"app.control.{name}: {CONTROL.get(name, 'there is no such thing.')}")


class Inspect:
    """Celery: ``app.control.inspect()``."""

    def __init__(
        self,
        destination: Any = None,
        timeout: float = 1.0,  # noqa: ARG002 - nobody is waited for
        callback: Any = None,  # noqa: ARG002
        connection: Any = None,  # noqa: ARG002
        app: Celery | None = None,
        limit: int | None = None,
        **_: Any,
    ) -> None:
        self.app = app
        self.destination = destination
        #: The largest number of tasks that a reply holds.
        self.limit = limit or 1000

    def active(self, safe: Any = None) -> Any:  # noqa: ARG002
        """The tasks under way, by the host that runs each. Raises :class:`ResultsNotInstalled`."""
        return self._by_host(_account("active")(self.limit), _task_info)

    def reserved(self, safe: Any = None) -> Any:  # noqa: ARG002
        """The tasks that were sent and have not begun, where the outbox app keeps them."""
        return self._by_host(_account("waiting")(self.limit), _task_info)

    def scheduled(self, safe: Any = None) -> Any:  # noqa: ARG002
        """The tasks that wait for another try."""
        return self._by_host(_account("to_retry")(self.limit), _scheduled_info)

    def revoked(self) -> Any:
        """The ids of the tasks that were revoked."""
        return self._here([record.task_id for record in _account("revoked")(self.limit)])

    def registered(self, *attributes: str) -> Any:
        """The names of the tasks that may run here, each with these attributes of it."""
        shown = [(name, task) for name, task in sorted(tasks.items()) if not task.internal]
        return self._here([_with_attributes(name, task, attributes) for name, task in shown])

    registered_tasks = registered

    def ping(self, destination: Any = None) -> Any:
        """``{host: {"ok": "pong"}}`` of this process."""
        self.destination = destination or self.destination
        return self._here({"ok": "pong"})

    def query_task(self, *ids: Any) -> Any:
        """``{host: {id: [state, info]}}`` of the tasks that are known."""
        names = [one for each in ids for one in ([each] if isinstance(each, str) else each)]
        records = get_store().fetch_many(names)
        found: dict[str, dict[str, Any]] = {}
        for record in records.values():
            host = found.setdefault(record.worker or hostname(), {})
            host[record.task_id] = [record.status.lower(), _task_info(record)]
        return self._chosen(found)

    def stats(self) -> Any:
        """``{host: {"total": {task: how many ended}, …}}`` of the results that are still kept."""
        found = {
            host: {"total": totals, "pid": os.getpid() if host == hostname() else None}
            for host, totals in _account("totals")().items()
        }
        found.setdefault(hostname(), {"total": {}, "pid": os.getpid()})
        return self._chosen(found)

    def active_queues(self) -> Any:
        """The FIFO queues of ``DJANGO_QSTASH_QUEUES``."""
        return self._here(
            [{"name": name, "routing_key": name} for name in settings.DJANGO_QSTASH_QUEUES]
        )

    def conf(self, with_defaults: bool = False) -> Any:
        """Celery's settings as this process has them, secrets hidden."""
        from django_qstash.application.current import app_or_default

        return self._here(app_or_default(self.app).conf.table(with_defaults))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"app.control.inspect().{name}: {CONTROL.get(name, 'there is no such thing.')}"
        )

    def _by_host(self, records: Iterable[Any], info: Any) -> Any:
        found: dict[str, list[Any]] = {hostname(): []}
        for record in records:
            found.setdefault(record.worker or hostname(), []).append(info(record))
        return self._chosen(found)

    def _here(self, reply: Any) -> Any:
        return self._chosen({hostname(): reply})

    def _chosen(self, found: Mapping[str, Any]) -> Any:
        """As Celery's: one host's reply if one is named, ``None`` if no host replies."""
        wanted = self.destination
        if wanted is None:
            return found
        if isinstance(wanted, str):
            return found.get(wanted)
        return {host: reply for host, reply in found.items() if host in wanted} or None


def _cancelled(answer: Any) -> int:
    return int(answer.get("cancelled", 0)) if isinstance(answer, Mapping) else 0


def _account(name: str) -> Any:
    if not get_store().durable:
        raise ResultsNotInstalled("inspect() of tasks")
    return import_string(f"{_ACCOUNT}.{name}")


def _task_info(record: Any) -> dict[str, Any]:
    started = record.date_started
    return {
        "id": record.task_id,
        "name": record.name,
        "type": record.name,
        "args": record.args,
        "kwargs": record.kwargs,
        "hostname": record.worker,
        "time_start": started.timestamp() if started else None,
        "acknowledged": False,
        "delivery_info": {"exchange": "", "routing_key": record.queue, "priority": None},
        "worker_pid": None,
    }


def _scheduled_info(record: Any) -> dict[str, Any]:
    return {"eta": record.meta.get("eta"), "priority": None, "request": _task_info(record)}


def _with_attributes(name: str, task: Any, attributes: Iterable[str]) -> str:
    shown = [f"{each}={getattr(task, each, None)}" for each in attributes]
    return f"{name} [{' '.join(shown)}]" if shown else name
