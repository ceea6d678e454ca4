"""``app.control``: replies in Celery's form, from the database and from this process."""

from __future__ import annotations

import json
import os
import time

import pytest

from django_qstash import AsyncResult, Celery, clock, shared_task
from django_qstash.devserver.embedded import EmbeddedServer
from django_qstash.exceptions import PublishError, ResultsNotInstalled
from django_qstash.messages import TaskMessage
from django_qstash.results.database import DatabaseStore
from django_qstash.results.models import TaskResult
from django_qstash.tasks.request import hostname
from tests.door import knock, letter
from tests.shop import tasks as shop
from tests.shop.models import Effect

pytestmark = pytest.mark.django_db

HERE = hostname()
NOTE = shop.note.name


@pytest.fixture
def app():
    return Celery("proj")


@pytest.fixture
def inspect(app):
    return app.control.inspect()


class TestRevoking:
    def test_one_and_many(self, app):
        letters = [letter(NOTE, "x") for _ in range(3)]

        app.control.revoke(letters[0].id)
        app.control.revoke(
            [message.id for message in letters[1:]], terminate=True, signal="SIGKILL"
        )
        for message in letters:
            assert knock(message).status_code == 200

        assert {AsyncResult(message.id).state for message in letters} == {"REVOKED"}
        assert not Effect.objects.exists()

    def test_terminate(self, app):
        message = letter(NOTE, "x")
        DatabaseStore().claim(message, message_id="msg_1")

        app.control.terminate(message.id)

        assert AsyncResult(message.id).state == "REVOKED"

    def test_what_was_revoked_is_listed(self, app, inspect):
        app.control.revoke("seven")

        assert inspect.revoked() == {HERE: ["seven"]}


class TestActive:
    def test_a_task_under_way_by_its_host(self, app, inspect):
        seen = []

        @shared_task(name="proj.curious")
        def curious(x, y=2):
            seen.append(inspect.active())

        message = letter("proj.curious", 1)
        with clock.use(clock.VirtualClock()) as virtual:
            knock(message)
            began = virtual.time()

        ((info,),) = seen[0].values()
        assert list(seen[0]) == [HERE]
        assert (info["id"], info["name"], info["type"]) == (message.id, curious.name, curious.name)
        assert info["args"] == [1]
        assert abs(info["time_start"] - began) < 1
        assert inspect.active() == {HERE: []}

    def test_another_hosts(self, inspect):
        message = letter(NOTE, "x")
        DatabaseStore().claim(message, message_id="msg_1")
        TaskResult.objects.update(worker="web-2")

        assert [info["id"] for info in inspect.active()["web-2"]] == [message.id]

    def test_a_lease_that_ran_out_is_not_active(self, inspect, settings):
        settings.DJANGO_QSTASH_LEASE = 0.001
        DatabaseStore().claim(letter(NOTE, "x"), message_id="msg_1")
        time.sleep(0.01)

        assert inspect.active() == {HERE: []}

    def test_a_limit(self, app):
        for _ in range(3):
            DatabaseStore().claim(letter(NOTE, "x"), message_id="msg_1")

        found = app.control.inspect(limit=2).active()

        assert sum(map(len, found.values())) == 2


class TestScheduled:
    def test_a_retry_and_when_it_is_due(self, inspect, outbox):
        @shared_task(name="proj.again", bind=True)
        def again(self):
            raise self.retry(countdown=90)

        message = letter("proj.again")
        knock(message)

        (info,) = inspect.scheduled()[HERE]
        (published,) = [TaskMessage.from_dict(json.loads(each.body)) for each in outbox.sent]
        assert info["eta"] == published.eta
        assert info["request"]["id"] == message.id


class TestReserved:
    def test_none_without_the_outbox_app(self, inspect, outbox):
        shop.add.delay(1, 2)

        assert inspect.reserved() == {HERE: []}


