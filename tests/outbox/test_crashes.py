"""Processes that die at any point of a transaction: a part of ``make faults RECIPES=T13``."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from tests.faults.harness import servers
from tests.faults.outbox_matrix import ALL, SHAPES, TWO_PHASE, Cell, try_cells

from .conftest import own_url

#: Every point once, and every shape.
FEW = [
    *(cell for cell in ALL if cell.shape == "commit"),
    *(Cell(shape, "nowhere") for shape in SHAPES if shape != "commit"),
]


@pytest.mark.slow
def test_a_task_runs_if_and_only_if_its_order_is_there(tmp_path: Path) -> None:
    assert try_cells(f"sqlite:///{tmp_path}/app.db", tmp_path, FEW) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_so_it_is_on_servers(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    cells = random.sample(ALL, 4)  # pytest-randomly prints the seed
    assert try_cells(own_url(request, name, tmp_path), tmp_path, cells) == [], cells


@pytest.mark.slow
def test_two_phases(tmp_path: Path) -> None:
    """On a server of its own, as most are not set up to prepare transactions."""
    if not servers.can_prepare():
        pytest.skip("PostgreSQL's initdb is not there")
    cells = [cell for cell in TWO_PHASE if cell.shape == "commit"]
    with contextlib.closing(servers.PostgreSQL()) as server:
        server.start()
        url = server.url.replace("postgresql:", "postgresql+psycopg:")
        assert try_cells(url, tmp_path, cells) == []
