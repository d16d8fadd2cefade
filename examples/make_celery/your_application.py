"""The application of the document, with our ``make_celery``."""

from __future__ import annotations

from flask import Flask, current_app
from sums import add_routes

from flask_celeriac import make_celery

flask_app = Flask(__name__)  # no broker here: CELERY_BROKER_URL may name one
celery = make_celery(flask_app)


@celery.task()
def add_together(a: int, b: int) -> int:
    """Add two numbers."""
    current_app.logger.info("%s adds %s and %s", current_app.name, a, b)
    return a + b


add_routes(flask_app, add_together)
