"""The background tasks, declared before anybody knows where the broker is."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from flask import current_app

from flask_celeriac import Celeriac

celeriac = Celeriac()


@celeriac.task
def sample_task() -> str:
    """Sleep for as long as the application is configured to, then tell the time."""
    time.sleep(current_app.config["TASK_SECONDS"])
    return datetime.now(timezone.utc).isoformat()
