"""Proxies to what belongs to the current Flask application."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import flask
from werkzeug.local import LocalProxy

from .errors import NotInitializedError

if TYPE_CHECKING:
    from .extension import Celeriac


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
