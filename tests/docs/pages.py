"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(\w*)\s*$")
_DIRECTIVE = re.compile(r"^<!-- ([a-z-]+)(?:: (.+?))? -->$")
#: What a comment before a block may say of it.
DIRECTIVES = {
    "file": "the block is this whole file",
    "append": "the block is added to the end of this file",
    "no-run": "the block is not run, for this reason",
}
#: Languages of blocks that are run. Others, and none, are for people to read.
RUN = {"python", "pycon", "console"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    #: Line of the page on which the code begins.
    line: int
    #: What the comment before it says: a word of ``DIRECTIVES`` and what follows it.
    directive: str = ""
    argument: str = ""


def blocks(page: Path) -> list[Block]:
    """Every fenced block. Raises ``ValueError`` for a comment that means nothing."""
    found: list[Block] = []
    comment: re.Match[str] | None = None
    opened: tuple[str, int] | None = None
    code: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if opened is not None:
            if line.rstrip() == "```":
                word, argument = (comment[1], comment[2] or "") if comment else ("", "")
                text = "\n".join(code) + "\n"
                found.append(Block(opened[0], text, opened[1], word, argument))
                opened, comment, code = None, None, []
            else:
                code.append(line)
        elif fence := _FENCE.match(line):
            opened = fence[1], number + 1
        elif mark := _DIRECTIVE.match(line):
            if mark[1] not in DIRECTIVES or not mark[2]:
                raise ValueError(f"{page.name}:{number}: {line} is none of {sorted(DIRECTIVES)}")
            comment = mark
        elif line.strip() and comment is not None:
            raise ValueError(f"{page.name}:{number}: a comment for a block, and no block")
    if opened is not None:
        raise ValueError(f"{page.name}:{opened[1]}: the block is never closed")
    return found
