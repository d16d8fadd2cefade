from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import marks, measure, report, systems

PLAN = measure.Plan(repetitions=3)


def rows(**numbers: list[dict[str, float]]) -> report.Rows:
    return {system.name: numbers.get(system.name, []) for system in systems.ALL}


def verdict_of(text: str, title: str) -> str:
    line = next(line for line in text.splitlines()[::-1] if line.startswith(f"| {title} "))
    return line.split("|")[-2].strip()


def test_a_rate_is_not_slower_from_one_upwards_and_a_time_up_to_one() -> None:
    ours = {"drain_per_s": 200.0, "enqueue_per_s": 99.0, "median_ms": 1.0, "p99_ms": 2.5}
    theirs = {"drain_per_s": 200.0, "enqueue_per_s": 100.0, "median_ms": 1.0, "p99_ms": 2.0}
    text = report.render(rows(embedded=[ours], redis=[theirs]), PLAN, [])
    assert verdict_of(text, "drain with results, tasks/s") == "yes"
    assert verdict_of(text, "enqueue, tasks/s") == "NO"
    assert verdict_of(text, "round trip, median, ms") == "yes"
    assert verdict_of(text, "round trip, 99th percentile, ms") == "NO"
    assert verdict_of(text, "idle worker, % of a core") == "not measured"


def test_ratios_are_those_of_the_medians() -> None:
    ours = [{"drain_per_s": rate} for rate in (100.0, 300.0, 5000.0)]
    theirs = [{"drain_per_s": rate} for rate in (1.0, 150.0, 160.0)]
    drain = next(one for one in measure.MEASURES if one.key == "drain_per_s")
    assert report.ratio(
        rows(embedded=ours, redis=theirs), drain, systems.EMBEDDED, systems.REDIS
    ) == pytest.approx(2.0)


def test_the_report_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write_into(page, "first")
    report.write_into(page, "second")
    assert page.read_text() == f"before\n{report.BEGIN}\n\nsecond\n{report.END}\nafter\n"


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("mine")
    with pytest.raises(ValueError, match="has no"):
        report.write_into(page, "text")
    assert page.read_text() == "mine"


def test_ticks_of_several_processes_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_MARKS", str(tmp_path))
    assert marks.read(tmp_path).count == 0
    code = "import time; from bench import marks; marks.tick(); time.sleep(0.01); marks.tick()"
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", code], check=True, cwd=Path(report.__file__).parents[1]
        )
    ticks = marks.read(tmp_path)
    assert ticks.count == 4
    assert ticks.seconds > 0
