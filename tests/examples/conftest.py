"""The systems that every example runs on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.examples import SYSTEMS, Example, System, dead_system, new_system

__all__ = ["Example", "System", "dead_system", "system"]

HERE = Path(__file__).parent
#: What lives as long as a module here, with processes in it.
SHARED = {"system", "desk", "site", "nothing_there"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a running example go to one process of pytest-xdist: it is started once."""
    for item in items:
        shared = SHARED.intersection(getattr(item, "fixturenames", ()))
        if shared and HERE in item.path.parents:
            params: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
            which = [str(params[name]) for name in sorted(shared & params.keys())]
            item.add_marker(pytest.mark.xdist_group("-".join([item.path.stem, *which])))


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A broker and where results go, one after the other, each empty and this module's own."""
    with new_system(request.param) as system:
        yield system
