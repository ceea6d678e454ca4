"""What goes into a letter or a result comes out of it; what cannot is refused by its place."""

from __future__ import annotations

import base64
import enum
import json
import subprocess
import sys
from collections import OrderedDict, UserDict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.utils.functional import SimpleLazyObject, lazystr
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from django_qstash.exceptions import EncodeError
from django_qstash.serialization import dumps, loads


class Colour(enum.IntEnum):
    RED = 1


class Size(str, enum.Enum):
    BIG = "big"


class Shape(enum.Enum):
    ROUND = 1


HEX = "12345678123456781234567812345678"


class Point(NamedTuple):
    x: int
    y: int


class FrozenDict(UserDict):
    def __hash__(self):
        return 1


def there_and_back(value):
    return loads(dumps(value))


def as_read(value):
    """What JSON makes of a value: tuples are lists, two halves of a character are one."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if isinstance(value, (list, tuple)):
        return [as_read(item) for item in value]
    if isinstance(value, dict):
        return {as_read(key): as_read(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return type(value)(map(as_member, value))
    return value


def as_member(value):
    """The same inside a set, which can hold no list."""
    return tuple(map(as_member, value)) if isinstance(value, tuple) else as_read(value)


def same(one, other) -> bool:
    """Equal, of one type all the way down, and not-a-number equal to itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (float, Decimal, datetime, time)):
        return repr(one) == repr(other) or one == other
    return bool(one == other)


# Every character there is, NUL and lone surrogates among them.
texts = st.text(st.characters(min_codepoint=0, max_codepoint=0x10FFFF))
# Whole seconds: Python does not read back an offset of some microseconds.
zones = st.none() | st.integers(-80_000, 80_000).map(lambda s: timezone(timedelta(seconds=s)))
hashables = (
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | st.binary()
    | st.dates()
    | st.datetimes(timezones=zones)
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
)
scalars = (
    hashables
    | st.floats()
    | st.decimals()
    | st.times()
    | st.sampled_from([float("nan"), float("inf"), float("-inf")])
)
members = st.recursive(
    hashables, lambda inner: st.tuples(inner, inner) | st.frozensets(inner), max_leaves=6
)
keys = texts | st.sampled_from(["__type__", "__value__", "decimal", "set"])
values = st.recursive(
    scalars | st.sets(members, max_size=4) | st.frozensets(members, max_size=4),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner)
        | st.fixed_dictionaries({"__type__": keys | inner, "__value__": inner})
    ),
    max_leaves=20,
)


class TestTheRoundTrip:
    @given(values)
    def test_every_value_of_the_carried_types_comes_back(self, value):
        assert same(there_and_back(value), as_read(value))

    @given(values)
    def test_the_text_is_ascii_json_without_nul(self, value):
        text = dumps(value)

        assert text.isascii()
        assert "\0" not in text
        json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))

    @given(values)
    def test_what_was_read_is_written_the_same_again(self, value):
        text = dumps(value)

        assert dumps(loads(text)) == text

    @given(values)
    def test_bytes_are_read_as_text_is(self, value):
        text = dumps(value)

        assert same(loads(text.encode()), loads(text))

    def test_plain_json_stays_as_it_is(self):
        assert dumps({"a": [1, 2.5, None, True, "x"]}) == '{"a":[1,2.5,null,true,"x"]}'

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (
                datetime(2026, 1, 2, 3, 4, 5, 6),
                '"datetime","__value__":"2026-01-02T03:04:05.000006"',
            ),
            (date(2026, 1, 2), '"date","__value__":"2026-01-02"'),
            (time(3, 4, 5), '"time","__value__":"03:04:05"'),
            (timedelta(days=-1, seconds=2), '"timedelta","__value__":[-1,2,0]'),
            (Decimal("1.10"), '"decimal","__value__":"1.10"'),
            (UUID(int=1), '"uuid","__value__":"00000000000000000000000000000001"'),
            (b"abc", '"bytes","__value__":"abc"'),
            (b"\xff", '"base64","__value__":"/w=="'),
            ({1, 2}, '"set","__value__":[1,2]'),
            (frozenset("a"), '"frozenset","__value__":["a"]'),
            (float("-inf"), '"float","__value__":"-inf"'),
        ],
    )
    def test_how_each_type_is_tagged_stays_as_it_is(self, value, text):
        """Letters and results written by one version are read by the next."""
        assert dumps(value) == f'{{"__type__":{text}}}'
        assert same(there_and_back(value), value)

    def test_an_instant_is_the_same_instant_wherever_it_was_taken(self):
        moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Istanbul"))

        assert there_and_back(moment) == moment
        assert there_and_back(moment).utcoffset() == timedelta(hours=3)

    @pytest.mark.parametrize(
        ("value", "read"),
        [
            ((1, (2, 3)), [1, [2, 3]]),
            (Point(1, 2), [1, 2]),
            (Colour.RED, 1),
            (Size.BIG, "big"),
            (lazystr("later"), "later"),
            (gettext_lazy("Yes"), "Yes"),
            (OrderedDict(a=1), {"a": 1}),
            (UserDict(a=1), {"a": 1}),
            (MappingProxyType({"a": 1}), {"a": 1}),
            (SimpleLazyObject(lambda: {"a": 1}), {"a": 1}),
            (
                {2: "a", None: "b", True: "c", 1.5: "d"},
                {"2": "a", "null": "b", "true": "c", "1.5": "d"},
            ),
            ({Colour.RED: 1, Size.BIG: 2}, {"1": 1, "big": 2}),
            (bytearray(b"abc"), b"abc"),
            (memoryview(b"\xff"), b"\xff"),
            ({1, "1", (1, "1"), frozenset({1})}, {1, "1", (1, "1"), frozenset({1})}),
            ({((1, 2), 3)}, {((1, 2), 3)}),
            (UserDict(nan=float("inf")), {"nan": float("inf")}),
            ([UserDict({"__type__": "set"}), float("inf")], [{"__type__": "set"}, float("inf")]),
        ],
    )
    def test_what_json_has_no_word_for_comes_back_as_its_next_of_kin(self, value, read):
        assert there_and_back(value) == read

    def test_two_halves_of_a_character_become_one(self):
        assert there_and_back("\ud83d\ude00") == "\U0001f600"

    def test_what_is_nested_deep_comes_back(self):
        deep: list = []
        for _ in range(100):
            deep = [deep, {"a": date(2026, 1, 1)}]

        assert there_and_back(deep) == deep


