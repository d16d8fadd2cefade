"""Uploaded files on disk, named by their report's id and never by what the user called them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from flask import current_app

CHUNK_BYTES = 1024 * 1024
LONGEST_NAME = 120


@dataclass(frozen=True)
class Stored:
    """A file that was stored: its size and how many lines it has."""

    size: int
    lines: int
    head: bytes


def folder() -> Path:
    """Where uploads are kept."""
    return Path(current_app.instance_path) / "uploads"


def path_of(report_id: str) -> Path:
    """Where the upload of a report is kept."""
    return folder() / f"{report_id}.csv"


def store(report_id: str, stream: BinaryIO) -> Stored:
    """Write a stream to disk piece by piece."""
    size = lines = 0
    head = last = b""
    with path_of(report_id).open("xb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            head = head or chunk[:4096]
            last = chunk
            size += len(chunk)
            lines += chunk.count(b"\n")
            file.write(chunk)
    return Stored(size, lines + (bool(last) and not last.endswith(b"\n")), head)


def remove(report_id: str) -> None:
    """Delete the upload of a report, if it is there."""
    path_of(report_id).unlink(missing_ok=True)


def display_name(filename: str | None) -> str:
    """What to call a file on pages and in mails: its name without folder and control characters."""
    name = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    # Newlines would end a subject line, and invisible letters can turn text around.
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(name.split())[:LONGEST_NAME] or "unnamed.csv"
