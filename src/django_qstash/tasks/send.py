"""Letters go out: a letter becomes an envelope, and the envelope goes to QStash."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

from django_qstash import clock
from django_qstash.conf import settings
from django_qstash.exceptions import PublishError
from django_qstash.signals import after_task_publish, before_task_publish
from django_qstash.tasks import options as call_options
from django_qstash.tasks import outbox as outboxes
from django_qstash.tasks.outbox import Letter, get_outbox
from django_qstash.tasks.registry import tasks
from django_qstash.tasks.store import get_store
from django_qstash.tasks.write import fit, seal_body
from django_qstash.transport import get_transport
from django_qstash.transport.accounts import DEFAULT
from django_qstash.transport.address import callback_url, webhook_url
from django_qstash.wire import options as wire
from django_qstash.wire.envelope import Envelope, Receipt

if TYPE_CHECKING:
    from django_qstash.messages import TaskMessage

#: The FIFO queues that this process has made sure of, by account, and their parallelism.
_prepared: dict[tuple[str, str], int] = {}

#: ``?callback=`` of the address that QStash calls when it gives a letter up.
GIVEN_UP = "given-up"
#: How often QStash tries to tell us so: what it does by default for a message.
CALLBACK_RETRIES = "3"


def send(
    message: TaskMessage, once: Mapping[str, Any] | None = None, using: str | None = None
) -> str | None:
    """Publish a letter for the first time, with Celery's signals around it; QStash's id of it.

    With an outbox, a letter in a transaction of the database ``using`` is part of it, and one that
    QStash cannot take now is kept and sent later: then there is no id yet. Raises
    :class:`PublishError`, :class:`EncodeError` or :class:`PayloadTooLarge`; nothing is recorded
    then.
    """
    message = prepared(message)
    envelope = seal(message, once)
    outbox = get_outbox()
    if outbox is not None and outbox.defers(using):
        outbox.keep([Letter(message, once)], using)
        return None
    try:
        receipt = post(envelope)
    except PublishError as error:
        if outbox is None or error.is_refusal:
            _take_back(message)
            raise
        outbox.shelve([Letter(message, once)], using, error)
        return None
    if outbox is not None:
        get_store().expect([message])
    tell_published(message)
    outboxes.sweep()
    return receipt.message_id


def send_many(
    messages: Sequence[TaskMessage], before: Sequence[str] = (), using: str | None = None
) -> list[str | None]:
    """Publish letters for the first time, in as few requests as possible; QStash's ids of them.

    With an outbox, all are sent or none is: in a transaction of the database ``using`` they are
    part of it, and what QStash does not take now is sent later. Without one, :class:`PublishError`
    rises at the first batch that QStash does not take whole. Its ``sent`` and ``unsent`` are the
    task ids that were and were not accepted, ``before`` being among those that were.
    """
    if len(messages) == 1:
        try:
            return [send(messages[0], using=using)]
        except PublishError as error:
            error.sent, error.unsent = list(before), [messages[0].id]
            raise
    messages = [prepared(message) for message in messages]
    envelopes = [seal(message) for message in messages]
    outbox = get_outbox()
    if outbox is not None and (
        outbox.defers(using) or len(messages) > settings.DJANGO_QSTASH_BATCH_SIZE
    ):
        # More than one request: a process that dies between two must not leave half a group.
        with outbox.together(using):
            outbox.keep([Letter(message) for message in messages], using)
        return [None] * len(messages)
    receipts, problem = _try_all(envelopes)
    if problem is not None:
        unsent = _unsent(messages, receipts)
        refused = problem.is_refusal or (bool(receipts) and len(unsent) == len(messages))
        if outbox is None or refused:
            _raise_in_part(problem, messages, unsent, before)
        outbox.shelve([Letter(message) for message in unsent], using, problem)
        lost = {message.id for message in unsent}
        messages = [message for message in messages if message.id not in lost]
    if outbox is not None:
        get_store().expect(messages)
    for message in messages:
        tell_published(message)
    outboxes.sweep()
    ids = [each.message_id if isinstance(each, Receipt) else None for each in receipts]
    return [*ids, *[None] * (len(envelopes) - len(ids))]


def prepared(message: TaskMessage) -> TaskMessage:
    """The letter as it will leave: announced to receivers, and fitted into QStash's size."""
    return fit(announced(message), tasks.get(message.task))


