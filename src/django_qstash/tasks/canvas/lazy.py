"""Members that are not made before they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class Lazy:
    """An iterable that is read once, when it is needed, and remembered."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._rest = iter(source)
        self._seen: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        index = 0
        while True:
            if index < len(self._seen):
                yield self._seen[index]
            else:
                try:
                    item = next(self._rest)
                except StopIteration:
                    return
                self._seen.append(item)
                yield item
            index += 1

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (list, tuple, Lazy)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __json__(self) -> list[Any]:
        return list(self)

    def __repr__(self) -> str:
        return repr(list(self))
