"""Data desk: upload a CSV, and a background task reads it, draws it and mails the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flask import Flask


def create_app(config: dict[str, Any] | None = None) -> Flask:
    """Make the application.

    :param config: settings that win over those from the environment.
    """
    # Not at the top: the mail catcher lives in this package too, and should start quickly.
    from . import formats, models, negotiation, pages, reports
    from .config import defaults
    from .extensions import celeriac, db, mail
    from .reports import may_look

    folder = os.environ.get("DATA_DESK_INSTANCE")
    app = Flask(__name__, instance_path=str(Path(folder).absolute()) if folder else None)
    app.config.from_mapping(defaults(Path(app.instance_path)))
    app.config.from_mapping(config)
    for name in ("uploads", "mails"):
        (Path(app.instance_path) / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    db.init_app(app)
    mail.init_app(app)
    celeriac.init_app(app)
    models.create_tables(app)
    app.register_blueprint(reports.blueprint)
    app.register_blueprint(pages.blueprint)
    # The page of a running report follows its task there; gunicorn has 32 threads in a process.
    api = celeriac.api(access=may_look, streams=24)
    app.register_blueprint(api, url_prefix="/api/celery")
    formats.init_app(app)
    negotiation.init_app(app)
    return app
