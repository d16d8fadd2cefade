"""Where an application's code is, and which changes to it count."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

SUFFIXES = frozenset({".py", ".toml", ".yaml", ".yml", ".ini", ".cfg"})
NAMES = frozenset({".env", ".flaskenv"})
IGNORED = frozenset({
    "__pycache__", "node_modules", "site-packages", "dist-packages", "instance",
    ".git", ".hg", ".svn", ".venv", "venv", ".tox", ".nox", ".idea", ".vscode",
    ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis",
})  # fmt: skip


def code_roots(import_path: str | None, directory: Path) -> list[Path]:
    """The directories that hold an application's code; nothing is imported to find them.

    :param import_path: what ``--app`` names: a dotted module or a file, maybe with ``:name``.
    :param directory: the current directory.
    """
    module = re.split(r":(?![\\/])", import_path or "wsgi", maxsplit=1)[0]
    path = (directory / module).resolve()
    root = path.parent
    while (root / "__init__.py").exists():
        root = root.parent
    return _outermost([root, *_installed(module)])


def _installed(module: str) -> list[Path]:
    """Where an importable package lives, if that is not a place of installed ones."""
    if os.path.sep in module or module.endswith(".py"):
        return []
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return []
    if spec is None or spec.origin is None:
        return []
    found = Path(spec.origin).resolve().parent
    inside = Path(sys.prefix).resolve() in found.parents
    return [] if inside or not IGNORED.isdisjoint(found.parts) else [found]


def _outermost(paths: Iterable[Path]) -> list[Path]:
    unique = list(dict.fromkeys(path for path in paths if path.is_dir()))
    return [path for path in unique if not any(other in path.parents for other in unique)]


class Watcher:
    """Calls back, in threads of its own, when a source file changes.

    :param roots: directories watched with everything below them.
    :param files: single files that count whatever their name is; they need not exist yet.
    :param changed: called with the changed paths, from another thread.
    :param failed: called with the reason when there can be no more watching, in the same way.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        files: Sequence[Path],
        changed: Callable[[list[Path]], None],
        failed: Callable[[str], None],
    ) -> None:
        self._roots = roots
        self._files = frozenset(files)
        self._changed = changed
        self._failed = failed
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Watch until :meth:`stop`."""
        # A file's directory is watched, as editors replace files instead of writing them.
        beside = {
            file.parent
            for file in self._files
            if file.parent.is_dir() and not any(root in file.parents for root in self._roots)
        }
        for paths, recursive in ((self._roots, True), (sorted(beside), False)):
            if paths:
                thread = threading.Thread(
                    target=self._watch, args=(paths, recursive), name="watch", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def counts(self, path: Path) -> bool:
        """Whether a change of this path is a change of the application."""
        if path in self._files:
            return True
        if path.suffix not in SUFFIXES and path.name not in NAMES:
            return False
        for root in self._roots:
            if root in path.parents:
                return IGNORED.isdisjoint(path.relative_to(root).parts)
        return False

    def _watch(self, paths: Sequence[Path], recursive: bool) -> None:
        from watchfiles import watch

        try:
            batches = watch(
                *paths,
                watch_filter=lambda _, path: self.counts(Path(path)),
                step=100,
                stop_event=self._stop,
                raise_interrupt=False,
                recursive=recursive,
                ignore_permission_denied=True,
            )
            for batch in batches:
                self._changed(sorted({Path(path) for _, path in batch}))
        except (OSError, RuntimeError) as error:
            # Such as the system's limit on watched directories.
            self._failed(str(error))
