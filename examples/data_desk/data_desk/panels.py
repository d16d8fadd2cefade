"""The pictures of one column: over time, spread, most common values. Each comes with its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .cell import Kind
from .column import Column

MOST_BUCKETS = 180
BARS = 40
MIDDLE = " (middle 98 %)"


@dataclass(frozen=True)
class Colors:
    """The colours of one look of the page."""

    paper: str
    ink: str
    soft: str
    rule: str
    bar: str


Panel = Callable[[Axes, Colors], None]


def over_time(column: Column) -> tuple[str, Panel]:
    """Rows per year, month, day, hour or minute."""
    assert column.buckets is not None
    assert column.moments is not None
    low, high = column.moments.main_range()
    unit, series = column.buckets.series(MOST_BUCKETS, (low, high))
    cut = low > column.moments.smallest or high < column.moments.largest
    starts = [at for at, _ in series]
    heights = [count for _, count in series]
    place = heights.index(max(heights))
    written = [_written(unit, at) for at in starts]
    name = _short(column.name) + (MIDDLE if cut else "")
    most = f"{heights[place]:,}"
    alt = (
        f"Bars of the rows per {unit} of {name}, from {written[0]} to {written[-1]}; "
        f"the most, {most}, in {written[place]}."
    )

    def panel(axes: Axes, colors: Colors) -> None:
        _heading(axes, f"Rows per {unit}", name, colors)
        axes.bar(range(len(series)), heights, width=0.82, color=colors.bar, linewidth=0)
        axes.set_xlim(-0.8, len(series) - 0.2)
        axes.set_ylim(0, max(heights) * 1.15)
        ticks = _time_ticks(unit, starts)
        axes.set_xticks([tick for tick, _ in ticks], [text for _, text in ticks])
        # Near an edge the words go inwards.
        third = int(10 * place / len(series))
        axes.annotate(
            f"{written[place]}: {most}",
            (place, heights[place]),
            xytext=(0, 4),
            textcoords="offset points",
            ha="left" if third < 2 else "right" if third > 7 else "center",
            fontsize=8.5,
            color=colors.ink,
        )
        _count_axis(axes)

    return alt, panel


def histogram(column: Column) -> tuple[str, Panel]:
    """How the numbers are spread, and their median."""
    assert column.numbers is not None
    numbers = column.numbers
    edges, counts = numbers.histogram(BARS)
    middle, approximate = column.median()
    name = _short(column.name)
    about = "about " if approximate else ""
    alt = (
        f"Histogram of {name} from {_number(numbers.smallest)} to {_number(numbers.largest)}, "
        f"median {about}{_number(middle)}."
    )
    cut = edges[0] > numbers.smallest or edges[-1] < numbers.largest

    def panel(axes: Axes, colors: Colors) -> None:
        _heading(axes, "Spread", name + (MIDDLE if cut else ""), colors)
        width = edges[1] - edges[0]
        lefts = edges[:-1]
        axes.bar(lefts, counts, width=width * 0.9, align="edge", color=colors.bar, linewidth=0)
        axes.set_ylim(0, max(counts) * 1.18)
        axes.axvline(middle, color=colors.ink, linewidth=1, linestyle=(0, (3, 3)))
        right = middle > (edges[0] + edges[-1]) / 2
        axes.annotate(
            f"median {'≈ ' if approximate else ''}{_number(middle)}",
            (middle, max(counts) * 1.18),
            xytext=(-5 if right else 5, -10),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=8.5,
            color=colors.ink,
        )
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=column.kind is Kind.INTEGER))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
        _count_axis(axes)

    return alt, panel


def common_values(column: Column) -> tuple[str, Panel]:
    """The most common values and how often they come."""
    top = column.top()[:7]
    name = _short(column.name)
    first, estimate = top[0]
    alt = (
        f"Bars of the most common values of {name}, "
        f"first {_short(first, 40)} with {estimate.count:,} row{'s' * (estimate.count != 1)}."
    )

    def panel(axes: Axes, colors: Colors) -> None:
        shift = _make_room(axes, max(len(_short(text, 18)) for text, _ in top))
        _heading(axes, "Most common", name, colors, left=-shift)
        places = range(len(top))
        heights = [count.count for _, count in top]
        axes.barh(places, heights, height=0.66, color=colors.bar, linewidth=0)
        axes.set_ylim(max(len(top), 4) - 0.4, -0.6)
        axes.set_yticks(list(places), [_short(text, 18) for text, _ in top])
        axes.tick_params(axis="y", labelcolor=colors.ink, labelsize=8.5)
        axes.set_xlim(0, max(heights) * 1.28)
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        for place, (_, count) in enumerate(top):
            text = f"{'≈ ' if count.approximate else ''}{count.count:,}"
            axes.annotate(
                text,
                (count.count, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=colors.soft,
            )

    return alt, panel


def _make_room(axes: Axes, letters: int) -> float:
    """Move the left edge so that long names fit beside it; by which share of the new width."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    extra = max(0.0, letters * 0.071 - 0.6) / figure.get_figwidth()
    box = axes.get_position()
    axes.set_position((box.x0 + extra, box.y0, box.width - extra, box.height))
    return extra / (box.width - extra)


def _heading(axes: Axes, what: str, name: str, colors: Colors, left: float = 0) -> None:
    axes.set_title(
        what, loc="left", x=left, fontsize=10.5, fontweight="bold", color=colors.ink, pad=12
    )
    axes.set_title(name, loc="right", fontsize=9, color=colors.soft, pad=12)


def _count_axis(axes: Axes) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _time_ticks(unit: str, starts: list[datetime]) -> list[tuple[int, str]]:
    """Few labels at round places."""
    if unit == "year":
        step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 500) if len(starts) / s <= 10), 1000)
        return [(i, str(at.year)) for i, at in enumerate(starts) if at.year % step == 0]
    form = {"month": "%b %Y", "day": "%d %b %Y", "hour": "%d %b %H:%M", "minute": "%H:%M"}[unit]
    step = max(1, -(-len(starts) // 7))
    return [(i, at.strftime(form)) for i, at in enumerate(starts) if i % step == 0]


def _written(unit: str, at: datetime) -> str:
    if unit in ("year", "month"):
        return f"{at.year}" if unit == "year" else f"{at:%B} {at.year}"
    return at.date().isoformat() if unit == "day" else at.isoformat(" ", "minutes")


def _number(value: float) -> str:
    return f"{value:,.6g}".replace("-", "\N{MINUS SIGN}")


def _short(text: str, limit: int = 34) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
