"""Rows about tasks that run."""

from __future__ import annotations

import threading
import time

import pytest
from django.core.checks import run_checks

from django_qstash import AsyncResult, Celery, Ignore, Reject, Retry, Task, chain, shared_task
from django_qstash.exceptions import MaxRetriesExceededError, SoftTimeLimitExceeded
from django_qstash.messages import TaskMessage, decode
from django_qstash.results.database import DatabaseStore
from django_qstash.results.models import TaskResult
from django_qstash.tasks.request import hostname
from tests.differences import shows
from tests.door import given_up, knock, letter
from tests.shop import tasks as shop
from tests.transports import Down

pytestmark = pytest.mark.django_db


def died(name, settings):
    """A letter whose process was killed while it ran, delivered again after its lease."""
    settings.DJANGO_QSTASH_LEASE = 0.001
    message = letter(name)
    DatabaseStore().claim(message, message_id="msg_1")
    time.sleep(0.01)
    return message


@shows("acks-late")
def test_a_task_whose_process_died_is_run_again_unless_it_says_no(settings):
    ran = []
    shared_task(name="late")(lambda: ran.append("late"))
    shared_task(name="early", acks_late=False)(lambda: ran.append("early"))

    late, early = died("late", settings), died("early", settings)
    knock(late)
    knock(early)

    assert ran == ["late"]
    assert AsyncResult(late.id).state == "SUCCESS"
    assert AsyncResult(early.id).state == "FAILURE"
    assert "at most once" in str(AsyncResult(early.id).result)


@shows("acks-late")
def test_the_setting_says_so_for_all():
    app = Celery("proj", task_acks_late=False)

    assert app.task(lambda: 1, name="proj.early").acks_late is False


@shows("worker-lost")
def test_an_endless_loop_ends(settings):
    settings.DJANGO_QSTASH_DELIVERY_ATTEMPTS = 2
    shared_task(name="fatal")(lambda: None)
    message = died("fatal", settings)
    DatabaseStore().claim(message, message_id="msg_1")
    time.sleep(0.01)

    knock(message)

    result = AsyncResult(message.id)
    assert (result.state, type(result.result).__name__) == ("FAILURE", "WorkerLostError")


@shows("acks-on-failure")
def test_a_failure_is_not_delivered_again(settings):
    settings.CELERY_TASK_ACKS_ON_FAILURE_OR_TIMEOUT = False
    Celery("proj", config_source="django.conf:settings", namespace="CELERY")
    assert "django_qstash.E030" in [each.id for each in run_checks(tags=["django_qstash"])]

    assert knock(letter("tests.shop.tasks.fail")).status_code == 489

    @shared_task(name="requeue")
    def requeue():
        raise Reject("later", requeue=True)

    assert knock(letter("requeue")).status_code == 503


@shows("requeue")
def test_what_asks_to_come_again_is_given_up_in_the_end(outbox):
    @shared_task(name="never", retries=1)
    def never():
        raise Reject("not now", requeue=True)

    task_id, answers = never.delay().id, []
    for _ in range(3):
        # As QStash does: once, again, and then it says so.
        body = outbox.sent.pop().body
        answers += [knock(body).status_code, knock(body, retried=1).status_code]
        given_up(TaskMessage.from_dict(decode(body)), status=503)

    assert set(answers) == {503}
    result = AsyncResult(task_id)
    assert (result.state, type(result.result).__name__) == ("FAILURE", "WorkerLostError")


@shows("retry-by-hand")
def test_a_retry_that_is_raised_by_hand_is_one(outbox):
    @shared_task(name="byhand", max_retries=1)
    def by_hand():
        raise Retry("not now", when=0)

    task_id = by_hand.delay().id
    assert [knock(outbox.sent.pop().body).json()["status"] for _ in range(2)] == [
        "retry",
        "failure",
    ]
    assert isinstance(AsyncResult(task_id).result, MaxRetriesExceededError)


@shows("ignored")
def test_what_is_ignored_is_known_to_have_ended():
    shared_task(name="ignores")(lambda: (_ for _ in ()).throw(Ignore))
    shared_task(name="forgetful", ignore_result=True)(lambda: 5)
    ignores, forgetful = letter("ignores"), letter("forgetful")
    knock(ignores)
    knock(forgetful)

    assert AsyncResult(ignores.id).state == "IGNORED"
    assert (AsyncResult(forgetful.id).state, AsyncResult(forgetful.id).result) == ("SUCCESS", None)


