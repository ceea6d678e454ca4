"""What the pages show is what happens: their code is run, their links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import PAGES, ROOT, RUN, Block, blocks
from tests.docs.run import Wrong, commands, fits

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def by_name(page):
    return str(page.relative_to(ROOT))


def has_code(page):
    return any(block.language in RUN and block.directive != "no-run" for block in blocks(page))


@pytest.mark.parametrize("page", list(filter(has_code, PAGES)), ids=by_name)
def test_the_code_on_the_page_runs(page, tmp_path):
    environment = {
        name: value
        for name, value in os.environ.items()
        if "QSTASH" not in name and name != "DEBUG"
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.docs.run", str(page), str(tmp_path)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_every_link_between_pages_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")

    broken = []
    for link in _LINK.findall(text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def anchors(page):
    """The anchors that Markdown renderers make of headings."""
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


def test_every_page_is_named_on_the_first_one():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")

    missing = [page.name for page in PAGES[1:] if page.name != "index.md" if page.name not in index]

    assert missing == []


def test_a_page_whose_code_fails_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```pycon\n>>> 1 + 1\n3\n```\n")
    project = tmp_path / "project"
    project.mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.run", str(page), str(project)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "page.md:4" in done.stderr
    assert "Expected:\n    3\nGot:\n    2" in done.stderr


def test_what_a_command_prints_is_compared_around_the_gaps():
    assert fits("a\n…\nd", "a\nb\nc\nd\n")
    assert fits("one  …", "one  two")
    assert not fits("a\nc", "a\nb\n")


def test_output_without_a_command_is_refused():
    with pytest.raises(Wrong, match="output of no command"):
        commands(Block("console", "printed\n", 1))


def test_a_comment_that_means_nothing_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- norun: typo -->\n```console\n$ ls\n```\n")

    with pytest.raises(ValueError, match="norun"):
        blocks(page)
