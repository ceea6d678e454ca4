"""What happens to runs and steps, as Django signals; connected to as those of tasks are.

The sender is the workflow; ``sender="its name"`` does as well. All give ``run_id``. They are sent
in the process in which it happens, after it is recorded: a crash just then loses the signal, never
the record.
"""

from __future__ import annotations

from django_qstash.signals import TaskSignal

#: Its first delivery begins. ``data``
run_started = TaskSignal("run_started")
#: It is put down. ``waits_for``, ``wake_at``
run_suspended = TaskSignal("run_suspended")
#: ``result``
run_completed = TaskSignal("run_completed")
#: ``error`` (the exception)
run_failed = TaskSignal("run_failed")
#: ``reason``
run_canceled = TaskSignal("run_canceled")
#: ``step_id``, ``occurrence``, ``kind``, ``attempts``
step_completed = TaskSignal("step_completed")
#: The same, and ``error`` (a text)
step_failed = TaskSignal("step_failed")
#: The same, and ``wake_at``: when it is tried again.
step_retried = TaskSignal("step_retried")
#: A finished step is asked for with other arguments. ``step_id``, ``occurrence``
step_input_changed = TaskSignal("step_input_changed")
