"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import click

from .. import states

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_STYLES = {
    states.SCHEDULED: "cyan",
    states.QUEUED: "cyan",
    states.RUNNING: "bold blue",
    states.RETRYING: "yellow",
    states.SUCCEEDED: "green",
    states.FAILED: "bold red",
    states.REVOKED: "magenta",
    states.EXPIRED: "magenta",
    states.DEAD: "bold red",
}
#: Wide enough for every line of a table that no terminal limits.
_UNLIMITED = 1_000_000
#: Characters between two columns, and in a column that has been cut.
_GAP, _LEAST = 2, 12


class Column(NamedTuple):
    """A column of a table.

    :param shrinks: whether its cells may be cut where the terminal is too narrow; ids never are
    :param droppable: whether it may be left out there; the highest number goes first
    """

    heading: str
    shrinks: bool = False
    right: bool = False
    droppable: int = 0


def print_json(document: Any) -> None:
    """Print one document; what JSON does not know is printed as Python shows it.

    Numbers that are none are null there, as in the HTTP API.
    """
    click.echo(json.dumps(_finite(document), indent=2, default=repr, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table, as wide as it needs to be, and no wider than the terminal if it can be."""
    from rich.table import Table

    screen = _console()
    cells = [[text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = _widths(columns, cells, screen.width)
    screen.width = max(screen.width, _total(widths))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for at, width in widths.items():
        side: Literal["left", "right"] = "right" if columns[at].right else "left"
        table.add_column(
            columns[at].heading, width=width, no_wrap=True, overflow="ellipsis", justify=side
        )
    for row in cells:
        table.add_row(*(row[at] for at in widths))
    _print(screen, table)


def _widths(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], available: int
) -> dict[int, int]:
    """The columns there is room for, and how wide each is: as its longest cell, or cut."""
    widths = {
        at: max([len(column.heading), *(row[at].cell_len for row in cells)])
        for at, column in enumerate(columns)
    }
    least = {at: min(w, _LEAST) if columns[at].shrinks else w for at, w in widths.items()}
    for at in sorted(widths, key=lambda at: columns[at].droppable, reverse=True):
        if columns[at].droppable and _total(least) > available:
            del widths[at], least[at]
    while _total(widths) > available:
        room = {at: width for at, width in widths.items() if width > least[at]}
        if not room:
            break
        widths[max(room, key=lambda at: room[at])] -= 1
    return widths


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _print(screen: Console, table: Table) -> None:
    """Print a table without the blanks at the ends of its lines."""
    with screen.capture() as captured:
        screen.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_facts(facts: Iterable[tuple[str, str | Text | None]]) -> None:
    """Print names and values below each other; those without a value are left out."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            table.add_row(name, text(value) if isinstance(value, str) else value)
    _print(_console(), table)


def _console() -> Console:
    """Where tables go: the terminal with its width, or a file or pipe without any."""
    from rich.console import Console

    limited = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(
        file=sys.stdout,
        width=None if limited else _UNLIMITED,
        markup=False,
        highlight=False,
        emoji=False,
    )


def state_text(state: str) -> Text:
    """A state in its colour."""
    from rich.text import Text

    return Text(state, _STYLES.get(state, ""))


def text(value: str) -> Text:
    """A text of a user's, without what a terminal would obey."""
    from rich.text import Text

    return Text(plain(value))


def plain(value: str) -> str:
    """The same with control characters written out, but for ends of lines."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in value
    )


def one_line(value: str | None) -> str:
    """The same on one line."""
    return " ".join((value or "").split())


def as_value(value: Any) -> str:
    """A value as JSON, or else as Python shows it."""
    return json.dumps(value, default=repr, ensure_ascii=False)
