"""A message: what its publisher asked for, and how far it has come."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_qstash.devserver.flow import Flow

Pairs = tuple[tuple[str, str], ...]

CREATED = "CREATED"
ACTIVE = "ACTIVE"
RETRY = "RETRY"
ERROR = "ERROR"
DELIVERED = "DELIVERED"
FAILED = "FAILED"
CANCEL_REQUESTED = "CANCEL_REQUESTED"
CANCELED = "CANCELED"

#: States that a message never leaves.
FINAL = frozenset({DELIVERED, FAILED, CANCELED})

DEFAULT_RETRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What was asked for, except where to; shared by the messages of one URL group."""

    body: bytes = b""
    method: str = "POST"
    #: What is sent to the destination: forwarded headers and the content type.
    header: Pairs = ()
    retries: int = DEFAULT_RETRIES
    retry_delay: str | None = None
    #: Seconds that the destination may take to answer; ``None`` is the plan's longest.
    timeout: int | None = None
    #: Whole seconds, counted from the receipt of the message.
    delay: int = 0
    #: Seconds since the epoch; wins over ``delay``.
    not_before: float | None = None
    callback: str | None = None
    #: ``Upstash-Callback-<name>`` headers without their prefix.
    callback_header: Pairs = ()
    failure_callback: str | None = None
    failure_callback_header: Pairs = ()
    labels: tuple[str, ...] = ()
    flow: Flow | None = None
    deduplication_id: str | None = None
    content_based_deduplication: bool = False
    #: ``{"body": True, "header": True or [names]}``.
    redact: Mapping[str, Any] | None = None
    queue: str | None = None
    schedule_id: str | None = None
    caller_ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one attempt. ``status`` is 0 where no answer came, and ``error`` says why."""

    status: int
    header: Pairs = ()
    body: bytes = b""
    error: str = ""
    #: Seconds from request to answer.
    took: float = 0.0

    @property
    def good(self) -> bool:
        return 200 <= self.status <= 299

    @property
    def final(self) -> bool:
        """The destination says that trying again is of no use."""
        return self.status == 489 and any(
            name.lower() == "upstash-nonretryable-error" and value.strip().lower() == "true"
            for name, value in self.header
        )


@dataclass(slots=True, eq=False, kw_only=True)
class Message:
    """One message on its way to one destination. Times in seconds since the epoch."""

    id: str
    spec: Spec
    url: str
    created: float
    not_before: float
    #: Order of receipt.
    serial: int
    topic: str | None = None
    endpoint: str | None = None
    state: str = CREATED
    #: Retries made so far, and so the number of the attempt under way.
    retried: int = 0
    #: When it is next tried.
    next_time: float = 0.0
    finished: float | None = None
    #: For a callback: the message that it tells about, whose queue slot waits for it.
    source: str | None = None
    source_queue: str | None = None
    #: It has a slot of its queue, which it keeps between attempts.
    in_queue: bool = False
    #: The number of the attempt whose outcome counts; others are late or doubled.
    attempt: int = 0
    #: An HTTP call for it is open.
    open: bool = False
    #: Faults of this kind were already done to it.
    shaken: bool = False
    last: Answer | None = None

    @property
    def done(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP call to be made, whose outcome goes to ``Machine.finish``."""

    message: Message
    number: int
    retried: int
    #: A second delivery of the same thing, by a fault knob; its outcome counts for nothing.
    echo: bool = False
    #: Seconds to wait before the call.
    lag: float = 0.0


def new_id(prefix: str) -> str:
    """A random id such as QStash's: ``msg_…``, ``scd_…``."""
    return f"{prefix}_{secrets.token_urlsafe(18)}"
