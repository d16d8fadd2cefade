"""Where the application's own settings come from: the configuration file, then ``FLASK_*``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask

from flask_celeriac import ConfigError

FILE = Path(__file__).resolve().parents[1] / "secrets" / "api-config.yaml"

DEFAULTS: dict[str, Any] = {"PORT": 8080, "SECRET_KEY": None, "TASK_SECONDS": 5}


def load(app: Flask, said: dict[str, Any]) -> None:
    """Lay what the file says over the defaults, and the environment over that.

    :param said: the file's content.
    :raises ConfigError: a value cannot be used.
    """
    app.config.from_mapping(DEFAULTS)
    app.config.from_mapping({key: said[key.lower()] for key in DEFAULTS if key.lower() in said})
    app.config.from_prefixed_env()
    config = app.config
    _check(config, "PORT", is_port(config["PORT"]), "a whole number from 1 to 65535")
    _check(config, "SECRET_KEY", isinstance(config["SECRET_KEY"], str | None), "text, in quotes")
    _check(config, "TASK_SECONDS", is_duration(config["TASK_SECONDS"]), "a number of seconds")


def is_port(value: object) -> bool:
    """Whether a server can listen there."""
    return type(value) is int and 0 < value < 2**16


def is_duration(value: Any) -> bool:
    """Whether a task can sleep so long; a day is enough for everybody."""
    return type(value) in {int, float} and 0 <= value <= 24 * 3600


def _check(config: dict[str, Any], key: str, is_good: bool, wanted: str) -> None:
    if not is_good:
        # The value of a secret does not belong into a log.
        shown = "" if key == "SECRET_KEY" else f", not {config[key]!r}"
        raise ConfigError(
            f"{key.lower()} has to be {wanted}{shown}: "
            f"correct it in the configuration file, or FLASK_{key} in the environment"
        )
