"""Rows become messages: sealed as they would have been at the call, and handed over in one request.

Sealed now, so that a delay is counted from now, and a new address or option counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django_qstash.exceptions import (
    EncodeError,
    MessageError,
    OptionError,
    PayloadTooLarge,
    PublishError,
)
from django_qstash.messages import TaskMessage, decode
from django_qstash.outbox.rows import Outcome
from django_qstash.tasks import send
from django_qstash.tasks.store import get_store

if TYPE_CHECKING:
    from django_qstash.outbox.models import OutgoingMessage
    from django_qstash.wire.envelope import Envelope, Receipt

#: QStash's answers to a batch in which one message may be what it refuses.
_PERHAPS_ONE = frozenset({400, 413, 422})


def publish(found: Sequence[OutgoingMessage]) -> Outcome:
    """Publish the letters of these rows. Raises :class:`PublishError` if QStash is out of reach."""
    outcome = Outcome()
    sealed: list[tuple[OutgoingMessage, TaskMessage, Envelope]] = []
    for row in found:
        try:
            message = TaskMessage.from_dict(decode(row.letter.encode("ascii")))
            sealed.append((row, message, send.seal(message, row.once)))
        except (MessageError, EncodeError, PayloadTooLarge, OptionError, UnicodeError) as error:
            outcome.refused[row.pk] = error
    answers = _post([envelope for _, _, envelope in sealed])
    taken: list[TaskMessage] = []
    for (row, message, _), answer in zip(sealed, answers, strict=True):
        if isinstance(answer, PublishError):
            outcome.refused[row.pk] = answer
            continue
        outcome.sent.append(row.pk)
        if not row.shown:
            taken.append(message)
        send.tell_published(message)
    if taken:
        get_store().expect(taken)
    return outcome


def _post(envelopes: Sequence[Envelope]) -> list[Receipt | PublishError]:
    if len(envelopes) > 1:
        try:
            return list(send.post_many(envelopes))
        except PublishError as error:
            if error.status not in _PERHAPS_ONE:
                raise
    return [_post_one(envelope) for envelope in envelopes]


def _post_one(envelope: Envelope) -> Receipt | PublishError:
    try:
        return send.post(envelope)
    except PublishError as error:
        if error.is_refusal:
            return error
        raise
