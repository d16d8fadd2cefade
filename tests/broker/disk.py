"""A disk that somebody else fills."""

from __future__ import annotations

from pathlib import Path

import pytest


def fill_up(directory: Path) -> Path:
    """Leave no byte free, as somebody else's log would."""
    filler = directory / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler
