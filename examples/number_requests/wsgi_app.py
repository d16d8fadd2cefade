"""The web server; also where `flask --app wsgi_app` and `celery -A wsgi_app.celery` look."""

from __future__ import annotations

from main_app.app import create_app

app = create_app()
celery = app.extensions["celery"]

if __name__ == "__main__":
    # Without the reloader's second process: whoever stops this one has stopped the server.
    app.run(port=app.config["PORT"], use_reloader=False)
