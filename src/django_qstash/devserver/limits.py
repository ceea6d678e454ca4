"""What each QStash plan allows. Source: Upstash's pricing page of 2026."""

from __future__ import annotations

from dataclasses import dataclass

DAY = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one plan; times in seconds, sizes in bytes."""

    max_message_size: int
    max_batch_size: int = 100 * 1024 * 1024
    max_delay: int
    #: Not published for the paid plans; a thousand lets every sensible value pass.
    max_retries: int = 1000
    #: The longest time that a destination may take to answer; also the default time-out.
    max_timeout: int
    dlq_retention: int
    log_retention: int
    max_queues: int
    max_queue_parallelism: int
    max_schedules: int
    max_url_groups: int
    max_endpoints: int
    #: HTTP calls that may be open at one time, over all queues and keys.
    parallelism: int


_MIB = 1024 * 1024

PLANS: dict[str, Limits] = {
    "free": Limits(
        max_message_size=_MIB,
        max_delay=7 * DAY,
        max_retries=999,
        max_timeout=15 * 60,
        dlq_retention=3 * DAY,
        log_retention=3 * DAY,
        max_queues=10,
        max_queue_parallelism=2,
        max_schedules=10,
        max_url_groups=1,
        max_endpoints=100,
        parallelism=10,
    ),
    "payg": Limits(
        max_message_size=10 * _MIB,
        max_delay=365 * DAY,
        max_timeout=2 * 3600,
        dlq_retention=7 * DAY,
        log_retention=7 * DAY,
        max_queues=100,
        max_queue_parallelism=100,
        max_schedules=1000,
        max_url_groups=100,
        max_endpoints=1000,
        parallelism=100,
    ),
    "fixed": Limits(
        max_message_size=50 * _MIB,
        max_delay=100 * 365 * DAY,
        max_timeout=6 * 3600,
        dlq_retention=30 * DAY,
        log_retention=14 * DAY,
        max_queues=10_000,
        max_queue_parallelism=1000,
        max_schedules=10_000,
        max_url_groups=10_000,
        max_endpoints=10_000,
        parallelism=1000,
    ),
}
DEFAULT_PLAN = "payg"
#: Calls open at a time. The plans allow more; a development server with a backlog of ten
#: connections and a SQLite database behind it does not.
DEFAULT_PARALLELISM = 20
