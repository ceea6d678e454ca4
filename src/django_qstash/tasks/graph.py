"""Which task led to which: ``AsyncResult.graph``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TextIO


class DependencyGraph:
    """Things, and what each of them depends on. Celery: ``celery.utils.graph.DependencyGraph``."""

    def __init__(
        self,
        it: Iterable[tuple[Any, Iterable[Any]]] | None = None,
        formatter: Any = None,
        root: Any = None,
    ) -> None:
        if formatter is not None:
            raise TypeError("DependencyGraph(formatter=…): its dots have one look here.")
        self.adjacent: dict[Any, list[Any]] = {}
        self._root = root
        self.update(it or ())

    def add_arc(self, obj: Any) -> None:
        """Add a thing."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, dependent: Any, on: Any) -> None:
        """``dependent`` depends on ``on``. Raises ``KeyError`` if it is not in the graph."""
        self.adjacent[dependent].append(on)

    def connect(self, graph: DependencyGraph) -> None:
        """Add all of another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add things with what they depend on."""
        for obj, dependencies in it:
            self.add_arc(obj)
            self.adjacent[obj].extend(dependencies)

    def topsort(self) -> list[Any]:
        """The things in an order in which each comes after what it depends on.

        Raises ``ValueError`` where they depend on each other.
        """
        done: dict[Any, None] = {}
        for start in self.adjacent:
            path: list[tuple[Any, Iterator[Any]]] = [(start, iter(self.adjacent[start]))]
            while path:
                node, rest = path[-1]
                following = next((each for each in rest if each not in done), None)
                if node in done or following is None:
                    done.setdefault(node)
                    path.pop()
                    continue
                if any(each == following for each, _ in path):
                    raise ValueError(f"{following!r} depends on itself.")
                path.append((following, iter(self.adjacent.get(following, ()))))
        return list(done)

    def valency_of(self, obj: Any) -> int:
        """How many things it depends on, and those in turn; 0 for what is not there."""
        found = self.adjacent.get(obj, ())
        return len(found) + sum(map(self.valency_of, found))

    def edges(self) -> Iterator[Any]:
        """The things that depend on something."""
        return (obj for obj, found in self.adjacent.items() if found)

    def to_dot(self, fh: TextIO) -> None:
        """Write the graph in the language of Graphviz."""
        fh.write("digraph dependencies {\n")
        for obj in self.adjacent:
            shape = "doublecircle" if obj == self._root else "ellipse"
            fh.write(f"    {_quoted(obj)} [shape={shape}];\n")
        for obj, found in self.adjacent.items():
            fh.writelines(f"    {_quoted(obj)} -> {_quoted(other)};\n" for other in found)
        fh.write("}\n")

    def items(self) -> Any:
        return self.adjacent.items()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __getitem__(self, obj: Any) -> list[Any]:
        return self.adjacent[obj]

    def __contains__(self, obj: object) -> bool:
        return obj in self.adjacent

    def __len__(self) -> int:
        return len(self.adjacent)

    def __repr__(self) -> str:
        return "\n".join(
            f"{obj}({self.valency_of(obj)})" + "".join(f"\n     {other}" for other in found)
            for obj, found in self.adjacent.items()
        )


def _quoted(obj: Any) -> str:
    text = str(obj).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
