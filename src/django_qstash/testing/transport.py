"""The way from a publish to the QStash of the test: QStash's own API, without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django_qstash.devserver.api import routes
from django_qstash.devserver.api.call import Call, Reply
from django_qstash.devserver.refusal import Refusal
from django_qstash.exceptions import PublishError
from django_qstash.transport.http import HttpTransport

if TYPE_CHECKING:
    from django_qstash.testing.sandbox import QStashSandbox
    from django_qstash.wire.envelope import Envelope, Receipt

#: The sandboxes that are open, the innermost last. One transport serves whichever that is.
open_sandboxes: list[QStashSandbox] = []


class SandboxTransport(HttpTransport):
    """Publishes to the innermost sandbox, by the requests that would go out over HTTP."""

    def for_account(self, name: str) -> SandboxTransport:  # noqa: ARG002
        """This one: a sandbox stands in for all accounts, and each envelope says whose it is."""
        return self

    def publish(self, envelope: Envelope) -> Receipt:
        sandbox = _current()
        with sandbox.publishing():
            receipt = super().publish(envelope)
            sandbox.note(envelope, receipt)
        return receipt

    def batch(self, envelopes: Sequence[Envelope]) -> list[Receipt | PublishError]:
        sandbox = _current()
        with sandbox.publishing():
            answers = super().batch(envelopes)
            for envelope, answer in zip(envelopes, answers, strict=True):
                if not isinstance(answer, PublishError):
                    sandbox.note(envelope, answer)
        return answers

    def _send(
        self,
        method: Any,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> str:
        call = Call(
            method=method, target=path, headers=tuple((headers or {}).items()), body=body or b""
        )
        sandbox = _current()
        try:
            if sandbox.is_down:
                raise Refusal(0, "it is down")
            with sandbox.lock:
                handler, call = routes.find(call)
                reply = handler(sandbox.state, call)
        except Refusal as refusal:
            reply = Reply.refused(refusal)
        if not 200 <= reply.status < 300:
            text = reply.body.decode()
            error = PublishError(f"The QStash of this test refused {method} {path}: {text}")
            error.status = reply.status or None
            raise error
        return reply.body.decode()


def _current() -> QStashSandbox:
    if not open_sandboxes:
        raise PublishError("There is no QStashSandbox open: use it as a context manager.")
    return open_sandboxes[-1]
