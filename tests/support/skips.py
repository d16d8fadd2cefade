"""In CI nothing may be skipped unseen: a missing server, or any skip not listed here, is a failure.

A pytest plugin: ``tests/conftest.py`` imports the hooks.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from fnmatch import fnmatch

import pytest

#: Tests that may be skipped in CI, as (pattern of the test's id, why). Keep it short.
ALLOWED_SKIPS: tuple[tuple[str, str], ...] = (
    ("*test_no_acknowledged_task_is_lost_to_a_fault_at*", "not every container may use strace"),
)


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    refuse_skip(report)
    return report


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure that repeats its reason."""
    if not report.skipped or not in_ci():
        return
    if any(fnmatch(report.nodeid, pattern) for pattern, _ in ALLOWED_SKIPS):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} was skipped, which CI refuses: {reason}"
