"""What Celery's command starts: ``celery -A celery_worker.celery worker --loglevel=info``."""

from __future__ import annotations

from server.core import create_app

celery = create_app().extensions["celery"]
