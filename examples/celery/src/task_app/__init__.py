"""Flask's example of background tasks, with mails and with failures."""

from __future__ import annotations

import os

from flask import Flask, render_template

from flask_celeriac import celery_init_app


def create_app() -> Flask:
    """Make the application.

    ``FLASK_CELERY__broker_url`` and the like in the environment are stronger than what is here.
    """
    from . import errors, tasks, views

    app = Flask(__name__)
    app.config.from_mapping(
        # Without a broker_url, tasks are kept in a file in the instance folder.
        CELERY={"task_ignore_result": True},
        MAIL_SERVER=os.environ.get("MAIL_SERVER", "127.0.0.1"),
        MAIL_PORT=int(os.environ.get("MAIL_PORT", "1025")),
        MAIL_USERNAME=os.environ.get("MAIL_USERNAME"),
        MAIL_PASSWORD=os.environ.get("MAIL_PASSWORD"),
        MAIL_USE_TLS=os.environ.get("MAIL_USE_TLS", "") in ("1", "true"),
        MAIL_DEFAULT_SENDER="sender@example.com",
    )
    app.config.from_prefixed_env()

    celery_init_app(app)
    tasks.mail.init_app(app)
    errors.init_app(app)
    app.register_blueprint(views.bp)
    app.register_blueprint(views.api)

    @app.get("/")
    def index() -> str:
        return render_template("index.html")

    return app
