"""A run's letters: what is asked of QStash so that a run, or one of its branches, goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django_qstash.conf import settings
from django_qstash.exceptions import PublishError
from django_qstash.messages import WorkflowMessage, derived_run
from django_qstash.tasks import send
from django_qstash.tasks.options import is_fifo
from django_qstash.tasks.registry import tasks
from django_qstash.transport.address import callback_url, webhook_url
from django_qstash.wire.delivery import Reply
from django_qstash.wire.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from django_qstash.workflows.carried.letter import Letter
    from django_qstash.workflows.models import WorkflowRun


logger = logging.getLogger("django_qstash.workflows")


def of_run(run: WorkflowRun) -> WorkflowMessage:
    """The letter that continues a run from where its row stands."""
    return WorkflowMessage(workflow=run.workflow_id, id=run.run_id, generation=run.generation)


def of_branch(run: WorkflowRun, row: Any) -> WorkflowMessage:
    """The letter of a branch, for its attempt after those that have ended.

    ``row`` is anything that has a step's ``step_id``, ``occurrence`` and ``attempts``.
    """
    return WorkflowMessage(
        workflow=run.workflow_id,
        id=run.run_id,
        step=row.step_id,
        occurrence=row.occurrence,
        retries=row.attempts,
    )


def seal(
    message: WorkflowMessage | Letter,
    options: Mapping[str, Any] | None = None,
    *,
    delay: float = 0,
    fresh: bool = False,
    limit: int | None = None,
) -> Envelope:
    """The envelope for a letter, under the run's own delivery ``options``.

    ``delay`` is in seconds; what exceeds DJANGO_QSTASH_MAX_DELAY is left to the next hop. A
    ``fresh`` copy is one that QStash must not take for a repetition. ``limit`` bounds how many
    branches of one id are at work at once.
    """
    sealed: dict[str, Any] = {"retries": settings.DJANGO_QSTASH_DELIVERY_RETRIES}
    workflow = tasks.get(message.workflow)
    queue = None
    if workflow is not None:
        sealed.update(workflow.delivery_options())
        queue = workflow.queue
    own = dict(options or {})
    queue = own.pop("queue", None) or queue
    sealed.update(own)
    if limit is not None and isinstance(message, WorkflowMessage):
        named = f"{message.id}\0{message.step}"
        key = hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        sealed["flow_control"] = {"key": f"branches-{key}", "parallelism": limit}
    sealed["deduplication_id"] = secrets.token_hex(16) if fresh else message.deduplication_id
    if settings.DJANGO_QSTASH_WATCH_DELIVERIES:
        sealed["failure_callback"] = callback_url(send.GIVEN_UP)
        sealed["failure_callback_headers"] = {"Retries": send.CALLBACK_RETRIES}
    # A hundredth is lost between computing an instant and publishing it: not worth a second more.
    wait = min(delay - 0.01, settings.DJANGO_QSTASH_MAX_DELAY)
    if wait > 0:
        sealed["delay"] = f"{math.ceil(wait)}s"
    elif is_fifo(queue) and "flow_control" not in sealed:
        sealed["queue"] = queue
        message = message.but(enqueued=True)
    account = send.taken_account(sealed)
    body = message.encode()
    return Envelope(url=_address(workflow), body=body, options=sealed, account=account)


def account_of(name: str, options: Mapping[str, Any] | None) -> str:
    """The QStash account of a run of this workflow with these ``options``."""
    workflow = tasks.get(name)
    own = {} if workflow is None else workflow.delivery_options()
    return send.taken_account({**own, **(options or {})})


def size(
    message: WorkflowMessage, options: Mapping[str, Any] | None = None, *, delay: float = 0
) -> int:
    """Bytes of the body that :func:`seal` makes of the same."""
    if not settings.DJANGO_QSTASH_QUEUES:
        # Only a queue changes the letter.
        return len(message.encode())
    return len(seal(message, options, delay=delay).body)


def _address(workflow: Any) -> str:
    """The door that the letter goes to: ours, or that of the workflow's own ``base_url``."""
    url = webhook_url()
    base = getattr(workflow, "base_url", None)
    return url if base is None else base.rstrip("/") + urlsplit(url).path


def post_all(envelopes: Sequence[Envelope]) -> None:
    """Publish envelopes in as few requests as possible. Raises :class:`PublishError`."""
    if len(envelopes) == 1:
        send.post(envelopes[0])
        return
    for receipt in send.post_many(envelopes):
        if isinstance(receipt, PublishError):
            raise receipt


def post_copy(
    message: WorkflowMessage, run: WorkflowRun, delay: float, limit: int | None = None
) -> None:
    """Publish a copy of a letter that could not be acted on now. Raises :class:`PublishError`."""
    copy = message.but(p=message.p + 1)
    send.post(seal(copy, run.options, delay=delay, fresh=True, limit=limit))


def refused(message: WorkflowMessage | Letter, error: PublishError) -> Reply:
    """The answer where QStash did not take what follows: the delivery is to come again."""
    logger.warning("What follows the run %s was not published: %s", message.id, error)
    return Reply.again("what follows could not be published")


def failure_notice(url: str, run_id: str, said: str, account: str) -> Envelope:
    """Has QStash tell an author's own address, in the shape of Upstash Workflow's failureUrl."""
    told = {
        "status": 489,
        "header": {},
        "body": said,
        "url": webhook_url(),
        "workflowRunId": run_id,
        "sourceMessageId": "",
    }
    options = {
        "retries": settings.DJANGO_QSTASH_DELIVERY_RETRIES,
        "deduplication_id": derived_run(run_id, "failure-url"),
    }
    body = json.dumps(told).encode()
    return Envelope(url=url, body=body, options=options, account=account)


def seconds_until(moment: datetime | None, now: datetime) -> float:
    """From ``now`` to ``moment``; 0 for a moment that has passed, and for none."""
    return 0.0 if moment is None else max(0.0, (moment - now).total_seconds())
