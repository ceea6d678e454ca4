"""Everything the server knows, and what may be asked of it; no I/O, and the clock is handed in.

A server's request handlers call it, and so may a test that delivers in process: publish here, take
``machine.due()``, give the outcomes to ``machine.finish()``, move the clock to
``machine.next_due()``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django_qstash.devserver.dedup import Deduplication
from django_qstash.devserver.groups import Endpoint, Group
from django_qstash.devserver.journal import Journal
from django_qstash.devserver.keys import Keys
from django_qstash.devserver.limits import DEFAULT_PLAN, PLANS, Limits
from django_qstash.devserver.machine import Machine
from django_qstash.devserver.message import Message, Spec, new_id
from django_qstash.devserver.refusal import (
    bad_request,
    not_found,
    over_quota,
)
from django_qstash.devserver.request import check_url, is_url, unknown_destination
from django_qstash.devserver.schedules import Schedules

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django_qstash.clock import Clock
    from django_qstash.devserver.dlq import DeadLetter
    from django_qstash.devserver.faults import Faults
    from django_qstash.devserver.queue import Queue

#: Seconds for which a finished message can still be read: publishing and then looking must work.
GRACE = 30
#: Seconds between two looks for what is past its retention.
_SWEEP = 3600


@dataclass(frozen=True, slots=True)
class Published:
    """What became of one publish: a receipt for each message."""

    receipts: tuple[tuple[str, str], ...]
    group: bool = False
    deduplicated: bool = False


class State:
    """One QStash account."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: Limits | None = None,
        keys: Keys | None = None,
        retry_scale: float = 1.0,
        faults: Faults | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.clock = clock
        self.limits = limits or PLANS[DEFAULT_PLAN]
        self.keys = keys or Keys()
        self.journal = journal or Journal()
        self.machine = Machine(
            clock=clock,
            limits=self.limits,
            retry_scale=retry_scale,
            faults=faults,
            journal=self.journal,
        )
        self.groups: dict[str, Group] = {}
        self.schedules = Schedules(
            clock=clock,
            limits=self.limits,
            timers=self.machine.timers,
            journal=self.journal,
            messages=self.machine.messages,
            resolve=self._resolve,
            publish=self.publish,
        )
        self.machine.on_finished = self.schedules.note
        self.seen = Deduplication()
        self.machine.timers.set("sweep", clock.time() + _SWEEP, self._sweep)

    # Messages.

    def publish(self, destination: str, spec: Spec) -> Published:
        """Accept one message, or one for each endpoint of a URL group.

        Raises :class:`Refusal` 400 for an address that cannot be called, 412 for a delay or a
        queue too many.
        """
        group, endpoints = self._resolve(destination)
        key = self.seen.key(destination, spec)
        if group is not None:
            spec = replace(spec, header=group.merged(spec.header))
        return self._accept(spec, endpoints, group.name if group else None, key)

    def _accept(
        self, spec: Spec, endpoints: list[Endpoint], topic: str | None, key: str | None
    ) -> Published:
        now = self.clock.time()
        start = self._start(spec, now)
        if spec.queue is not None:
            self._room_for_queue(spec.queue)
        for old in self.seen.expired(now):
            self.journal.drop("seen", old)
        if key is not None and (seen := self.seen.find(key, now)):
            return Published(seen.receipts, topic is not None, deduplicated=True)
        messages = [
            Message(
                id=new_id("msg"),
                spec=spec,
                url=endpoint.url,
                created=now,
                not_before=start,
                next_time=start,
                serial=self.machine.next_serial(),
                topic=topic,
                endpoint=endpoint.name,
            )
            for endpoint in endpoints
        ]
        receipts = tuple((message.id, message.url) for message in messages)
        if key is not None:
            self.journal.keep("seen", key, self.seen.remember(key, receipts, now))
        for message in messages:
            self.machine.accept(message)
        return Published(receipts, topic is not None)

    def _start(self, spec: Spec, now: float) -> float:
        """When a message may go out; not-before wins over the delay, and the past is now."""
        if spec.not_before is None:
            return now + spec.delay
        if spec.not_before - now > self.limits.max_delay:
            raise over_quota("maxDelay", self.limits.max_delay)
        return max(now, spec.not_before)

    def _resolve(self, destination: str) -> tuple[Group | None, list[Endpoint]]:
        if is_url(destination):
            problem = check_url(destination)
            if problem:
                raise bad_request(problem)
            return None, [Endpoint(destination)]
        group = self.groups.get(destination)
        if group is None:
            raise unknown_destination()
        if not group.endpoints:
            raise bad_request(f"url group {destination} has no endpoints")
        return group, group.endpoints

    def message(self, message_id: str) -> Message:
        """Raises :class:`Refusal` 404 when there is none, or it was finished a while ago."""
        message = self.machine.messages.get(message_id)
        if message is None or (
            message.finished is not None and self.clock.time() - message.finished > GRACE
        ):
            raise not_found("message", message_id)
        return message

    def cancel(self, messages: Iterable[Message]) -> int:
        """Cancel those that are not finished; how many that were."""
        return sum(self.machine.cancel(message) for message in list(messages))

    # Queues.

    def find_queue(self, name: str) -> Queue:
        """Raises :class:`Refusal` 404."""
        try:
            return self.machine.gates.queues[name]
        except KeyError:
            raise not_found("queue", name) from None

    def upsert_queue(self, name: str, *, parallelism: int, paused: bool) -> Queue:
        """Make or change a queue. Raises :class:`Refusal` 412 over the plan's limits."""
        if parallelism > self.limits.max_queue_parallelism:
            raise over_quota("maxQueueParallelism", self.limits.max_queue_parallelism)
        self._room_for_queue(name)
        queue = self.machine.gates.queue(name)
        queue.parallelism = parallelism
        return self.pause_queue(queue, paused=paused)

    def pause_queue(self, queue: Queue, *, paused: bool) -> Queue:
        """Hold what is not delivered yet, or let it go on; what is in flight is not touched."""
        queue.paused = paused
        queue.updated = self.clock.time()
        self.journal.keep("queue", queue.name, queue)
        self.machine.gates.pull_queue(queue)
        return queue

    def delete_queue(self, name: str) -> None:
        """Remove a queue and drop its messages; nothing if there is none."""
        if name not in self.machine.gates.queues:
            return
        self.cancel(
            message
            for message in self.machine.messages.values()
            if message.spec.queue == name and not message.done
        )
        del self.machine.gates.queues[name]
        self.journal.drop("queue", name)

    def _room_for_queue(self, name: str) -> None:
        if (
            name not in self.machine.gates.queues
            and len(self.machine.gates.queues) >= self.limits.max_queues
        ):
            raise over_quota("maxQueues", self.limits.max_queues)

    # URL groups.

    def find_group(self, name: str) -> Group:
        """Raises :class:`Refusal` 404."""
        try:
            return self.groups[name]
        except KeyError:
            raise not_found("url group", name) from None

    def add_endpoints(self, name: str, endpoints: Iterable[Endpoint]) -> Group:
        """Make or change a group. Raises :class:`Refusal` 400 and 412."""
        endpoints = list(endpoints)
        for endpoint in endpoints:
            if problem := check_url(endpoint.url):
                raise bad_request(problem.replace("destination", "endpoint"))
        group = self._group(name)
        for endpoint in endpoints:
            group.add(endpoint)
        if len(group.endpoints) > self.limits.max_endpoints:
            raise over_quota("maxEndpoints", self.limits.max_endpoints)
        return self._keep_group(group)

    def remove_endpoints(
        self, name: str, endpoints: Iterable[tuple[str | None, str | None]]
    ) -> None:
        """Remove endpoints by ``(url, name)``; the group goes with its last one."""
        group = self.find_group(name)
        for url, endpoint_name in endpoints:
            group.remove(url=url, name=endpoint_name)
        if group.endpoints:
            self._keep_group(group)
        else:
            self.delete_group(name)

    def set_group_headers(self, name: str, header: Iterable[tuple[str, str]]) -> Group:
        group = self._group(name)
        group.header = tuple(header)
        return self._keep_group(group)

    def delete_group(self, name: str) -> None:
        """Remove a group; nothing if there is none. Its messages under way go on (QStash)."""
        if self.groups.pop(name, None) is not None:
            self.journal.drop("group", name)

    def _group(self, name: str) -> Group:
        group = self.groups.get(name)
        if group is not None:
            return group
        if len(self.groups) >= self.limits.max_url_groups:
            raise over_quota("maxUrlGroups", self.limits.max_url_groups)
        now = self.clock.time()
        return Group(name, now, now)

    def _keep_group(self, group: Group) -> Group:
        group.updated = self.clock.time()
        self.groups[group.name] = group
        self.journal.keep("group", group.name, group)
        return group

    # Dead letters.

    def retry_dead(self, entry: DeadLetter, spec: Spec) -> Published:
        """Publish a dead letter again as a new message and take it out of the queue.

        Raises :class:`Refusal` 412 for a delay that is too long; it stays where it is then.
        """
        source = entry.message
        endpoint = Endpoint(source.url, source.endpoint)
        key = self.seen.key(source.topic or source.url, spec)
        published = self._accept(spec, [endpoint], source.topic, key)
        self.remove_dead(entry.id)
        return published

    def remove_dead(self, dlq_id: str) -> None:
        """Raises :class:`Refusal` 404."""
        self.machine.dead.remove(dlq_id)
        self.journal.drop("dead", dlq_id)

    # Housekeeping.

    def rotate_keys(self) -> None:
        self.keys.rotate()
        self.journal.keep("keys", "keys", self.keys)

    def _sweep(self, _key: object) -> None:
        now = self.clock.time()
        for entry in self.machine.dead.expired(now - self.limits.dlq_retention):
            self.remove_dead(entry.id)
        self.machine.events.expire(now - self.limits.log_retention)
        self.machine.timers.set("sweep", now + _SWEEP, self._sweep)
