"""Real processes, killed for real, on whichever database the suite runs on."""

from __future__ import annotations

import threading
import time
import urllib.request

import pytest

from django_qstash import AsyncResult
from django_qstash.exceptions import WorkerLostError
from django_qstash.results.models import TaskResult
from django_qstash.transport import get_transport
from django_qstash.transport.address import webhook_url
from django_qstash.wire import signature
from tests.door import letter
from tests.processes.conftest import UVICORN, eventually
from tests.shop import tasks
from tests.shop.models import Effect

pytestmark = pytest.mark.processes


def effects(name):
    return Effect.objects.filter(name=name).count()


def test_a_task_goes_all_the_way_and_its_result_comes_back(site):
    assert tasks.add.delay(2, 3).get(timeout=10) == 5


def test_a_process_killed_in_the_middle_of_a_task_leaves_it_to_be_run_again(site):
    result = tasks.die_once.delay("killed")

    assert result.get(timeout=30) == "killed"
    assert effects("killed") == 2


def test_a_task_that_always_kills_its_process_ends_as_a_failure(site, settings):
    result = tasks.die_always.apply_async(("poison",), retries=9, retry_delay="2500")

    with pytest.raises(WorkerLostError, match="5 times"):
        result.get(timeout=60)
    assert effects("poison") == 5


def test_the_same_delivery_many_times_at_once_runs_once(site, qstash):
    message = letter("tests.shop.tasks.slow", "once", 0.3)
    statuses = []

    def deliver():
        body = message.encode()
        token = signature.sign(body, url=webhook_url(), key=qstash.current_key, now=time.time())
        request = urllib.request.Request(
            webhook_url(),
            data=body,
            headers={
                "Content-Type": "application/json",
                "Upstash-Signature": token,
                "Upstash-Message-Id": "msg_1",
            },
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            statuses.append(answer.status)

    threads = [threading.Thread(target=deliver) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 8
    assert effects("once") == 1
    assert AsyncResult(message.id).get(timeout=5) == "once"


@pytest.mark.parametrize("qstash", [{"duplicate": 1.0}], indirect=True, ids=["doubled"])
def test_every_message_delivered_twice_still_runs_once(site, qstash):
    results = [tasks.note.delay(f"twice-{index}") for index in range(10)]

    for result in results:
        result.get(timeout=20)
    qstash.wait_idle()
    assert [effects(f"twice-{index}") for index in range(10)] == [1] * 10


def test_a_letter_that_qstash_gave_up_is_noticed_and_sent_again(site, qstash):
    site.kill()
    result = tasks.note.apply_async(("later",), retries=0)
    eventually(lambda: get_transport().request("GET", "/v2/dlq")["messages"])
    site.start()

    assert result.get(timeout=30) == "later"
    assert effects("later") == 1


def test_a_lease_is_renewed_while_its_task_runs(site, qstash):
    result = tasks.slow.delay("long", 5)
    eventually(lambda: effects("long"))
    time.sleep(3)
    (row,) = TaskResult.objects.filter(task_id=result.id)

    assert row.status == "STARTED"
    assert row.lease_until / 1000 > time.time()
    assert result.get(timeout=10) == "long"
    assert (effects("long"), TaskResult.objects.get().attempts) == (1, 1)


def test_on_sigterm_what_runs_is_finished(site):
    result = tasks.slow.delay("finishing", 2)
    eventually(lambda: effects("finishing"))

    site.terminate()

    assert result.state == "SUCCESS"


def test_under_an_asgi_server_just_the_same(site):
    site.kill()
    site.start(UVICORN)

    assert tasks.add.delay(2, 3).get(timeout=10) == 5
    assert tasks.add_async.delay(2, 3).get(timeout=10) == 5
    assert tasks.die_once  # the body of a sync task runs in a thread there
    assert tasks.note.delay("asgi").get(timeout=10) == "asgi"
