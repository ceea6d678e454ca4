"""What the pages say of settings, checks and messages is compared with the code."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from django_qstash import conf
from tests.docs import tables
from tests.docs.pages import ROOT

SOURCE = ROOT / "src" / "django_qstash"
_CHECK_ID = re.compile(r"django_qstash\.[EWI]\d{3}")


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@cache
def sources():
    return {path: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}


@pytest.mark.parametrize("part", tables.PARTS, ids=lambda part: part[0].name)
def test_what_is_written_from_the_code_is_up_to_date(part):
    current = part[0].read_text(encoding="utf-8")

    assert current == tables.renewed(*part), "write it anew: python -m tests.docs.tables"


def test_every_check_is_on_the_page_of_settings_and_no_other():
    text = " ".join(sources().values())
    # One of them is put together from a number.
    numbers = set(re.findall(r'"([EWI]\d{3})"', text))

    ids = set(_CHECK_ID.findall(text)) | {f"django_qstash.{number}" for number in numbers}

    assert set(_CHECK_ID.findall(page("settings.md"))) == ids


def test_there_is_no_setting_that_no_code_reads():
    code = " ".join(sources().values())
    read = set(re.findall(r"(?:\bsettings\.|value_of\(\"|\bread\(\")(\w+)", code))

    assert {row.name for row in conf.table()} - read == set()


def messages():
    """The headings of troubleshooting that quote a message, cut at their gaps."""
    for heading in re.findall(r"^### (.+)$", page("troubleshooting.md"), re.MULTILINE):
        quoted = re.fullmatch(r"(?:The embedded server says )?`(.+)`", heading)
        if quoted:
            yield quoted[1]


@cache
def literals():
    """Every text in the package's code; a gap where an f-string has a value."""
    found = []
    for text in sources().values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                ]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@pytest.mark.parametrize("message", list(messages()))
def test_each_message_in_troubleshooting_is_one_that_the_code_has(message):
    # The subject and the complaint of a sentence may stand in two places.
    missing = [
        piece
        for piece in (part.strip() for part in message.split("…"))
        if piece and not any(piece in text for text in literals())
    ]

    assert missing == []


def test_the_sample_environment_sets_nothing_that_changes_the_defaults(tmp_path):
    """Copied as it is, .env.sample does what no file at all does."""
    from decouple import Config, RepositoryEnv

    config = Config(RepositoryEnv(str(ROOT / ".env.sample")))

    given = {name: config(name) for name in config.repository.data}

    assert given == {
        "DJANGO_DEBUG": "True",
        "DJANGO_SECRET_KEY": "",
        "ALLOWED_HOST": "",
        "CSRF_TRUSTED_ORIGIN": "",
        "USE_LOCAL_QSTASH": "False",
    }


@pytest.mark.parametrize("row", list(conf.table()), ids=lambda row: row.name)
def test_each_default_in_the_sample_environment_reads_back_as_itself(row):
    text = tables.env_value(row)

    assert f"# {row.name}={text}\n" in (ROOT / ".env.sample").read_text(encoding="utf-8")
    if text:
        assert row.parse(text) == row.default
