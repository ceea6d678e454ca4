"""A run is started: its row in the caller's transaction, its letter when that commits."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import transaction

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import PublishError
from django_qstash.tasks import eager, send, write
from django_qstash.tasks import options as call_options
from django_qstash.tasks.outbox import AfterCommit
from django_qstash.workflows import births, events, letters, observe, rows, sweep
from django_qstash.workflows.births import Birth
from django_qstash.workflows.handles import RunHandle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django_qstash.messages import TaskMessage
    from django_qstash.workflows.definition import Workflow
    from django_qstash.workflows.models import WorkflowRun

logger = logging.getLogger("django_qstash.workflows")

#: The app that keeps and sends what QStash did not take.
OUTBOX = "django_qstash.outbox"


def trigger(
    workflow: Workflow,
    data: Any,
    *,
    run_id: str | None,
    idempotency_key: str | None,
    when: Mapping[str, Any],
    options: Mapping[str, Any],
    queue: str | None,
) -> RunHandle:
    """See :meth:`Workflow.trigger`."""
    own = {
        name: call_options.clean_one(name, value)
        for name, value in options.items()
        if value is not None
    }
    if call_options.check_queue(queue) is not None:
        own["queue"] = queue
    birth = Birth(
        workflow=workflow,
        data=data,
        run_id=run_id,
        idempotency_key=idempotency_key,
        at=_moment(call_options.due(when)),
        options=own,
    )
    return start(birth)


def trigger_as_task(
    workflow: Workflow,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Any:
    """Start a run by the options that a task is sent with. See :meth:`Workflow.apply_async`."""
    message, once = write.write(workflow.name, args, kwargs, options, workflow, check=False)
    data = workflow.bind_call(message.args, message.kwargs)
    if write.catch(workflow, message):
        return RunHandle(message.id)
    if settings.DJANGO_QSTASH_ALWAYS_EAGER:
        return eager.apply_message(workflow, message)
    birth = Birth(
        workflow=workflow,
        data=data,
        run_id=message.id,
        at=_moment(message.eta),
        origin=origin_of(message),
        options=options_of(message),
    )
    return start(birth, once)


def origin_of(message: TaskMessage) -> dict[str, Any]:
    """The task's letter as a run keeps it: its arguments are the run's input already."""
    return message.but(args=(), kwargs={}, eta=None, options={}, header=None, p=0, life=0).as_dict()


def options_of(message: TaskMessage) -> dict[str, Any]:
    """The delivery options of a task's letter, which hold for all letters of its run."""
    own = dict(message.options)
    if message.queue is not None:
        own["queue"] = message.queue
    return own


def start(birth: Birth, once: Mapping[str, Any] | None = None) -> RunHandle:
    """Write the run, and have its first letter go out.

    Raises :class:`PublishError`, outside of a transaction, when QStash does not take it: the run is
    not there then, unless the outbox app is installed.
    """
    alias = rows.alias()
    run, new = births.write(birth)
    handle = RunHandle(run.run_id)
    if new:
        observe.log(birth.workflow, run.run_id, observe.SUBMIT_FIRST_INVOCATION)
    if transaction.get_connection(alias).in_atomic_block:
        if run.owed is not None:
            after = AfterCommit(lambda: events.post_owed([run]))
            transaction.on_commit(after, using=alias, robust=True)
        return handle
    if new:
        _post_first(run, once or {})
    elif run.owed is not None:
        events.post_owed([run])
    sweep.by_traffic()
    return handle


def _post_first(run: WorkflowRun, once: Mapping[str, Any]) -> None:
    delay = letters.seconds_until(run.wake_at, clock.now())
    options = {**(run.options or {}), **once}
    try:
        send.post(letters.seal(letters.of_run(run), options, delay=delay))
    except PublishError:
        if apps.is_installed(OUTBOX):
            logger.warning("The letter of the run %s is sent later.", run.run_id)
            return
        # Whoever has begun it all the same, by a second trigger, keeps it.
        untouched = rows.runs().filter(pk=run.pk, owed=run.owed, generation=0, attempts=0)
        with transaction.atomic(using=rows.alias()):
            # Held first: Django's delete() looks, and then deletes what it saw.
            if untouched.update(messages=0):
                untouched.delete()
        raise
    events.settled(run)


def _moment(iso: str | None) -> datetime | None:
    if iso is None:
        return None
    return datetime.fromtimestamp(call_options.instant(iso), timezone.utc)
