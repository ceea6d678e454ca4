"""``Upstash-Retry-Delay``: arithmetic over ``retried``, parsed by hand and never evaluated as code.

Source: QStash's documentation of the header, which lists the functions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache

#: Far beyond any delay one would write, and short enough that no text nests too deep to parse.
MAX_LENGTH = 256

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>[-+*/(),]))",
    re.ASCII,
)

_ONE: dict[str, Callable[[float], float]] = {
    "exp": math.exp,
    "sqrt": math.sqrt,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": lambda value: math.floor(value + 0.5),
}
_TWO: dict[str, Callable[[float, float], float]] = {"pow": math.pow, "min": min, "max": max}

#: A parsed expression: the milliseconds for a number of retries made so far.
Expression = Callable[[float], float]


@lru_cache(maxsize=512)
def parse(text: str) -> Expression:
    """The function that ``text`` stands for.

    Raises ``ValueError`` for what QStash cannot compute. The function itself may raise
    ``ArithmeticError`` or ``ValueError``, as for a division by zero.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters")
    parser = _Parser(text)
    expression = parser.sum()
    parser.end()
    return expression


class _Parser:
    """Recursive descent: sum, product, sign, atom."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at]

    def _take(self, sign: str) -> bool:
        if self._peek() == ("sign", sign):
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(f"has {self._peek()[1] or 'its end'!r} where {sign!r} is expected")

    def end(self) -> None:
        if self._peek()[0] != "end":
            raise ValueError(f"has {self._peek()[1]!r} where an operator is expected")

    def sum(self) -> Expression:
        left = self._product()
        while True:
            if self._take("+"):
                left = _add(left, self._product())
            elif self._take("-"):
                left = _subtract(left, self._product())
            else:
                return left

    def _product(self) -> Expression:
        left = self._signed()
        while True:
            if self._take("*"):
                left = _multiply(left, self._signed())
            elif self._take("/"):
                left = _divide(left, self._signed())
            else:
                return left

    def _signed(self) -> Expression:
        if self._take("-"):
            inner = self._signed()
            return lambda retried: -inner(retried)
        if self._take("+"):
            return self._signed()
        return self._atom()

    def _atom(self) -> Expression:
        kind, text = self._peek()
        self._at += kind != "end"
        if kind == "number":
            number = float(text)
            return lambda _retried: number
        if kind == "name":
            return self._name(text)
        if (kind, text) == ("sign", "("):
            inner = self.sum()
            self._expect(")")
            return inner
        raise ValueError(f"has {text or 'its end'!r} where a number is expected")

    def _name(self, name: str) -> Expression:
        if name == "retried":
            return lambda retried: retried
        if name in _ONE:
            one = _ONE[name]
            self._expect("(")
            only = self.sum()
            self._expect(")")
            return lambda retried: one(only(retried))
        if name in _TWO:
            two = _TWO[name]
            self._expect("(")
            first = self.sum()
            self._expect(",")
            second = self.sum()
            self._expect(")")
            return lambda retried: two(first(retried), second(retried))
        known = ", ".join(sorted({*_ONE, *_TWO, "retried"}))
        raise ValueError(f"knows {known}, not {name!r}")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"has {text[at:].strip()[:1]!r}, which is neither number nor operator")
        kind = match.lastgroup or ""
        tokens.append((kind, match[kind]))
        at = match.end()
    tokens.append(("end", ""))
    return tokens


def _add(left: Expression, right: Expression) -> Expression:
    return lambda retried: left(retried) + right(retried)


def _subtract(left: Expression, right: Expression) -> Expression:
    return lambda retried: left(retried) - right(retried)


def _multiply(left: Expression, right: Expression) -> Expression:
    return lambda retried: left(retried) * right(retried)


def _divide(left: Expression, right: Expression) -> Expression:
    return lambda retried: left(retried) / right(retried)
