"""The application factory."""

from __future__ import annotations

from flask import Flask

from flask_celeriac.config import load_file

from . import errors, settings
from .controller.routes import blueprint
from .controller.tasks import celeriac


def create_app() -> Flask:
    """Make an application; not before now is it known which broker its tasks go to.

    :raises ConfigError: the configuration cannot be used.
    """
    app = Flask(__name__)
    if settings.FILE.is_file():
        app.config["CELERIAC_CONFIG_FILE"] = str(settings.FILE)
    celeriac.init_app(app)
    # Another one, if FLASK_CONFIG names it.
    file = app.extensions["celeriac"].settings.options.config_file
    settings.load(app, load_file(file) if file else {})
    errors.init_app(app)
    app.register_blueprint(blueprint)
    return app
