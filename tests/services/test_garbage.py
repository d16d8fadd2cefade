"""Garbage in a queue is put away, and the worker goes on: the short form of recipe T24."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults import garbage

from .conftest import working
from .systems import RECORDED, system


@pytest.mark.parametrize("name", RECORDED)
def test_garbage_is_accounted_for(name: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    with system(name, tmp_path, garbage.celeriac) as app, working(app):
        assert garbage.swallowed(app, seed, 60, print) == []
