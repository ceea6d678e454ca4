"""For your tests: a QStash inside the test, its messages to assert on, time at your command.

::

    with QStashSandbox() as qstash:
        place_order()
        qstash.assert_sent(send_receipt, order.pk)
        qstash.deliver_all()

Workflows run to their end within one call, with stand-ins for their steps, and on bad days::

    run = run_inline(fulfil, {"order_id": 7}, step_overrides={"charge": "pay_1"})
    assert run.output == "sent"

    chaos(fulfil, {"order_id": 7}, effects=Sale.objects.count)
"""

from __future__ import annotations

from django_qstash.testing.chaos import ChaosDay, ChaosError, ChaosReport, chaos
from django_qstash.testing.crash import Crash
from django_qstash.testing.door import Delivered
from django_qstash.testing.environment import WorkflowEnv
from django_qstash.testing.inline import RehearsedRun, RehearsedStep, run_inline
from django_qstash.testing.overrides import TIMED_OUT
from django_qstash.testing.sandbox import QStashSandbox
from django_qstash.testing.sent import SentTask
from django_qstash.testing.unittest import QStashMixin

__all__ = [
    "TIMED_OUT",
    "ChaosDay",
    "ChaosError",
    "ChaosReport",
    "Crash",
    "Delivered",
    "QStashMixin",
    "QStashSandbox",
    "RehearsedRun",
    "RehearsedStep",
    "SentTask",
    "WorkflowEnv",
    "chaos",
    "run_inline",
]
