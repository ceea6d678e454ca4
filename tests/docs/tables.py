"""The parts of the documentation that are written from the code.

``python -m tests.docs.tables`` writes them anew; a test fails while they differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from django_qstash import conf
from django_qstash.application import known
from django_qstash.migrate.differences import SECTIONS
from tests.docs.pages import ROOT
from tests.engines.words import PAGES as ENGINES

SETTINGS_PAGE = ROOT / "docs" / "settings.md"
CELERY_PAGE = ROOT / "docs" / "celery.md"
ENV_SAMPLE = ROOT / ".env.sample"
WIDTH = 98
#: The types in words.
KINDS = {
    "str": "text",
    "str | None": "text",
    "bool": "yes or no",
    "int": "whole number",
    "float": "number",
    "Sequence[str] | None": "list of texts",
    "Mapping[str, Any]": "mapping",
}


def settings_table() -> str:
    """Every setting as a row of a Markdown table."""
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for row in conf.table():
        cells = (f"`{row.name}`", KINDS[row.kind], default(row), row.doc.replace("|", "or"))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def differences() -> str:
    """Where tasks behave differently than under Celery: a table for each part."""
    lines: list[str] = []
    for heading, found in SECTIONS:
        lines += [f"### {heading}", "", "| feature | Celery | here | difference |"]
        lines.append("|---|---|---|---|")
        for row in found:
            cells = (row.feature, row.celery, row.here, row.difference)
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def celery_settings() -> str:
    """The settings of Celery's that mean something here, and those that are always so."""
    names = sorted(known.HONOURED)
    lines = ["| setting | here |", "|---|---|"]
    lines += [f"| {', '.join(f'`{name}`' for name in names)} | honoured |"]
    told: dict[str, list[str]] = {}
    for name, (value, why) in known.ALWAYS.items():
        told.setdefault(f"always `{value!r}`: {why}".replace("'", '"'), []).append(f"`{name}`")
    lines += [f"| {', '.join(sorted(each))} | {why} |" for why, each in told.items()]
    dead = [*known.FAMILIES, *known.WITHOUT_EFFECT]
    reasons: dict[str, list[str]] = {}
    for name in dead:
        why = known.FAMILIES.get(name) or known.WITHOUT_EFFECT[name]
        reasons.setdefault(why, []).append(f"`{name}*`" if name.endswith("_") else f"`{name}`")
    lines += [
        f"| {', '.join(sorted(each))} | without effect: {why} |" for why, each in reasons.items()
    ]
    return "\n".join(lines) + "\n"


def words(page: str) -> str:
    """What another engine calls a thing, and what it is called here."""
    rows = [f"| {word.theirs} | {word.ours} |" for word in ENGINES[page]]
    return "\n".join(["| there | here |", "|---|---|", *rows]) + "\n"


def env_variables() -> str:
    """Every setting as a commented line of a .env file, its meaning above it."""
    lines: list[str] = []
    for row in conf.table():
        lines += ["", *(f"# {line}" for line in wrapped(row.doc)), f"# {row.name}={env_value(row)}"]
    return "\n".join(lines[1:]) + "\n"


def default(row: conf.Setting) -> str:
    if row.default in ("", None):
        return "not set"
    return f"`{row.default!r}`".replace("'", '"')


def env_value(row: conf.Setting) -> str:
    """The default as the environment writes it: :attr:`Setting.parse` reads it back."""
    value: Any = row.default
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value)


def wrapped(text: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


#: Which part of which file is written by whom: the marks around it, and what stands between them.
PARTS = (
    (SETTINGS_PAGE, "<!-- Written by tests.docs.tables. -->\n", "<!-- End. -->\n", settings_table),
    (CELERY_PAGE, "<!-- Written by tests.docs.tables. -->\n", "<!-- End. -->\n", differences),
    (
        CELERY_PAGE,
        "<!-- Settings, by tests.docs.tables. -->\n",
        "<!-- End of it. -->\n",
        celery_settings,
    ),
    *(
        (
            ROOT / "docs" / f"{page}.md",
            "<!-- Written by tests.docs.tables. -->\n",
            "<!-- End. -->\n",
            partial(words, page),
        )
        for page in ENGINES
    ),
    (ENV_SAMPLE, "# --- django-qstash: every setting, with its default ---\n", None, env_variables),
)


def renewed(path: Path, begin: str, end: str | None, write: Any) -> str:
    """The file's text with that part written anew."""
    before, mark, rest = path.read_text(encoding="utf-8").partition(begin)
    if not mark:
        raise ValueError(f"{path.name} has no line {begin!r}")
    after = ""
    if end is not None:
        _, mark, after = rest.partition(end)
        if not mark:
            raise ValueError(f"{path.name} has no line {end!r}")
        after = end + after
    return f"{before}{begin}\n{write()}" + (f"\n{after}" if after else "")


if __name__ == "__main__":
    for part in PARTS:
        part[0].write_text(renewed(*part), encoding="utf-8")
        sys.stdout.write(f"wrote {part[0].name}\n")
