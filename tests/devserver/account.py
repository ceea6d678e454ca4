"""A QStash account without a server: requests are calls, deliveries are made by the test."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django_qstash.clock import VirtualClock
from django_qstash.devserver.api import Call, Reply, answer
from django_qstash.devserver.faults import Faults, Knobs
from django_qstash.devserver.message import Answer, Attempt
from django_qstash.devserver.setup import build

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Delivered:
    at: float
    attempt: Attempt

    @property
    def url(self) -> str:
        return self.attempt.message.url

    @property
    def body(self) -> bytes:
        return self.attempt.message.spec.body

    @property
    def retried(self) -> int:
        return self.attempt.retried


@dataclass
class Account:
    """``destination`` says what each attempt is answered; a status is enough."""

    destination: Callable[[Attempt], Answer | int] = lambda attempt: 200
    clock: VirtualClock = field(default_factory=VirtualClock)
    db: str | None = None
    knobs: Knobs = field(default_factory=Knobs)
    parallelism: int = 100
    plan: str = "payg"
    retry_scale: float = 1.0

    def __post_init__(self) -> None:
        self.built = build(
            clock=self.clock,
            db=self.db,
            faults=Faults(self.knobs),
            parallelism=self.parallelism,
            plan=self.plan,
            retry_scale=self.retry_scale,
        )
        self.state = self.built.state
        self.machine = self.state.machine
        self.start = self.clock.time()
        self.delivered: list[Delivered] = []

    def call(
        self,
        method: str,
        target: str,
        body: bytes | str | dict | list = b"",
        headers: dict[str, str] | None = None,
    ) -> Reply:
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        pairs = [*(headers or {}).items(), ("Authorization", f"Bearer {self.state.keys.token}")]
        raw = body.encode() if isinstance(body, str) else body
        reply = answer(self.state, Call(method=method, target=target, headers=pairs, body=raw))
        self.built.commit()
        return reply

    def ok(self, method: str, target: str, body: Any = b"", headers: Any = None) -> Any:
        """The JSON of an answer that must be good."""
        reply = self.call(method, target, body, headers)
        assert 200 <= reply.status <= 299, reply
        return json.loads(reply.body)

    def no(self, method: str, target: str, body: Any = b"", headers: Any = None) -> tuple[int, str]:
        """The status and the error of an answer that must be a refusal."""
        reply = self.call(method, target, body, headers)
        assert reply.status >= 400, reply
        value = json.loads(reply.body)
        assert list(value) == ["error"]
        assert isinstance(value["error"], str)
        return reply.status, value["error"]

    def publish(self, url: str = "http://a.dev/", body: Any = b"", **options: str) -> str:
        """A message's id. Options are headers without their prefix: ``Flow_Control_Key="k"``."""
        headers = {f"Upstash-{name.replace('_', '-')}": value for name, value in options.items()}
        message_id: str = self.ok("POST", f"/v2/publish/{url}", body, headers)["messageId"]
        return message_id

    def due(self) -> list[Attempt]:
        """The attempts that are to be made now; the caller answers them by ``finish``."""
        return self.machine.due()

    def run(self) -> list[Delivered]:
        """Make every attempt that is due now, one after the other; those that were made."""
        made: list[Delivered] = []
        while attempts := self.machine.due():
            for attempt in attempts:
                made.append(Delivered(self.clock.time() - self.start, attempt))
                result = self.destination(attempt)
                if isinstance(result, int):
                    result = Answer(status=result, error="" if result < 300 else str(result))
                self.machine.finish(attempt, result)
        self.delivered += made
        self.built.commit()
        return made

    def advance(self, seconds: float) -> list[Delivered]:
        """Move the clock, and make what becomes due at its own time; what was made."""
        end = self.clock.time() + seconds
        made = self.run()
        while (when := self.machine.next_due()) is not None and when <= end:
            self.clock.advance(max(0.0, when - self.clock.time()))
            made += self.run()
        self.clock.advance(max(0.0, end - self.clock.time()))
        return made

    def states(self, message_id: str) -> list[str]:
        """What the log says of one message, oldest first."""
        log = self.ok("GET", f"/v2/events?messageId={message_id}&order=earliestFirst")
        return [event["state"] for event in log["events"]]
