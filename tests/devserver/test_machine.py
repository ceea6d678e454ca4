"""The state machine: queues, flow control, retries, cancelling; the clock is moved by hand."""

from __future__ import annotations

import json

import pytest

from django_qstash.devserver.message import Answer
from django_qstash.devserver.timers import Timers
from tests.devserver.account import Account

FINAL = Answer(status=489, header=(("Upstash-NonRetryable-Error", "true"),), error="489")


def paths(delivered) -> list[str]:
    return [entry.url.removeprefix("http://a.dev/") for entry in delivered]


def times(delivered) -> list[float]:
    return [round(entry.at, 2) for entry in delivered]


# One message.


def test_the_log_of_a_success():
    account = Account()
    message = account.publish()
    account.run()
    assert account.states(message) == ["CREATED", "ACTIVE", "DELIVERED"]


def test_the_log_of_a_failure_without_retries():
    account = Account(lambda attempt: 404)
    message = account.publish(Retries="0")
    account.run()
    assert account.states(message) == ["CREATED", "ACTIVE", "ERROR", "FAILED"]


def test_the_log_of_a_retry_says_when_the_next_attempt_is():
    account = Account(lambda attempt: 500 if attempt.retried == 0 else 200)
    message = account.publish(Retry_Delay="7000 * (retried + 1)")
    account.advance(10)
    assert account.states(message) == [
        "CREATED",
        "ACTIVE",
        "ERROR",
        "RETRY",
        "ACTIVE",
        "DELIVERED",
    ]
    (retry,) = account.ok("GET", "/v2/events?state=RETRY")["events"]
    assert retry["nextDeliveryTime"] - retry["time"] == 7000
    assert retry["retryDelayExpr"] == retry["retryDelayExpression"] == "7000 * (retried + 1)"


def test_retries_are_scaled_and_nothing_else_is():
    account = Account(lambda attempt: 500, retry_scale=0.5)
    account.publish(Delay="10s", Retries="1", Retry_Delay="4000")
    assert times(account.advance(100)) == [10, 12]
    account = Account(
        lambda attempt: Answer(status=503, header=(("Retry-After", "30"),)), retry_scale=0.5
    )
    account.publish(Retries="1")
    assert times(account.advance(100)) == [0, 30]


def test_489_with_its_header_fails_at_once():
    account = Account(lambda attempt: FINAL)
    message = account.publish()
    assert len(account.advance(1e5)) == 1
    assert account.states(message)[-1] == "FAILED"


def test_a_cancelled_message_is_not_delivered_and_leaves_no_dead_letter():
    account = Account()
    message = account.publish(Delay="10s", Callback="http://a.dev/cb")
    assert account.ok("DELETE", f"/v2/messages/{message}") == {"cancelled": 1}
    assert account.no("DELETE", f"/v2/messages/{message}")[0] == 404
    assert account.advance(100) == []
    assert account.states(message) == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]
    assert account.ok("GET", "/v2/dlq") == {"messages": []}


def test_a_message_cancelled_in_flight_drops_its_outcome():
    account = Account()
    message = account.publish(
        Callback="http://a.dev/cb", Flow_Control_Key="k", Flow_Control_Value="parallelism=1"
    )
    (attempt,) = account.due()
    account.ok("DELETE", f"/v2/messages/{message}")
    assert account.ok("GET", "/v2/flowControl/k")["parallelismCount"] == 1
    account.machine.finish(attempt, Answer(status=500, error="500"))
    assert account.ok("GET", "/v2/flowControl/k")["parallelismCount"] == 0
    assert account.advance(1e5) == []
    assert account.states(message)[-1] == "CANCELED"


def test_a_finished_message_can_be_read_for_a_while_and_not_be_cancelled():
    account = Account()
    message = account.publish()
    account.run()
    assert account.ok("GET", f"/v2/messages/{message}")["messageId"] == message
    assert account.no("DELETE", f"/v2/messages/{message}")[0] == 404
    assert account.ok("DELETE", "/v2/messages") == {"cancelled": 0}
    account.advance(31)
    assert account.no("GET", f"/v2/messages/{message}") == (404, f"message {message} not found")


# Callbacks.


def test_callbacks_have_their_own_options_and_take_the_retries_of_their_source():
    account = Account(lambda attempt: 500)
    account.publish(
        "http://a.dev/x",
        b"in",
        Retries="0",
        Callback="http://a.dev/cb",
        Callback_Method="PUT",
        Callback_Timeout="5s",
        Callback_Forward_X_Mine="1",
        Failure_Callback="http://a.dev/fcb",
        Failure_Callback_Retries="1",
        Failure_Callback_Retry_Delay="1000",
    )
    made = account.advance(10)
    assert paths(made) == ["x", "cb", "fcb", "fcb"]
    callback, failure = made[1].attempt.message.spec, made[2].attempt.message.spec
    assert (callback.method, callback.timeout, callback.retries) == ("PUT", 5, 0)
    assert ("X-Mine", "1") in callback.header
    assert failure.retries == 1


