"""A QStash that has bad days."""

from __future__ import annotations

from django_qstash.exceptions import PublishError
from django_qstash.transport.local import Outbox


class Moody(Outbox):
    """Keeps what it is given, unless it is away, or says no."""

    def __init__(self):
        super().__init__()
        self.batches = []
        self.down = False
        #: Answers every request with this status.
        self.status = None
        #: Of a batch, how many it takes while it is down.
        self.takes = None
        #: Which envelopes are refused, alone or in a batch.
        self.refuses = lambda envelope: False

    def publish(self, envelope):
        self._fail(400 if self.refuses(envelope) else self.status)
        return super().publish(envelope)

    def batch(self, envelopes):
        self.batches.append(len(envelopes))
        if self.takes is None:
            self._fail(400 if any(map(self.refuses, envelopes)) else self.status)
            return [super(Moody, self).publish(envelope) for envelope in envelopes]
        taken = [super(Moody, self).publish(each) for each in envelopes[: self.takes]]
        return taken + [PublishError("not now")] * (len(envelopes) - self.takes)

    def _fail(self, status):
        if self.down or status is not None:
            error = PublishError("QStash at nowhere cannot be reached.")
            error.status = status
            raise error
