"""Transports that fail."""

from django_qstash.exceptions import PublishError
from django_qstash.transport.http import HttpTransport
from django_qstash.transport.local import Outbox


class Down:
    """QStash cannot be reached."""

    def publish(self, envelope):
        raise PublishError("QStash at nowhere cannot be reached.")

    def batch(self, envelopes):
        raise PublishError("QStash at nowhere cannot be reached.")

    def cancel(self, message_id):
        raise PublishError("QStash at nowhere cannot be reached.")

    def prepare_queue(self, name, parallelism):
        raise PublishError("QStash at nowhere cannot be reached.")

    def schedule(self, envelope):
        raise PublishError("QStash at nowhere cannot be reached.")

    def request(self, method, path, body=None):
        raise PublishError("QStash at nowhere cannot be reached.")


class TakesThree:
    """QStash takes three messages, and refuses all others."""

    def __init__(self):
        self.taken = []

    def batch(self, envelopes):
        from django_qstash.wire.envelope import Receipt

        answers = []
        for envelope in envelopes:
            if len(self.taken) < 3:
                self.taken.append(envelope)
                answers.append(Receipt(message_id=f"msg_{len(self.taken)}"))
            else:
                answers.append(PublishError("no more"))
        return answers


class Counting:
    """How large the batches are."""

    def __init__(self):
        self.batches = []

    def batch(self, envelopes):
        from django_qstash.wire.envelope import Receipt

        self.batches.append(len(envelopes))
        return [Receipt(message_id="msg") for _ in envelopes]


class Unreliable(Outbox):
    """Keeps what is published, and refuses all of it while ``down``, or part of a batch."""

    def __init__(self):
        super().__init__()
        self.down = False
        #: Of a batch, how many are taken before the rest is refused; ``None``: all or nothing.
        self.takes = None
        #: Deduplication ids that it still knows.
        self.known = {}

    def publish(self, envelope):
        from django_qstash.wire.envelope import Receipt

        if self.down:
            raise PublishError("QStash at nowhere cannot be reached.")
        key = envelope.options.get("deduplication_id")
        if key in self.known:
            return Receipt(message_id=self.known[key], deduplicated=True)
        receipt = super().publish(envelope)
        self.known[key] = receipt.message_id
        return receipt

    def batch(self, envelopes):
        if not self.down:
            return super().batch(envelopes)
        if self.takes is None:
            raise PublishError("QStash at nowhere cannot be reached.")
        self.down = False
        taken = super().batch(envelopes[: self.takes])
        self.down = True
        return taken + [PublishError("refused") for _ in envelopes[self.takes :]]


class Measured(HttpTransport):
    """QStash's own, which remembers how many messages each request had, and how long they were."""

    def __init__(self):
        super().__init__()
        self.batches = []
        self.longest = 0

    def batch(self, envelopes):
        self.batches.append(len(envelopes))
        self.longest = max(self.longest, *(len(envelope.body) for envelope in envelopes))
        return super().batch(envelopes)