class TestDictsThatLookLikeTags:
    @pytest.mark.parametrize(
        "value",
        [
            {"__type__": "decimal", "__value__": "1"},
            {"__type__": "decimal"},
            {"__type__": "dict", "__value__": [["a", 1]]},
            {"__type__": {"__type__": "set", "__value__": [1]}, "__value__": 2},
            {"__type__": None, "__value__": None, "more": 1},
            {"a": [{"__type__": "bytes", "__value__": "x"}]},
            {"__value__": 1},
            ["__type__", {"a": "__type__"}],
        ],
    )
    def test_they_stay_dicts(self, value):
        assert there_and_back(value) == value

    def test_their_odd_keys_become_texts_as_everywhere(self):
        assert there_and_back({"__type__": 1, 2: 3, None: 4}) == {"__type__": 1, "2": 3, "null": 4}

    def test_their_impossible_keys_are_refused(self):
        with pytest.raises(EncodeError, match=r"has the key \(1, 2\)"):
            dumps({"__type__": 1, (1, 2): 3})


class TestJsonHook:
    def test_an_object_may_say_what_stands_for_it(self):
        class Money:
            def __json__(self):
                return {"cents": 250}

        assert there_and_back([Money()]) == [{"cents": 250}]

    def test_a_class_is_not_an_object_of_it(self):
        class Money:
            def __json__(self):
                return 1

        with pytest.raises(EncodeError):
            dumps(Money)


class TestKombusOutput:
    """What kombu 5 writes is read. The texts are its own, from its json module's formats."""

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            (
                '{"__type__": "datetime", "__value__": "2026-01-02T03:04:05+00:00"}',
                datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
            ),
            (
                '{"__type__": "datetime", "__value__": "2026-01-02T03:04:05Z"}',
                datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
            ),
            ('{"__type__": "date", "__value__": "2026-01-02"}', date(2026, 1, 2)),
            ('{"__type__": "time", "__value__": "03:04:05.000006"}', time(3, 4, 5, 6)),
            ('{"__type__": "decimal", "__value__": "1.10"}', Decimal("1.10")),
            (
                '{"__type__": "uuid", "__value__": {"hex": "' + HEX + '", "version": 4}}',
                UUID(HEX),
            ),
            (
                '{"__type__": "uuid", "__value__": {"hex": "' + HEX + '"}}',
                UUID(HEX),
            ),
            ('{"__type__": "bytes", "__value__": "caf\\u00e9"}', "café".encode()),
            ('{"__type__": "base64", "__value__": "gIE="}', b"\x80\x81"),
            (
                '[[{"__type__": "date", "__value__": "2026-01-02"}], {"x": 1}, {"chain": null}]',
                [[date(2026, 1, 2)], {"x": 1}, {"chain": None}],
            ),
            ("[NaN, Infinity, -Infinity]", [float("nan"), float("inf"), float("-inf")]),
        ],
    )
    def test_it_is_read(self, text, value):
        assert same(loads(text), value)


