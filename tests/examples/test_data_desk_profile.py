"""What the data desk finds in a file, compared with exact computations."""

from __future__ import annotations

import csv
import io
import json
import random
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.data_desk.data_desk.cell import CellReader
from examples.data_desk.data_desk.column import Column
from examples.data_desk.data_desk.csv_file import UnreadableFile
from examples.data_desk.data_desk.panels import over_time
from examples.data_desk.data_desk.plot import draw
from examples.data_desk.data_desk.profile import Profile, profile_file
from examples.data_desk.data_desk.time_buckets import MAX_BUCKETS, TimeBuckets
from examples.data_desk.data_desk.uploads import display_name

from .data_desk_support import FOLDER, SHIPPED


def profile(tmp_path: Path, content: bytes) -> Profile:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    return profile_file(path, lambda current, total: None)


def column_of(cells: list[str], name: str = "x", **options: bool) -> dict[str, Any]:
    column = Column(name, **options)
    for start in range(0, len(cells), 700):
        column.update(cells[start : start + 700])
    return column.summary()


@pytest.mark.parametrize("whole", [True, False])
def test_few_numbers_are_described_exactly(whole: bool) -> None:
    dice = random.Random(7)
    numbers = [dice.randrange(-50, 50) if whole else dice.gauss(5, 9) for _ in range(901)]
    cells = [repr(number) for number in numbers] + ["", "NA", " null "]
    dice.shuffle(cells)
    found = column_of(cells)
    assert found["type"] == ("integer" if whole else "number")
    assert found["missing"] == 3
    assert found["distinct"] == {"count": len(set(numbers)), "approximate": False}
    assert (found["min"], found["max"]) == (min(numbers), max(numbers))
    assert found["mean"] == pytest.approx(np.mean(numbers))
    assert found["quantiles_approximate"] is False
    for rank, value in found["quantiles"].items():
        assert value == np.quantile(numbers, float(rank), method="inverted_cdf")
    assert sum(found["histogram"]["bars"]) == pytest.approx(901, abs=24)


def test_many_numbers_are_described_well_and_marked() -> None:
    dice = random.Random(8)
    numbers = [round(dice.lognormvariate(3, 1), 6) for _ in range(120_000)]
    found = column_of([str(number) for number in numbers])
    assert found["quantiles_approximate"] is True
    assert found["distinct"]["approximate"] is True
    assert found["distinct"]["count"] == pytest.approx(len(set(numbers)), rel=0.06)
    assert found["mean"] == pytest.approx(np.mean(numbers))
    assert (found["min"], found["max"]) == (min(numbers), max(numbers))
    ordered = np.sort(numbers)
    for rank, value in found["quantiles"].items():
        assert np.searchsorted(ordered, value) / len(ordered) == pytest.approx(
            float(rank), abs=0.01
        )


def test_few_values_stay_exact_in_a_long_column() -> None:
    dice = random.Random(9)
    numbers = [dice.randrange(200) for _ in range(50_000)]
    found = column_of([str(number) for number in numbers])
    assert found["quantiles_approximate"] is False
    assert found["quantiles"]["0.5"] == np.quantile(numbers, 0.5, method="inverted_cdf")
    value, count = max(((n, numbers.count(n)) for n in set(numbers)), key=lambda item: item[1])
    assert found["top"][0] == {"value": str(value), "count": count, "approximate": False}


