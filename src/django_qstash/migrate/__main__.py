"""``python -m django_qstash.migrate PATH [--write]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap

from django_qstash.migrate.codebase import CodeBase, Place, read

PROG = "python -m django_qstash.migrate"
#: Places that are shown of one row; the others are counted.
SHOWN = 10
NEXT = (
    "Then, in the settings: add 'django_qstash' and 'django_qstash.results' to INSTALLED_APPS, "
    'include "django_qstash.urls" at /qstash/webhook/ in the root URLconf, and run migrate.'
)


def main(argv: Sequence[str] | None = None) -> int:
    """0 if every import has its counterpart; 1 if some have none, 2 for no such path."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Swap the imports of a code base that uses Celery, and list what behaves "
        "differently with django-qstash. Without --write nothing is changed.",
    )
    parser.add_argument("path", type=Path, help="a folder, or one Python file")
    parser.add_argument("--write", action="store_true", help="write the changed files")
    given = parser.parse_args(argv)
    if not given.path.exists():
        parser.error(f"there is no {given.path}")
    found = read(given.path)
    if given.write:
        for source in found.changed():
            source.write()
    sys.stdout.write("\n".join(report(found, written=given.write)) + "\n")
    return 1 if found.left() or found.unread else 0


def report(found: CodeBase, *, written: bool) -> Iterator[str]:
    """What people read, line by line."""
    changed = found.changed()
    if written:
        for source in changed:
            yield f"wrote {found.name(source.path)}"
    else:
        for source in changed:
            yield source.diff(found.name(source.path)).rstrip()
    if not changed:
        yield "No import of Celery's is to be swapped."
    for heading, places in (
        ("These imports stay, since there is nothing in their place:", found.left()),
        ("These files cannot be read as Python:", found.unread),
        ("These texts look like paths into Celery; change them by hand:", found.paths()),
        ("These programs are no longer needed:", found.starts),
    ):
        yield from _listed(heading, places, found)
    yield from _differences(found)
    if changed and not written:
        yield f"\nNothing is written yet: {PROG} {found.root} --write"
    if changed:
        yield from ("", *wrap(NEXT, 100))


def _differences(found: CodeBase) -> Iterator[str]:
    met = list(found.met())
    if met:
        yield "\nWhat behaves differently (docs/celery.md):"
    for row, places in met:
        yield f"\n{row.feature}"
        for word, text in (("Celery", row.celery), ("here", row.here), ("so", row.difference)):
            yield from wrap(
                text, 100, initial_indent=f"  {word + ':':8}", subsequent_indent=" " * 10
            )
        for place in places[:SHOWN]:
            yield f"  {found.name(place.path)}:{place.line}: {place.text}"
        if len(places) > SHOWN:
            yield f"  … and {len(places) - SHOWN} more"


def _listed(heading: str, places: Sequence[Place], found: CodeBase) -> Iterator[str]:
    if places:
        yield f"\n{heading}"
        for place in places:
            yield f"  {found.name(place.path)}:{place.line}: {place.text}"


if __name__ == "__main__":
    sys.exit(main())
