"""Type checkers know the arguments of a task."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[2]

WRONG = """
from flask_celeriac import Celeriac

celeriac = Celeriac()

@celeriac.task
def add(a: int, b: int) -> int:
    return a + b

add.delay(1, "2")
"""


def mypy(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *map(str, paths)],
        cwd=HERE, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


def test_mypy_rejects_a_wrong_argument(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    checked = mypy(tmp_path / "wrong.py")
    assert checked.returncode == 1
    assert 'Argument 2 to "delay" of "Task" has incompatible type "str"; expected "int"' in (
        checked.stdout
    )


def test_mypy_finds_right_what_is_right_and_wrong_what_is_wrong() -> None:
    checked = mypy(HERE / "tests" / "typing")
    assert checked.returncode == 0, checked.stdout
