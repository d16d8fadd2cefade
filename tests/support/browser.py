"""A page in a real browser: Chromium without a window, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from playwright import sync_api

from tests.support.processes import PATIENCE
from tests.support.services import CHROMIUM

#: It may run as root in a container, and it has nobody to call.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Page(sync_api.Page):
    """Playwright's page.

    :ivar problems: what its console showed as errors, and its exceptions that nobody caught.
    """

    problems: list[str]


@contextmanager
def page() -> Iterator[Page]:
    """An empty page, for the length of a ``with`` block, which must end without a problem in it.

    Without Chromium the test is skipped, which CI counts as a failure. Playwright keeps an event
    loop in this thread until the block ends: nothing else in it can have one.
    """
    if reason := CHROMIUM.missing():
        pytest.skip(reason)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM.path, args=list(ARGUMENTS), timeout=PATIENCE * 1000
        )
        try:
            opened = cast(Page, browser.new_page())
            opened.set_default_timeout(PATIENCE * 1000)
            opened.problems = []
            opened.on("console", lambda message: note_error(opened, message))
            opened.on("pageerror", lambda error: opened.problems.append(str(error)))
            yield opened
            assert not opened.problems, f"the page has problems: {opened.problems}"
        finally:
            browser.close()


def note_error(page: Page, message: sync_api.ConsoleMessage) -> None:
    if message.type == "error":
        page.problems.append(message.text)
