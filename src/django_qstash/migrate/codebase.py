"""A code base: its files read, what is to be changed in each, and what it meets of the table."""

from __future__ import annotations

import ast
import difflib
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django_qstash.migrate.differences import Difference, rows
from django_qstash.migrate.scan import Use, namespaces, programs, uses
from django_qstash.migrate.swap import Swapped, swapped

#: Folders that hold other people's code, or none.
SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env"})
#: Files that may start programs.
_STARTS = ("Procfile*", "Dockerfile*", "Makefile", "*.sh", "*.yml", "*.yaml", "*.service", "*.toml")


@dataclass(frozen=True)
class Source:
    """One Python file, read and looked through."""

    path: Path
    text: str
    swap: Swapped
    uses: tuple[Use, ...]

    @property
    def is_changed(self) -> bool:
        return self.swap.text != self.text

    def diff(self, name: str) -> str:
        """What is changed, in the form of ``diff -u``."""
        before, after = (text.splitlines(keepends=True) for text in (self.text, self.swap.text))
        return "".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", n=0))

    def write(self) -> None:
        """Write the new text in the encoding that the file is in."""
        self.path.write_bytes(self.swap.text.encode(_encoding(self.path)))


@dataclass(frozen=True)
class Place:
    """A line of a file that shows the use of a feature."""

    path: Path
    line: int
    text: str


@dataclass
class CodeBase:
    """What was found below a path."""

    root: Path
    sources: list[Source] = field(default_factory=list)
    #: Files that cannot be read as Python, and why.
    unread: list[Place] = field(default_factory=list)
    starts: list[Place] = field(default_factory=list)

    def name(self, path: Path) -> str:
        """The file's name below the root."""
        return str(path.relative_to(self.root) if path != self.root else path.name)

    def changed(self) -> list[Source]:
        return [source for source in self.sources if source.is_changed]

    def left(self) -> list[Place]:
        """Imports that stay, with the reason."""
        return [
            Place(source.path, remark.line, remark.text)
            for source in self.sources
            for remark in source.swap.left
        ]

    def paths(self) -> list[Place]:
        """Texts that look like paths into Celery."""
        return [
            Place(source.path, remark.line, remark.text)
            for source in self.sources
            for remark in source.swap.paths
        ]

    def met(self) -> Iterator[tuple[Difference, list[Place]]]:
        """The rows of the table that the code base meets, and where."""
        for row in rows():
            places = list(dict.fromkeys(self._places(row)))
            if places:
                yield row, places

    def _places(self, row: Difference) -> Iterator[Place]:
        for source in self.sources:
            for use in source.uses:
                for sign in row.signs:
                    if use.shows(sign):
                        yield Place(source.path, use.line, str(sign))


def read(root: Path) -> CodeBase:
    """Everything below a folder, or one file."""
    found = CodeBase(root)
    parsed: list[tuple[Path, str, ast.Module]] = []
    for path in _files(root, ("*.py",)):
        try:
            text = path.read_bytes().decode(_encoding(path))
            parsed.append((path, text, ast.parse(text, str(path))))
        except (SyntaxError, UnicodeDecodeError, ValueError) as error:
            found.unread.append(Place(path, getattr(error, "lineno", 0) or 0, str(error)))
    named = {name for _, _, tree in parsed for name in namespaces(tree)}
    prefixes = frozenset(named or {"CELERY"})
    for path, text, tree in parsed:
        seen = tuple(uses(tree, path, prefixes))
        found.sources.append(Source(path, text, swapped(text, tree), seen))
    for path in _files(root, _STARTS):
        try:
            started = list(programs(path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
        found.starts += [Place(path, use.line, f"celery {use.name}") for use in started]
    return found


def _encoding(path: Path) -> str:
    """What the file says of itself, as Python reads it. Raises ``SyntaxError``."""
    with path.open("rb") as file:
        return tokenize.detect_encoding(file.readline)[0]


def _files(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    if root.is_file():
        return [root] if any(root.match(pattern) for pattern in patterns) else []
    found = {path for pattern in patterns for path in root.rglob(pattern) if path.is_file()}
    return sorted(path for path in found if not _is_skipped(path.relative_to(root)))


def _is_skipped(path: Path) -> bool:
    return any(part in SKIPPED or part.startswith(".") for part in path.parts[:-1])
