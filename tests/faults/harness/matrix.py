"""The matrix, as people read it: in the terminal, and in docs/reliability.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import apsw

from tests.faults.harness.checker import Cell

HEAD = (
    *("fault", "system", "verdict", "attempted", "acknowledged", "lost", "waiting", "unexpected"),
    *("run again", "completed twice", "recovered", "injections", "p99 recovery"),
)
BEGIN, END = "<!-- matrix: written by make faults -->", "<!-- end of the matrix -->"


def row(cell: Cell) -> list[str]:
    """What the matrix says of a cell."""
    verdict = cell.verdict
    if cell.not_tested:
        verdict = f"not tested: {cell.not_tested}"
    start = [cell.recipe, cell.system, verdict]
    if cell.not_tested or cell.plain:
        injections = [str(cell.injections or "-"), "-"] if not cell.not_tested else ["0", "-"]
        return start + ["-"] * 8 + injections
    p99 = cell.recovery(0.99)
    figures = (
        *(cell.attempted, cell.acknowledged, len(cell.lost), len(cell.waiting)),
        *(len(cell.unexpected), cell.duplicated, "-" if cell.twice is None else len(cell.twice)),
        *(cell.recovered, cell.injections, "-" if p99 is None else f"{p99:.1f} s"),
    )
    return start + [str(figure) for figure in figures]


def as_text(cells: Iterable[Cell]) -> str:
    rows = [list(HEAD), *(row(cell) for cell in cells)]
    widths = [max(len(line[column]) for line in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in rows
    )


def as_markdown(cells: Iterable[Cell]) -> str:
    lines = [HEAD, ["-"] * len(HEAD), *(row(cell) for cell in cells)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def circumstances() -> list[str]:
    """On what it was run."""
    names = ("celery", "kombu", "redis", "flask")
    packages = [f"{name} {importlib.metadata.version(name)}" for name in names]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    packages.append(f"SQLite {apsw.sqlite_lib_version()}")
    return [
        f"Python {platform.python_version()}, {', '.join(packages)}",
        f"{_version('redis-server', '--version')}, RabbitMQ {_version('rabbitmqctl', 'version')}",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory} GiB",
    ]


def _version(*command: str) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return f"{command[0]}: not there"
    found = re.search(r"\d+\.\d+\.\d+", said.stdout)
    return f"{command[0]} {found[0]}" if found and "server" in command[0] else (found or [""])[0]


def write(page: Path, cells: list[Cell], command: str, date: str) -> None:
    """Put the matrix into a page, between its two marks."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    said = [f"- {line}" for line in (date, *circumstances(), f"`{command}`")]
    matrix = "\n".join([BEGIN, "", *said, "", as_markdown(cells), "", END])
    page.write_text(before + matrix + after, encoding="utf-8")
