"""One table says how each delivery option stands in QStash's headers, both ways."""

from __future__ import annotations

import inspect
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
import qstash.message
import qstash.schedule
from hypothesis import given
from hypothesis import strategies as st

import django_qstash
from django_qstash.exceptions import OptionError
from django_qstash.wire import options as table
from django_qstash.wire.envelope import Envelope
from django_qstash.wire.options import clean, clean_one, from_headers, to_headers

SOURCE = Path(django_qstash.__file__).parent

names = st.from_regex(r"\A[A-Za-z0-9._-]{1,20}\Z")
header_names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9-]{0,12}\Z")
lines = st.from_regex(r"\A[!-~]([ -~]{0,20}[!-~])?\Z")
seconds = st.integers(0, 10**9)
urls = st.from_regex(r"\Ahttps?://[a-z.]{1,10}(/[!-~]{0,10})?\Z")
maps = st.dictionaries(header_names, lines | st.just(""), min_size=1, max_size=4)
flows = st.fixed_dictionaries(
    {"key": names, "rate": st.integers(1, 10**6)},
    optional={"parallelism": st.integers(1, 10**6), "period": st.integers(1, table.MAX_PERIOD)},
)
redactions = st.sampled_from([{"body": True}, {"header": True}]) | st.builds(
    lambda body, header: {**({"body": True} if body else {}), "header": header},
    st.booleans(),
    st.lists(header_names, min_size=1, max_size=3),
)

#: For every option: what a user may write, as a strategy.
WRITTEN = {
    "method": st.sampled_from([*table.METHODS, "get", "Post"]),
    "retries": st.integers(0, 10**6) | st.integers(0, 99).map(str),
    "retry_delay": st.sampled_from(["1000 * (1 + retried)", "pow(2, retried) * 1.5", 1000, 0.5]),
    "timeout": seconds | st.timedeltas(timedelta(0)) | st.just("1d12h"),
    "delay": seconds | st.timedeltas(timedelta(0)) | st.just("90s"),
    "not_before": seconds | st.datetimes(timezones=st.just(timezone.utc)) | st.just("2026-01-01"),
    "deduplication_id": lines.filter(lambda text: ":" not in text),
    "content_based_deduplication": st.booleans(),
    "callback": urls,
    "failure_callback": urls,
    "label": names | st.lists(names, min_size=1, max_size=3) | st.just("a, b"),
    "redact": redactions | st.sampled_from(["body", "header", "body,header[X-A]"]),
    "cron": st.sampled_from(["* * * * *", "CRON_TZ=Europe/Istanbul 0 9 * * 1-5"]),
    "schedule_id": names,
    "schedule_queue": names,
    "forward_all": st.booleans(),
    "headers": maps,
    "callback_headers": maps,
    "failure_callback_headers": maps,
    "flow_control": flows,
}
written = st.fixed_dictionaries({}, optional=WRITTEN)


def refusal(name, value) -> str:
    with pytest.raises(OptionError) as raised:
        clean_one(name, value)
    assert isinstance(raised.value, ValueError)
    return str(raised.value)


class TestTheTable:
    def test_every_option_is_tried_here(self):
        assert WRITTEN.keys() == table._CLEAN.keys() - {"queue"}

    def test_a_header_and_a_schedule_field_belong_to_one_option(self):
        headers = [option.header.lower() for option in table.OPTIONS]
        fields = [option.schedule for option in table.OPTIONS if option.schedule]

        assert len(set(headers)) == len(headers)
        assert len(set(fields)) == len(fields)

    def test_a_call_has_all_options_but_those_of_schedules_and_of_other_publishers(self):
        others = {"cron", "schedule_id", "schedule_queue", "forward_all"}

        assert table._CLEAN.keys() == table.NAMES | others

    @pytest.mark.parametrize("option", table.OPTIONS, ids=lambda option: option.name)
    def test_the_header_of_an_option_is_known(self, option):
        assert table.header_of(option.name) == option.header

    def test_no_other_file_names_a_header_that_configures_a_message(self):
        ours = {option.header.lower() for option in table.OPTIONS}
        ours |= {table.FLOW_KEY.lower(), table.FLOW_VALUE.lower()}
        prefixes = tuple(prefix.lower() for prefix in table.FAMILIES.values())
        found = [
            f"{path.relative_to(SOURCE)}: {name}"
            for path in SOURCE.rglob("*.py")
            if path.name != "options.py" or path.parent.name != "wire"
            # A name in quotes; prose may speak of it, in backticks.
            for name in re.findall(
                r"""["'](upstash-[a-z-]+)["']""", path.read_text(), re.IGNORECASE
            )
            if (name.lower() in ours or name.lower().startswith(prefixes))
            # The one that a delivery bears as well.
            and name.lower() != "upstash-schedule-id"
        ]

        assert found == []


