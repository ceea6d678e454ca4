"""The imports of one file, with ``celery`` replaced by what stands in for it."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from django_qstash.migrate.mirror import MIRROR, home, is_celerys, why_not

_FROM = re.compile(r"from(\s+)celery[\w.]*")
#: A text that may be the path of something in Celery, such as what a test patches.
_PATH = re.compile(r"celery(\.[a-z_]\w*)+(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Remark:
    """A place that people have to look at."""

    line: int
    text: str


@dataclass(frozen=True)
class Swapped:
    """A file's new text, and what could not be done by itself."""

    text: str
    #: Imports that stay as they are, since there is nothing to import in their place.
    left: tuple[Remark, ...]
    #: Texts that look like paths into Celery.
    paths: tuple[Remark, ...]


def swapped(text: str, tree: ast.Module) -> Swapped:
    """``text``, parsed as ``tree``, with its imports swapped."""
    # As Python counts lines: str.splitlines also ends one at a form feed.
    lines = io.StringIO(text, newline="").readlines()
    left: list[Remark] = []
    edits: list[tuple[ast.stmt, list[str]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level or not is_celerys(node.module):
                continue
            found = list(_missing_names(node))
            new = [] if found else [_from(node, _segment(lines, node))]
        elif isinstance(node, ast.Import):
            if not any(is_celerys(alias.name) for alias in node.names):
                continue
            found = list(_missing_modules(node))
            new = [] if found else _plain(node)
        else:
            continue
        left += found
        if new:
            edits.append((node, new))
    for node, new in sorted(edits, key=lambda edit: (-edit[0].lineno, -edit[0].col_offset)):
        _replace(lines, node, new)
    by_line = sorted(left, key=lambda remark: remark.line)
    return Swapped("".join(lines), tuple(by_line), tuple(_paths(tree)))


def _missing_names(node: ast.ImportFrom) -> Iterator[Remark]:
    for alias in node.names:
        if problem := why_not(str(node.module), alias.name):
            yield Remark(node.lineno, problem)


def _missing_modules(node: ast.Import) -> Iterator[Remark]:
    for alias in node.names:
        if is_celerys(alias.name) and (problem := why_not(alias.name)):
            yield Remark(node.lineno, problem)


def _from(node: ast.ImportFrom, written: str) -> str:
    """``from celery.x import a, b``: the rest of it stays as it is written."""
    place = home(str(node.module), [alias.name for alias in node.names])
    return _FROM.sub(lambda match: f"from{match[1]}{place}", written, count=1)


def _plain(node: ast.Import) -> list[str]:
    """``import celery.x``: the name that it binds stays the same, so the code below it works."""
    new: list[str] = []
    for alias in node.names:
        name = alias.name
        if not is_celerys(name):
            new.append(f"import {name} as {alias.asname}" if alias.asname else f"import {name}")
            continue
        ours = MIRROR + name.removeprefix("celery")
        if alias.asname:
            new.append(f"import {ours} as {alias.asname}")
        else:
            new.append("from django_qstash import celery")
            if name != "celery":
                new.append(f"import {ours}")
    return list(dict.fromkeys(new))


def _paths(tree: ast.Module) -> Iterator[Remark]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            # celery.task is the name of a logger, and Celery has no such module any more.
            if _PATH.fullmatch(text) and not text.startswith("celery.task"):
                yield Remark(node.lineno, text)


def _segment(lines: list[str], node: ast.stmt) -> str:
    """The statement as it is written."""
    before, last, _ = _bounds(lines, node)
    whole = "".join([*lines[node.lineno - 1 : (node.end_lineno or node.lineno) - 1], last])
    return whole[len(before) :]


def _bounds(lines: list[str], node: ast.stmt) -> tuple[str, str, str]:
    """What stands before a statement on its first line, it on its last, and what stands after."""
    before = _cut(lines[node.lineno - 1], node.col_offset)[0]
    last, after = _cut(lines[(node.end_lineno or node.lineno) - 1], node.end_col_offset or 0)
    return before, last, after


def _cut(line: str, offset: int) -> tuple[str, str]:
    # Positions in a syntax tree count bytes.
    raw = line.encode()
    return raw[:offset].decode(), raw[offset:].decode()


def _replace(lines: list[str], node: ast.stmt, new: list[str]) -> None:
    before, _, after = _bounds(lines, node)
    ending = "\r\n" if lines[node.lineno - 1].endswith("\r\n") else "\n"
    # What shares its line with another statement goes on sharing it.
    between = (
        "; "
        if before.strip() or after.strip(" \t\r\n;")[:1] not in ("", "#")
        else (f"{ending}{before}")
    )
    first, last = node.lineno - 1, node.end_lineno or node.lineno
    lines[first:last] = [f"{before}{between.join(new)}{after}"]
