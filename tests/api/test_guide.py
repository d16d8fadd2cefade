"""The guide's commands do what it says."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from kombu import pools
from werkzeug.serving import make_server

from tests.services.conftest import working
from tests.support.markdown import ROOT, blocks

GUIDE = blocks(ROOT / "docs" / "http-api.md")
ADDRESS = "http://127.0.0.1:5000"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """The guide's application."""
    (source,) = (block.code for block in GUIDE if block.file == "app.py")
    file = tmp_path / "app.py"
    file.write_text(source)
    spec = importlib.util.spec_from_file_location("guide", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.app
    pools.reset()


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """Where the application is served, a worker beside it."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with working(app):
            yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
def test_the_commands_of_the_guide_work(address: str) -> None:
    commands = [block.code for block in GUIDE if block.language == "sh"]
    assert len(commands) > 3
    answers = [shell(command.replace(ADDRESS, address)) for command in commands]
    assert "202 ACCEPTED" in answers[0]
    assert '"result":42' in answers[1]
    assert '"result":null,' in answers[2]
    assert '{"count":0,"capped":false}{"done":0,' in answers[4]


def shell(command: str) -> str:
    """What a command says; curl fails where the server refuses."""
    script = command.replace("curl ", "curl --silent --show-error --fail-with-body ")
    done = subprocess.run(
        ["sh", "-e", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout
