"""The HTTP interface."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, NoReturn

from celery.states import PENDING, READY_STATES
from flask import Blueprint, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable

from . import forms, mails

blueprint = Blueprint("views", __name__)


@blueprint.post("/send_email")
def send() -> ResponseReturnValue:
    """Send a mail in the background; its outcome will be at the ``Location``."""
    task_id = mails.enqueue(*forms.read())
    return "Email sent!", {"Location": url_for(".show", task_id=task_id)}


@blueprint.get("/send_email/<task_id>")
def show(task_id: str) -> ResponseReturnValue:
    """Tell what became of a mail."""
    return mails.outcome(task_id)


@blueprint.post("/send_email/wait")
async def send_and_wait() -> ResponseReturnValue:
    """Send a mail in the background, and wait ten seconds at most for its outcome."""
    task_id = mails.enqueue(*forms.read())
    found: dict[str, Any] = {"id": task_id, "state": PENDING}
    for _ in range(100):
        with suppress(ServiceUnavailable):  # the mail is on its way all the same
            found = mails.outcome(task_id)
        if found["state"] in READY_STATES:
            return found
        await asyncio.sleep(0.1)
    return found, 202, {"Location": url_for(".show", task_id=task_id)}


@blueprint.get("/broken")
async def broken() -> NoReturn:
    """A view with a bug, of which the operator is told."""
    raise RuntimeError("this view has a bug")
