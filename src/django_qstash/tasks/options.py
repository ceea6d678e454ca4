"""What ``apply_async`` understands: Celery's options, QStash's, and the rest, which is the task's.

An option is honoured, carried, or refused with a sentence; none is taken and then forgotten.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.functional import Promise

from django_qstash import clock, conf, durations
from django_qstash.conf import settings
from django_qstash.exceptions import OptionError
from django_qstash.transport import accounts
from django_qstash.wire import options as wire

#: Options of one call that say how it is delivered, in QStash's words.
DELIVERY = frozenset(
    {
        "account",
        "callback",
        "callback_headers",
        "content_based_deduplication",
        "deduplication_id",
        "failure_callback",
        "failure_callback_headers",
        "flow_control",
        "label",
        "redact",
        "retries",
        "retry_delay",
        "timeout",
    }
)
#: Which QStash account it goes through; no header says so.
ACCOUNT = "account"
#: The same on a task, where they hold for all its calls. A deduplication id there would make
#: QStash drop every call but the first of ten minutes, so it is an option of calls alone.
TASK_DELIVERY = DELIVERY - {"deduplication_id"}

#: Options of a call that Celery has and that are honoured or carried here.
CELERY = frozenset(
    {
        "args",
        "argsrepr",
        "kwargs",
        "kwargsrepr",
        "task_id",
        "countdown",
        "eta",
        "expires",
        "queue",
        "routing_key",
        "priority",
        "headers",
        "ignore_result",
        "link",
        "link_error",
        "shadow",
        "delay",
        "not_before",
        "soft_time_limit",
        "time_limit",
        # Django's: the database whose transaction the letter is part of.
        "using",
    }
)

#: Options that speak of a broker. They have no meaning over webhooks, whatever their value.
BROKER = frozenset(
    {
        "add_to_parent",
        "compression",
        "connection",
        "delivery_mode",
        "exchange",
        "exchange_type",
        "immediate",
        "mandatory",
        "producer",
        "publisher",
        "reply_to",
        "retry",
        "retry_policy",
        "router",
    }
)

MAX_ID = 255
#: Seconds that QStash waits for an answer beyond a task's hard time limit.
TIMEOUT_MARGIN = 10

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/([smh]))?")


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Divide keywords into Celery's options, cleaned delivery options, and the task's own.

    Raises :class:`OptionError` for an option with a value that cannot be honoured.
    """
    celery: dict[str, Any] = {}
    delivery: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for name, value in options.items():
        if name in DELIVERY:
            if value is not None:
                delivery[name] = clean_one(name, value)
        elif name in CELERY:
            celery[name] = _carried(name, value)
        elif name == "serializer":
            refuse_serializer(value)
        elif name not in BROKER:
            own[name] = value
    return celery, delivery, own


def check(options: Mapping[str, Any]) -> None:
    """Raises :class:`OptionError` for options that no call can have."""
    celery, _, _ = split(unstamped(options)[0])
    due(celery)
    expiry(celery.get("expires"))
    check_queue(celery.get("queue"))
    limits(celery, None)


def _carried(name: str, value: Any) -> Any:
    """The value as a letter holds it: one of another kind would be refused where it arrives."""
    if value is None:
        return None
    if name == "ignore_result":
        return bool(value)
    if name == "priority":
        return check_priority(value)
    if name in ("shadow", "argsrepr", "kwargsrepr"):
        if not isinstance(value, (str, Promise)):
            raise OptionError(f"{name}={value!r} must be a text.")
        return str(value)
    if name == "headers" and not isinstance(value, Mapping):
        raise OptionError(f"headers={value!r} must be a mapping.")
    return value


def check_priority(priority: Any) -> int | None:
    """A whole number, or none. Raises :class:`OptionError`."""
    if priority is None or (isinstance(priority, int) and not isinstance(priority, bool)):
        return priority
    raise OptionError(f"priority={priority!r} must be a whole number.")


