"""Start a processing: a script of ``processings/`` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from celery.utils.log import get_task_logger
from flask import current_app, url_for

from main_app.models import work

log = get_task_logger(__name__)


class ProcessingError(Exception):
    """A processing did not get to its end."""


def run_processing(job: str) -> str:
    """Hand all numbers that wait for a job to its script, which POSTs the results.

    Nothing is undone where this fails, or where the worker is killed: the numbers stay "doing", and
    are taken again when their lease has run out.

    :raises ProcessingError: the script failed, or took longer than half of the lease
    """
    lease = current_app.config["LEASE_SECONDS"]
    rows = work.claim(job, lease)
    if not rows:
        return "nothing to do"
    script = current_app.config["PROCESSINGS"] / f"{job}.py"
    command = [sys.executable, str(script), url_for("pages.update_request", _external=True)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    log.info("%s.py is process %s and has numbers: %s", job, process.pid, len(rows))
    with process:
        try:
            _, complaint = process.communicate(json.dumps(rows), timeout=lease / 2)
        except subprocess.TimeoutExpired:
            process.kill()
            raise ProcessingError(
                f"{job}.py did not end: see whether the web server answers. {again(lease)}"
            ) from None
    if process.returncode:
        last = complaint.strip().rpartition("\n")[2]
        raise ProcessingError(f"{job}.py ended with {process.returncode} ({last}). {again(lease)}")
    return f"numbers processed: {len(rows)}"


def again(lease: int) -> str:
    return f"Its numbers are taken again after {lease} seconds."