@shows("time-limit")
def test_a_limit_records_and_the_late_result_is_discarded():
    done = threading.Event()

    @shared_task(name="stubborn", time_limit=0.2)
    def stubborn():
        try:
            time.sleep(0.5)
            for _ in range(1000):
                time.sleep(0.001)
        finally:
            done.set()
        return "late"

    message = letter("stubborn")
    knock(message)

    result = AsyncResult(message.id)
    assert done.is_set()
    assert (result.state, type(result.result).__name__) == ("FAILURE", "TimeLimitExceeded")


@shows("soft-time-limit")
def test_it_is_felt_in_any_thread():
    @shared_task(name="patient", soft_time_limit=0.1)
    def patient():
        try:
            for _ in range(1000):
                time.sleep(0.005)
        except SoftTimeLimitExceeded:
            return threading.current_thread() is threading.main_thread()

    found = []
    thread = threading.Thread(target=lambda: found.append(patient.apply().get()))
    thread.start()
    thread.join()

    assert found == [False]


@shows("rate-limit")
def test_it_becomes_flow_control_for_the_site(outbox):
    shared_task(name="limited", rate_limit="10/m")(lambda: None).delay()

    assert outbox.sent[0].options["flow_control"] == {"key": "limited", "rate": 10, "period": 60}


@shows("priority")
def test_it_is_carried_and_not_sent_to_qstash(outbox):
    @shared_task(name="urgent", bind=True)
    def urgent(self):
        return self.request.delivery_info["priority"]

    result = urgent.apply_async(priority=9)
    (envelope,) = outbox.sent
    knock(TaskMessage.from_dict(decode(envelope.body)))

    assert "priority" not in envelope.options
    assert result.get() == 9


@shows("track-started")
def test_a_row_says_started_while_the_task_runs():
    @shared_task(name="looking", bind=True, track_started=False)
    def looking(self):
        result = AsyncResult(self.request.id)
        return [result.state, result.ready()]

    message = letter("looking")
    knock(message)

    assert AsyncResult(message.id).get() == ["STARTED", False]


@shows("unknown-task")
def test_a_rolling_deployment_loses_nothing():
    message = letter("tomorrow")
    assert knock(message).status_code == 404

    shared_task(name="tomorrow")(lambda: "known")

    assert knock(message).status_code == 200
    assert AsyncResult(message.id).get() == "known"


@shows("own-host")
def test_the_host_is_the_web_servers():
    @shared_task(name="curious", bind=True)
    def curious(self):
        return [self.request.hostname, dict(self.request.delivery_info)]

    message = letter("curious", queue="mail")
    knock(message, retried=2)

    assert AsyncResult(message.id).get() == [
        hostname(),
        {"exchange": "", "routing_key": "mail", "priority": None, "redelivered": True},
    ]


@shows("call-and-autoretry")
def test_what_an_overridden_call_raises_is_tried_again(outbox):
    class Guarded(Task):
        def __call__(self, *args, **kwargs):
            seen.append("called")
            raise ConnectionError("no lock")

    seen = []
    task = shared_task(name="guarded", base=Guarded, autoretry_for=(ConnectionError,))(lambda: 1)
    result = task.delay()
    knock(outbox.sent.pop().body)

    assert (seen, result.state, len(outbox.sent)) == (["called"], "RETRY", 1)


@shows("on-bound")
def test_no_application_tells_a_task_that_it_took_it():
    class Bound(Task):
        def on_bound(self, app):
            told.append(app)

    told = []
    app = Celery("proj")
    task = app.task(lambda: 5, name="proj.bound", base=Bound)
    app.finalize()

    assert (task(), told) == (5, [])


@shows("request-headers")
def test_no_headers_are_an_empty_mapping(loopback):
    seen = []
    task = shared_task(name="headed", bind=True)(lambda self: seen.append(self.request.headers))

    task.delay()
    task.apply_async(headers={"tenant": "a"})

    assert seen == [{}, {"tenant": "a"}]


@shows("follow-after-result")
def test_a_chain_goes_on_though_its_publish_failed(outbox, settings):
    chain(shop.add.s(1, 2), shop.add.s(3)).delay()
    (first,) = outbox.sent
    message = TaskMessage.from_dict(decode(first.body))
    settings.DJANGO_QSTASH_TRANSPORT = f"{Down.__module__}.Down"

    assert knock(message).status_code == 503
    # The result is stored, and with it what is owed.
    assert TaskResult.objects.get(task_id=message.id).status == "SUCCESS"

    settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.local.Loopback"
    assert knock(message, retried=1).status_code == 200
    assert TaskResult.objects.exclude(task_id=message.id).get().result == 6
