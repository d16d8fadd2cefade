"""The application that the documents speak of without showing it."""

from __future__ import annotations

from flask import Flask

from flask_celeriac import Celeriac

celeriac = Celeriac()


def create_app() -> Flask:
    """Make the application, with its instance folder beside this file."""
    app = Flask(__name__)
    celeriac.init_app(app)
    return app
