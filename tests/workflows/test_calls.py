"""HTTP calls as steps: by this process, and by QStash."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from django_qstash import clock
from django_qstash.exceptions import PublishError, RunFailed
from django_qstash.testing.crash import Crash
from django_qstash.workflows import callbacks, sweep
from django_qstash.workflows.calls import Call, _check_connection, _is_link_local
from django_qstash.workflows.models import StepExecution, WorkflowRun
from tests.door import knock
from tests.shop import workflows as w
from tests.workflows.deliver import deliver

pytestmark = pytest.mark.django_db(transaction=True)

#: What QStash tells of a call that went well.
ANSWER = {"status": 200, "body": b64encode(b'{"ok": true}').decode(), "header": {}}


def _answer(callback: str) -> Any:
    return knock(ANSWER, query=callback.partition("?")[2])


class Service(BaseHTTPRequestHandler):
    """Answers what the path says, and remembers what it was asked."""

    seen: list[tuple[str, str, dict[str, str], bytes]] = []
    failures = 0

    def answer(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        Service.seen.append((self.command, self.path, dict(self.headers), body))
        status = int(self.path.strip("/").partition("?")[0] or 200)
        if Service.failures:
            Service.failures -= 1
            status = 503
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/200")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"heard": body.decode()}).encode())

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


@pytest.fixture
def service():
    Service.seen.clear()
    Service.failures = 0
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class TestByThisProcess:
    def test_a_call_is_recorded_and_made_once(self, service, loopback):
        run = w.calls.trigger({"url": f"{service}/201", "options": {"method": "POST", "body": [1]}})

        assert run.result(5) == [201, {"heard": "[1]"}, 201]
        ((method, _, headers, _),) = Service.seen
        assert method == "POST"
        assert len(headers["Idempotency-Key"]) == 40
        assert headers["Content-Type"] == "application/json"

    def test_headers_are_sent_and_not_stored(self, service, loopback):
        secret = {"Authorization": "Bearer secret", "Idempotency-Key": "mine"}
        run = w.calls_with_secret.trigger({"url": f"{service}/200"})

        run.result(5)
        assert secret.items() <= Service.seen[0][2].items()
        stored = [json.dumps([step.result, step.error, step.target]) for step in run.steps()]
        assert "secret" not in "".join(stored)

    def test_a_5xx_is_tried_again_with_the_same_key(self, service, loopback):
        Service.failures = 1
        run = w.calls.trigger({"url": f"{service}/200"})

        assert run.result(5)[0] == 200
        keys = {headers["Idempotency-Key"] for _, _, headers, _ in Service.seen}
        assert (len(Service.seen), len(keys)) == (2, 1)

    def test_a_4xx_is_not(self, service, loopback):
        run = w.calls.trigger({"url": f"{service}/404"})

        with pytest.raises(RunFailed, match="answered 404"):
            run.result(5)
        assert len(Service.seen) == 1

    def test_unless_asked_an_answer_is_an_answer(self, service, loopback):
        options = {"raise_for_status": False}
        assert w.calls.trigger({"url": f"{service}/500", "options": options}).result(5)[0] == 500

    def test_redirects_are_not_followed(self, service, loopback):
        options = {"raise_for_status": False}
        assert w.calls.trigger({"url": f"{service}/302", "options": options}).result(5)[0] == 302
        assert len(Service.seen) == 1


class TestByQStash:
    def test_it_calls_while_the_run_waits(self, outbox):
        run = w.calls.trigger(
            {"url": "https://api.example.com/x", "options": {"via": "qstash", "body": {"a": 1}}}
        )
        deliver(outbox)

        call = outbox.sent[1]
        assert (call.url, json.loads(call.body)) == ("https://api.example.com/x", {"a": 1})
        assert run.state()["waits_for"] == "call:call"
        answer = {"status": 200, "body": b64encode(b'{"ok": true}').decode(), "header": {}}
        query = call.options["callback"].partition("?")[2]
        assert knock(answer, query=query).json()["status"] == "received"
        assert knock(answer, query=query).json()["status"] == "received"
        deliver(outbox)

        assert run.result(1) == [200, {"ok": True}, 200]
        assert len(outbox.sent) == 3

    def test_only_a_2xx_or_the_last_attempt_counts(self, outbox):
        run = w.calls.trigger({"url": "https://api.example.com/x", "options": {"via": "qstash"}})
        deliver(outbox)
        query = outbox.sent[1].options["callback"].partition("?")[2]
        answer = {"status": 500, "retried": 1, "maxRetries": 3, "body": ""}

        assert knock(answer, query=query).json()["status"] == "not yet"
        assert run.status == "waiting"
        assert knock({**answer, "retried": 3}, query=query).json()["status"] == "received"
        deliver(outbox)
        with pytest.raises(RunFailed, match="answered 500"):
            run.result(1)

    def test_a_crash_before_the_record_publishes_an_equal_message(self, outbox):
        run = w.calls.trigger({"url": "https://api.example.com/x", "options": {"via": "qstash"}})
        deliver(outbox)
        first = outbox.sent[1]
        # As if the record had never been written.
        StepExecution.objects.all().delete()
        row = run.run
        row.status, row.generation, row.waits, row.wake_at = "running", 0, "", None
        row.save()
        deliver(outbox, 0)

        assert outbox.sent[2].options["deduplication_id"] == first.options["deduplication_id"]

    @pytest.mark.parametrize("dies", [False, True])
    def test_an_answer_that_is_faster_than_the_record_is_kept(self, dies, outbox, monkeypatch):
        """QStash would be out of patience before the lease of who died with the call published."""
        publish, answers = outbox.publish, []

        def answered(envelope):
            receipt = publish(envelope)
            if "callback" in envelope.options:
                answers.append(_answer(envelope.options["callback"]).json()["status"])
                if dies:
                    raise Crash
            return receipt

        monkeypatch.setattr(outbox, "publish", answered)
        run = w.calls.trigger({"url": "https://api.example.com/x", "options": {"via": "qstash"}})
        with suppress(Crash):
            deliver(outbox)

        assert answers == ["received"]
        if dies:
            WorkflowRun.objects.update(lease_until=0)
            deliver(outbox, 0)
        assert run.result(1) == [200, {"ok": True}, 200]
        assert len(outbox.sent) == 2

    def test_a_callback_for_nothing_is_refused(self, outbox):
        assert knock({"status": 200}, query="callback=call&run=x").status_code == 489
        assert knock({"status": 200}, query="callback=call&run=x&step=s&o=0").status_code == 489

    def test_a_callback_of_a_run_that_is_not_so_far_comes_again(self, outbox):
        """The database was set back, or is a copy that lags."""
        run = w.calls.trigger({"url": "https://api.example.com/x", "options": {"via": "qstash"}})
        deliver(outbox)

        ahead = outbox.sent[1].options["callback"].replace("g=0", "g=7")

        assert _answer(ahead).status_code == 503
        assert run.status == "waiting"


class TestAnswersThatAreLost:
    """QStash tried to tell what a call came to, and gave that up."""

    @pytest.fixture
    def run(self, outbox, virtual):
        run = w.calls.trigger({"url": "https://api.example.com/x", "options": {"via": "qstash"}})
        deliver(outbox)
        return run

    def test_qstash_brings_them_once_more_then(self, outbox, run):
        options = outbox.sent[1].options
        headers = options["callback_headers"]
        assert (headers["Retries"], headers["Failure-Callback-Retries"]) == ("3", "3")
        source = b64encode(json.dumps(ANSWER).encode()).decode()

        given_up = {"status": 503, "sourceBody": source, "dlqId": "x", "retried": 3}
        for _ in range(2):
            answer = knock(given_up, query=headers["Failure-Callback"].partition("?")[2])
            assert answer.json()["status"] == "received"
        assert _answer(options["callback"]).status_code == 200
        deliver(outbox)

        assert run.result(1) == [200, {"ok": True}, 200]
        assert len(outbox.sent) == 3

    def test_what_brings_nothing_is_refused(self, outbox, run):
        address = outbox.sent[1].options["callback_headers"]["Failure-Callback"]

        assert knock({"status": 503}, query=address.partition("?")[2]).status_code == 489

    def test_no_letter_is_paid_for_meanwhile(self, outbox, run):
        assert len(outbox.sent) == 2
        assert run.run.messages == 2
        # All of QStash's attempts at the call, and at telling of it, twice.
        half_an_hour = 12 + 148 + 1808
        assert run.state()["wake_at"].timestamp() == pytest.approx(
            clock.time() + 3 * half_an_hour + 4 * 30, abs=5
        )

    def test_the_sweep_has_the_call_made_again(self, outbox, run, virtual):
        virtual.advance(4000)
        assert sweep.sweep() == 0
        virtual.advance(4000)
        assert sweep.sweep() == 1
        deliver(outbox)

        first, again = outbox.sent[1], outbox.sent[3]
        assert again.options["headers"] == first.options["headers"]
        assert again.options["deduplication_id"] == first.options["deduplication_id"]
        assert sweep.sweep() == 0
        assert [step.attempts for step in run.steps()] == [1]
        # Whichever of the two brings the answer.
        assert _answer(first.options["callback"]).json()["status"] == "received"
        assert _answer(again.options["callback"]).json()["status"] == "received"
        deliver(outbox)
        assert run.result(1) == [200, {"ok": True}, 200]
        assert [step.attempts for step in run.steps()] == [2]

    def test_after_three_times_the_step_has_failed(self, outbox, run, virtual):
        for _ in range(3):
            virtual.advance(8000)
            assert sweep.sweep() == 1
            deliver(outbox)

        with pytest.raises(RunFailed, match="was asked 3 times for GET https://api.example.com/x"):
            run.result(1)
        assert len([sent for sent in outbox.sent if sent.url.startswith("https://api.")]) == 3

    def test_a_call_that_may_be_made_once_is_not_made_again(self, outbox, virtual):
        run = w.call_at_most_once.trigger({"url": "https://api.example.com/x"})
        deliver(outbox)
        virtual.advance(8000)
        assert sweep.sweep() == 1
        deliver(outbox)

        with pytest.raises(RunFailed, match="was asked 1 times .* may have been made"):
            run.result(1)
        assert len([sent for sent in outbox.sent if sent.url.startswith("https://api.")]) == 1

    def test_a_redelivery_sends_no_letter_for_the_time_either(self, outbox, run):
        assert deliver(outbox, 0).json()["status"] == "past"
        assert len(outbox.sent) == 2

    @pytest.mark.parametrize("header", [{"Retry-After": ["43200"]}, {"x-ratelimit-reset": "12h"}])
    def test_a_service_may_ask_for_time(self, header, outbox, run, virtual):
        busy = {"status": 503, "header": header, "retried": 1, "maxRetries": 3, "body": ""}
        address = outbox.sent[1].options["callback"].partition("?")[2]

        assert knock(busy, query=address).json()["status"] == "not yet"

        # Its twelve hours, the last pause, two attempts, and all that it takes to be told of it.
        expected = clock.time() + 12 * 3600 + 1808 + 2 * 30 + 2 * (12 + 148 + 1808)
        assert run.run.wake_at.timestamp() == pytest.approx(expected, abs=5)
        assert run.steps()[0].wake_at == run.run.wake_at
        virtual.advance(12 * 3600)
        assert sweep.sweep() == 0
        # An older one takes nothing back.
        knock({**busy, "header": {}, "retried": 0}, query=address)
        virtual.advance(2 * 3600)
        assert sweep.sweep() == 1

    def test_time_is_asked_for_before_the_record(self, outbox, monkeypatch):
        publish, answers = outbox.publish, []

        def answered(envelope):
            receipt = publish(envelope)
            if "callback" in envelope.options:
                busy = {"status": 503, "maxRetries": 3}
                query = envelope.options["callback"].partition("?")[2]
                answers.append(knock(busy, query=query).status_code)
            return receipt

        monkeypatch.setattr(outbox, "publish", answered)
        w.calls.trigger({"url": "https://api.example.com/x", "options": {"via": "qstash"}})
        deliver(outbox)
        assert answers == [503]

    def test_a_run_with_an_end_of_its_time_has_its_letter(self, outbox, virtual):
        run = w.hurried_call.trigger({"url": "https://api.example.com/x"})
        deliver(outbox)
        assert len(outbox.sent) == 3

        virtual.advance(61)
        deliver(outbox)
        with pytest.raises(RunFailed, match="did not end within 60"):
            run.result(1)


class TestThroughARealServer:
    """The embedded QStash makes the call, over HTTP, and tells a site that takes nothing in."""

    @pytest.mark.parametrize(("refused", "calls"), [(0, 1), (3, 1), (4, 1), (7, 1), (8, 2)])
    def test_each_delivery_of_the_answer_is_enough(
        self, refused, calls, embedded, service, monkeypatch
    ):
        take, answers, began = callbacks._deliver_once, [], clock.time()

        def takes(run, key, data, size):
            answers.append(round(clock.time() - began))
            if len(answers) <= refused:
                raise PublishError("The run cannot be woken.")
            take(run, key, data, size)

        monkeypatch.setattr(callbacks, "_deliver_once", takes)
        options = {"via": "qstash", "method": "POST", "body": {"a": 1}}
        run = w.calls.trigger({"url": f"{service}/200", "options": options})
        embedded.advance(2 * 3600)
        if calls > 1:
            assert run.status == "waiting"
            sweep.sweep()
            embedded.advance(60)

        assert run.result(1) == [200, {"heard": '{"a": 1}'}, 200]
        # Soon the first time, and then by QStash's growing pauses; and all of it once more.
        pauses = [0, 5, 25, 1833, 1833, 1838, 1858, 3666]
        assert answers[:8] == [pytest.approx(at, abs=2) for at in pauses[: refused + 1]]
        assert len(answers) == refused + 1
        keys = [headers["Idempotency-Key"] for _, _, headers, _ in Service.seen]
        assert keys == [keys[0]] * calls

    def test_an_answer_may_be_as_large_as_a_letter(self, embedded, service, settings):
        """In base64 it is larger, and twice so where it comes as one that was given up."""
        settings.DJANGO_QSTASH_MAX_PAYLOAD_SIZE = 20_000
        options = {"via": "qstash", "method": "POST", "body": "x" * 19_000}
        run = w.calls.trigger({"url": f"{service}/200", "options": options})
        embedded.advance(60)

        assert run.result(1)[1] == {"heard": "x" * 19_000}


class TestRefused:
    @pytest.mark.parametrize(
        ("url", "options", "said"),
        [
            ("ftp://x", {}, "begins with http"),
            ("http://169.254.169.254/latest", {}, "link-local"),
            ("http://[fe80::1]/", {}, "link-local"),
            ("http://[::ffff:169.254.169.254]/", {}, "link-local"),
            ("http://2852039166/", {}, "link-local"),
            ("http://u:p@host/", {}, "password"),
            ("http://host/", {"method": "FETCH"}, "method="),
            ("http://host/", {"via": "pigeon"}, "via="),
            ("http://host/", {"timeout": 0}, "timeout="),
            ("http://host/", {"via": "qstash", "verify": False}, "verify="),
        ],
    )
    def test_what_cannot_be_called(self, url, options, said):
        with pytest.raises(ValueError, match=said):
            Call.of(url, **DEFAULTS | options)

    def test_hosts_that_are_not_allowed(self, settings):
        settings.DJANGO_QSTASH_CALL_ALLOWED_HOSTS = ["api.example.com", ".partner.example"]
        Call.of("https://api.example.com/x", **DEFAULTS)
        Call.of("https://eu.partner.example/x", **DEFAULTS)
        with pytest.raises(ValueError, match="DJANGO_QSTASH_CALL_ALLOWED_HOSTS"):
            Call.of("https://other.example.com/x", **DEFAULTS)

    def test_a_name_that_leads_to_a_link_local_address(self):
        class Stream:
            def get_extra_info(self, name):
                return ("169.254.169.254", 80)

        with pytest.raises(Exception, match="link-local"):
            _check_connection("connection.connect_tcp.complete", {"return_value": Stream()})
        assert not _is_link_local("example.com")


DEFAULTS = {
    "method": "GET",
    "body": None,
    "headers": None,
    "timeout": 30,
    "verify": None,
    "raise_for_status": True,
    "via": "process",
}