def follow(letters: Sequence[TaskMessage]) -> None:
    """Publish what an outcome owes, in as few requests as possible; equal letters stay equal.

    Raises :class:`PublishError` unless QStash took every one of them.
    """
    if not letters:
        return
    envelopes = [seal(letter) for letter in letters]
    if len(envelopes) == 1:
        post(envelopes[0])
    else:
        for answer in post_many(envelopes):
            if isinstance(answer, PublishError):
                raise answer
    for letter in letters:
        tell_published(letter)


def send_copy(message: TaskMessage, *, after: float) -> None:
    """Publish the same letter once more, to arrive in ``after`` seconds. Raises PublishError.

    QStash must not take it for a repetition, so its deduplication id is fresh.
    """
    once = {"deduplication_id": secrets.token_hex(16)}
    post(seal(message, once, delay=after))


def post(envelope: Envelope) -> Receipt:
    """Hand one envelope to QStash. Raises :class:`PublishError`."""
    _prepare(envelope.queue, envelope.account)
    return get_transport(envelope.account).publish(envelope)


def post_many(envelopes: Sequence[Envelope]) -> Iterator[Receipt | PublishError]:
    """Hand envelopes over in batches; what became of each. Raises :class:`PublishError`."""
    size = settings.DJANGO_QSTASH_BATCH_SIZE
    # Neighbours of one account: the answers stay in the order of the envelopes.
    for account, neighbours in groupby(envelopes, attrgetter("account")):
        same = list(neighbours)
        for start in range(0, len(same), size):
            batch = same[start : start + size]
            for queue in {envelope.queue for envelope in batch}:
                _prepare(queue, account)
            yield from get_transport(account).batch(batch)


def seal(
    message: TaskMessage, once: Mapping[str, Any] | None = None, *, delay: float | None = None
) -> Envelope:
    """The envelope for a letter: address, delivery options and body.

    Options are, the later the stronger: settings, the task's, the call's, ``once``. Raises
    :class:`EncodeError` and :class:`PayloadTooLarge`.
    """
    task = tasks.get(message.task)
    options: dict[str, Any] = {"retries": settings.DJANGO_QSTASH_DELIVERY_RETRIES}
    if task is not None:
        options.update(task.delivery_options())
    options.update(call_options.patience(message.timelimit, task))
    options.update(message.options)
    options["deduplication_id"] = message.deduplication_id
    if once:
        options.update(once)
        if "content_based_deduplication" in once and "deduplication_id" not in once:
            del options["deduplication_id"]
    if message.headers and (forwarded := wire.forwardable(message.headers)):
        options["headers"] = forwarded
    hears = get_store().durable or (task is not None and task.hears_of_loss)
    if settings.DJANGO_QSTASH_WATCH_DELIVERIES and hears:
        # The user's own failure_callback is called by our door, with what QStash sent there.
        options["failure_callback"] = callback_url(GIVEN_UP)
        # Or it would have the message's own number, and be lost with a message that has none.
        options["failure_callback_headers"] = {"Retries": CALLBACK_RETRIES}
    wait = _delay(message) if delay is None else delay
    if wait > 0:
        options["delay"] = f"{math.ceil(wait)}s"
    elif call_options.is_fifo(message.queue):
        options["queue"] = message.queue
    account = taken_account(options)
    body = seal_body(message, task)
    return Envelope(url=webhook_url(), body=body, options=options, account=account)


def account_of(message: TaskMessage) -> str:
    """The QStash account that a letter goes through: its own, or its task's."""
    task = tasks.get(message.task)
    own = {} if task is None else task.delivery_options()
    return taken_account({**own, **message.options})


def taken_account(options: dict[str, Any]) -> str:
    """The account among delivery options, which it is taken out of: it is no header."""
    name: str = options.pop(call_options.ACCOUNT, None) or ""
    return "" if name == DEFAULT else name


def _prepare(queue: str | None, account: str) -> None:
    """Let QStash have the FIFO queue with the parallelism that the settings say, once a process."""
    if queue is None:
        return
    parallelism = (settings.DJANGO_QSTASH_QUEUES.get(queue) or {}).get("parallelism", 1)
    if _prepared.get((account, queue)) != parallelism:
        get_transport(account).prepare_queue(queue, parallelism)
        _prepared[account, queue] = parallelism