def test_common_values_are_found_among_many() -> None:
    dice = random.Random(10)
    words = [f"word {dice.randrange(10**9)}" for _ in range(60_000)] + ["often"] * 9_000
    dice.shuffle(words)
    found = column_of(words)
    assert found["type"] == "text"
    top = found["top"][0]
    assert (top["value"], top["approximate"]) == ("often", True)
    assert top["count"] == pytest.approx(9_000, rel=0.05)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for rows in (40_000, 200_000):
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("id,text,moment\n")
            start = datetime.fromisoformat("2020-01-01")
            for row in range(rows):
                moment = start + timedelta(seconds=37 * row)
                file.write(f"{row},some text {row * 7919},{moment}\n")
        program = (
            "import resource, sys; from pathlib import Path\n"
            "from data_desk.profile import profile_file\n"
            "profile_file(Path(sys.argv[1]), lambda current, total: None)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        command = [sys.executable, "-c", program, str(path)]
        done = subprocess.run(command, cwd=FOLDER, check=True, capture_output=True, timeout=100)
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] * 1.1


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "+3", "0"], "integer"),
        (["1,234", "12,345,678"], "integer"),
        (["1", "2.5", "1e-3", ".5"], "number"),
        (["00123", "01234"], "text"),
        (["12345678901234567890"], "text"),
        (["inf", "1e999"], "text"),
        (["yes", "No", "TRUE", "f"], "boolean"),
        (["2024-02-29", "2024/1/5"], "date"),
        (["2024-02-30"], "text"),
        (["2024-02-29T12:00:00Z", "2024-02-29 12:00+02:00"], "date/time"),
        (["31/12/2024", "01/02/2024"], "date"),
        (["31.12.2024 10:30"], "date/time"),
        (["", " ", "n/a"], "missing"),
        (["1"] * 99 + ["about 5"], "integer"),
        (["1"] * 9 + ["about 5"], "text"),
        (["1_000", "0x10", "\N{ARABIC-INDIC DIGIT ONE}"], "text"),
    ],
)
def test_kinds(cells: list[str], kind: str) -> None:
    assert column_of(cells)["type"] == kind


def test_misfits_are_counted() -> None:
    assert column_of(["1"] * 99 + ["about 5"])["misfits"] == 1


def test_decimal_commas_belong_to_semicolons(tmp_path: Path) -> None:
    found = profile(tmp_path, b"price;n\n1,5;1\n2,5;2\n-3,25;3\n").summary()["columns"][0]
    assert (found["type"], found["min"], found["max"]) == ("number", -3.25, 2.5)


def test_day_and_month(tmp_path: Path) -> None:
    american = profile(tmp_path, b"day\n01/31/2024\n02/01/2024\n").summary()
    assert american["columns"][0]["max"] == "2024-02-01"
    assert american["notes"] == []
    unclear = profile(tmp_path, b"day\n01/02/2024\n").summary()
    assert unclear["columns"][0]["max"] == "2024-02-01"
    assert "day/month/year" in unclear["notes"][0]


def test_moments_are_compared_in_utc() -> None:
    found = column_of(["2024-01-01T00:30:00+02:00", "2023-12-31T23:00:00Z"])
    assert (found["min"], found["max"]) == ("2023-12-31 22:30:00", "2023-12-31 23:00:00")


def test_wide_files_and_long_values(tmp_path: Path) -> None:
    header = ",".join(f"c{number}" for number in range(400)).encode()
    long = [b"x" * 5000 + str(number).encode() for number in (1, 2, 2)]
    rows = [text + b",1" * 399 for text in long]
    found = profile(tmp_path, b"\n".join([header, *rows])).summary()
    assert len(found["columns"]) == 256
    assert "first 256 of 400 columns" in found["notes"][0]
    assert found["columns"][0]["distinct"]["count"] == 2
    assert len(found["columns"][0]["top"][0]["value"]) < 100


def test_ragged_rows_are_counted(tmp_path: Path) -> None:
    found = profile(tmp_path, b"a,b,c\n1,2,3\n1\n1,2\n1,2,3,4\n\n1,2,3\n").summary()
    assert (found["rows"], found["ragged_rows"]) == (5, 3)
    assert [column["missing"] for column in found["columns"]] == [0, 1, 2]
    assert "The first such row ends in line 3." in found["notes"][-1]


@given(st.lists(st.floats(-6e10, 2.5e11), min_size=1, max_size=300))
def test_time_buckets_lose_nothing(moments: list[float]) -> None:
    buckets = TimeBuckets()
    buckets.update(moments, [1] * len(moments))
    unit, series = buckets.series(180)
    assert sum(count for _, count in series) == len(moments)
    assert [at for at, _ in series] == sorted({at for at, _ in series})
    assert unit == "year" or len(series) <= 200


