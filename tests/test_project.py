"""Rules of the house that neither a linter nor a type checker knows."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "flask_celeriac"
LONGEST_FILE = 400

#: Written in two parts, for this file is looked at too.
PRIVATE = tuple(
    "".join(parts)
    for parts in [
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("/tmp/", "brief"),
        ("/opt/", "pypi"),
        ("pypi.", "org/simple"),
        ("files.python", "hosted.org"),
        ("registry.", "npmjs.org"),
        ("deb.", "debian.org"),
    ]
)

#: Calls that open a file by its name. Closing any descriptor of the embedded file drops the locks
#: that SQLite holds on it in this process, and committed tasks are lost.
OPENERS = {
    "open", "io.open", "os.open", "os.fdopen", "os.truncate", "os.link", "sqlite3.connect",
    "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move",
}  # fmt: skip
OPENING_METHODS = {
    "read_bytes", "read_text", "write_bytes", "write_text", "touch", "send_file",
    "send_from_directory",
}  # fmt: skip
#: Where something else is opened: (module, what is in the call, why).
OPENS_ANOTHER_FILE = (
    ("config_file.py", "", "the configuration file"),
    ("doorbell.py", "os.O_DIRECTORY", "a directory"),
    ("backup.py", "os.O_DIRECTORY", "a directory"),
    ("backup.py", "unfinished", "the copy while it is made: nobody has it open yet"),
    ("exclusive.py", "file.path, os.O_RDWR", "to lock it, in a process with no connection to it"),
    ("exclusive.py", "'/proc/locks'", "what the kernel says of locks"),
    ("filesystem.py", "", "what the kernel says of mounts"),
    ("liveness.py", "", "a lock file that belongs to one process alone"),
    ("sqlite_opening.py", "os.O_EXCL", "the file while it is made: nobody can have it open yet"),
)


def committed() -> list[Path]:
    """The files that are, or are about to be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_speaks_of_somebodys_machine() -> None:
    found = []
    for path in committed():
        text = path.read_bytes().decode(errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {word}" for word in PRIVATE if word in text]
    assert found == []


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE))
)
def test_a_source_file_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE))
)
def test_nothing_opens_the_embedded_file_but_sqlite(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    calls = [
        f"line {node.lineno}: {call}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and opens_a_file(node)
        for call in [ast.unparse(node)]
        if not any(name == file and part in call for file, part, _ in OPENS_ANOTHER_FILE)
    ]
    assert calls == [], "use os.stat, os.chmod and os.rename by path; SQLite's backup to copy"


def opens_a_file(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(attr="open") if call.args or call.keywords:
            return True  # Path.open(mode), os.open(...), but not store.open()
        case ast.Attribute(attr=name) if name in OPENING_METHODS:
            return True
    return ast.unparse(call.func) in OPENERS


def test_the_lock_file_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        project["build-system"]["requires"],
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    named = {
        re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower())
        for requirements in lists
        for requirement in requirements
        if isinstance(requirement, str)
    }
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    assert named - locked == set(), "run `make lock`"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in committed()
        if path.is_relative_to(SOURCE)
    }
    assert packed == sources
    assert "flask_celeriac/py.typed" in packed


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    info = {name.split("/", 1)[1]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert wheel.read(info["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
    entry_points = wheel.read(info["entry_points.txt"]).decode()
    assert "[flask.commands]" in entry_points
    assert "[celery.result_backends]" in entry_points
