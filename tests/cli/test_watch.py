from __future__ import annotations

import queue
import subprocess
import sys
from pathlib import Path

import pytest

from flask_celeriac.cli.watch import Watcher, code_roots
from tests.cli.terminal import until


def ignore(_: object) -> None:
    pass


def package(directory: Path, name: str) -> Path:
    path = directory / name
    path.mkdir(parents=True)
    (path / "__init__.py").touch()
    return path


@pytest.mark.parametrize(
    "import_path",
    [None, "wsgi", "wsgi.py", "shop", "shop:create_app('a:b')", "shop.web:app", "shop/web.py"],
)
def test_the_import_root_is_the_directory_above_the_outermost_package(
    tmp_path: Path, import_path: str | None
) -> None:
    (package(tmp_path, "shop") / "web.py").touch()
    assert code_roots(import_path, tmp_path) == [tmp_path]


def test_a_file_in_another_directory_has_its_own_root(tmp_path: Path) -> None:
    (package(tmp_path / "src", "shop") / "web.py").touch()
    assert code_roots("src/shop/web.py:app", tmp_path) == [tmp_path / "src"]


def test_a_package_that_is_importable_from_elsewhere_is_watched_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = package(tmp_path / "src", "celeriac_watch_example")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    assert code_roots("celeriac_watch_example:create_app", here) == [here, shop]


def test_installed_packages_are_not_watched(tmp_path: Path) -> None:
    assert code_roots("flask:Flask", tmp_path) == [tmp_path]


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("app.py", True),
        ("shop/deep/down/tasks.py", True),
        (".env", True),
        (".flaskenv", True),
        ("config.toml", True),
        ("shop/settings.yaml", True),
        ("data.json", False),
        ("secret.json", True),
        ("shop.db", False),
        ("notes.txt", False),
        ("instance/config.py", False),
        (".venv/lib/flask/app.py", False),
        ("node_modules/gyp/build.py", False),
        ("shop/__pycache__/tasks.cpython-311.pyc", False),
        (".git/hooks/check.py", False),
        ("../other/app.py", False),
    ],
)
def test_what_counts_as_a_change(tmp_path: Path, path: str, counts: bool) -> None:
    watcher = Watcher([tmp_path], [tmp_path / "secret.json"], ignore, ignore)
    assert watcher.counts(Path(f"{tmp_path}/{path}").resolve()) is counts


def test_a_root_inside_an_ignored_directory_is_still_a_root(tmp_path: Path) -> None:
    root = tmp_path / "venv" / "project"
    assert Watcher([root], [], ignore, ignore).counts(root / "app.py")


def test_changes_arrive_and_files_beside_the_roots_count(tmp_path: Path) -> None:
    root = tmp_path / "src"
    root.mkdir()
    settings = tmp_path / ".env"
    changes: queue.Queue[list[Path]] = queue.Queue()
    watcher = Watcher([root], [settings], changes.put, ignore)
    watcher.start()
    try:
        seen: set[Path] = set()

        def change(file: Path) -> bool:
            # The watching begins at some moment after the start.
            (root / "ignored.txt").write_text("1")
            (tmp_path / "ignored.py").write_text("1")
            file.write_text("1")
            while not changes.empty():
                seen.update(changes.get())
            return file in seen

        until(lambda: change(root / "app.py"), "a change of the code")
        until(lambda: change(settings), "a change of a file beside it")
        assert seen == {root / "app.py", settings}
    finally:
        watcher.stop()


NO_FILES = """
import queue, resource
from pathlib import Path
import watchfiles
from flask_celeriac.cli.watch import Watcher

failures = queue.Queue()
watcher = Watcher([Path.cwd()], [], print, failures.put)
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
watcher.start()
print("failed:", failures.get(timeout=40))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="watching takes a file descriptor on Linux")
def test_a_limit_of_the_system_is_said(tmp_path: Path) -> None:
    command = (sys.executable, "-c", NO_FILES)
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("failed: "), result.stderr
    assert "Too many open files" in result.stdout