def test_a_few_far_dates_do_not_hide_the_others() -> None:
    column = Column("day")
    days = [f"2024-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)]
    column.update(["1900-01-01", *days, "9999-12-31"])
    words, _ = over_time(column)
    assert "per month of day (middle 98 %), from January 2024 to December 2024" in words


def test_time_buckets_stay_few() -> None:
    buckets = TimeBuckets()
    for day in range(0, 10_000_000, 400):
        buckets.update([day * 60.0], [1])
    unit, series = buckets.series(MAX_BUCKETS)
    assert (unit, len(series)) == ("month", 229)
    assert sum(count for _, count in series) == 25_000


SLOW_IS_FINE = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def check(found: Profile) -> None:
    summary = found.summary()
    json.dumps(summary, allow_nan=False)
    for column in summary["columns"]:
        assert column["missing"] + column["present"] == summary["rows"]
        assert column["distinct"]["count"] <= column["present"]
        assert sum(top["count"] for top in column["top"]) <= column["present"]


@SLOW_IS_FINE
@given(st.binary(max_size=2000) | st.text(max_size=600).map(lambda text: text.encode("utf-8")))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    try:
        found = profile(tmp_path, content)
    except UnreadableFile as error:
        refusal = str(error)
    else:
        refusal = "None."
        check(found)
    assert refusal.endswith((".", "?"))


CELLS = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.datetimes().map(str)
    | st.dates().map(lambda day: f"{day.day}/{day.month}/{day.year}")
    | st.sampled_from(["", "yes", "no", "NA", "line\nbreak", 'quo"te', "1,5", "$x$", "_{"])
)


@SLOW_IS_FINE
@given(
    st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=12)
    ),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_table_is_read_in_full(
    tmp_path: Path, rows: list[list[str]], delimiter: str, encoding: str
) -> None:
    file = io.StringIO(newline="")
    names = [f"name {'abcd'[at]}" for at in range(len(rows[0]) if rows else 2)]
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([names, *rows])
    found = profile(tmp_path, file.getvalue().encode(encoding))
    check(found)
    assert [column.name for column in found.columns] == names
    assert (found.rows, found.summary()["ragged_rows"]) == (len(rows), 0)


@settings(deadline=None, max_examples=12)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=40))
def test_anything_can_be_drawn(rows: list[tuple[str, str, str]]) -> None:
    columns = [
        Column(name) for name in ("$a_{", "b\n\N{SNOWMAN}", "\N{CJK UNIFIED IDEOGRAPH-65E5}")
    ]
    for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
        column.update(list(cells))
    layout: Any = None
    drawing = draw(Profile(layout, columns, rows=len(rows)))
    if drawing is not None:
        assert set(drawing.pictures) == {"light", "dark", "light-narrow", "dark-narrow"}
        assert all(png.startswith(b"\x89PNG") for png in drawing.pictures.values())
        assert drawing.alt.endswith(".")


def test_progress_ends_where_it_should() -> None:
    steps: list[tuple[int, int]] = []
    profile_file(SHIPPED, lambda current, total: steps.append((current, total)))
    assert steps[0] == (0, 19805)
    assert steps[-1] == (19805, 19805)
    assert [current for current, _ in steps] == sorted(current for current, _ in steps)
    assert len(steps) > 5


@given(st.text())
def test_a_displayed_name_is_one_harmless_line(name: str) -> None:
    shown = display_name(name)
    assert 0 < len(shown) <= 120
    assert shown.isprintable()
    assert not set("/\\\r\n") & set(shown)


@given(CELLS)
def test_any_cell_has_a_kind(cell: str) -> None:
    reader = CellReader(decimal_comma=False)
    reader.learn([cell.strip()])
    kind, value = reader.read(cell.strip())
    assert kind
    assert value == value  # noqa: PLR0124 - never NaN
