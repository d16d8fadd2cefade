"""Drop-ins for the two recipes that Flask applications have copied for Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .celery_app import FlaskCelery
from .errors import CeleriacError
from .extension import Celeriac

if TYPE_CHECKING:
    from flask import Flask


def celery_init_app(app: Flask, celery: FlaskCelery | None = None) -> FlaskCelery:
    """Stand in for the function of that name in Flask's documentation.

    Reads ``app.config["CELERY"]`` and every other spelling of Celery's settings; with no broker
    configured, tasks are kept in a file in the instance folder. Called again for the same
    application, it returns the same object.

    :param celery: the Celery to use, if it was made before there was a Flask application. What
        was set on it stays: its tasks, its ``Task``, its configuration
    :return: the application's Celery, also in ``app.extensions["celery"]``
    :raises ConfigError: the configuration cannot be used
    :raises CeleriacError: ``celery`` belongs to another Flask application, or the application has
        another Celery

    .. versionadded:: 0.1
    """
    if celery is not None and app.extensions.get("celery") is not celery:
        _bind(celery, app)
    elif "celeriac" not in app.extensions:
        Celeriac(app)
    found: FlaskCelery = app.extensions["celery"]
    return found


def _bind(celery: FlaskCelery, app: Flask) -> None:
    if not isinstance(celery, FlaskCelery):
        raise CeleriacError(
            f"{celery!r} cannot be given to a Flask application: make it with"
            " `from flask_celeriac import FlaskCelery` instead of `from celery import Celery`."
        )
    if celery.flask_app not in (None, app):
        raise CeleriacError(
            f"{celery!r} belongs to the Flask application {celery.flask_app.name!r} already: let"
            " celery_init_app(app) make one for each application."
        )
    Celeriac()._wire(celery, app, {})
    celery.flask_app = app


def make_celery(app: Flask) -> FlaskCelery:
    """Stand in for the ``make_celery(app)`` that applications have pasted for years.

    The Celery application is named ``app.import_name``. All of ``app.config`` can be read from
    its ``conf``, as after ``conf.update(app.config)``; ``CELERY_BROKER_URL`` and
    ``CELERY_RESULT_BACKEND`` name broker and result backend, and old and new spellings of other
    settings mix. Called again for the same application, it returns the same object.

    :return: the application's Celery, also in ``app.extensions["celery"]``
    :raises ConfigError: the configuration cannot be used

    .. versionadded:: 0.1
    """
    if "celeriac" in app.extensions:
        return celery_init_app(app)
    celery = FlaskCelery(app.import_name, flask_app=app)
    flask_keys = dict(app.config)
    celery.add_defaults(
        lambda: {key: value for key, value in flask_keys.items() if key not in celery.conf}
    )
    Celeriac()._wire(celery, app, {})
    return celery
