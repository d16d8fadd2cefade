"""What may become of a file: written over, cut off, or something else altogether."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

PAGE = 4096


def write_over(path: Path, page: int, pages: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(b"\xa5" * PAGE * pages)


def no_header(path: Path) -> None:
    write_over(path, 0)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def cut_to_a_few_bytes(path: Path) -> None:
    os.truncate(path, 50)


def garbage(path: Path) -> None:
    path.write_bytes(b"\x07no database at all" * 5000)


def in_the_middle(path: Path) -> None:
    pages = path.stat().st_size // PAGE
    for page in range(pages // 4, pages * 3 // 4, 20):
        write_over(path, page)


#: Damage that is seen as soon as the file is opened.
SEEN_AT_ONCE: list[Callable[[Path], None]] = [no_header, cut_off, cut_to_a_few_bytes, garbage]


def other_application(path: Path) -> None:
    """The database of another program, which numbers its schemas as we do."""
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE message (text); PRAGMA user_version = 1")
    db.close()


def marked_by_another(path: Path) -> None:
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE feature (x); PRAGMA application_id = 1196444487")
    db.close()


FOREIGN: list[Callable[[Path], None]] = [other_application, marked_by_another]
