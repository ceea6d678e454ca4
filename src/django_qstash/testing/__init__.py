"""For your tests: a QStash inside the test, its messages to assert on, time at your command.

::

    with QStashSandbox() as qstash:
        place_order()
        qstash.assert_sent(send_receipt, order.pk)
        qstash.deliver_all()
"""

from __future__ import annotations

from django_qstash.testing.crash import Crash
from django_qstash.testing.sandbox import Delivered, QStashSandbox
from django_qstash.testing.sent import SentTask
from django_qstash.testing.unittest import QStashMixin

__all__ = ["Crash", "Delivered", "QStashMixin", "QStashSandbox", "SentTask"]
