"""Where ``flask --app make_celery`` and ``celery -A make_celery`` find the application."""

from __future__ import annotations

import sys
from pathlib import Path

# It runs in this folder without being installed, too.
sys.path.append(str(Path(__file__).parent / "src"))

from task_app import create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