def test_a_callback_may_have_a_failure_callback_of_its_own():
    account = Account(lambda attempt: 500 if attempt.message.url.endswith("cb") else 200)
    account.publish(
        "http://a.dev/x",
        Retries="0",
        Callback="http://a.dev/cb",
        Callback_Failure_Callback="http://a.dev/cb-failed",
        Callback_Failure_Callback_Forward_X_Why="y",
    )
    made = account.run()
    assert paths(made) == ["x", "cb", "cb-failed"]
    assert ("X-Why", "y") in made[2].attempt.message.spec.header


def test_a_callback_tells_of_no_answer_with_status_0_and_the_error():
    account = Account(
        lambda attempt: (
            Answer(status=0, error="refused") if attempt.message.url.endswith("x") else 200
        )
    )
    account.publish("http://a.dev/x", Retries="0", Failure_Callback="http://a.dev/cb")
    value = json.loads(account.run()[1].body)
    assert (value["status"], value["header"]) == (0, {})
    assert value["body"] == "cmVmdXNlZA=="


# Queues.


def test_a_queue_is_first_in_first_out_with_as_many_at_a_time_as_its_parallelism():
    account = Account()
    account.ok("POST", "/v2/queues", {"queueName": "q", "parallelism": 2})
    for number in range(5):
        account.ok("POST", f"/v2/enqueue/q/http://a.dev/{number}")
    first = account.due()
    assert [attempt.message.url[-1] for attempt in first] == ["0", "1"]
    assert account.due() == []
    account.machine.finish(first[1], Answer(status=200))
    (third,) = account.due()
    assert third.message.url[-1] == "2"
    assert account.ok("GET", "/v2/queues/q")["lag"] == 4


def test_a_queue_waits_for_retries_and_for_the_callbacks_of_its_message():
    account = Account(lambda attempt: 500 if attempt.message.url.endswith("1") else 200)
    headers = {
        "Upstash-Retries": "1",
        "Upstash-Retry-Delay": "5000",
        "Upstash-Callback": "http://a.dev/cb",
        "Upstash-Callback-Flow-Control-Key": "cb",
        "Upstash-Callback-Flow-Control-Value": "rate=1, period=60s",
    }
    account.ok("POST", "/v2/enqueue/q/http://a.dev/1", b"", headers)
    account.ok("POST", "/v2/enqueue/q/http://a.dev/2")
    made = account.advance(200)
    # The second callback waits for its rate, and the queue for the second callback.
    assert list(zip(times(made), paths(made), strict=True)) == [
        (0, "1"),
        (0, "cb"),
        (5, "1"),
        (60, "cb"),
        (60, "2"),
    ]


def test_a_paused_queue_holds_what_is_new_and_what_is_due_again():
    account = Account(lambda attempt: 500 if attempt.retried == 0 else 200)
    account.ok("POST", "/v2/enqueue/q/http://a.dev/1", b"", {"Upstash-Retry-Delay": "1000"})
    account.ok("POST", "/v2/enqueue/q/http://a.dev/2", b"", {"Upstash-Retry-Delay": "1000"})
    assert paths(account.run()) == ["1"]
    account.ok("POST", "/v2/queues/q/pause")
    assert account.advance(100) == []
    account.ok("POST", "/v2/queues/q/resume")
    assert paths(account.advance(10)) == ["1", "2", "2"]


def test_a_message_cancelled_while_a_paused_queue_holds_it_does_not_come_back():
    account = Account(lambda attempt: 500 if attempt.retried == 0 else 200)
    headers = {"Upstash-Retry-Delay": "1000"}
    one = account.ok("POST", "/v2/enqueue/q/http://a.dev/1", b"", headers)["messageId"]
    account.ok("POST", "/v2/enqueue/q/http://a.dev/2", b"", headers)
    account.run()
    account.ok("POST", "/v2/queues/q/pause")
    account.advance(10)
    account.ok("DELETE", f"/v2/messages/{one}")
    account.ok("POST", "/v2/queues/q/resume")
    assert paths(account.advance(10)) == ["2", "2"]


def test_deleting_a_queue_drops_its_messages():
    account = Account()
    account.ok("POST", "/v2/queues", {"queueName": "q", "paused": True})
    message = account.ok("POST", "/v2/enqueue/q/http://a.dev/1")["messageId"]
    account.ok("DELETE", "/v2/queues/q")
    account.ok("DELETE", "/v2/queues/q")
    assert account.states(message)[-1] == "CANCELED"
    assert account.no("GET", "/v2/queues/q")[0] == 404
    account.ok("POST", "/v2/enqueue/q/http://a.dev/2")
    assert paths(account.run()) == ["2"]


