"""Nothing is lost and nothing runs twice at once while workers are killed under load.

The same at full length: ``python -m tests.system.kill``.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.system.kill import complaints
from tests.system.killing import KillTest


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_task_is_lost_while_workers_are_killed(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}: python -m tests.system.kill --tasks 500 --seed {seed}")
    outcome = KillTest(tmp_path, seed, tasks=500).run(patience=90.0)
    print(outcome.report())
    assert complaints(outcome) == []
    # A figure, not a promise of this machine: a living worker looks for the dead every second.
    assert all(seconds < 20.0 for seconds in outcome.witnessed)
