"""Directories that only their owner may enter."""

from __future__ import annotations

import os


def make_private(path: str) -> None:
    """Make a directory and those above it that are missing, all with mode 0700.

    ``os.makedirs`` gives its mode to the last one only.
    """
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_private(parent)
    try:
        os.mkdir(path, mode=0o700)
    except FileExistsError:
        pass