# Flow control.


def test_parallelism_holds_a_slot_only_while_the_call_is_open():
    account = Account(lambda attempt: 500)
    for number in range(3):
        account.publish(
            f"http://a.dev/{number}",
            Flow_Control_Key="k",
            Flow_Control_Value="parallelism=1",
            Retries="0",
        )
    (first,) = account.due()
    key = account.ok("GET", "/v2/flowControl/k")
    assert (key["parallelismCount"], key["waitListSize"]) == (1, 2)
    account.machine.finish(first, Answer(status=200))
    assert paths(account.run()) == ["1", "2"]


def test_the_rate_opens_again_with_the_next_period_and_retries_count():
    account = Account(lambda attempt: 500 if attempt.message.url.endswith("0") else 200)
    for number in range(5):
        account.publish(
            f"http://a.dev/{number}",
            Flow_Control_Key="k",
            Flow_Control_Value="rate=2, period=1m",
            Retries="1",
            Retry_Delay="1000",
        )
    made = account.advance(300)
    assert list(zip(times(made), paths(made), strict=True)) == [
        (0, "0"),
        (0, "1"),
        (60, "2"),
        (60, "3"),
        (120, "4"),
        (120, "0"),
    ]


def test_the_latest_message_sets_the_limits_unless_they_are_pinned():
    account = Account()
    flow = {"Flow_Control_Key": "k"}
    account.publish(Flow_Control_Value="rate=5, period=10", **flow)
    account.publish(Flow_Control_Value="parallelism=3", **flow)
    key = account.ok("GET", "/v2/flowControl/k")
    assert (key["rateMax"], key["parallelismMax"]) == (0, 3)
    account.ok("POST", "/v2/flowControl/k/pin?parallelism=7&rate=20&period=120")
    account.publish(Flow_Control_Value="parallelism=1", **flow)
    assert account.ok("GET", "/v2/flowControl/k") == {
        "flowControlKey": "k",
        "waitListSize": 3,
        "parallelismMax": 7,
        "parallelismCount": 0,
        "rateMax": 20,
        "rateCount": 0,
        "ratePeriod": 120,
        "ratePeriodStart": 0,
        "isPaused": False,
        "isPinnedParallelism": True,
        "isPinnedRate": True,
    }
    account.ok("POST", "/v2/flowControl/k/unpin?parallelism=true")
    account.publish(Flow_Control_Value="parallelism=1, rate=1", **flow)
    key = account.ok("GET", "/v2/flowControl/k")
    assert (key["rateMax"], key["parallelismMax"], key["isPinnedRate"]) == (20, 1, True)


def test_a_key_can_be_paused_before_it_is_used_and_its_rate_be_reset():
    account = Account()
    flow = {"Flow_Control_Key": "k", "Flow_Control_Value": "rate=1, period=1h"}
    account.ok("POST", "/v2/flowControl/k/pause")
    account.publish(**flow)
    account.publish(**flow)
    assert account.advance(10) == []
    assert account.ok("GET", "/v2/flowControl/k")["waitListSize"] == 2
    account.ok("POST", "/v2/flowControl/k/resume")
    assert len(account.run()) == 1
    account.ok("POST", "/v2/flowControl/k/resetRate")
    assert len(account.run()) == 1
    account.ok("POST", "/v2/flowControl/k/resetRate")
    key = account.ok("GET", "/v2/flowControl/k")
    assert (key["rateCount"], key["ratePeriodStart"]) == (0, int(account.clock.time()))
    account.ok("POST", "/v2/flowControl/k/reset")
    assert account.ok("GET", "/v2/flowControl/k")["rateMax"] == 0


def test_calls_that_are_open_are_limited_over_everything():
    account = Account(parallelism=2)
    for _ in range(5):
        account.publish()
    first = account.due()
    assert len(first) == 2
    assert account.ok("GET", "/v2/globalParallelism") == {
        "parallelismMax": 2,
        "parallelismCount": 2,
    }
    assert account.due() == []
    for attempt in first:
        account.machine.finish(attempt, Answer(status=200))
    assert len(account.run()) == 3


def test_cancelling_what_stands_in_line_lets_the_next_one_go():
    account = Account(parallelism=1)
    flow = {"Flow_Control_Key": "k", "Flow_Control_Value": "parallelism=1"}
    blocker = account.publish("http://a.dev/blocker")
    (attempt,) = account.due()
    line = [account.publish(f"http://a.dev/{number}", **flow) for number in range(3)]
    account.ok("DELETE", f"/v2/messages/{line[0]}")
    account.ok("DELETE", f"/v2/messages/{line[1]}")
    account.machine.finish(attempt, Answer(status=200))
    assert paths(account.run()) == ["2"]
    assert account.states(blocker)[-1] == "DELIVERED"
    assert account.ok("GET", "/v2/flowControl/k")["parallelismCount"] == 0


