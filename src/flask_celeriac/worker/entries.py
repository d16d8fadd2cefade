"""What beat sends says which schedule entry it is of."""

from __future__ import annotations

from typing import Any

from ..celery_app import FlaskCelery
from ..records.description import SCHEDULE


def on_beat_init(sender: Any, **_: Any) -> None:
    """Have each entry's messages carry its name, but for those that carry another."""
    if not isinstance(sender.app, FlaskCelery):
        return
    for name, entry in sender.scheduler.schedule.items():
        options = entry.options or {}
        headers = {SCHEDULE: str(name), **(options.get("headers") or {})}
        entry.options = {**options, "headers": headers}
