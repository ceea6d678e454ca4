"""Task signals are connected to as Celery's are, and never felt by the task."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import django
import pytest

from django_qstash import signals
from django_qstash.signals import TaskSignal


class Sender:
    def __init__(self, name):
        self.name = name


def another(text: str) -> str:
    """An equal text that is not the same object."""
    return "".join(list(text))


@pytest.fixture
def signal():
    return TaskSignal("task_happened")


@pytest.fixture
def heard():
    return []


#: celery.signals of Celery 5, whole.
OF_CELERY = """
    after_setup_logger after_setup_task_logger after_task_publish beat_embedded_init beat_init
    before_task_publish celeryd_after_setup celeryd_init eventlet_pool_apply
    eventlet_pool_postshutdown eventlet_pool_preshutdown eventlet_pool_started heartbeat_sent
    import_modules setup_logging task_failure task_internal_error task_postrun task_prerun
    task_received task_rejected task_retry task_revoked task_sent task_success task_unknown
    user_preload_options worker_before_create_process worker_init worker_process_init
    worker_process_shutdown worker_ready worker_shutdown worker_shutting_down
"""


def test_all_of_celerys_signals_are_here():
    found = {name for name, value in vars(signals).items() if isinstance(value, TaskSignal)}

    assert found == set(OF_CELERY.split())
    assert set(signals.SILENT) <= found
    for name in found:
        assert repr(getattr(signals, name)) == f"<TaskSignal: {name}>"


class TestConnecting:
    def test_a_receiver_hears_sender_signal_and_arguments(self, signal, heard):
        def receiver(**named):
            heard.append(named)

        signal.connect(receiver)
        signal.emit("shop.add", task_id="7")

        assert heard == [{"signal": signal, "sender": "shop.add", "task_id": "7"}]

    def test_it_is_a_decorator(self, signal, heard):
        @signal.connect
        def receiver(sender, **named):
            heard.append(sender)

        signal.emit("shop.add")

        assert heard == ["shop.add"]
        assert callable(receiver)

    def test_it_is_a_decorator_with_options(self, signal, heard):
        @signal.connect(sender="shop.add", weak=False, dispatch_uid="once")
        def receiver(sender, **named):
            heard.append(sender)

        signal.connect(receiver, sender="shop.add", dispatch_uid="once")
        signal.emit("shop.add")
        signal.emit("shop.send")

        assert heard == ["shop.add"]

    @pytest.mark.parametrize(
        "wanted", [lambda task: task, lambda task: task.name], ids=["it", "name"]
    )
    @pytest.mark.parametrize(
        "sent", [lambda task: task, lambda task: task.name], ids=["it", "name"]
    )
    def test_one_task_is_meant_by_itself_and_by_its_name(self, signal, heard, wanted, sent):
        def receiver(sender, **named):
            heard.append(sender)

        task = Sender(another("shop.add"))
        signal.connect(receiver, sender=wanted(task))
        gc.collect()

        signal.emit(sent(task))
        signal.emit(another("shop.add"))
        signal.emit(Sender("shop.send"))
        signal.emit(None)

        assert heard == [sent(task), "shop.add"]

    def test_a_receiver_can_be_disconnected(self, signal, heard):
        def receiver(sender, **named):
            heard.append(sender)

        signal.connect(receiver, sender="shop.add")

        assert not signal.disconnect(receiver, sender="shop.send")
        assert signal.disconnect(receiver, sender=Sender("shop.add"))
        assert not signal.has_listeners("shop.add")
        signal.emit("shop.add")
        assert heard == []

    def test_a_receiver_is_held_weakly_unless_told_otherwise(self, signal, heard):
        signal.connect(lambda **named: heard.append("weak"))
        signal.connect(lambda **named: heard.append("held"), weak=False)
        gc.collect()

        signal.emit(None)

        assert heard == ["held"]

    def test_djangos_own_decorator_does_as_well(self, signal, heard):
        from django.dispatch import receiver

        @receiver(signal, sender="shop.add")
        def hear(sender, **named):
            heard.append(sender)

        signal.emit("shop.add")

        assert heard == ["shop.add"]


class TestErrors:
    def test_a_receiver_that_raises_is_logged_once_and_the_next_is_called(
        self, signal, heard, caplog
    ):
        def broken(**named):
            raise ValueError("broken receiver")

        def receiver(sender, **named):
            heard.append(sender)

        signal.connect(broken)
        signal.connect(receiver)
        signal.emit("shop.add")

        assert heard == ["shop.add"]
        (record,) = caplog.records
        assert record.levelname == "ERROR"
        assert "broken" in record.getMessage()
        assert record.exc_info[1].args == ("broken receiver",)

    def test_one_without_a_name_is_logged_as_well(self, signal, caplog):
        """Django names the receiver in its log, and stumbles where there is no name."""

        def broken(reason, **named):
            raise ValueError(reason)

        receiver = partial(broken, "no name")
        signal.connect(receiver)
        signal.emit("shop.add")

        assert "no name" in caplog.text

    @pytest.mark.skipif(django.VERSION < (5,), reason="Django 4.2 has no async receivers")
    def test_an_async_receiver_in_a_running_loop_is_not_felt_by_the_sender(self, signal, caplog):
        async def receiver(**named):
            pass

        async def view():
            signal.emit("shop.add")

        signal.connect(receiver)
        asyncio.run(view())

    def test_without_receivers_nothing_is_done(self, signal):
        class Unhashable:
            __hash__ = None

        signal.emit(Unhashable())