class TestReading:
    @pytest.mark.parametrize(
        "tag",
        [
            {"__type__": "object", "__value__": "os.system"},
            {"__type__": "builtins.eval", "__value__": "1 + 1"},
            {"__type__": "__import__", "__value__": "antigravity"},
            {"__type__": ["decimal"], "__value__": "1"},
            {"__type__": "decimal", "__value__": "one"},
            {"__type__": "decimal", "__value__": None},
            {"__type__": "datetime", "__value__": 7},
            {"__type__": "datetime", "__value__": "yesterday"},
            {"__type__": "timedelta", "__value__": [1e308]},
            {"__type__": "uuid", "__value__": {"int": 1}},
            {"__type__": "uuid", "__value__": [1]},
            {"__type__": "bytes", "__value__": "\ud800"},
            {"__type__": "base64", "__value__": "!"},
            {"__type__": "base64", "__value__": "é"},
            {"__type__": "set", "__value__": [{}]},
            {"__type__": "set", "__value__": 7},
            {"__type__": "float", "__value__": []},
            {"__type__": "dict", "__value__": [[[], 1]]},
            {"__type__": "dict", "__value__": [[1]]},
            {"__type__": "decimal", "__value__": "1", "more": 1},
        ],
        ids=str,
    )
    def test_a_tag_that_means_nothing_stays_a_dict(self, tag):
        assert loads(json.dumps(tag)) == tag

    def test_nothing_is_imported_because_a_text_says_so(self):
        code = (
            "import sys; from django_qstash.serialization import loads; before = set(sys.modules);"
            'loads(\'{"__type__": "antigravity", "__value__": "this"}\');'
            "print(sorted(set(sys.modules) - before))"
        )

        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

        assert done.stdout.strip() == b"[]"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "nul",
            "{'a': 1}",
            b"\xff",
            b"\xef\xbb\xbf{}",
            "[" * 100_000,
            "1" * 5000,
            "{} {}",
        ],
        ids=lambda text: repr(text[:10]),
    )
    def test_what_is_no_json_is_a_value_error(self, text):
        with pytest.raises(ValueError):  # noqa: PT011 - json's own sentence
            loads(text)


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            (object(), "Argument 'x' is of the type object, which JSON cannot carry."),
            (Shape.ROUND, "Argument 'x' is of the type Shape, which JSON cannot carry."),
            (range(3), "Argument 'x' is of the type range, which JSON cannot carry."),
            (deque([1]), "Argument 'x' is of the type deque, which JSON cannot carry."),
            (1j, "Argument 'x' is of the type complex, which JSON cannot carry."),
            ([1, {"a": (object(),)}], "Argument 'x' at [1]['a'][0] is of the type object"),
            ({"n": float("nan"), "o": object()}, "Argument 'x' at ['o'] is of the type object"),
            ({"a": {object}}, "Argument 'x' at ['a']{…} is of the type type"),
            (User(pk=7), "Argument 'x' is of the type User, which JSON cannot carry; pass its pri"),
            (SimpleLazyObject(User), "Argument 'x' is of the type User, which JSON cannot carry; "),
            (
                {(1, 2): 3},
                "Argument 'x' has the key (1, 2), which JSON cannot carry; use str keys.",
            ),
            ([{"a": {b"k": 1}}], "Argument 'x' at [0]['a'] has the key b'k', which JSON cannot"),
            ({float("nan"): 1}, "Argument 'x' has the key nan, which JSON cannot carry"),
            ({lazystr("k"): 1}, "Argument 'x' has the key"),
            ([10**5000], "Argument 'x' at [0] is a number of more digits than Python writes"),
            ({FrozenDict(a=1)}, "Argument 'x' is of the type set, which JSON cannot carry."),
        ],
    )
    def test_an_error_names_the_place_and_the_type(self, value, sentence):
        with pytest.raises(EncodeError) as raised:
            dumps(value, what="Argument 'x'")

        assert str(raised.value).startswith(sentence)
        assert isinstance(raised.value, TypeError)

    def test_a_value_that_holds_itself_is_refused(self):
        loop: list = [date(2026, 1, 1)]
        loop.append(loop)

        with pytest.raises(EncodeError, match="^The value contains itself or is nested too deeply"):
            dumps(loop)

    @pytest.mark.parametrize("bottom", [[], date(2026, 1, 1), object(), {"__type__": 1}])
    def test_a_value_nested_without_end_is_refused(self, bottom):
        for _ in range(200_000):
            bottom = [bottom]

        with pytest.raises(EncodeError, match="nested too deeply"):
            dumps(bottom)

    def test_the_search_for_the_place_ends(self):
        deep = object()
        for _ in range(80):
            deep = [deep]

        with pytest.raises(EncodeError, match=r"\[0\] is of the type list"):
            dumps(deep)


class TestSets:
    def test_one_set_gives_one_text_in_every_process(self):
        """Letters are compared and hashed, and texts are hashed anew by each Python."""
        code = (
            "from django_qstash.serialization import dumps;"
            "print(dumps({frozenset('ab'), frozenset('cd'), 'x', ('y', 1), 7, None}))"
        )

        printed = {
            subprocess.run(
                [sys.executable, "-c", code],
                env={"PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in ("1", "2", "3")
        }

        assert len(printed) == 1

    @given(st.sets(members, max_size=6))
    def test_the_order_in_memory_does_not_matter(self, value):
        turned = sorted(value, key=repr, reverse=True)

        assert dumps(set(turned)) == dumps(value)


def test_base64_is_read_whatever_it_holds():
    blob = bytes(range(256))

    assert base64.b64encode(blob).decode() in dumps(blob)
    assert there_and_back(blob) == blob
