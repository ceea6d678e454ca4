"""What is to happen when: one heap for every waiting message, schedule and rate window."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from typing import Any

_Action = Callable[[Any], None]
_Entry = tuple[float, int, Hashable, _Action]


class Timers:
    """Actions by key; a key has at most one. Times in seconds since the epoch.

    A waiting message costs one tuple here, not a task: a hundred thousand of them are cheap. That
    is also why an action is a shared bound method that is called with the key.
    """

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._valid: dict[Hashable, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._valid)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._valid

    def set(self, key: Hashable, when: float, action: _Action) -> None:
        """Call ``action(key)`` at ``when``; what was set for ``key`` before is forgotten."""
        self._serial += 1
        self._valid[key] = self._serial
        heapq.heappush(self._heap, (when, self._serial, key, action))
        # Replaced and cleared entries stay in the heap until their time; a year's delays that
        # are cancelled every minute would otherwise fill the memory.
        if len(self._heap) > 1000 and len(self._heap) > 2 * len(self._valid):
            self._heap = [entry for entry in self._heap if self._valid.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def clear(self, key: Hashable) -> None:
        self._valid.pop(key, None)

    def next(self) -> float | None:
        """When the earliest action is due; ``None`` when there is none."""
        while self._heap:
            when, serial, key, _ = self._heap[0]
            if self._valid.get(key) == serial:
                return when
            heapq.heappop(self._heap)
        return None

    def pop(self, now: float) -> Callable[[], None] | None:
        """The earliest action that is due at ``now``, removed; ``None`` when none is."""
        when = self.next()
        if when is None or when > now:
            return None
        _, _, key, action = heapq.heappop(self._heap)
        del self._valid[key]
        return lambda: action(key)