class TestThereAndBack:
    @given(written)
    def test_from_headers_is_the_inverse_of_to_headers(self, options):
        cleaned = clean(options)

        assert from_headers(to_headers(cleaned).items()) == cleaned

    @given(written)
    def test_what_is_clean_stays_as_it_is(self, options):
        cleaned = clean(options)

        assert clean(cleaned) == cleaned

    @given(written)
    def test_what_is_clean_can_be_kept_in_a_letter(self, options):
        cleaned = clean(options)

        assert json.loads(json.dumps(cleaned)) == cleaned

    @given(written)
    def test_the_headers_can_be_sent(self, options):
        for name, value in httpx.Headers(to_headers(clean(options))).raw:
            assert name.isascii()
            assert value.isascii()
            assert value == value.strip()
            assert not {b"\r", b"\n", b"\0"} & {value[i : i + 1] for i in range(len(value))}

    @given(written)
    def test_the_case_of_a_header_does_not_matter(self, options):
        headers = to_headers(clean({k: v for k, v in options.items() if k not in table.FAMILIES}))

        upper = from_headers((name.upper(), text) for name, text in headers.items())

        assert upper == from_headers(headers.items())

    def test_other_headers_are_passed_over(self):
        headers = {"Content-Type": "x", "Authorization": "y", "Upstash-Telemetry-Sdk": "z"}

        assert from_headers(headers.items()) == {}

    @pytest.mark.parametrize("prefix", table.FAMILIES.values())
    def test_a_prefix_alone_is_no_header(self, prefix):
        assert from_headers([(prefix, "x")]) == {}

    def test_none_says_nothing(self):
        assert clean(dict.fromkeys(WRITTEN)) == {}

    def test_the_queue_stands_in_the_path(self):
        envelope = Envelope(url="https://x.example", body=b"", options=clean({"queue": "mail"}))

        assert envelope.queue == "mail"
        assert envelope.headers() == {"Content-Type": "application/json"}


class TestEachRow:
    @pytest.mark.parametrize(
        ("name", "value", "headers"),
        [
            ("method", "put", {"Upstash-Method": "PUT"}),
            ("retries", 0, {"Upstash-Retries": "0"}),
            ("retries", "7", {"Upstash-Retries": "7"}),
            ("retry_delay", 1000, {"Upstash-Retry-Delay": "1000"}),
            ("retry_delay", "pow(2, retried)", {"Upstash-Retry-Delay": "pow(2, retried)"}),
            ("timeout", timedelta(minutes=1), {"Upstash-Timeout": "60s"}),
            ("delay", 0.2, {"Upstash-Delay": "1s"}),
            ("delay", "1d12h", {"Upstash-Delay": "129600s"}),
            (
                "not_before",
                datetime(2027, 1, 15, 8, tzinfo=timezone.utc),
                {"Upstash-Not-Before": "1800000000"},
            ),
            ("not_before", 1.01, {"Upstash-Not-Before": "2"}),
            ("deduplication_id", "a b", {"Upstash-Deduplication-Id": "a b"}),
            (
                "content_based_deduplication",
                True,
                {"Upstash-Content-Based-Deduplication": "true"},
            ),
            ("callback", "http://x/?a=b:c", {"Upstash-Callback": "http://x/?a=b:c"}),
            ("failure_callback", "https://x", {"Upstash-Failure-Callback": "https://x"}),
            ("label", ["a", "b"], {"Upstash-Label": "a,b"}),
            ("label", " a ,b", {"Upstash-Label": "a,b"}),
            (
                "redact",
                {"body": True, "header": ["X-A", "X-B"]},
                {"Upstash-Redact-Fields": "body,header[X-A],header[X-B]"},
            ),
            ("redact", {"header": True}, {"Upstash-Redact-Fields": "header"}),
            ("redact", {"header": "X-A"}, {"Upstash-Redact-Fields": "header[X-A]"}),
            ("redact", "headers[X-A], body", {"Upstash-Redact-Fields": "body,header[X-A]"}),
            ("redact", "headers,header[X-A],", {"Upstash-Redact-Fields": "header"}),
            ("redact", "header[X-A],headers", {"Upstash-Redact-Fields": "header"}),
            ("cron", "@daily", {"Upstash-Cron": "@daily"}),
            ("schedule_id", "morning", {"Upstash-Schedule-Id": "morning"}),
            ("schedule_queue", "q1", {"Upstash-Queue-Name": "q1"}),
            ("forward_all", True, {"Upstash-Header-Forward": "true"}),
            (
                "flow_control",
                {"key": "k", "rate": 4, "parallelism": "3", "period": "1m"},
                {
                    "Upstash-Flow-Control-Key": "k",
                    "Upstash-Flow-Control-Value": "parallelism=3, rate=4, period=60s",
                },
            ),
            ("headers", {"X-A": 7}, {"Upstash-Forward-X-A": "7"}),
            ("headers", {"upstash-forward-X-A": "b"}, {"Upstash-Forward-X-A": "b"}),
            ("headers", {"Upstash-Cron": "x"}, {"Upstash-Forward-Upstash-Cron": "x"}),
            ("callback_headers", {"Retries": 1}, {"Upstash-Callback-Retries": "1"}),
            (
                "failure_callback_headers",
                {"Upstash-Failure-Callback-Forward-X": "1"},
                {"Upstash-Failure-Callback-Forward-X": "1"},
            ),
        ],
    )
    def test_it_is_said_so(self, name, value, headers):
        assert to_headers(clean({name: value})) == headers

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("rate=4", {"key": "k", "rate": 4}),
            ("period=1h30m3s,parallelism=3,rate=4", {"rate": 4, "parallelism": 3, "period": 5403}),
            (" rate = 4 , period = 2 ", {"key": "k", "rate": 4, "period": 2}),
        ],
    )
    def test_flow_control_is_read_in_every_order(self, text, value):
        headers = {"upstash-flow-control-key": "k", "upstash-flow-control-value": text}

        assert from_headers(headers.items()) == {"flow_control": {"key": "k", **value}}

    @pytest.mark.parametrize("text", ["True", "TRUE", "true"])
    def test_a_flag_is_read_as_other_sdks_write_it(self, text):
        assert from_headers([("Upstash-Content-Based-Deduplication", text)]) == {
            "content_based_deduplication": True
        }