def unstamped(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of a call without its stamps, and those, which ``stamped_headers`` names."""
    rest = dict(options)
    names = rest.pop("stamped_headers", None) or ()
    return rest, {name: rest.pop(name) for name in dict.fromkeys(names) if name in rest}


def clean_one(name: str, value: Any) -> Any:
    """The value of one of :data:`DELIVERY`. Raises :class:`OptionError`."""
    if name == ACCOUNT:
        # "default" stays: it takes a call back to the account that its task has left.
        return accounts.checked(value) or accounts.DEFAULT
    return wire.clean_one(name, value)


def refuse_serializer(value: Any) -> None:
    """Only JSON: a body that came over HTTP is never unpickled."""
    if value not in (None, "json"):
        raise OptionError(
            f"serializer={value!r}: letters are JSON only; running what a webhook's body unpickles "
            "to would hand the site to whoever can send one."
        )


def check_task_id(task_id: Any, name: str = "task_id") -> str:
    """A task id that every database compares exactly. Raises :class:`OptionError`."""
    if not isinstance(task_id, str):
        raise OptionError(f"{name} must be a text, not {task_id!r}.")
    odd = any(unicodedata.category(character) in ("Cc", "Cs") for character in task_id)
    if not task_id or len(task_id) > MAX_ID or task_id != task_id.strip() or odd:
        raise OptionError(
            f"{name}={task_id!r}: an id has 1 to {MAX_ID} characters, no control characters or "
            "lone surrogates, and no space at its ends."
        )
    return task_id


def check_queue(queue: Any) -> str | None:
    """A queue's name, or routing key, that a column can hold. Raises :class:`OptionError`."""
    if queue is None:
        return None
    if not isinstance(queue, str) or not queue.isprintable() or not 0 < len(queue) <= MAX_ID:
        raise OptionError(f"queue={queue!r} must be a name of one line.")
    return queue


def due(celery: Mapping[str, Any]) -> str | None:
    """The instant before which the task must not run, as ISO 8601 in UTC.

    ``countdown`` and QStash's ``delay`` count from now; ``eta``, ``not_before`` and a workflow's
    ``run_at`` are instants; a datetime without a zone is in the site's TIME_ZONE, as in Celery.
    """
    names = ("countdown", "delay", "eta", "not_before", "run_at")
    given = [name for name in names if celery.get(name) is not None]
    if not given:
        return None
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)} both say when to run; give one of them.")
    name = given[0]
    value = celery[name]
    try:
        if name in ("countdown", "delay"):
            if isinstance(value, (int, float)) and value <= 0:
                return None
            moment = clock.time() + durations.seconds(value)
        else:
            moment = instant(value)
        return iso(moment)
    except (ValueError, OverflowError, OSError) as error:
        raise OptionError(f"{name}={value!r}: {error}.") from None


def expiry(value: Any, since: float | None = None) -> str | None:
    """``expires`` as ISO 8601 in UTC: a number or timedelta counts from now. Raises OptionError.

    Or ``since`` another instant, in seconds since the epoch.
    """
    if value is None:
        return None
    try:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return iso((clock.time() if since is None else since) + value)
        return iso(instant(value))
    except (ValueError, OverflowError, OSError) as error:
        raise OptionError(f"expires={value!r}: {error}.") from None


