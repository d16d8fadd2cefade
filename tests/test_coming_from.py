"""The pages "Coming from ...": the change they show applies as it stands, and the result runs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.markdown import ROOT, Block, blocks
from tests.support.processes import clean_environment, free_port, running, wait_for

FOLDER = ROOT / "docs" / "coming-from"
PAGES = sorted(FOLDER.glob("*.md"))
#: What a page wants to be rid of.
LEFT = {
    "flask-pattern": "Task)",
    "flask-celeryext": "flask_celeryext",
    "flask-celery-helper": "flask_celery ",
}


class Application:
    """A running one, web and worker."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    def answers(self) -> bool:
        try:
            return requests.get(self.url, timeout=30).status_code == 404
        except requests.ConnectionError:
            return False

    def greet(self, name: str) -> dict[str, Any]:
        """One task, from the request that sends it to the answer that has its end."""
        started = requests.post(f"{self.url}/greetings/{name}", timeout=30)
        assert started.status_code == 202, started.text
        address = f"{self.url}/greetings/{started.json()['id']}"

        def ended() -> dict[str, Any] | None:
            answer: dict[str, Any] = requests.get(address, timeout=30).json()
            return None if answer["state"] == "PENDING" else answer

        return wait_for(ended, "the task to end")


@contextmanager
def changed(page: str, folder: Path) -> Iterator[Application]:
    """The application of a page after the change, on the embedded broker."""
    before, change = application(page), diff(page)
    (folder / str(before.file)).write_text(before.code)
    # Outside of any repository, so that paths count from here; it knows no fuzz.
    subprocess.run(
        ["git", "apply", "--whitespace=error-all", "-"],
        cwd=folder,
        env=clean_environment(GIT_CEILING_DIRECTORIES=str(folder.parent)),
        input=change.code,
        text=True,
        check=True,
        timeout=60,
    )
    port = free_port()
    command = [sys.executable, "-m", "flask", "--app", "app", "celery", "dev"]
    command += ["--no-beat", "--no-reload", "--port", str(port)]
    with running(*command, cwd=folder, env=clean_environment()):
        app = Application(f"http://127.0.0.1:{port}", folder)
        wait_for(app.answers, "the application to answer")
        yield app


def application(page: str) -> Block:
    (before,) = (block for block in blocks(FOLDER / f"{page}.md") if block.file)
    assert not before.runs
    compile(before.code, str(before.file), "exec")
    return before


def diff(page: str) -> Block:
    (change,) = (block for block in blocks(FOLDER / f"{page}.md") if block.language == "diff")
    return change


def test_there_is_nothing_untested() -> None:
    assert {page.stem for page in PAGES} == set(LEFT)


@pytest.mark.parametrize("page", LEFT)
def test_the_change_leaves_what_it_came_from(page: str) -> None:
    gone, change = LEFT[page], diff(page).code
    assert gone in application(page).code
    assert any(gone in line for line in change.splitlines() if line.startswith("-"))
    assert not any(gone in line for line in change.splitlines() if line.startswith("+"))


def test_flasks_pattern(tmp_path: Path) -> None:
    with changed("flask-pattern", tmp_path) as app:
        assert app.greet("Ada") == {"state": "SUCCESS", "text": "Hello, Ada!"}


def test_flask_celeryext(tmp_path: Path) -> None:
    with changed("flask-celeryext", tmp_path) as app:
        # The host is that of the request, which a task does not see by itself.
        text = f"Hello, Ada! Again? POST {app.url}/greetings/Ada"
        assert app.greet("Ada") == {"state": "SUCCESS", "text": text}


def test_flask_celery_helper(tmp_path: Path) -> None:
    with changed("flask-celery-helper", tmp_path) as app:
        assert app.greet("Ada") == {"state": "SUCCESS", "text": "Hello, Ada!"}
        (lock,) = (tmp_path / "instance" / "locks").iterdir()
        with closing(sqlite3.connect(lock, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert app.greet("Ada")["state"] == "FAILURE"
            assert app.greet("Grace")["state"] == "SUCCESS"
        assert app.greet("Ada")["state"] == "SUCCESS"
