"""Run one page as a reader would: a new Django project, and its blocks in their order.

``python -m tests.docs.run docs/start.md FOLDER``. README.md and docs/start.md begin with what
``startproject`` makes; every other page goes on with the files that docs/start.md has written.
Messages go through the Loopback transport, so nothing but the page's own project is needed.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT, RUN, Block, blocks

SETTINGS = "mysite.settings"
START = ROOT / "docs" / "start.md"
FROM_SCRATCH = (START, ROOT / "README.md")
#: Any text, in the output that a page shows.
GAP = "…"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Wrong(Exception):
    """A block does not do what the page says."""


class Reader:
    """Follows one page in a project of its own."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.is_set_up = False

    def begin(self) -> None:
        """Make the project, be in it, and let its messages be delivered in process."""
        django_admin = [sys.executable, "-m", "django", "startproject", "mysite", str(self.folder)]
        subprocess.run(django_admin, check=True)
        if self.page not in FROM_SCRATCH:
            for block in blocks(START):
                if block.directive in ("file", "append"):
                    self.write(block)
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
        os.environ["DJANGO_QSTASH_TRANSPORT"] = "django_qstash.transport.local.Loopback"

    def follow(self, block: Block) -> None:
        if block.directive == "no-run" or block.language not in RUN:
            return
        if block.directive in ("file", "append"):
            self.write(block)
        elif block.language == "console":
            self.type(block)
        elif block.language == "pycon":
            self.converse(block)
        else:
            self.execute(block)

    def write(self, block: Block) -> None:
        """Put the block into the file that it says."""
        path = self.folder / block.argument
        for package in reversed(path.relative_to(self.folder).parents[:-1]):
            (self.folder / package).mkdir(exist_ok=True)
            (self.folder / package / "__init__.py").touch()
        with path.open("w" if block.directive == "file" else "a", encoding="utf-8") as file:
            file.write(block.text)
        if self.is_set_up and path.suffix == ".py":
            module = ".".join(path.relative_to(self.folder).with_suffix("").parts)
            if module in sys.modules:
                raise Wrong(f"{block.argument} is loaded already; set it up earlier in the page")
            importlib.invalidate_caches()
            importlib.import_module(module)

    def type(self, block: Block) -> None:
        """Run the commands and compare what they print with what the page shows."""
        for command, shown in commands(block):
            words = shlex.split(command, comments=True)
            if words[:2] != ["python", "manage.py"] and words[1:3] != [
                "-m",
                "django_qstash.migrate",
            ]:
                raise Wrong(f"{command!r} is no command of ours; say why it is not run")
            done = subprocess.run(
                [sys.executable, *words[1:]],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            printed = done.stdout + done.stderr
            if done.returncode:
                raise Wrong(f"{command!r} ended with {done.returncode}:\n{printed}")
            if shown.strip() and not fits(shown, printed):
                raise Wrong(f"{command!r} prints:\n{printed}\nand the page shows:\n{shown}")

    def converse(self, block: Block) -> None:
        """Run a session of the interactive interpreter, and compare its answers."""
        self.set_up()
        test = doctest.DocTestParser().get_doctest(
            block.text, self.names, self.page.name, str(self.page), block.line - 1
        )
        runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
        told: list[str] = []
        runner.run(test, out=told.append, clear_globs=False)
        self.names.update(test.globs)
        if runner.failures:
            raise Wrong("".join(told))

    def execute(self, block: Block) -> None:
        self.set_up()
        # Lines as on the page, so that a traceback points there.
        code = compile("\n" * (block.line - 1) + block.text, str(self.page), "exec")
        exec(code, self.names)

    def set_up(self) -> None:
        """Start Django, once, as late as the page allows."""
        if self.is_set_up:
            return
        import django
        from django.core.management import call_command

        importlib.invalidate_caches()
        django.setup()
        call_command("migrate", verbosity=0)
        self.is_set_up = True


def commands(block: Block) -> list[tuple[str, str]]:
    """Each ``$ command`` of a console block, and the lines it is said to print."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            command, shown = found[-1]
            found[-1] = command, f"{shown}{line}\n"
        else:
            raise Wrong(f"{line!r} is output of no command")
    return found


def fits(shown: str, printed: str) -> bool:
    """True if the text printed is the one shown, each gap standing for anything."""
    pattern = ".*".join(re.escape(part) for part in squeeze(shown).split(GAP))
    return re.fullmatch(pattern, squeeze(printed), re.DOTALL) is not None


def squeeze(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def main(page: str, folder: str) -> int:
    path = Path(page).resolve()
    reader = Reader(path, Path(folder).resolve())
    todo = blocks(path)
    reader.begin()
    for block in todo:
        try:
            reader.follow(block)
        except Exception as error:
            sys.stderr.write(f"{path.name}:{block.line}: {type(error).__name__}: {error}\n")
            if not isinstance(error, Wrong):
                raise
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
