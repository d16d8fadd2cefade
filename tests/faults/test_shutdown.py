"""A short form of the shutdown matrix: one stop and one roll-out on each broker."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from tests.faults import shutdown_matrix as matrix
from tests.services.systems import RECORDED


@pytest.fixture
def chance() -> random.Random:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", RECORDED)
def test_nothing_is_lost_when_a_worker_is_stopped(
    name: str, chance: random.Random, tmp_path: Path
) -> None:
    stop, options = chance.choice(matrix.STOPS[:6]), chance.choice(matrix.POOLS)
    what = partial(matrix.stop_one, stop=stop, options=options, chance=chance)
    assert matrix.one(tmp_path, name, what, f"{' '.join(options)}, {stop}", print) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_while_a_new_version_is_rolled_out(tmp_path: Path) -> None:
    what = partial(matrix.versions, tasks=4)
    assert matrix.one(tmp_path, "embedded", what, "two versions", print) == []
