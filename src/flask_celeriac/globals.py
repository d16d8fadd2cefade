"""What belongs to one Flask application, and proxies to that of the current one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import flask
from werkzeug.local import LocalProxy

from .errors import NotInitializedError

if TYPE_CHECKING:
    from . import config
    from .celery_app import FlaskCelery
    from .extension import Celeriac


@dataclass(frozen=True)
class AppState:
    """What belongs to one Flask application, in ``app.extensions["celeriac"]``.

    :param celeriac: the extension that was initialised on the application
    :param celery: the application's Celery, also in ``app.extensions["celery"]``
    :param settings: the configuration and where it came from

    .. versionadded:: 0.1
    """

    celeriac: Celeriac
    celery: FlaskCelery
    settings: config.Settings


def _current_celeriac() -> Celeriac:
    state = flask.current_app.extensions.get("celeriac") if flask.has_app_context() else None
    if state is None:
        raise NotInitializedError
    return cast("Celeriac", state.celeriac)


#: The :class:`~flask_celeriac.Celeriac` of ``flask.current_app``. Using it raises
#: :exc:`~flask_celeriac.errors.NotInitializedError` where there is none.
#:
#: .. versionadded:: 0.1
current_celeriac: Celeriac = LocalProxy(_current_celeriac)  # type: ignore[assignment]
