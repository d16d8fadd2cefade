"""Draw a profile: rows over time if there are dates, the spread of numbers, common values."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from .cell import Kind
from .column import NUMERIC, TEMPORAL, Column
from .panels import Colors, Panel, common_values, histogram, over_time
from .profile import Profile

# Where they are installed, for letters that DejaVu does not have.
FALLBACKS = (
    "Noto Sans CJK JP",
    "Hiragino Sans",
    "Yu Gothic",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
)
INSTALLED = {font.name for font in fontManager.ttflist}
STYLE: Any = {
    "font.family": ["DejaVu Sans", *(name for name in FALLBACKS if name in INSTALLED)],
    "text.parse_math": False,  # a dollar sign in somebody's data starts no formula
}
LOOKS = {
    "light": Colors("#fffdf8", "#22261f", "#6a7064", "#e4e0d4", "#4c7a34"),
    "dark": Colors("#1d211b", "#ecebe2", "#a0a697", "#353a31", "#93c572"),
}


@dataclass(frozen=True)
class Drawing:
    """The plot as PNG, by look (light, dark, light-narrow, dark-narrow), and in words."""

    pictures: dict[str, bytes]
    alt: str


def draw(profile: Profile) -> Drawing | None:
    """Draw the most telling columns, or nothing when the file has no values to draw."""
    panels = _choose(profile)
    if not panels:
        return None
    pictures = {}
    for look, colors in LOOKS.items():
        pictures[look] = _render([panel for _, panel in panels], colors, wide=True)
        pictures[f"{look}-narrow"] = _render([panel for _, panel in panels], colors, wide=False)
    return Drawing(pictures, " ".join(words for words, _ in panels))


def _choose(profile: Profile) -> list[tuple[str, Panel]]:
    """Up to three panels: one wide, two beside each other."""
    columns = [column for column in profile.columns if column.present]
    panels = []
    dates = [column for column in columns if column.kind in TEMPORAL and _varies(column)]
    if dates:
        panels.append(over_time(max(dates, key=lambda column: column.present)))
    spread = [column for column in columns if _is_measure(column, profile.rows)]
    spread.sort(key=lambda column: -column.values.distinct().count)
    common = [column for column in columns if _is_category(column)]
    common.sort(key=lambda column: abs(column.values.distinct().count - 12))
    for column_a, column_b in zip([*spread, None], [*common, None], strict=False):
        if column_a is not None:
            panels.append(histogram(column_a))
        if column_b is not None:
            panels.append(common_values(column_b))
    # Not two beside each other and a hole: either one panel, or one wide and two small.
    if len(panels) < 3:
        panels += [histogram(column) for column in spread[1:]] if len(panels) == 2 else []
    return panels[:3] if len(panels) >= 3 else panels[:2]


def _varies(column: Column) -> bool:
    return column.moments is not None and column.moments.smallest < column.moments.largest


def _is_measure(column: Column, rows: int) -> bool:
    """Numbers whose spread says something: not constant, not a running number."""
    if column.kind not in NUMERIC or column.numbers is None:
        return False
    distinct = column.values.distinct().count
    numbered = column.kind is Kind.INTEGER and rows > 20 and distinct > 0.95 * rows
    return distinct > 2 and not numbered


def _is_category(column: Column) -> bool:
    if column.kind not in (Kind.TEXT, Kind.BOOLEAN):
        return False
    distinct = column.values.distinct().count
    top = column.top()
    covered = sum(count.count for _, count in top)
    return distinct > 1 and bool(top) and (covered > 0.1 * column.present or distinct < 50)


def _render(panels: list[Panel], colors: Colors, *, wide: bool) -> bytes:
    """Three panels are one above two where there is room; everything else is a pile."""
    beside = wide and len(panels) == 3
    rows = 2 if beside else len(panels)
    width, height = (8.8, 3.0 * rows) if wide else (4.4, 2.7 * rows)
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), facecolor=colors.paper)
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            rows,
            2 if beside else 1,
            left=0.75 / width,
            right=1 - 0.3 / width,
            top=1 - 0.62 / height,
            bottom=0.4 / height,
            hspace=0.55,
            wspace=0.34,
        )
        places = (
            [grid[0, :], grid[1, 0], grid[1, 1]]
            if beside
            else [grid[row, 0] for row in range(rows)]
        )
        for place, panel in zip(places, panels, strict=True):
            axes = figure.add_subplot(place)
            _frame(axes, colors)
            panel(axes, colors)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=150 if wide else 180, facecolor=colors.paper)
        return file.getvalue()


def _frame(axes: Axes, colors: Colors) -> None:
    axes.set_facecolor(colors.paper)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(colors.rule)
    axes.tick_params(colors=colors.soft, labelsize=8.5, length=0, pad=5)
    axes.grid(visible=True, axis="y", color=colors.rule, linewidth=0.8)
    axes.set_axisbelow(True)
