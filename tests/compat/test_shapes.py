"""Applications that were written before us run: with our import in place, and with their own code.

Each folder here is an application of ours in a shape that is public and much copied.
"""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.compat.shapes import SHAPES, Change, Shape, Web
from tests.support.processes import clean_environment, free_port, listens, running, wait_for

HERE = Path(__file__).parent
#: One for each place where URLs are named: the environment, an old name, the instance itself, and
#: both kinds of name at once. That others are read as well is shown without processes, in
#: ``tests/unit``.
BY_URL_NAMES = ("flask_factory", "old_names", "autofinalize", "make_celery_update")
BY_URL = [shape for shape in SHAPES if shape.name in BY_URL_NAMES]
PLAIN = [shape for shape in SHAPES if shape.plain]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_with_our_import_and_no_url_it_runs_on_the_embedded_broker(
    shape: Shape, tmp_path: Path
) -> None:
    folder = copy(shape, tmp_path, shape.ours)
    leave_urls_out(folder)
    log = runs(shape, folder, ("flask", "--app", shape.flask, "celery", "worker"))
    assert "transport:   celeriac:///" in log


@pytest.mark.parametrize("shape", BY_URL, ids=str)
def test_with_our_import_its_url_is_where_it_goes(
    shape: Shape, tmp_path: Path, redis_url: str
) -> None:
    folder = copy(shape, tmp_path, shape.ours)
    environ = dict.fromkeys(shape.urls, redis_url)
    environ["TIME"] = "utc"  # the time zone of those that read it; may be in lower case
    log = runs(shape, folder, ("celery", "-A", shape.celery, "worker"), **environ)
    assert "transport:   redis://" in log


@pytest.mark.parametrize("shape", PLAIN, ids=str)
def test_its_own_celery_reaches_the_embedded_broker_by_url(shape: Shape, tmp_path: Path) -> None:
    assert shape.plain
    folder = copy(shape, tmp_path, [shape.plain])
    urls = dict.fromkeys(shape.urls, f"celeriac:///{tmp_path}/celeriac.db")
    log = runs(shape, folder, ("celery", "-A", shape.celery, "worker"), **urls)
    assert "transport:   celeriac:///" in log


def copy(shape: Shape, to: Path, changes: tuple[Change, ...] | list[Change]) -> Path:
    """The application, changed in a folder of its own."""
    folder = to / shape.name
    shutil.copytree(HERE / shape.name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in changes:
        path = folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} in {path}"
        path.write_text(text.replace(old, new))
    return folder


def leave_urls_out(folder: Path) -> None:
    for path in folder.rglob("*.py"):
        path.write_text(re.sub(r"(?m)^.*\b(QUEUE|RESULTS)_URL\b.*\n", "", path.read_text()))


def runs(shape: Shape, folder: Path, worker: tuple[str, ...], **environ: str) -> str:
    """Let a client talk to the application and its worker; what the worker wrote."""
    env = clean_environment(**environ)
    port = free_port()
    with ExitStack() as stack:
        serve = ("flask", "--app", shape.flask, "run", "--port", str(port))
        web = stack.enter_context(running(sys.executable, "-m", *serve, cwd=folder, env=env))
        beat = ("-B",) if shape.ticks else ()
        started = stack.enter_context(
            running(
                *(sys.executable, "-m", *worker, *beat, "-P", "solo", "-l", "INFO"),
                *("--without-mingle", "--without-gossip"),
                cwd=folder,
                env=env,
            )
        )
        web.sees("Running on")
        wait_for(lambda: listens(port), "the web server")
        started.sees(" ready.")
        shape.talk(Web(port))
        if shape.ticks:
            started.sees("ticked in")
        return started.output
