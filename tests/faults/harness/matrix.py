"""The matrix, as people read it: in the terminal, and in docs/reliability.md."""

from __future__ import annotations

import datetime as dt
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
#: What the page says besides: how each row was made.
RUN = ("scale", "seed", "date")
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


def write(page: Path, cells: list[Cell], scale: float, order: list[str]) -> None:
    """Put cells into the matrix of a page, between its two marks.

    Other rows stay as they are, so that a long run can be taken in parts; but where they were made
    with other versions or on another machine, the matrix begins anew.

    :param order: the numbers of the recipes, as their rows are to follow each other
    """
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    old, _, after = rest.partition(END)
    here = "\n".join(f"- {line}" for line in circumstances())
    rows = _rows(old) if here in old else {}
    date = dt.datetime.now(dt.timezone.utc).date().isoformat()
    for cell in cells:
        made = [*row(cell), f"{scale:g}", str(cell.seed), date]
        rows[made[0], made[1]] = made

    def place(made: list[str]) -> tuple[object, ...]:
        return order.index(made[0].split()[0]), made[0], made[1].startswith("Celery")

    ordered = sorted(rows.values(), key=place)
    lines = [[*HEAD, *RUN], ["-"] * len([*HEAD, *RUN]), *ordered]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    page.write_text("\n".join([before + BEGIN, "", here, "", table, "", END + after]), "utf-8")


def _rows(table: str) -> dict[tuple[str, str], list[str]]:
    """The rows of a matrix that was written before, by fault and system."""
    lines = (line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| "))
    rows = [line for line in lines if len(line) == len([*HEAD, *RUN])]
    return {(made[0], made[1]): made for made in rows[2:]}
