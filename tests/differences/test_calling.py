"""Rows about calls, results, and other packages."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_qstash import (
    AsyncResult,
    Celery,
    OptionError,
    PayloadTooLarge,
    clock,
    conf,
    shared_task,
)
from django_qstash.celery.contrib.abortable import AbortableTask
from django_qstash.exceptions import ResultsNotInstalled
from django_qstash.messages import TaskMessage, decode
from django_qstash.results.models import TaskResult
from tests.differences import shows
from tests.door import knock, letter
from tests.shop import tasks as shop


def letters(outbox):
    return [TaskMessage.from_dict(decode(envelope.body)) for envelope in outbox.sent]


@shows("queue")
def test_a_queue_is_carried_and_a_fifo_queue_only_if_it_is_named(outbox, settings):
    settings.DJANGO_QSTASH_QUEUES = {"mail": {"parallelism": 2}}
    Celery("proj", task_routes={shop.add.name: {"queue": "routed"}})

    shop.add.delay(1, 2)
    shop.add.apply_async((1, 2), queue="mail")

    assert [each.queue for each in letters(outbox)] == ["routed", "mail"]
    assert [each.options.get("queue") for each in outbox.sent] == [None, "mail"]


@shows("pickle")
def test_other_serializers_are_refused(outbox):
    with pytest.raises(OptionError, match="letters are JSON only"):
        shop.add.apply_async((1, 2), serializer="pickle")
    with pytest.raises(OptionError, match="letters are JSON only"):
        shared_task(serializer="yaml", name="yaml")(lambda: None)
    shop.add.apply_async((1, 2), serializer="json")

    assert len(outbox.sent) == 1


@shows("json-types")
@pytest.mark.django_db
def test_sets_and_timedeltas_travel(outbox):
    @shared_task(name="echo")
    def echo(value):
        return value

    value = {"set": {1, 2}, "frozen": frozenset({"a"}), "delta": timedelta(days=1, seconds=2)}

    echo.delay(value)
    knock(letters(outbox)[0])

    assert AsyncResult(letters(outbox)[0].id).get() == value


@shows("size")
def test_too_much_is_refused_at_the_call(outbox, settings):
    settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 2000

    with pytest.raises(PayloadTooLarge):
        shop.add.delay("x" * 3000, 1)

    assert outbox.sent == []


@shows("unknown-option")
@pytest.mark.django_db
def test_an_option_that_nobody_knows_is_an_argument(outbox):
    asked = shared_task(name="asked")(lambda colour=None: colour)
    asked.apply_async(colour="red")
    assert letters(outbox)[0].kwargs == {"colour": "red"}

    for call in (asked, asked.s().set(colr="red")):
        with pytest.raises(TypeError, match="colr"):
            call.apply_async(colr="red")

    shared_task(name="again", bind=True)(lambda self, option: self.retry(**{option: "x"}))
    for option in ("colr", "task_id"):
        message = letter("again", option)
        knock(message)
        assert option in str(AsyncResult(message.id).result)


@shows("two-times")
def test_a_call_says_once_when(outbox):
    with pytest.raises(OptionError, match="give one of them"):
        shop.add.apply_async((1, 2), countdown=5, eta=clock.now())


@shows("broker-options")
def test_what_speaks_to_a_broker_has_no_effect(outbox):
    shop.add.apply_async((1, 2), task_id="one")
    shop.add.apply_async(
        (1, 2),
        task_id="one",
        exchange="x",
        compression="gzip",
        connection=object(),
        producer=object(),
        retry=True,
        retry_policy={"max_retries": 9},
        delivery_mode=2,
        mandatory=True,
        reply_to="y",
    )

    plain, laden = letters(outbox)
    assert laden == plain.but(run=laden.run)


@shows("result-backend")
@pytest.mark.django_db
def test_results_are_in_the_sites_database(settings):
    message = letter(shop.add.name, 1, 2)
    knock(message)
    assert AsyncResult(message.id).get() == TaskResult.objects.get(task_id=message.id).result == 3

    settings.INSTALLED_APPS = [
        name for name in settings.INSTALLED_APPS if name != "django_qstash.results"
    ]
    with pytest.raises(ResultsNotInstalled):
        AsyncResult(message.id).get(timeout=0.1)


@shows("result-expires")
@pytest.mark.django_db
def test_results_are_kept_for_seven_days_or_as_celerys_setting_says():
    from django.core.management import call_command

    assert conf.settings.DJANGO_QSTASH_RESULT_TTL == 7 * 86400
    with clock.use(clock.VirtualClock()) as virtual:
        knock(letter(shop.add.name, 1, 2, id="kept"))
        virtual.advance(2 * 86400)
        call_command("clear_stale_results", "--no-input", verbosity=0)
        assert AsyncResult("kept").state == "SUCCESS"

        Celery("proj", result_expires=timedelta(days=1))
        call_command("clear_stale_results", "--no-input", verbosity=0)
        assert AsyncResult("kept").state == "PENDING"


@shows("revoke-terminate")
@pytest.mark.django_db
def test_a_body_that_is_revoked_goes_on_and_its_result_is_discarded():
    reached = []

    @shared_task(name="long", bind=True)
    def long(self):
        Celery("proj").control.revoke(self.request.id, terminate=True)
        reached.append(AsyncResult(self.request.id).state)
        return "late"

    message = letter("long")
    knock(message)

    assert reached == ["REVOKED"]
    assert AsyncResult(message.id).state == "REVOKED"
    assert TaskResult.objects.get(task_id=message.id).result != "late"


@shows("kombu")
def test_anything_with_a_name_is_a_queue(outbox):
    class Queue:
        name = "named"

    Celery("proj", task_routes={shop.add.name: {"queue": Queue()}})

    shop.add.delay(1, 2)

    assert letters(outbox)[0].queue == "named"


@shows("django-celery-results")
@pytest.mark.django_db
def test_the_columns_of_a_result():
    knock(letter(shop.add.name, 1, kwargs={"y": 2}, queue="mail"))

    row = TaskResult.objects.get(task_name=shop.add.name, status="SUCCESS", queue="mail")
    assert (row.args, row.kwargs, row.result) == ([1], {"y": 2}, 3)
    assert row.date_done >= row.date_started


@shows("used-task-id")
@pytest.mark.django_db
def test_a_task_id_used_again_shows_the_latest_run(loopback):
    shop.add.apply_async((1, 2), task_id="sum")
    assert AsyncResult("sum").get() == 3
    shop.add.apply_async((3, 4), task_id="sum")

    assert AsyncResult("sum").get() == 7
    assert TaskResult.objects.filter(task_id="sum").count() == 1


@shows("abortable")
@pytest.mark.django_db
def test_what_is_aborted_before_it_began_does_not_run(outbox):
    ran = []
    task = shared_task(name="stoppable", base=AbortableTask)(lambda: ran.append(True))
    result = task.delay()
    result.abort()

    knock(*letters(outbox))

    assert (ran, result.state) == ([], "REVOKED")
