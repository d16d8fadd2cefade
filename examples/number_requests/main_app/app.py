"""The application factory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from config import settings
from flask import Flask

from . import errors
from .extensions import celeriac, db
from .models.models import create_tables
from .views.views import pages


def create_app(settings_override: dict[str, Any] | None = None) -> Flask:
    """Make the application.

    :param settings_override: settings, Flask's and Celery's, that replace those of ``config/``
    """
    app = Flask(__name__, instance_path=str(settings.ROOT / "instance"))
    app.config.from_object(settings)
    app.config.update(settings.celery_settings)
    app.config.update(settings_override or {})
    Path(app.instance_path).mkdir(parents=True, exist_ok=True)

    db.init_app(app)
    celeriac.init_app(app)
    app.register_blueprint(pages)
    errors.init_app(app)
    create_tables(app)
    return app