# Deduplication.


@pytest.mark.parametrize(
    "headers", [{"Deduplication_Id": "x"}, {"Content_Based_Deduplication": "True"}]
)
def test_a_duplicate_within_ten_minutes_creates_nothing(headers):
    account = Account()
    first = account.publish(body=b"same", **headers)
    reply = account.call(
        "POST",
        "/v2/publish/http://a.dev/",
        b"same",
        {f"Upstash-{name.replace('_', '-')}": value for name, value in headers.items()},
    )
    assert reply.status == 202
    assert json.loads(reply.body) == {
        "messageId": first,
        "url": "http://a.dev/",
        "deduplicated": True,
    }
    account.publish("http://b.dev/", b"same", **headers)
    assert len(account.advance(600)) == 2
    account.publish(body=b"same", **headers)
    assert len(account.run()) == 1


def test_content_covers_destination_body_type_and_forwarded_headers():
    account = Account()
    options = {"Content_Based_Deduplication": "true"}
    ids = {
        account.publish(body=b"1", **options),
        account.publish(body=b"2", **options),
        account.publish(body=b"1", Forward_X="1", **options),
        account.publish(body=b"1", Forward_X="2", **options),
        account.publish("http://a.dev/x", b"1", **options),
        # An id goes before the content.
        account.publish(body=b"1", Deduplication_Id="i", **options),
    }
    assert len(ids) == 6
    assert account.publish(body=b"other", Deduplication_Id="i", **options) in ids
    assert account.publish(body=b"1", Retries="1", **options) in ids


def test_cancelling_does_not_open_the_window_again():
    account = Account()
    message = account.publish(Deduplication_Id="x", Delay="1m")
    account.ok("DELETE", f"/v2/messages/{message}")
    assert account.publish(Deduplication_Id="x") == message
    assert account.advance(100) == []


# Scale.


def test_many_messages_that_are_due_at_once_do_not_starve_the_server():
    account = Account(parallelism=10)
    for number in range(3000):
        account.publish(f"http://a.dev/{number}", Delay="1m")
    account.clock.advance(60)
    assert len(account.due()) == 10
    assert len(account.machine.timers) > 1000


def test_what_is_finished_is_forgotten_in_the_end():
    account = Account()
    message = account.publish(body=b"x" * 1000)
    account.run()
    account.advance(8 * 86400)
    assert message not in account.machine.messages
    assert account.states(message) == []


def test_a_key_that_is_paused_before_a_call_is_free_takes_its_messages_back():
    account = Account(parallelism=1)
    account.publish("http://a.dev/blocker")
    (blocker,) = account.due()
    flow = {"Flow_Control_Key": "k", "Flow_Control_Value": "rate=2, period=1m"}
    for number in range(3):
        account.publish(f"http://a.dev/{number}", **flow)
    account.ok("POST", "/v2/flowControl/k/pause")
    account.machine.finish(blocker, Answer(status=200))
    assert account.run() == []
    assert account.ok("GET", "/v2/flowControl/k")["waitListSize"] == 3
    account.ok("POST", "/v2/flowControl/k/resume")
    assert paths(account.advance(60)) == ["0", "1", "2"]


def test_bodies_of_finished_messages_are_kept_up_to_a_size():
    account = Account()
    big = b"x" * (10 << 20)
    first, *_ = [account.publish(body=big) for _ in range(8)]
    account.run()
    assert first not in account.machine.messages
    assert account.states(first) == []
    assert len(account.machine.messages) == 6
    assert account.ok("GET", "/_dev/overview")["counts"] == {"DELIVERED": 6}


def test_the_log_keeps_the_beginning_of_an_answer_and_the_dead_letter_all_of_it():
    account = Account(lambda attempt: Answer(status=500, body=b"x" * 100_000, error="500"))
    account.publish(Retries="0")
    account.run()
    (error,) = account.ok("GET", "/v2/events?state=ERROR")["events"]
    assert len(error["responseBody"]) < 22_000
    assert len(account.ok("GET", "/v2/dlq")["messages"][0]["responseBody"]) == 100_000


def test_timers_that_were_replaced_or_cleared_leave_the_heap():
    timers = Timers()
    fired: list[str] = []
    for number in range(5000):
        timers.set("again", 1000 - number / 10, fired.append)
        timers.set(number, 5.0, fired.append)
        timers.clear(number)
    assert len(timers) == 1
    assert len(timers._heap) <= 1001
    assert timers.pop(0) is None
    action = timers.pop(1000)
    assert action is not None
    action()
    assert fired == ["again"]
    assert timers.next() is None