def instant(value: Any) -> float:
    """Seconds since the epoch; a datetime without a zone is in that of the site.

    That is Django's TIME_ZONE, or the ``timezone`` of the project's Celery object.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value[:-1] + "+00:00" if value[-1:] == "Z" else value)
        except ValueError:
            return durations.timestamp(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=site_zone())
    return durations.timestamp(value)


def site_zone() -> tzinfo:
    """The zone of datetimes that name none."""
    from django.utils.timezone import get_default_timezone

    named = None if conf.celery is None else conf.celery.get("timezone")
    if named is None or isinstance(named, tzinfo):
        return named or get_default_timezone()
    return ZoneInfo(named)


def iso(moment: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return datetime.fromtimestamp(moment, tz=timezone.utc).isoformat()


def limits(
    celery: Mapping[str, Any], task: Any, otherwise: Any = None
) -> tuple[float | None, float | None] | None:
    """The (hard, soft) time limits of a call, in seconds: its own, else the task's.

    Raises ``ValueError`` if the soft one is longer than the hard one, as Celery does.
    """
    kept = otherwise or (getattr(task, "time_limit", None), getattr(task, "soft_time_limit", None))
    hard, soft = (
        kept[index] if celery.get(name) is None else _positive(name, celery[name])
        for index, name in enumerate(("time_limit", "soft_time_limit"))
    )
    if hard and soft and soft > hard:
        raise ValueError("soft_time_limit must be less than or equal to time_limit")
    return (hard, soft) if hard or soft else None


def patience(timelimit: Sequence[float | None] | None, task: Any) -> dict[str, Any]:
    """How long QStash waits for an answer where there is a hard limit, as the option ``timeout``.

    Longer than the body may take, so that it does not deliver again meanwhile. Nothing where the
    task says how long.
    """
    hard = timelimit[0] if timelimit else None
    if not hard or getattr(task, "timeout", None) is not None:
        return {}
    return {"timeout": wire.clean_one("timeout", hard + TIMEOUT_MARGIN)}


def refuse_flow(name: str, queue: str | None, delivery: Mapping[str, Any], task: Any) -> None:
    """Raises :class:`OptionError` for flow control, or a rate limit, on a FIFO queue."""
    if not is_fifo(queue):
        return
    kept = {} if task is None else task.delivery_options()
    if "flow_control" in delivery or "flow_control" in kept:
        raise OptionError(
            f"{name} has a flow_control or rate_limit, and the FIFO queue {queue!r} of QStash "
            "knows none; bound it by the queue's parallelism, or give another queue."
        )


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise OptionError(f"{name}={value!r} must be a number of seconds above zero.")
    return value


def of_task(task: Any) -> dict[str, Any]:
    """The delivery options that hold for all calls of a task, cleaned. Raises OptionError."""
    queue = check_queue(task.queue or task.routing_key)
    check_priority(task.priority)
    expiry(task.expires)
    for name in ("time_limit", "soft_time_limit"):
        if value := getattr(task, name):
            _positive(name, value)
    given = {name: getattr(task, name) for name in TASK_DELIVERY}
    options = {name: clean_one(name, value) for name, value in given.items() if value is not None}
    if task.rate_limit is not None:
        if "flow_control" in options:
            raise OptionError(
                f"{task.name}: rate_limit and flow_control both say how often it may run; give one."
            )
        options["flow_control"] = flow_control(task.name, task.rate_limit)
    if "flow_control" in options and is_fifo(queue):
        raise OptionError(
            f"{task.name}: the queue {queue!r} is a FIFO queue of QStash, which knows no flow "
            "control; bound it by the queue's parallelism, or leave the queue out."
        )
    return {**patience(limits({}, task), task), **options}


def flow_control(name: str, rate_limit: Any) -> dict[str, Any]:
    """Celery's ``rate_limit`` as QStash's flow control, keyed by the task's name.

    ``"10/m"`` is ten a minute, a number so many a second; ``"0.5/s"`` becomes one in two seconds.
    Raises :class:`OptionError`.
    """
    text = str(rate_limit).strip()
    match = _RATE.fullmatch(text)
    count = float(match[1]) if match else 0.0
    if match is None or count <= 0:
        raise OptionError(f"rate_limit={rate_limit!r} of {name} is not a rate such as '10/m'.")
    period = {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]
    if not count.is_integer():
        period, count = max(1, round(period / count)), 1.0
    value = {"key": flow_key(name), "rate": int(count), "period": period}
    return wire.clean({"flow_control": value})["flow_control"]  # type: ignore[no-any-return]


def flow_key(name: str) -> str:
    """A task's name as QStash's flow control has keys."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def is_fifo(queue: str | None) -> bool:
    """True if this queue is a FIFO queue of QStash rather than a mere routing key."""
    return queue is not None and queue in settings.DJANGO_QSTASH_QUEUES
