"""The systems that every example runs on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.examples import SYSTEMS, Example, System, dead_system, new_system

__all__ = ["Example", "System", "dead_system", "system"]


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A broker and where results go, one after the other, each empty and this module's own."""
    with new_system(request.param) as system:
        yield system
