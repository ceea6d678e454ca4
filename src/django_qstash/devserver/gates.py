"""What a message passes before each attempt: its queue, its flow-control key, and a free call.

A queue's slot is kept from the first attempt to the last callback; a key's only while a call is
open. Whoever changed a limit says so with ``pull_queue`` or ``pull_flow``.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from django_qstash.devserver.flow import FlowKey
from django_qstash.devserver.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from django_qstash.clock import Clock
    from django_qstash.devserver.journal import Journal
    from django_qstash.devserver.message import Message
    from django_qstash.devserver.timers import Timers


class Gates:
    """The queues, the keys, and the line of those that only wait for a free call."""

    def __init__(
        self,
        *,
        clock: Clock,
        timers: Timers,
        journal: Journal,
        past_queue: Callable[[Message], None],
    ) -> None:
        self._clock = clock
        self._timers = timers
        self._journal = journal
        #: Told of every message that its queue lets through; goes on with :meth:`to_flow`.
        self._past_queue = past_queue
        self.queues: dict[str, Queue] = {}
        self.flows: dict[str, FlowKey] = {}
        self._ready: OrderedDict[str, Message] = OrderedDict()

    def __bool__(self) -> bool:
        """Some message waits for nothing but a free call."""
        return bool(self._ready)

    def queue(self, name: str) -> Queue:
        """The queue of that name, made with a parallelism of one if there is none (QStash)."""
        queue = self.queues.get(name)
        if queue is None:
            now = self._clock.time()
            queue = self.queues[name] = Queue(name, now, now)
            self._journal.keep("queue", name, queue)
        return queue

    def flow(self, name: str) -> FlowKey:
        """The flow-control key of that name, made if there is none."""
        key = self.flows.get(name)
        if key is None:
            key = self.flows[name] = FlowKey(name)
            self._journal.keep("flow", name, key)
        return key

    # A message's way through.

    def enroll(self, message: Message) -> None:
        """Count a message, and the slots that it holds, before it stands in any line."""
        if message.spec.queue is not None:
            queue = self.queue(message.spec.queue)
            queue.lag += 1
            if message.in_queue:
                queue.take(message.id)
        if message.source is not None and message.source_queue in self.queues:
            self.queues[message.source_queue].take(message.source)

    def knock(self, message: Message) -> None:
        """A message is due."""
        queue = self.queue(message.spec.queue) if message.spec.queue is not None else None
        if queue is None:
            self._past_queue(message)
        elif not message.in_queue:
            queue.line[message.id] = message
            self.pull_queue(queue)
        elif queue.paused:
            queue.held[message.id] = message
        else:
            self._past_queue(message)

    def to_flow(self, message: Message) -> None:
        """A message is past its queue."""
        if message.spec.flow is None:
            self._ready[message.id] = message
        else:
            key = self.flow(message.spec.flow.key)
            key.line[message.id] = message
            self.pull_flow(key)

    def next(self) -> Message | None:
        """The message that starts now, with its key's slot taken; ``None`` if there is none."""
        while self._ready:
            _, message = self._ready.popitem(last=False)
            if self._take_flow(message):
                return message
        return None

    def _take_flow(self, message: Message) -> bool:
        if message.spec.flow is None:
            return True
        key = self.flow(message.spec.flow.key)
        key.ready -= 1
        now = self._clock.time()
        if key.admits(now):
            key.take(now)
            return True
        # It was paused, or limited to less, since the message was let through.
        self._take_back(key, message)
        return False

    def _take_back(self, key: FlowKey, first: Message) -> None:
        """Let everything that the key let through stand in its line again, in order."""
        back = [first] + [
            message
            for message in self._ready.values()
            if message.spec.flow is not None and message.spec.flow.key == key.name
        ]
        for message in back:
            self._ready.pop(message.id, None)
        key.line = OrderedDict([(message.id, message) for message in back] + [*key.line.items()])
        key.ready = 0
        self.pull_flow(key)

    def leave_flow(self, message: Message) -> None:
        """The message's call is over."""
        if message.spec.flow is not None:
            key = self.flow(message.spec.flow.key)
            key.running = max(0, key.running - 1)
            self.pull_flow(key)

    def leave_queue(self, message: Message) -> None:
        """The message is finished, and no call for it is open."""
        for name, holder in (
            (message.spec.queue, message.id),
            (message.source_queue, message.source),
        ):
            queue = self.queues.get(name or "")
            if queue is not None and holder is not None:
                queue.release(holder)
                self.pull_queue(queue)

    def withdraw(self, message: Message) -> None:
        """Take a message out of whatever line it stands in."""
        queue = self.queues.get(message.spec.queue or "")
        if queue is not None:
            queue.line.pop(message.id, None)
            queue.held.pop(message.id, None)
        ready = self._ready.pop(message.id, None) is not None
        if message.spec.flow is not None:
            key = self.flow(message.spec.flow.key)
            key.line.pop(message.id, None)
            if ready:
                key.ready -= 1
                self.pull_flow(key)

    # The lines.

    def pull_queue(self, queue: Queue) -> None:
        """Let through what the queue admits."""
        while queue.held and not queue.paused:
            _, message = queue.held.popitem(last=False)
            self._past_queue(message)
        while queue.line and queue.admits():
            _, message = queue.line.popitem(last=False)
            queue.take(message.id)
            message.in_queue = True
            self._past_queue(message)

    def pull_flow(self, key: FlowKey) -> None:
        """Let through what the key admits, and look again when its period is over."""
        now = self._clock.time()
        while key.line and key.admits(now, ready=key.ready):
            _, message = key.line.popitem(last=False)
            key.ready += 1
            self._ready[message.id] = message
        reopens = key.reopens(now) if key.line else None
        if reopens is not None:
            self._timers.set(key, reopens, self.pull_flow)