class TestOfThisProcess:
    def test_tasks_by_name_with_what_is_asked_of_them(self, inspect):
        (names,) = inspect.registered().values()

        assert shop.add.name in names
        assert not any(name.startswith("celery.") for name in names)
        assert (
            f"{shop.add.name} [max_retries=3 queue=None]"
            in (inspect.registered_tasks("max_retries", "queue")[HERE])
        )

    def test_ping(self, app, inspect):
        assert inspect.ping() == {HERE: {"ok": "pong"}}
        assert app.control.ping() == [{HERE: {"ok": "pong"}}]
        assert app.control.ping(destination=["elsewhere"]) == []

    def test_queues(self, inspect, settings):
        settings.DJANGO_QSTASH_QUEUES = {"mail": {"parallelism": 2}}

        assert inspect.active_queues() == {HERE: [{"name": "mail", "routing_key": "mail"}]}

    def test_settings_without_secrets(self, app, inspect):
        app.conf.update(broker_url="redis://u:p@h", task_acks_late=True)

        assert inspect.conf() == {HERE: {"broker_url": "********", "task_acks_late": True}}


class TestOfTheTable:
    def test_tasks_by_their_ids(self, inspect):
        messages = [letter(shop.add.name, 1, 2), letter("tests.shop.tasks.fail")]
        for message in messages:
            knock(message)

        found = inspect.query_task(messages[0].id, [messages[1].id, "unknown"])[HERE]

        assert {task_id: state for task_id, (state, _) in found.items()} == {
            messages[0].id: "success",
            messages[1].id: "failure",
        }
        assert found[messages[0].id][1]["args"] == [1, 2]

    def test_totals(self, inspect):
        for _ in range(2):
            knock(letter(shop.add.name, 1, 2))

        assert inspect.stats()[HERE] == {"total": {shop.add.name: 2}, "pid": os.getpid()}

    def test_without_results_the_error_says_what_is_missing(self, inspect, settings):
        settings.INSTALLED_APPS = [
            name for name in settings.INSTALLED_APPS if name != "django_qstash.results"
        ]

        with pytest.raises(ResultsNotInstalled, match=r"inspect\(\) of tasks"):
            inspect.active()
        assert inspect.ping()


class TestDestinations:
    def test_one_host_is_its_reply_alone(self, app):
        assert app.control.inspect(HERE).ping() == {"ok": "pong"}
        assert app.control.inspect("elsewhere").ping() is None

    def test_a_list_is_a_choice(self, app):
        assert app.control.inspect([HERE, "elsewhere"]).ping() == {HERE: {"ok": "pong"}}
        assert app.control.inspect(destination=["elsewhere"]).ping() is None


class TestPurging:
    @pytest.fixture
    def qstash(self, settings):
        with EmbeddedServer() as server:
            settings.DJANGO_QSTASH_TRANSPORT = "django_qstash.transport.http.HttpTransport"
            settings.QSTASH_URL, settings.QSTASH_TOKEN = server.url, server.token
            settings.DJANGO_QSTASH_DOMAIN = "http://127.0.0.1:9"
            yield server

    def test_what_waits_for_this_site_is_withdrawn(self, app, qstash, settings):
        for _ in range(3):
            shop.add.apply_async((1, 2), countdown=3600)
        settings.DJANGO_QSTASH_DOMAIN = "http://127.0.0.2:9"
        shop.add.apply_async((1, 2), countdown=3600)
        settings.DJANGO_QSTASH_DOMAIN = "http://127.0.0.1:9"

        assert app.control.purge() == 3
        assert app.control.discard_all() == 0
        waiting = qstash.ask(
            lambda state: [each for each in state.machine.messages.values() if not each.done]
        )
        assert len(waiting) == 1

    def test_more_than_one_request_takes(self, app, qstash, monkeypatch):
        from django_qstash.application import control

        monkeypatch.setattr(control, "PURGE", 2)
        for _ in range(5):
            shop.add.apply_async((1, 2), countdown=3600)

        assert app.control.purge() == 5

    def test_an_engine_out_of_reach(self, app, outbox):
        with pytest.raises(PublishError):
            app.control.purge()


@pytest.mark.parametrize(
    ("name", "why"),
    [("pool_grow", "no worker"), ("rate_limit", "decorated"), ("nothing", "no such")],
)
def test_what_is_absent_says_why(app, name, why):
    with pytest.raises(AttributeError, match=rf"app.control.{name}: .*{why}"):
        getattr(app.control, name)
    with pytest.raises(AttributeError, match=rf"inspect\(\).{name}: .*{why}"):
        getattr(app.control.inspect(), name)


def test_a_control_without_an_object(app):
    from django_qstash.application.control import Control

    app.conf.task_acks_late = True

    assert Control().inspect().conf() == {HERE: {"task_acks_late": True}}
