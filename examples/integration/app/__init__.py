"""A Flask application that sends mails in the background."""

from __future__ import annotations

from typing import Any

from flask import Flask


def create_app(**config: Any) -> Flask:
    """Make the application.

    :param config: settings that win over the environment's, as in
        ``flask --app 'app:create_app(MAIL_PORT=2525)' run``
    """
    from . import errors, views
    from .extensions import celery, mail

    app = Flask(__name__)
    app.config.from_mapping(
        MAIL_SERVER="localhost",
        MAIL_PORT=1025,
        MAIL_DEFAULT_SENDER="sender@example.com",
        OPERATOR="operator@example.com",
        RETRY_SECONDS=10,
        MAX_CONTENT_LENGTH=64 * 1024,
        CELERY={"task_routes": {"app.tasks.send_email": {"queue": "mail"}}},
    )
    app.config.from_prefixed_env()
    app.config.from_mapping(config)

    mail.init_app(app)
    celery.init_app(app)
    app.register_blueprint(views.blueprint)
    errors.init_app(app)
    return app