def _delay(message: TaskMessage) -> float:
    """Seconds until the eta, at most what QStash's plan allows; a later eta is reached in hops."""
    if message.eta is None:
        return 0
    wait = call_options.instant(message.eta) - clock.time()
    # A hundredth is lost between computing an eta and publishing it: not worth a second more.
    return min(max(0.0, wait - 0.01), settings.DJANGO_QSTASH_MAX_DELAY)


def _try_all(
    envelopes: Sequence[Envelope],
) -> tuple[list[Receipt | PublishError], PublishError | None]:
    """What became of each, as far as it came, and the first thing that went wrong."""
    receipts: list[Receipt | PublishError] = []
    problem: PublishError | None = None
    try:
        for receipt in post_many(envelopes):
            receipts.append(receipt)
            if isinstance(receipt, PublishError):
                problem = problem or receipt
    except PublishError as error:
        problem = problem or error
    return receipts, problem


def _unsent(
    messages: Sequence[TaskMessage], receipts: Sequence[Receipt | PublishError]
) -> list[TaskMessage]:
    """Those letters that QStash has not said it took."""
    refused = {index for index, each in enumerate(receipts) if isinstance(each, PublishError)}
    return [
        message
        for index, message in enumerate(messages)
        if index in refused or index >= len(receipts)
    ]


def _raise_in_part(
    problem: PublishError,
    messages: Sequence[TaskMessage],
    unsent: Sequence[TaskMessage],
    before: Sequence[str],
) -> NoReturn:
    lost = {message.id for message in unsent}
    sent = [*before, *(message.id for message in messages if message.id not in lost)]
    for message in unsent:
        _take_back(message)
    total = len(sent) + len(unsent)
    error = PublishError(f"{len(sent)} of {total} messages were sent. {problem}")
    error.status, error.sent = problem.status, sent
    error.unsent = [message.id for message in unsent]
    raise error from problem


def _take_back(message: TaskMessage) -> None:
    if message.stored:
        get_store().drop(message.stored)


def tell_published(message: TaskMessage) -> None:
    """Send ``after_task_publish``: QStash has the letter."""
    if after_task_publish.receivers:
        after_task_publish.emit(
            message.task,
            body=_celery_body(message),
            headers=_celery_headers(message),
            exchange="",
            routing_key=message.queue or "",
        )


def announced(message: TaskMessage) -> TaskMessage:
    """Send ``before_task_publish``; what receivers add to its live headers travels along."""
    if not before_task_publish.receivers:
        return message
    headers = _celery_headers(message)
    known = set(headers)
    before_task_publish.emit(
        message.task,
        body=_celery_body(message),
        exchange="",
        routing_key=message.queue or "",
        headers=headers,
        properties={"correlation_id": message.id, "priority": message.priority},
        declare=[],
        retry_policy=None,
    )
    added = {name: value for name, value in headers.items() if name not in known}
    return message.but(headers={**message.headers, **added}) if added else message


def _celery_headers(message: TaskMessage) -> dict[str, Any]:
    """The message's headers as Celery's protocol 2 has them."""
    return {
        "lang": "py",
        "task": message.task,
        "id": message.id,
        "shadow": message.shadow,
        "eta": message.eta,
        "expires": message.expires,
        "group": message.group,
        "group_index": message.group_index,
        "retries": message.retries,
        "timelimit": list(message.timelimit or (None, None)),
        "root_id": message.root_id or message.id,
        "parent_id": message.parent_id,
        "argsrepr": message.argsrepr or repr(tuple(message.args)),
        "kwargsrepr": message.kwargsrepr or repr(dict(message.kwargs)),
        "ignore_result": bool(message.ignore_result),
        **message.headers,
    }


def _celery_body(message: TaskMessage) -> tuple[Any, Any, dict[str, Any]]:
    return (
        message.args,
        message.kwargs,
        {
            "callbacks": list(message.callbacks) or None,
            "errbacks": list(message.errbacks) or None,
            "chain": list(message.chain) or None,
            "chord": message.chord,
        },
    )
