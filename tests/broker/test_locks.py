"""Nothing opens the embedded file by its path: closing it would drop the locks of its process.

POSIX locks belong to a process and a file. Whoever opens a file in any way and closes it again
takes all of the process's locks on it along, SQLite's too, without a word.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from kombu import pools

from flask_celeriac import Access, Celeriac, cli, sqlite
from tests.system.workers import ROOT

#: Where files are opened by their paths, and why that is no embedded file that somebody has open.
OPENS = {
    "backup.py": "the new file, before SQLite opens it, and folders",
    "config_file.py": "the configuration",
    "doorbell.py": "the folder of the sockets",
    "exclusive.py": "the file itself, where nobody has it open, which it makes sure of",
    "filesystem.py": "the list of mounts",
    "liveness.py": "lock files, and the name of this boot",
    "sqlite_opening.py": "the new file, before SQLite opens it",
}
#: Names of what opens files, and those that are the opposite.
CALLS = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "copy", "copy2",
         "copyfile", "copyfileobj", "copytree", "move", "mmap", "fdopen", "sendfile"}  # fmt: skip
MODULES = {"os", "io", "shutil", "mmap", "builtins"}
COMMANDS = re.compile(r"^\$?\s*(cp|rsync|scp|tar|dd|mv|ln)\b.*celeriac\.db")


def opened(source: str) -> Iterator[int]:
    """The lines on which a file is opened by its path."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            yield node.lineno
        elif isinstance(called, ast.Attribute) and called.attr in CALLS:
            on = called.value
            of_module = isinstance(on, ast.Name) and on.id in MODULES
            of_path = called.attr.startswith(("read_", "write_"))
            if of_module or of_path:
                yield node.lineno


def imported(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).partition(".")[0])
    return found


def test_only_known_places_open_files_by_their_path() -> None:
    package = ROOT / "src" / "flask_celeriac"
    found = {}
    for path in sorted(package.rglob("*.py")):
        source = path.read_text()
        assert "sqlite3" not in imported(source), f"{path} brings a second SQLite into the process"
        if lines := list(opened(source)):
            found[path.relative_to(package).as_posix()] = lines
    new = {name: lines for name, lines in found.items() if name not in OPENS}
    assert new == {}, "say in OPENS why this is no embedded file that SQLite has open"
    assert set(OPENS) == set(found)


def test_examples_and_documents_leave_the_file_alone() -> None:
    for path in (ROOT / "examples").rglob("*.py"):
        source = path.read_text()
        for number in opened(source):
            assert ".db" not in source.splitlines()[number - 1], path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for line in path.read_text().splitlines():
            assert not COMMANDS.match(line.strip()), f"{path}: {line}"


def locks_on(path: str) -> int:
    """How many locks of this process the kernel knows on a file."""
    inode = os.stat(path).st_ino
    count = 0
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        kind, pid, place = words[1], words[-4], words[-3]
        count += kind == "POSIX" and pid == str(os.getpid()) and place.endswith(f":{inode}")
    return count


def deleted() -> list[str]:
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return [link for link in links if "celeriac.db" in link and "(deleted)" in link]


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="there is no /proc/locks to look at")
def test_no_command_and_no_answer_drops_a_lock(tmp_path: Path) -> None:
    celeriac = Celeriac()
    app = Flask("locks", instance_path=str(tmp_path))

    @celeriac.task(name="locks.add", http=True)
    def add(a: int, b: int) -> int:
        return a + b

    celeriac.init_app(app)
    app.register_blueprint(celeriac.api(access=lambda: Access.READ), url_prefix="/api")
    with app.app_context():
        task_id = add.delay(1, 2).id
        path = sqlite.path_of(app.extensions["celery"].conf.broker_url)
        shared = f"{path}-shm"
        held = locks_on(shared)
        assert held
        runner, client = app.test_cli_runner(), app.test_client()
        for command in (
            "config", "list", f"show {task_id}", f"why {task_id}", "queues", "queues --pause a",
            "queues --resume a", "prune", "workers --timeout 0.1", "db current", "db check",
            "db upgrade", f"db backup {tmp_path / 'copy.db'}", f"retry {task_id}",
            f"revoke {task_id}", f"discard {task_id} --yes", "start locks.add a=1 b=2",
        ):  # fmt: skip
            runner.invoke(cli.celery, command.split())
            assert locks_on(shared) >= held, f"`flask celery {command}` dropped a lock"
            assert deleted() == []
        for rule in app.url_map.iter_rules():
            if rule.rule.startswith("/api/") and "GET" in (rule.methods or ()):
                if "events" not in rule.rule:
                    client.get(rule.rule.replace("<task_id>", task_id))
                assert locks_on(shared) >= held, f"GET {rule.rule} dropped a lock"
        with open(shared, "rb"):
            pass
        assert locks_on(shared) == 0  # what this test is about does happen
    app.extensions["celery"].close()
    pools.reset()
