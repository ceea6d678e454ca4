from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_qstash.devserver.expression import MAX_LENGTH, parse


@pytest.mark.parametrize(
    ("text", "retried", "value"),
    [
        ("1000", 0, 1000),
        ("1000 * (1 + retried)", 2, 3000),
        ("pow(2, retried) * 1000", 3, 8000),
        ("max(1000, pow(2, retried) * 100)", 1, 1000),
        ("min(10, 3) - 2 * 4 / 8", 0, 2),
        ("-retried + 5", 2, 3),
        ("--2", 0, 2),
        ("+3", 0, 3),
        ("2 - 3 - 4", 0, -5),
        ("16 / 4 / 2", 0, 2),
        ("exp(0) + sqrt(9) + abs(-2)", 0, 6),
        ("floor(1.9) + ceil(1.1) + round(2.5)", 0, 6),
        (".5 + 1. + 1e1", 0, 11.5),
        (" ( ( 7 ) ) ", 0, 7),
    ],
)
def test_an_expression_has_the_value_that_its_text_means(text, retried, value):
    assert parse(text)(retried) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1 +",
        "(1",
        "1)",
        "1 2",
        "2retried",
        "foo",
        "foo(1)",
        "retries",
        "pow(1)",
        "pow(1, 2, 3)",
        "exp()",
        "exp 1",
        "2 ** 3",
        "2 ^ 3",
        "1 % 2",
        "__import__('os')",
        "retried.real",
        "1,2",
        "0x10",
        "1" * (MAX_LENGTH + 1),
        "(" * (MAX_LENGTH + 1),
        "٣",
    ],
)
def test_anything_else_is_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match=r"(has|knows|is longer)"):
        parse(text)


@given(st.text(alphabet="0123456789.eE+-*/(), retidpowxsqabflocunm", max_size=MAX_LENGTH + 5))
def test_no_text_breaks_it(text):
    try:
        expression = parse(text)
    except ValueError:
        return
    for retried in (0.0, 3.0, 1000.0):
        with contextlib.suppress(ArithmeticError, ValueError):
            assert isinstance(expression(retried), (int, float))


def test_nesting_as_deep_as_the_length_allows_is_no_trouble():
    depth = MAX_LENGTH // 2 - 1
    assert parse("(" * depth + "1" + ")" * depth)(0) == 1
    assert math.isclose(parse("-" * (MAX_LENGTH - 1) + "1")(0), -1)
