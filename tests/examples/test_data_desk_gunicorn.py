"""The demo behind gunicorn: a page follows its task live, whichever process it meets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.browser import Page, page
from tests.support.processes import wait_for

from .data_desk_support import Desk, running

#: Keeps what the bar showed, also when the page is loaded again.
WATCH = """
new MutationObserver((changes) => {
  for (const { target } of changes) {
    if (target.id !== "progress") continue;
    const seen = JSON.parse(sessionStorage.seen ?? "[]");
    sessionStorage.seen = JSON.stringify([...seen, target.value]);
  }
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["value"] });
"""


def serving(desk: Desk) -> psutil.Process | None:
    """The process that has the stream of the one page that is open."""
    for process in desk.web_processes():
        for connection in process.net_connections("tcp"):
            ours = connection.laddr.port == desk.port
            if ours and connection.status == psutil.CONN_ESTABLISHED:
                return process
    return None


def seen(opened: Page) -> list[float]:
    found: list[float] = opened.evaluate("JSON.parse(sessionStorage.seen ?? '[]')")
    return found


@pytest.mark.slow
def test_a_page_follows_its_task_from_one_process_to_the_other(tmp_path: Path) -> None:
    with (
        running(tmp_path / "instance", "--gunicorn", DATA_DESK_ROWS_PER_SECOND="2000") as desk,
        page() as opened,
    ):
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.add_init_script(WATCH)
        opened.goto(desk.url)
        opened.get_by_role("button", name="Read clock_changes.csv").click()
        wait_for(lambda: len(set(seen(opened))) > 2, "the bar to move")
        before = list(seen(opened))

        assert len(desk.web_processes()) == 2
        process: Any = wait_for(lambda: serving(desk), "the stream")
        process.kill()
        wait_for(lambda: len(set(seen(opened))) > len(set(before)) + 1, "the bar to go on")
        opened.get_by_text("Mailed to").or_(opened.get_by_text("on its way")).wait_for()
        figures = seen(opened)
        assert figures == sorted(figures)
        assert "19,804" in opened.locator(".facts").inner_text()
        streams = [url for url in asked if url.endswith("/events")]
        assert len(streams) >= 2, asked
        assert not [url for url in asked if "wait=" in url]
        # A lost connection is an error of a browser's console.
        assert all("ERR_" in problem for problem in opened.problems), opened.problems
        opened.problems.clear()
