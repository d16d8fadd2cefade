from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import marks, processes, report, sample, scenarios
from bench.plan import MILLION, Plan
from bench.progress import Point, Progress
from bench.rows import Cell, Rows
from bench.systems import (
    EMBEDDED,
    EMBEDDED_FULL,
    EMBEDDED_RESULTS,
    REDIS,
    REDIS_FSYNCED,
    SQLA,
    System,
)
from bench.targets import targets

PLAN = Plan(repetitions=3)


def rows(*measured: tuple[scenarios.Scenario, System, dict[str, float]]) -> Rows:
    made = Rows()
    for scenario, system, row in measured:
        made.add(scenario, system, {"tasks": 100, **row})
    return made


def verdicts(made: Rows, plan: Plan = PLAN) -> dict[str, str]:
    return {target.title: target.verdict(made) for target in targets(plan)}


def test_a_rate_reaches_its_target_from_there_upwards_and_a_time_up_to_there() -> None:
    ours = {"drain_per_s": 250.0, "enqueue_per_s": 299.0, "median_ms": 0.4, "p99_ms": 1.3}
    theirs = {"drain_per_s": 100.0, "enqueue_per_s": 100.0, "median_ms": 1.0, "p99_ms": 2.0}
    found = verdicts(rows((scenarios.FIRST, EMBEDDED, ours), (scenarios.FIRST, REDIS, theirs)))
    assert found["drain, prefork -c 2"] == "yes"
    assert found["`delay()`, normal"] == "NO"
    assert found["round trip, prefork -c 2, median"] == "yes"
    assert found["round trip, prefork -c 2, 99th percentile"] == "NO"
    assert found["idle worker, solo"] == "not measured"
    assert found["drain, two solo workers"] == "not measured"


def test_full_durability_is_set_against_redis_without_and_with_it() -> None:
    found = verdicts(
        rows(
            (scenarios.FSYNCED, EMBEDDED_FULL, {"enqueue_per_s": 150.0}),
            (scenarios.FSYNCED, REDIS_FSYNCED, {"enqueue_per_s": 100.0}),
            (scenarios.FIRST, REDIS, {"enqueue_per_s": 101.0}),
        )
    )
    assert found["`delay()`, full; Redis fsyncs, too"] == "yes"
    assert found["`delay()`, full"] == "NO"


def test_ignored_results_are_set_against_ignored_results() -> None:
    found = verdicts(
        rows(
            (scenarios.SOLO_IGNORED, EMBEDDED, {"drain_per_s": 1_100.0}),
            (scenarios.PREFORK_IGNORED, REDIS, {"drain_per_s": 100.0}),
            (scenarios.FIRST, REDIS, {"drain_per_s": 50.0}),
        )
    )
    assert found["drain, results ignored, two solo workers"] == "NO"
    assert found["the same; Redis with results"] == "-"


def test_the_long_queue_says_how_long_it_is() -> None:
    long = {"evenness": 0.9, "growth": 1.2, "bulk_memory_mib": 3.0}
    found = verdicts(rows((scenarios.LONG, EMBEDDED, long)), Plan(queued=MILLION))
    assert found["1,000,000 queued: drain rate, last fifth / first"] == "yes"
    assert found["1,000,000 queued: workers' memory, end / first fifth"] == "NO"
    assert found["memory it takes for 1,000,000"] == "yes"


def test_records_may_take_fifteen_percent() -> None:
    without = {"drain_per_s": 1_000.0, "enqueue_per_s": 1_000.0}
    found = verdicts(
        rows(
            (scenarios.FIRST, EMBEDDED, {"drain_per_s": 860.0, "enqueue_per_s": 880.0}),
            (scenarios.FIRST, EMBEDDED_RESULTS, without),
        )
    )
    assert found["recording: drain, prefork -c 2"] == "NO"
    assert found["recording: `delay()`"] == "yes"


def test_ratios_are_those_of_the_medians() -> None:
    made = rows(
        *((scenarios.FIRST, EMBEDDED, {"drain_per_s": rate}) for rate in (100.0, 300.0, 5000.0)),
        *((scenarios.FIRST, REDIS, {"drain_per_s": rate}) for rate in (1.0, 150.0, 160.0)),
    )
    ours, theirs = (Cell(scenarios.FIRST, system, "drain_per_s") for system in (EMBEDDED, REDIS))
    assert made.ratio(ours, theirs) == pytest.approx(2.0)
    assert "| drain, prefork -c 2 " in report.render(made, PLAN, ["a note"])


def test_a_report_of_nothing_can_be_written() -> None:
    text = report.render(Rows(), PLAN, [])
    assert "not measured" in text
    assert "yes" not in text


def test_scenarios_have_names_of_their_own_and_systems_that_can_run_them() -> None:
    assert len({scenario.name for scenario in scenarios.ALL}) == len(scenarios.ALL)
    for scenario in scenarios.ALL:
        if scenario.is_long or scenario.beside_later:
            assert all(scenario.sends_many(system) for system in scenario.systems)


def test_what_cannot_be_sent_in_bulk_is_sent_one_by_one_and_fewer_of_it() -> None:
    assert scenarios.SOLO.count(EMBEDDED, PLAN) == PLAN.many
    assert scenarios.SOLO.count(REDIS, PLAN) == PLAN.tasks
    assert scenarios.FIRST.count(SQLA, PLAN) == PLAN.tasks // 10
    assert scenarios.LONG.count(EMBEDDED, PLAN) == PLAN.queued


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
    code = "import time; from bench import marks; marks.tick(3); time.sleep(0.01); marks.tick(4)"
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", code], check=True, cwd=Path(report.__file__).parents[1]
        )
    ticks = marks.read(tmp_path)
    assert (ticks.count, ticks.total) == (4, 14)
    assert ticks.seconds > 0
    assert ticks.rate == pytest.approx(3 / ticks.seconds)


def test_the_start_of_a_drain_is_compared_with_its_end() -> None:
    points = [(0.0, 0, 50), (1.0, 1, 90), (2.0, 201, 100), (3.0, 800, 105), (5.0, 1000, 110)]
    progress = Progress([Point(*point) for point in points])
    assert progress.evenness() == pytest.approx((200 / 2) / (200 / 1))
    assert progress.memory() == (100, 110)


def test_a_drain_that_is_over_at_once_has_no_start_and_end() -> None:
    with pytest.raises(processes.CannotRunError, match="too short"):
        Progress([Point(0.0, 0, 50), Point(1.0, 1000, 50)]).evenness()


def test_results_of_a_long_queue_are_looked_up_evenly(tmp_path: Path) -> None:
    few, many = sample.Sample(3), sample.Sample(25_000)
    assert len(list(few.ids(range(3)))) == len(few.kept) == 3
    assert len(set(many.ids(range(25_000)))) == 25_000
    assert [number for number, _ in many.kept] == list(range(0, 25_000, 3))
    many.write(tmp_path / "sample")
    assert sample.read(tmp_path / "sample") == many.kept
