"""SQLAlchemy sessions and engines of a Flask application, known by what they can do.

Neither SQLAlchemy nor Flask-SQLAlchemy is imported: an application need not have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import flask


def give_back(app: flask.Flask, session: Any) -> None:
    """Give a session back after a task, unless an application context has done it.

    :param session: what ``Celeriac(session=...)`` was given
    """
    if hasattr(session, "remove") and _flask_sqlalchemy_session(app) is not session:
        session.remove()


def engines(app: flask.Flask, session: Any) -> Iterator[Any]:
    """The engines an application's tasks use; call it in an application context."""
    found: dict[int, Any] = {}
    extension = app.extensions.get("sqlalchemy")
    for engine in dict(getattr(extension, "engines", {})).values():
        found[id(engine)] = engine
    options = getattr(getattr(session, "session_factory", session), "kw", {})
    for bind in (options.get("bind"), *(options.get("binds") or {}).values()):
        engine = getattr(bind, "engine", None)
        if hasattr(engine, "dispose"):
            found[id(engine)] = engine
    yield from found.values()


def take_sessions(app: flask.Flask, session: Any) -> Iterator[Any]:
    """Take the sessions out of their registries, without closing them."""
    for scoped in (session, _flask_sqlalchemy_session(app)):
        registry: Any = getattr(scoped, "registry", None)
        by_scope = getattr(registry, "registry", None)
        if isinstance(by_scope, dict):
            yield from by_scope.values()
            by_scope.clear()
        elif registry is not None and registry.has():
            yield registry()
            registry.clear()


def _flask_sqlalchemy_session(app: flask.Flask) -> Any:
    return getattr(app.extensions.get("sqlalchemy"), "session", None)
