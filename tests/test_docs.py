"""The documents are true: their code runs, their links lead somewhere, and nothing is left out."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
import requests
import yaml

import flask_celeriac
from flask_celeriac.cli import celery as command_group
from tests.support.leaks import MARK
from tests.support.markdown import PAGES, ROOT, Block, anchors, blocks, links

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = ROOT / "src" / "flask_celeriac"
README = ROOT / "README.md"
API = ROOT / "docs" / "api.md"
CLI = ROOT / "docs" / "cli.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"

PARSERS = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python" and block.runs]


# --- code ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name)
def test_the_python_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    files = [block for block in python_blocks(page) if block.file]
    for block in files:
        path = tmp_path / str(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code)
    if not (tmp_path / "shop.py").exists():
        shutil.copy(ROOT / "tests" / "support" / "shop.py", tmp_path)
    (tmp_path / "page.py").write_text(as_script(page))
    if (tmp_path / "app.py").exists():
        with worker(tmp_path):
            run(tmp_path, "page.py")
    else:
        run(tmp_path, "page.py")


def as_script(page: Path) -> str:
    """A page's code, each line where it is in the page; files are imported where they are shown."""
    lines: list[str] = []
    for block in python_blocks(page):
        lines += [""] * (block.line - 1 - len(lines))
        if block.file:
            lines.append(f"import {block.file[:-3].replace('/', '.')}")
        else:
            lines += block.code.splitlines()
    return "\n".join(lines) + "\n"


def run(folder: Path, script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def environment() -> dict[str, str]:
    """Ours, without what would configure an application."""
    return {
        key: value
        for key, value in os.environ.items()
        if key == MARK or not key.startswith(("FLASK_", "CELERY_", "CELERIAC_"))
    }


@contextmanager
def worker(folder: Path) -> Iterator[None]:
    with flask(folder, "celery", "worker", "--pool", "solo"):
        yield


@contextmanager
def flask(folder: Path, *args: str) -> Iterator[None]:
    """Run a ``flask --app app`` command in a folder while the block runs; Ctrl-C stops it."""
    log = folder / "process.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "app", *args],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        finally:
            process.kill()


def test_the_readmes_example_runs_as_it_says(tmp_path: Path, unused_tcp_port: int) -> None:
    (example,) = (block for block in blocks(README) if block.file)
    assert len([line for line in example.code.splitlines() if line]) <= 15
    (tmp_path / "app.py").write_text(example.code)
    assert "flask celery dev" in README.read_text()
    url = f"http://127.0.0.1:{unused_tcp_port}/sums"
    with flask(tmp_path, "celery", "dev", "--port", str(unused_tcp_port)):
        task = until(lambda: requests.post(f"{url}/2/40", timeout=10).json()["id"])
        until(lambda: requests.get(f"{url}/{task}", timeout=10).json()["sum"] == 42)


def until(ask: object) -> object:
    """Ask until the answer is there; the server may still be starting."""
    assert callable(ask)
    end = time.monotonic() + 60
    while True:
        try:
            if answer := ask():
                return answer
        except requests.RequestException:
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_data_of_a_page_can_be_parsed(page: Path) -> None:
    for block in blocks(page):
        if block.language in PARSERS:
            assert PARSERS[block.language](block.code) is not None


# --- links and names ----------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page: Path) -> None:
    text = page.read_text()
    commands = set(re.findall(r"flask (?:--\S+ (?:\S+ )?)*celery ([a-z]+)", text))
    assert commands <= set(command_group.commands)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    assert set(re.findall(r"^\$? ?make ([a-z-]+)", text, re.M)) <= targets


# --- completeness -------------------------------------------------------------------------------


def test_the_readme_is_short_and_names_the_two_commands() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    assert "make demo" in text
    assert "make test" in text


def keys_in_code() -> set[str]:
    """Our own configuration keys: named in full, or as a field of the options."""
    fields = inspect.get_annotations(flask_celeriac.config.CeleriacOptions)
    found = {f"CELERIAC_{field.upper()}" for field in fields}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(re.findall(r"\A(?:FLASK_)?(CELERIAC_[A-Z_]+[A-Z])\Z", node.value))
    return found


@pytest.mark.parametrize("key", sorted(keys_in_code()))
def test_our_configuration_keys_are_documented(key: str) -> None:
    assert f"`{key}`" in CONFIGURATION.read_text()


@pytest.mark.parametrize("public", flask_celeriac.__all__)
def test_public_names_are_documented(public: str) -> None:
    text = API.read_text()
    assert re.search(rf"^#+ `{public}\b", text, re.M), f"{name(API)} has no heading for {public}"
    for member in public_members(getattr(flask_celeriac, public)):
        assert f"{member}" in text


def public_members(thing: object) -> list[str]:
    if not inspect.isclass(thing):
        return []
    return [
        f"{member}("
        for member, value in vars(thing).items()
        if not member.startswith("_") and inspect.isfunction(value)
    ]


@pytest.mark.parametrize("public", flask_celeriac.__all__)
def test_public_names_say_what_they_do_and_since_when(public: str) -> None:
    thing = getattr(flask_celeriac, public)
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return  # a proxy cannot have a docstring of its own
    doc = inspect.getdoc(thing)
    assert doc is not None
    assert ".. versionadded::" in doc
    for member in vars(thing).values() if inspect.isclass(thing) else ():
        if inspect.isfunction(member) and not member.__name__.startswith("_"):
            assert member.__doc__, member


@pytest.mark.parametrize("command", sorted(command_group.commands))
def test_commands_and_their_options_are_documented(command: str) -> None:
    text = CLI.read_text()
    assert f"flask celery {command}" in text
    options = [
        max((*each.opts, *each.secondary_opts), key=len)
        for each in command_group.commands[command].params
        if isinstance(each, click.Option)
    ]
    assert [option for option in options if option not in text] == []


def test_every_page_can_be_found() -> None:
    decisions = ROOT / "docs" / "decisions"
    for index in (ROOT / "docs" / "index.md", decisions / "README.md"):
        pages = {page.name for page in index.parent.glob("*.md")} - {index.name}
        assert pages <= set(links(index))
