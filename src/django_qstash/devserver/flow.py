"""Flow control: how many messages of one key may run at a time, and start in one period."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_qstash.devserver.message import Message


@dataclass(frozen=True, slots=True)
class Flow:
    """What one message says about its key. ``period`` in seconds."""

    key: str
    parallelism: int | None = None
    rate: int | None = None
    period: int = 1

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Flow:
        """From the cleaned option ``flow_control``."""
        return cls(
            key=value["key"],
            parallelism=value.get("parallelism"),
            rate=value.get("rate"),
            period=value.get("period", 1),
        )


@dataclass(slots=True, eq=False)
class FlowKey:
    """One key: its limits, what runs under it and who waits. Times in seconds."""

    name: str
    parallelism: int | None = None
    rate: int | None = None
    period: int = 1
    paused: bool = False
    pinned_parallelism: bool = False
    pinned_rate: bool = False
    #: Messages whose call is open.
    running: int = 0
    #: Messages that the key has let through and that wait for a call to be free.
    ready: int = 0
    window_start: float = 0.0
    window_count: int = 0
    line: OrderedDict[str, Message] = field(default_factory=OrderedDict)

    def configure(self, flow: Flow) -> bool:
        """Take the limits of the latest message, except pinned ones; true if they changed."""
        before = (self.parallelism, self.rate, self.period)
        if not self.pinned_parallelism:
            self.parallelism = flow.parallelism
        if not self.pinned_rate:
            self.rate = flow.rate
            self.period = flow.period
        return before != (self.parallelism, self.rate, self.period)

    def pin(self, *, parallelism: int | None, rate: int | None, period: int | None) -> None:
        """Fix what is given; the window starts anew (QStash)."""
        if parallelism is not None:
            self.parallelism, self.pinned_parallelism = parallelism, True
        if rate is not None or period is not None:
            self.rate = self.rate if rate is None else rate
            self.period = self.period if period is None else period
            self.pinned_rate = True
        self.window_start, self.window_count = 0.0, 0

    def unpin(self, *, parallelism: bool, rate: bool) -> None:
        """Let messages change the limits again; until one does, they stay."""
        self.pinned_parallelism = self.pinned_parallelism and not parallelism
        self.pinned_rate = self.pinned_rate and not rate

    def reset_rate(self, now: float) -> None:
        self.window_start, self.window_count = now, 0

    def count(self, now: float) -> int:
        """Messages started in the current period; 0 once it is over."""
        return self.window_count if now < self.window_start + self.period else 0

    def admits(self, now: float, *, ready: int = 0) -> bool:
        """Whether a message may start, ``ready`` others being about to."""
        if self.paused:
            return False
        if self.parallelism is not None and self.running + ready >= self.parallelism:
            return False
        return self.rate is None or self.count(now) + ready < self.rate

    def take(self, now: float) -> None:
        """One message starts."""
        if now >= self.window_start + self.period:
            self.window_start, self.window_count = now, 0
        self.window_count += 1
        self.running += 1

    def reopens(self, now: float) -> float | None:
        """When the rate admits again, if the rate is what holds the line back."""
        if self.rate is None or self.paused or self.count(now) + self.ready < self.rate:
            return None
        # Those that are about to start begin a new period whenever a call becomes free for them.
        return (now if self.ready else self.window_start) + self.period
