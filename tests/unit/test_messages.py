"""Our letter: small, equal to itself after the way, and refused when it is not one."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_qstash import messages
from django_qstash.exceptions import EncodeError, MessageError, NewerMessageError
from django_qstash.messages import (
    LegacyMessage,
    TaskMessage,
    decode,
    derived_run,
    kind_of,
    legacy,
    new_id,
    new_run,
)

PLAIN = {"v": 1, "kind": "task", "task": "shop.add", "id": "7", "run": "r"}
#: A value of each type that no field of that type has by default.
SAMPLES = {str: "x", int: 3, bool: True, list: [1, "a"], dict: {"b": 2}}
FULL = {
    **{name: SAMPLES[kind] for name, kind in messages._TASK_TYPES.items()},
    # These say something by being nothing.
    "ignore_result": False,
    "priority": 0,
    "group_index": 0,
}
FIELDS = [field.name for field in dataclasses.fields(TaskMessage)]
#: A value of every type that a JSON body can hold.
ANYTHING = {
    str: "x",
    int: 7,
    bool: True,
    float: 1.5,
    list: [1],
    dict: {"a": 1},
    datetime: datetime(2026, 1, 1, tzinfo=timezone.utc),
    bytes: b"x",
    set: {1},
}


def there_and_back(message: TaskMessage) -> TaskMessage:
    return TaskMessage.from_dict(decode(message.encode()))


class TestTheLetter:
    def test_each_of_its_fields_has_a_type(self):
        assert list(messages._TASK_TYPES) == FIELDS

    def test_a_plain_one_is_under_250_bytes(self):
        message = TaskMessage(task="tests.shop.tasks.add", id=new_id(), run=new_run(), args=[2, 3])

        assert len(message.encode()) < 250

    def test_what_is_at_its_default_is_left_out(self):
        message = TaskMessage(
            task="shop.add", id="7", run="r", args=[], kwargs={}, callbacks=[], headers={}
        )

        assert json.loads(message.encode()) == PLAIN

    @pytest.mark.parametrize("name", FIELDS)
    def test_what_is_not_is_in_it_under_its_own_name(self, name):
        message = TaskMessage(**{"task": "t", "id": "i", "run": "r", name: FULL[name]})

        assert json.loads(message.encode())[name] == FULL[name]

    def test_it_comes_back_whole(self):
        message = TaskMessage(**FULL)

        assert there_and_back(message) == message

    @given(
        st.fixed_dictionaries(
            {name: st.just(FULL[name]) for name in ("task", "id", "run")},
            optional={name: st.just(FULL[name]) for name in FIELDS[3:]},
        )
    )
    def test_any_of_it_comes_back(self, given_fields):
        message = TaskMessage(**given_fields)
        again = there_and_back(message)

        assert again == there_and_back(again)
        assert again.as_dict() == message.as_dict()
        assert again.encode() == message.encode()

    @given(st.lists(st.text() | st.integers() | st.binary() | st.decimals(allow_nan=False)))
    def test_arguments_come_back_as_they_were(self, args):
        message = TaskMessage(task="t", id="i", run="r", args=args)

        assert list(there_and_back(message).args) == args

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"__type__": "decimal", "__value__": "1"},
            {"v": 2, "kind": "workflow"},
            {"price": Decimal("1.10"), "NaN": float("inf")},
            {"\0": "\ud800"},
        ],
    )
    def test_keywords_that_look_like_something_else_stay_keywords(self, kwargs):
        assert (
            there_and_back(TaskMessage(task="t", id="i", run="r", kwargs=kwargs)).kwargs == kwargs
        )

    def test_tuples_are_as_good_as_lists(self):
        given_tuples = TaskMessage(task="t", id="i", run="r", args=(1, 2), timelimit=(3, None))

        again = there_and_back(given_tuples)

        assert (again.args, again.timelimit) == ([1, 2], [3, None])

    def test_it_is_ascii(self):
        assert TaskMessage(task="t", id="é", run="r", args=["\0\ud800☃"]).encode().isascii()

    def test_what_json_cannot_carry_is_refused_with_its_place(self):
        message = TaskMessage(**{**FULL, "task": "shop.add", "args": [1, object()]})

        with pytest.raises(
            EncodeError, match=r"The message of shop.add at \['args'\]\[1\] is of the"
        ):
            message.encode()

    def test_a_changed_copy_leaves_the_letter_as_it_was(self):
        message = TaskMessage(**FULL)

        again = message.but(retries=4, args=[9])

        assert (again.retries, again.args) == (4, [9])
        assert message == TaskMessage(**FULL)
        assert again.but(retries=FULL["retries"], args=FULL["args"]) == message

    def test_it_cannot_be_written_over(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            TaskMessage(**FULL).retries = 9

    def test_fields_that_a_later_version_may_add_are_passed_over(self):
        assert TaskMessage.from_dict({**PLAIN, "colour": "red"}) == TaskMessage.from_dict(PLAIN)


class TestAWrongLetter:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            pytest.param(name, value, id=f"{name}={value!r}")
            for name, expected in messages._TASK_TYPES.items()
            for kind, value in ANYTHING.items()
            if kind is not expected
        ],
    )
    def test_a_value_of_a_wrong_type_is_refused_by_name(self, name, value):
        with pytest.raises(MessageError, match=f"'{name}' has a wrong type"):
            TaskMessage.from_dict({**PLAIN, name: value})

    @pytest.mark.parametrize("name", FIELDS[3:])
    def test_null_is_the_default(self, name):
        assert TaskMessage.from_dict({**PLAIN, name: None}) == TaskMessage.from_dict(PLAIN)

    @pytest.mark.parametrize("name", ["task", "id", "run"])
    @pytest.mark.parametrize("value", ["", None])
    def test_one_that_does_not_say_who_it_is_is_refused(self, name, value):
        with pytest.raises(MessageError, match=f"names no '{name}'"):
            TaskMessage.from_dict({**PLAIN, name: value})

    @pytest.mark.parametrize(
        ("body", "sentence"),
        [
            (b"", "The body is not JSON: "),
            (b"{", "The body is not JSON: "),
            (b"\xff\xfe", "The body is not JSON: "),
            (b"\xef\xbb\xbf{}", "The body is not JSON: "),
            (b"[" * 200_000, "The body is not JSON: it is nested too deeply"),
            (b'{"a":' * 200_000, "The body is not JSON: it is nested too deeply"),
            (b"9" * 10_000, "The body is not JSON: "),
            (b"[]", "The body is a JSON list, not an object."),
            (b'"x"', "The body is a JSON str, not an object."),
            (b"null", "The body is a JSON NoneType, not an object."),
            (b'{"__type__":"set","__value__":[]}', "The body is a JSON set, not an object."),
        ],
        ids=lambda value: repr(value)[:30],
    )
    def test_a_body_that_is_no_json_object_is_refused(self, body, sentence):
        with pytest.raises(MessageError) as raised:
            decode(body)

        assert str(raised.value).startswith(sentence)
        assert isinstance(raised.value, ValueError)

    @given(st.binary())
    def test_any_bytes_are_read_or_refused(self, body):
        try:
            letter = decode(body)
            kind_of(letter)
        except MessageError:
            return


class TestKind:
    @pytest.mark.parametrize("kind", ["task", "workflow", "callback", "something new"])
    def test_it_is_what_the_letter_says(self, kind):
        assert kind_of({"v": 1, "kind": kind}) == kind

    def test_the_older_payload_is_known_by_its_function(self):
        assert kind_of({"function": "add", "module": "shop.tasks"}) == "legacy"

    def test_a_letter_of_ours_may_speak_of_functions(self):
        assert kind_of({"v": 1, "kind": "task", "function": "add"}) == "task"

    def test_a_newer_version_is_refused_as_newer(self):
        with pytest.raises(
            NewerMessageError, match=r"of version 2, .* up to 1: it was sent by a newer"
        ):
            kind_of({"v": 2, "kind": "task"})

    @pytest.mark.parametrize(
        "letter",
        [
            {},
            {"v": 1},
            {"kind": "task"},
            {"v": None, "kind": "task"},
            {"v": "1", "kind": "task"},
            {"v": True, "kind": "task"},
            {"v": 1.0, "kind": "task"},
            {"v": 0, "kind": "task"},
            {"v": -1, "kind": "task"},
            {"v": 1, "kind": 7},
            {"v": 1, "kind": None},
            {"function": 7},
            {"status": 200, "sourceBody": ""},
        ],
        ids=str,
    )
    def test_anything_else_is_no_letter(self, letter):
        with pytest.raises(MessageError, match="is not a letter of django-qstash") as raised:
            kind_of(letter)

        assert not isinstance(raised.value, NewerMessageError)


class TestTheOlderPayload:
    PAYLOAD = {
        "function": "add",
        "module": "shop.tasks",
        "args": [2, 3],
        "kwargs": {"a": 1},
        "task_name": "Add",
        "options": {"max_retries": 3},
        "retries": 2,
        "on_success": [{"x": 1}],
    }

    def test_it_is_read(self):
        message = legacy(self.PAYLOAD)

        assert message == LegacyMessage(
            function="add",
            module="shop.tasks",
            args=[2, 3],
            kwargs={"a": 1},
            task_name="Add",
            retries=2,
            on_success=[{"x": 1}],
        )
        assert message.task == "shop.tasks.add"

    @pytest.mark.parametrize("nothing", [None, "", 0, [], {}])
    def test_what_is_empty_is_as_good_as_absent(self, nothing):
        names = ("args", "kwargs", "task_name", "retries", "on_success")

        message = legacy({**self.PAYLOAD, **dict.fromkeys(names, nothing)})

        assert message == legacy({"function": "add", "module": "shop.tasks"})

    @pytest.mark.parametrize("name", ["function", "module"])
    @pytest.mark.parametrize("nothing", [None, ""])
    def test_without_its_task_it_is_refused(self, name, nothing):
        with pytest.raises(MessageError, match=f"names no '{name}'"):
            legacy({**self.PAYLOAD, name: nothing})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            pytest.param(name, value, id=f"{name}={value!r}")
            for name, expected in messages._LEGACY_TYPES.items()
            for kind, value in ANYTHING.items()
            if kind is not expected
        ],
    )
    def test_a_value_of_a_wrong_type_is_refused_by_name(self, name, value):
        with pytest.raises(MessageError, match=f"'{name}' has a wrong type"):
            legacy({**self.PAYLOAD, name: value})


class TestIdentity:
    def test_equal_letters_have_one_deduplication_id(self):
        message = TaskMessage(**FULL)

        assert message.deduplication_id == there_and_back(message).deduplication_id
        assert message.deduplication_id == message.but(p=9, args=[0]).deduplication_id

    @pytest.mark.parametrize(
        "changes", [{"id": "8"}, {"run": "s"}, {"retries": 4}, {"life": 4}, {"id": "xx", "run": ""}]
    )
    def test_another_letter_has_another(self, changes):
        message = TaskMessage(**FULL)

        assert message.but(**changes).deduplication_id != message.deduplication_id

    def test_it_is_what_qstash_takes(self):
        odd = TaskMessage(task="t", id="a:b\ud800é", run=":")

        assert odd.deduplication_id.isascii()
        assert odd.deduplication_id.isalnum()

    def test_it_stays_what_it_is(self):
        """A rolling deployment sends one letter from two versions."""
        message = TaskMessage(task="t", id="i", run="r", retries=1)

        assert message.deduplication_id == "47c8518ac1b55d13189e59a1f39aa9370652736a"

    def test_ids_and_runs_are_new_each_time(self):
        assert len({new_id() for _ in range(100)} | {new_run() for _ in range(100)}) == 200

    def test_a_derived_run_is_the_same_however_often_it_is_derived(self):
        assert derived_run("parent", "link", 1) == derived_run("parent", "link", "1")
        assert derived_run("parent", "link") == derived_run("parent", "link", 0)
        assert len(derived_run("parent", "link")) == len(new_run())

    @given(
        st.lists(
            st.tuples(st.text("ab01"), st.sampled_from(["link", "chain"]), st.integers(0, 99)),
            unique=True,
        )
    )
    def test_different_relations_have_different_runs(self, relations):
        assert len({derived_run(*relation) for relation in relations}) == len(relations)

    def test_a_derived_run_stays_what_it_is(self):
        assert derived_run("parent", "link", 1) == "bce5d0223701e4303e975d575b8cb71b"
