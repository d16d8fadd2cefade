"""The application's settings, from the environment, with defaults that work on a laptop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

MEGABYTE = 1000 * 1000


def number(name: str, default: float) -> float:
    """A number from the environment.

    :raises ValueError: naming the variable, when it is not a number.
    """
    text = os.environ.get(name, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise ValueError(f"{name}={text!r} is not a number.") from None


# Read on import, since a schedule is declared where its task is.
CLEANUP_SECONDS = number("DATA_DESK_CLEANUP_SECONDS", 3600)


def defaults(instance: Path) -> dict[str, Any]:
    """Settings for ``app.config``; everything the application writes goes to ``instance``."""
    environ = os.environ
    database = environ.get("SQLALCHEMY_DATABASE_URI") or f"sqlite:///{instance / 'data_desk.db'}"
    return {
        "SQLALCHEMY_DATABASE_URI": database,
        # The web server and the workers write to the same file: wait for each other.
        "SQLALCHEMY_ENGINE_OPTIONS": (
            {"connect_args": {"timeout": 30}}
            if database.startswith("sqlite")
            else {"pool_pre_ping": True}
        ),
        "MAX_CONTENT_LENGTH": int(number("DATA_DESK_MAX_UPLOAD_MB", 512) * MEGABYTE),
        "DATA_DESK_ROWS_PER_SECOND": number("DATA_DESK_ROWS_PER_SECOND", 0),
        "DATA_DESK_KEEP_UPLOADS_SECONDS": number("DATA_DESK_KEEP_UPLOADS_SECONDS", 24 * 3600),
        "DATA_DESK_KEEP_REPORTS_SECONDS": number("DATA_DESK_KEEP_REPORTS_SECONDS", 30 * 24 * 3600),
        "DATA_DESK_RECIPIENT": environ.get("DATA_DESK_RECIPIENT", "you@example.com"),
        "MAIL_SERVER": environ.get("MAIL_SERVER", "127.0.0.1"),
        "MAIL_PORT": int(number("MAIL_PORT", 1025)),
        "MAIL_USERNAME": environ.get("MAIL_USERNAME"),
        "MAIL_PASSWORD": environ.get("MAIL_PASSWORD"),
        "MAIL_USE_TLS": environ.get("MAIL_USE_TLS", "").lower() in ("1", "true", "yes"),
        "MAIL_USE_SSL": environ.get("MAIL_USE_SSL", "").lower() in ("1", "true", "yes"),
        "MAIL_DEFAULT_SENDER": environ.get("MAIL_DEFAULT_SENDER", "Data desk <desk@example.com>"),
    }
