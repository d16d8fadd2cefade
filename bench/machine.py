"""The machine the benchmark runs on: what it is, and whether it is quiet."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import apsw
import psutil

#: The share of all cores that may be busy with other things on a quiet machine.
QUIET = 0.08


def busy(seconds: float = 0.5) -> float:
    """The share of all cores that is in use, over some seconds."""
    return float(psutil.cpu_percent(seconds)) / 100


def wait_until_quiet(limit: float) -> float:
    """Wait until little else runs.

    :param limit: the longest time to wait, in seconds
    :return: the share of the machine in use when the waiting ended
    """
    end = time.monotonic() + limit
    share = busy()
    while share > QUIET and time.monotonic() < end:
        share = busy()
    return share


def facts(home: Path) -> list[str]:
    """What a reader needs to know to judge the numbers, in lines.

    :param home: where the files of the systems are
    """
    gib = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ("celery", "kombu", "sqlalchemy", "redis", "flask", "flask-celeriac")
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{name} {version(name)}" for name in packages]
    versions += [f"apsw {version('apsw')} (SQLite {apsw.sqlite_lib_version()})", redis_version()]
    size = f"{cores} cores, {gib:.0f} GiB of memory, files on {file_system(home)}"
    return [
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
        ", ".join(versions),
        f"{platform.system()} {platform.release()}, {size}",
    ]


def redis_version() -> str:
    """The Redis server's version."""
    try:
        said = subprocess.run(
            ["redis-server", "--version"], check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "no redis-server"
    found = re.search(r"v=(\S+)", said.stdout)
    return f"redis-server {found.group(1) if found else '?'}"


def file_system(path: Path) -> str:
    """The kind of file system a path is on."""
    path = path.resolve()
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in (path, *path.parents) if parent in mounts), "?")
