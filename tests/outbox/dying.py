"""A process that dies at a certain moment, named by its environment."""

from __future__ import annotations

import os
import signal

from django_qstash.transport.http import HttpTransport

MOMENT = os.environ.get("TESTS_DIES")


def kill():
    """As a machine dies: no handler, no ``finally``, no commit."""
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(HttpTransport):
    """QStash over HTTP; the process ends before, or right after, what it publishes is there."""

    def publish(self, envelope):
        return self._around(super().publish, envelope)

    def batch(self, envelopes):
        return self._around(super().batch, envelopes)

    def _around(self, publish, argument):
        if MOMENT == "before the publish":
            kill()
        answer = publish(argument)
        if MOMENT == "after the publish":
            kill()
        return answer
