"""With ``-n``, tests that share a running example go to one process: the example is started once.

A pytest plugin: ``tests/conftest.py`` imports the hook. pytest-xdist sends the largest groups
first, so that what is left at the end is short.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.support.examples import SYSTEMS

#: Whose one example is for the whole file.
_FILES = ("test_data_desk.py", "test_number_requests_refusals.py")
_SYSTEM = re.compile(rf"tests/examples/.*?\[({'|'.join(SYSTEMS)})\b")


def group_of(nodeid: str) -> str:
    """What has to run in one process: a file, its tests on one system, or a test alone."""
    file = nodeid.partition("::")[0]
    if file.endswith(_FILES):
        return file
    if on := _SYSTEM.match(nodeid):
        return f"{file}[{on[1]}]"
    return nodeid


class InGroups(LoadScopeScheduling):  # type: ignore[misc]
    """Groups instead of files."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InGroups | None:
    return InGroups(config, log) if config.getoption("dist") == "load" else None
