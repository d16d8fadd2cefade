"""In CI a skip is a failure; on a developer's machine it is a skip."""

from __future__ import annotations

import pytest

SKIPPED = """
    import pytest

    def test_passes():
        pass

    def test_needs_a_server():
        pytest.skip("start it with `server --start`")

    @pytest.mark.xfail(strict=True)
    def test_known_to_fail():
        assert False
"""
SKIPPED_MODULE = """
    import pytest

    pytest.importorskip("no_such_module_anywhere")
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("CI", raising=False)
    pytester.makeconftest("from tests.support.skips import *")
    return pytester


def test_a_skip_is_a_skip_at_home(project: pytest.Pytester) -> None:
    project.makepyfile(SKIPPED)
    project.runpytest().assert_outcomes(passed=1, skipped=1, xfailed=1)


def test_a_skip_fails_in_ci_and_repeats_its_reason(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    project.makepyfile(SKIPPED)
    result = project.runpytest()
    result.assert_outcomes(passed=1, failed=1, xfailed=1)
    result.stdout.fnmatch_lines(["*which CI refuses: Skipped: start it with `server --start`*"])


def test_a_skipped_file_fails_in_ci(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    project.makepyfile(SKIPPED_MODULE)
    result = project.runpytest()
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*which CI refuses: *no_such_module_anywhere*"])


def test_a_listed_skip_is_allowed_in_ci(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    allowed = (("*::test_needs_a_server", "shown here"),)
    monkeypatch.setattr("tests.support.skips.ALLOWED_SKIPS", allowed)
    project.makepyfile(SKIPPED)
    project.runpytest_inprocess().assert_outcomes(passed=1, skipped=1, xfailed=1)
