"""For Celery's own command: ``celery -A make_celery worker``."""

from __future__ import annotations

from app import create_app  # type: ignore[import-not-found]

celery = create_app().extensions["celery"]
