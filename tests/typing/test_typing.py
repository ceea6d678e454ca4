"""mypy and pyright agree with the marks in ``typed_tasks.py``: what they refuse and allow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CHECKED = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))


def marked() -> dict[str, set[int]]:
    """By file: the lines that must be refused."""
    return {
        path.name: {
            number
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if line.rstrip().endswith("# wrong")
        }
        for path in CHECKED
    }


def refused(found: list[tuple[str, int, str]]) -> tuple[dict[str, set[int]], str]:
    lines: dict[str, set[int]] = {path.name: set() for path in CHECKED}
    for name, number, _ in found:
        lines[name].add(number)
    return lines, "\n".join(f"{name}:{number}: {text}" for name, number, text in found)


@pytest.mark.timeout(180)
def test_mypy(tmp_path):
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\nfollow_imports = silent\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(config), "--no-error-summary",
         "--cache-dir", str(ROOT / ".mypy_cache" / "typing"), *map(str, CHECKED)],
        cwd=HERE, capture_output=True, text=True, check=False, env=_environment(),
    )  # fmt: skip
    found = [
        (Path(each[1]).name, int(each[2]), each[3])
        for each in re.finditer(r"^(\S+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    ]
    assert not done.stderr
    lines, told = refused(found)
    assert lines == marked(), told


@pytest.mark.timeout(180)
def test_pyright():
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--project", str(HERE),
         "--pythonpath", sys.executable],
        cwd=HERE, capture_output=True, text=True, check=False, env=_environment(),
    )  # fmt: skip
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    found = [
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"])
        for each in diagnostics
        if each["severity"] == "error"
    ]
    lines, told = refused(found)
    assert lines == marked(), told


def _environment() -> dict[str, str]:
    return {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "MYPYPATH": str(ROOT / "src")}
