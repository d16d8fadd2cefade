"""Some cells of the matrix at a small scale; all of them: ``make faults``."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from tests.faults.harness import matrix, servers
from tests.faults.harness.checker import Account, Cell
from tests.faults.harness.systems import SYSTEMS
from tests.faults.harness.zygote import Zygote
from tests.faults.recipes.table import RECIPES
from tests.system.ledger import Ledger

SCALE = 0.01
CELLS = [
    ("T1", "embedded"),
    ("T1", "redis"),
    ("T1", "rabbitmq"),
    ("T1", "Celery, redis"),
    ("T12", "redis"),
    ("T25", "embedded"),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "name"), CELLS)
def test_nothing_is_lost_and_celery_loses(number: str, name: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    again = f"python -m tests.faults {number} --system '{name}' --scale {SCALE} --seed {seed}"
    print(f"seed {seed}: {again} --logs")
    recipe = next(recipe for recipe in RECIPES if recipe.number == number)
    system = next(system for system in SYSTEMS if str(system) == name)
    if reason := servers.missing(system.broker):
        pytest.skip(reason)
    with contextlib.closing(Zygote(system.zygote)) as zygote:
        cell = recipe.cell(system, tmp_path / "place", zygote, seed, SCALE)
    print(cell.report(), cell.logs, sep="\n")
    assert not cell.not_tested
    assert cell.complaints() == []


def account(path: Path, *events: tuple[str, int]) -> Account:
    ledger = Ledger(path)
    for kind, number in events:
        ledger.write(kind, number, sync=False)
    ledger.close()
    return Account.of(path)


def test_the_checker_finds_what_is_wrong(tmp_path: Path) -> None:
    found = account(
        tmp_path / "ledger",
        *(("attempt", number) for number in range(5)),
        *(("acked", number) for number in (0, 1, 2, 3)),
        *(("start", 0), ("end", 0), ("start", 0), ("end", 0)),  # 0 ran twice
        *(("start", 4), ("end", 4)),  # 4 was not acknowledged, but ran
        *(("start", 3), ("end", 3)),  # 3 was revoked, but ran
        ("start", 7),  # 7 was never sent
    )
    cell = Cell("T0", "embedded", ours=True, seed=0, injections=1)
    cell.count(found, held={2}, revoked={3})
    assert (cell.attempted, cell.acknowledged) == (5, 4)
    assert (cell.lost, cell.waiting, cell.unexpected) == ({1}, {2}, {3, 7})
    assert (cell.duplicated, cell.recovered) == (1, 1)
    assert [text.split()[0] for text in cell.complaints()] == ["lost", "still", "unexpected", "1"]
    assert cell.verdict == "failed"


def test_nothing_that_was_not_hit_counts_as_tested() -> None:
    cell = Cell("T0", "embedded", ours=True, seed=0)
    assert cell.complaints() == ["no fault hit anything"]
    assert cell.verdict == "not tested: no fault hit"


def test_celery_has_to_lose_where_it_is_known_to() -> None:
    cell = Cell("T0", "Celery, redis", ours=False, seed=0, injections=3, must_lose=True)
    assert cell.complaints() == ["Celery has to lose here: the harness is broken"]
    cell.lost = {1}
    assert cell.complaints() == []
    assert cell.verdict == "loses"


def test_the_matrix_is_put_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{matrix.BEGIN}\nold\n{matrix.END}\n\nafter\n")
    cells = [
        Cell("T1 kills", "embedded", ours=True, seed=1, injections=2, recoveries=[0.5]),
        Cell("T4 calls", "embedded", ours=True, seed=1, not_tested="strace is not there"),
    ]
    matrix.write(page, cells, 0.5, ["T1", "T4"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| T1 kills | embedded | passed | 0 |" in text
    assert "| 2 | 0.5 s | 0.5 | 1 | 20" in text
    assert "not tested: strace is not there" in text


def test_parts_of_the_matrix_are_written_one_after_the_other(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{matrix.BEGIN}\nold\n{matrix.END}\n")
    for number, seed in (("T4", 1), ("T2", 1), ("T1", 1), ("T2", 2)):
        cell = Cell(f"{number} kills", "embedded", ours=True, seed=seed, injections=2)
        matrix.write(page, [cell], 0.5, ["T1", "T2", "T4"])
    rows = [line for line in page.read_text().splitlines() if line.startswith("| T")]
    assert [line.split()[1] for line in rows] == ["T1", "T2", "T4"]
    assert [line.split(" | ")[-2] for line in rows] == ["1", "2", "1"]
    page.write_text(page.read_text().replace("kombu", "kombu 1.0 was"))
    matrix.write(page, [cell], 0.5, ["T1", "T2", "T4"])
    assert page.read_text().count("| T") == 1
