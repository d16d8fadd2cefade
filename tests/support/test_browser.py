"""A page that has problems fails its test."""

from __future__ import annotations

import pytest

from tests.support.browser import page
from tests.support.services import CHROMIUM


def test_a_page_runs_its_scripts() -> None:
    with page() as opened:
        opened.set_content("<p id=x></p><script>x.textContent = 6 * 7</script>")
        assert opened.locator("p").inner_text() == "42"


@pytest.mark.parametrize("script", ["console.error('ouch')", "throw new Error('ouch')"])
def test_a_problem_of_a_page_is_told(script: str) -> None:
    with pytest.raises(AssertionError, match="ouch"), page() as opened:
        opened.set_content(f"<script>{script}</script>")


def test_without_chromium_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHROMIUM.variable, "/nowhere/chromium")
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"), page():
        pass
