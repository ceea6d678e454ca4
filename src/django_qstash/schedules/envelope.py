"""A row becomes what QStash is told: the schedule's address, options and body."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from django_qstash import durations
from django_qstash.exceptions import OptionError
from django_qstash.schedules.letter import ScheduleLetter
from django_qstash.tasks import send
from django_qstash.tasks.triggers import QUEUE
from django_qstash.wire.envelope import Envelope

if TYPE_CHECKING:
    from django_qstash.schedules.models import TaskSchedule

#: Options of a message that is sent once; a schedule's are sent again and again.
_ONCE = ("deduplication_id", "content_based_deduplication", "not_before", "delay", "queue")


def envelope_of(row: TaskSchedule) -> Envelope:
    """What QStash is to have for a row.

    Raises :class:`CronError`, :class:`OptionError`, :class:`EncodeError`,
    :class:`PayloadTooLarge`, and :class:`ImproperlyConfigured` for a site without an address.
    """
    letter = letter_of(row)
    message = letter.message("")
    sealed = send.seal(message)
    if sealed.account:
        raise OptionError(
            f"{row.task_name} is sent through the QStash account {sealed.account!r}, and schedules "
            "are kept in the default one. Schedule a task of that one, which sends it."
        )
    options = {name: value for name, value in sealed.options.items() if name not in _ONCE}
    if queue := sealed.options.get("queue"):
        options["schedule_queue"] = queue
    if letter.delay:
        options["delay"] = f"{letter.delay}s"
    if letter.overlap == QUEUE and not queue and "flow_control" not in options:
        # QStash then keeps them in line, and our own copies wait only for what it cannot see.
        options["flow_control"] = {"key": row.schedule_id, "parallelism": 1}
    options["cron"] = str(row.timetable.cron)
    options["schedule_id"] = row.schedule_id
    digest = _digest(options)[:12]
    return Envelope(url=sealed.url, body=letter.but(options=digest).encode(), options=options)


def fingerprint(envelope: Envelope) -> str:
    """Equal for envelopes that tell QStash the same."""
    body = json.loads(envelope.body)
    return _digest([envelope.url, dict(envelope.options), body])


def copy_of(letter: ScheduleLetter, *, after: float) -> Envelope:
    """The same fire once more, to arrive in ``after`` seconds."""
    message = letter.message(letter.fire)
    sealed = send.seal(message, delay=after)
    options = {name: value for name, value in sealed.options.items() if name != "queue"}
    options["deduplication_id"] = _digest([letter.id, letter.fire, letter.p, letter.life])[:40]
    return Envelope(url=sealed.url, body=letter.encode(), options=options)


def letter_of(row: TaskSchedule) -> ScheduleLetter:
    timetable = row.timetable
    return ScheduleLetter(
        id=row.schedule_id,
        name=row.name,
        task=row.task_name,
        args=row.args,
        kwargs=row.kwargs,
        call=row.call_options(),
        overlap=row.overlap,
        only_on=row.only_on,
        cron=str(timetable.cron) if row.only_on else "",
        delay=durations.whole_seconds(row.delay) if row.delay else 0,
        code=row.code_key or "",
    )


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
