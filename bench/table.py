"""A table in Markdown that also reads well in a terminal."""

from __future__ import annotations


def table(rows: list[list[str]]) -> str:
    """Put rows of cells below each other, the first being the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
