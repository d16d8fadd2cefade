"""Reading our documents: their code blocks, headings and links.

A Python block whose first line is a comment with a file's name (``# app.py``) is that file. Other
Python blocks of a page run one after the other, in one namespace. A block that cannot run says so
and why, in a comment above it: ``<!-- not run: needs a Redis server -->``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob("bench/**/*.md"),
    ]
)

_FENCE = re.compile(
    r"^(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=fence)$", re.M | re.S
)
_NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*\Z")
_FILE_NAME = re.compile(r"# ([\w/]+\.py)\s*(\n|\Z)")
_HEADING = re.compile(r"^#+ +(.+?) *#*$", re.M)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)|^\[[^\]]+\]: +(\S+)", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    :param line: where its code begins in the page.
    :param file: the file it is, when it says so.
    :param runs: whether nothing says that it cannot run.
    """

    language: str
    code: str
    line: int
    file: str | None
    runs: bool


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        name = _FILE_NAME.match(match["code"])
        found.append(
            Block(
                language=match["language"],
                code=match["code"],
                line=text.count("\n", 0, match.start("code")) + 1,
                file=name[1] if name and match["language"] == "python" else None,
                runs=not _NOT_RUN.search(text, 0, match.start()),
            )
        )
    return found


def prose(page: Path) -> str:
    """A page's text without its code blocks."""
    return _FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """What ``#...`` may follow a link to the page, as GitHub makes them."""
    titles = (re.sub(r"[`*_]|\[|\]\(.*?\)", "", each) for each in _HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return [inline or reference for inline, reference in _LINK.findall(text)]