class TestTheOfficialSdk:
    """What the SDK sends for the same options, which is QStash's own idea of them."""

    COMMON = {
        "content_type": "application/json",
        "method": "PUT",
        "headers": {"X-A": "1", "Upstash-Forward-X-B": "2"},
        "callback_headers": {"Retries": "1", "Forward-X": "y"},
        "failure_callback_headers": {"Upstash-Failure-Callback-Timeout": "5s"},
        "retries": 2,
        "retry_delay": "1000 * (1 + retried)",
        "callback": "https://a.example/x?y=z",
        "failure_callback": "https://a.example/f",
        "delay": 60,
        "timeout": "30s",
        "flow_control": {"key": "k", "parallelism": 3, "rate": 4, "period": 60},
        "label": "billing,eu",
        "redact": {"body": True, "header": ["Authorization", "X-A"]},
    }
    PUBLISHED = {
        **COMMON,
        "not_before": 1_800_000_000,
        "deduplication_id": "abc",
        "content_based_deduplication": True,
    }

    def ours(self, options):
        given = {key: value for key, value in options.items() if key != "content_type"}
        envelope = Envelope(url="https://x.example", body=b"", options=clean(given))
        return {name.lower(): text for name, text in envelope.headers().items()}

    def theirs(self, headers):
        # It writes Python's "True"; QStash does not mind.
        flag = "Upstash-Content-Based-Deduplication"
        return {k.lower(): v.lower() if k == flag else v for k, v in headers.items()}

    def test_all_options_together(self):
        sent = qstash.message.prepare_headers(**self.PUBLISHED)

        assert self.ours(self.PUBLISHED) == self.theirs(sent)

    @pytest.mark.parametrize("name", PUBLISHED.keys() - {"content_type"})
    def test_one_by_one(self, name):
        options = {"content_type": "application/json", name: self.PUBLISHED[name]}
        sent = qstash.message.prepare_headers(**{**dict.fromkeys(self.PUBLISHED), **options})

        assert self.ours(options) == self.theirs(sent)

    def test_every_option_of_the_sdk_is_in_our_table(self):
        known = inspect.signature(qstash.message.prepare_headers).parameters.keys()

        assert known == self.PUBLISHED.keys()
        assert known <= table.NAMES | {"content_type"}

    def test_schedules(self):
        sent = qstash.schedule.prepare_schedule_headers(
            **self.COMMON, cron="0 9 * * *", schedule_id="morning", queue="q1"
        )
        options = {
            **self.COMMON,
            "cron": "0 9 * * *",
            "schedule_id": "morning",
            "schedule_queue": "q1",
        }

        assert self.ours(options) == self.theirs(sent)


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("method", "FETCH", "method='FETCH': it must be one of GET, POST"),
            ("method", 7, "method=7: it must be one of"),
            ("retries", -1, "retries=-1: it must be a whole number of zero or more."),
            ("retries", 1.5, "retries=1.5: it must be a whole number"),
            ("retries", True, "retries=True: it must be a whole number"),
            ("retries", "\u00b3", "it must be a whole number"),
            ("retries", "9" * 5000, "it must be a whole number"),
            ("retry_delay", "", "it must be an expression in milliseconds"),
            ("retry_delay", "1000\n* 2", "it must be an expression in milliseconds"),
            ("retry_delay", "__import__('os')", "it must be an expression in milliseconds"),
            ("retry_delay", True, "it must be an expression"),
            ("retry_delay", float("inf"), "it must be an expression"),
            ("retry_delay", -1, "it must be an expression"),
            ("timeout", "soon", "timeout='soon': it must be a duration: seconds, a timedelta, or"),
            ("delay", -1, "delay=-1: it must be a duration"),
            ("delay", float("nan"), "delay=nan: it must be a duration"),
            ("delay", 10**400, "it must be a duration"),
            ("delay", True, "delay=True: it must be a duration"),
            ("not_before", "tomorrow", "not_before='tomorrow': it must be an instant: a datetime"),
            ("not_before", float("inf"), "not_before=inf: it must be an instant"),
            ("deduplication_id", "a:b", "it must not contain ':', which QStash refuses."),
            ("deduplication_id", "", "it must be one line of ASCII text"),
            ("deduplication_id", 7, "it must be one line of ASCII text"),
            ("content_based_deduplication", 1, "it must be True or False."),
            ("content_based_deduplication", "yes", "it must be True or False."),
            ("callback", "example.com", "it must be an absolute http:// or https:// address"),
            ("callback", "ftp://x", "it must be an absolute http:// or https:// address"),
            ("callback", "https://", "it must be an absolute http:// or https:// address"),
            ("callback", "https://x/a b", "it must be an absolute http:// or https:// address"),
            ("callback", "https://x/é", "it must be an absolute http:// or https:// address"),
            ("failure_callback", None, "it must be an absolute http:// or https:// address"),
            ("label", "a b", "it must be made of letters, digits, '-', '_' and '.'."),
            ("label", "Zürich", "it must be made of letters"),
            ("label", ["a", 7], "it must be made of letters"),
            ("label", ["a,b"], "it must be made of letters"),
            ("label", "a,,b", "it must be made of letters"),
            ("label", [], "it must be a text or a list of texts"),
            ("label", 7, "it must be a text or a list of texts"),
            ("redact", {}, "it must name 'body', 'header' or both."),
            ("redact", "", "it must name 'body', 'header' or both."),
            ("redact", {"header": []}, "it must name 'body', 'header' or both."),
            ("redact", {"headers": True}, "it must be a mapping with 'body': True and 'header'"),
            ("redact", {"header": ["a]b"]}, "it names a header that cannot be: 'a]b'."),
            ("redact", {"header": ["a,b"]}, "it names a header that cannot be: 'a,b'."),
            ("redact", {"header": 7}, "it names a header that cannot be: 7."),
            ("retry_delay", "  ", "it must be an expression"),
            ("redact", {"header": [7]}, "it names a header that cannot be: 7."),
            ("redact", "everything", "it knows body, header and header[Name], not 'everything'."),
            ("redact", 7, "it must be a mapping"),
            ("cron", "", "it must be one line of ASCII text"),
            ("schedule_id", "a/b", "it must be made of letters"),
            ("queue", "a b", "queue='a b': it must be made of letters, digits, '-', '_' and '.'."),
            ("queue", "é", "it must be made of letters"),
            ("queue", 7, "it must be made of letters"),
            ("flow_control", "k", "it must be a mapping with 'key', and 'rate' or 'parallelism'."),
            ("flow_control", {"rate": 1}, "it must be a mapping with 'key'"),
            ("flow_control", {"key": "k"}, "it should be either rate=X or parallelism=Y, or both."),
            ("flow_control", {"key": "a b", "rate": 1}, "it has a key that must be made of"),
            ("flow_control", {"key": "k", "rate": 0}, "it has rate=0; pause the key instead."),
            (
                "flow_control",
                {"key": "k", "rate": "x"},
                "it has a rate that must be a whole number",
            ),
            (
                "flow_control",
                {"key": "k", "rate": 1, "period": "x"},
                "it has a period that must be a duration",
            ),
            (
                "flow_control",
                {"key": "k", "rate": 1, "period": "8d"},
                "it has a period that is not between one second and one week.",
            ),
            (
                "flow_control",
                {"key": "k", "rate": 1, "ratePerSecond": 1, 7: 1},
                "it knows key, rate, parallelism and period, not ['7', 'ratePerSecond'].",
            ),
            ("headers", [("a", "b")], "headers: it must be a mapping of names to texts."),
            (
                "headers",
                {"a b": "c"},
                "headers: it has a name that no HTTP header can have: 'a b'.",
            ),
            ("headers", {"": "c"}, "it has a name that no HTTP header can have: ''."),
            ("headers", {7: "c"}, "it has a name that no HTTP header can have: 7."),
            ("headers", {"Upstash-Forward-": "c"}, "it has a name that no HTTP header can have"),
            ("headers", {"é": "c"}, "it has a name that no HTTP header can have"),
            ("headers", {"X": None}, "headers: it has a value for 'X' that no HTTP header can"),
            ("headers", {"X": b"c"}, "headers: it has a value for 'X' that no HTTP header can"),
            ("callback_headers", {"X": "é"}, "callback_headers: it has a value for 'X' that no"),
            ("failure_callback_headers", {"X": " c"}, "failure_callback_headers: it has a value"),
        ],
    )
    def test_a_bad_value_is_refused_at_the_call_with_the_options_name(self, name, value, sentence):
        said = refusal(name, value)

        assert said.startswith(name)
        assert sentence in said

    def test_an_unknown_option_is_refused_with_those_that_are_known(self):
        with pytest.raises(
            OptionError, match=r"'dealy' is not a delivery option; known are .*delay"
        ):
            clean({"dealy": 1})

    def test_the_values_of_headers_are_not_shown(self):
        assert "s3cret" not in refusal("headers", {"Authorization": "Bearer s3cret\n"})

    @pytest.mark.parametrize("break_", ["\n", "\r", "\r\n", "\0", "\x0b", "\x7f", "\u2028", "\x85"])
    @pytest.mark.parametrize("name", sorted(WRITTEN.keys() - table.FAMILIES.keys()))
    def test_nothing_can_break_out_of_its_line(self, name, break_):
        evil = f"1{break_}Upstash-Callback: https://evil.example"

        refusal(name, evil)
        if name == "flow_control":
            refusal(name, {"key": evil, "rate": 1})
            refusal(name, {"key": "k", "rate": evil})
        if name == "redact":
            refusal(name, {"header": [evil]})

    @pytest.mark.parametrize("break_", ["\n", "\r\n", "\0", "é", "\u2028", "\ud800"])
    @pytest.mark.parametrize("name", table.FAMILIES)
    def test_nor_can_a_header_of_the_users(self, name, break_):
        refusal(name, {f"X{break_}Y": "a"})
        refusal(name, {"X": f"a{break_}b"})

    @pytest.mark.parametrize(
        ("header", "text", "sentence"),
        [
            ("Upstash-Retries", "many", "Upstash-Retries must be a whole number of zero or more"),
            ("upstash-delay", "soon", "Upstash-Delay must be a duration"),
            ("Upstash-Callback", "x", "Upstash-Callback must be an absolute"),
            ("Upstash-Flow-Control-Value", "", "should be either rate=X or parallelism=Y, or both"),
            (
                "Upstash-Flow-Control-Value",
                "rate=1",
                "Upstash-Flow-Control-Value must be a mapping",
            ),
            ("Upstash-Flow-Control-Value", "rate=1,rate=2", "Upstash-Flow-Control-Value should be"),
            ("Upstash-Flow-Control-Key", "k", "Upstash-Flow-Control-Value should be either rate=X"),
        ],
    )
    def test_a_header_that_qstash_would_refuse_is_refused_by_its_name(self, header, text, sentence):
        with pytest.raises(OptionError) as raised:
            from_headers([(header, text)])

        assert sentence in str(raised.value)


class TestForwardable:
    def test_headers_that_http_can_carry_go_along(self):
        headers = {"X-A": "1", "traceparent": "00-1-2-01", "empty": ""}

        assert table.forwardable(headers) == headers
        assert clean_one("headers", table.forwardable(headers)) == headers

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("a b", "x"),
            ("X", "é"),
            ("X", "a\nb"),
            ("X", " a"),
            ("X", 7),
            (7, "x"),
            ("X", {"a": 1}),
            ("", "x"),
        ],
    )
    def test_the_others_stay_in_the_letter_alone(self, name, value):
        assert table.forwardable({name: value, "Y": "z"}) == {"Y": "z"}
