"""Background tasks for Flask, on Celery."""

from __future__ import annotations

from .api.access import Access
from .celery_app import FlaskCelery
from .compat import celery_init_app, make_celery
from .errors import CeleriacError, ConfigError, ConfigWarning, UnserializableArgumentError
from .extension import Celeriac
from .globals import current_celeriac
from .limits import Limit, Rate, Unique
from .task import Task

__all__ = [
    "Access",
    "Celeriac",
    "CeleriacError",
    "ConfigError",
    "ConfigWarning",
    "FlaskCelery",
    "Limit",
    "Rate",
    "Task",
    "Unique",
    "UnserializableArgumentError",
    "celery_init_app",
    "current_celeriac",
    "make_celery",
]
