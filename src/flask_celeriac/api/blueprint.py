"""The blueprint, made of the table of routes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

import flask
from werkzeug.routing import PathConverter

from ..errors import ConfigError
from ..spelling import did_you_mean
from . import csrf, problems
from .access import Access
from .answers import respond
from .context import Api, Hooks
from .problems import Problem
from .requests import body_of, check_path, query_of
from .routes import ROUTES, Route

if TYPE_CHECKING:
    from flask.sansio.blueprints import BlueprintSetupState

    from ..celery_app import FlaskCelery

#: Methods that are answered in JSON also where there is nothing: the rest is Flask's.
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def make(
    find_app: Callable[[], FlaskCelery], *, name: str = "celeriac_api", **decided: Any
) -> flask.Blueprint:
    """A blueprint with every route.

    :param find_app: the Celery of the current Flask application
    :param name: the blueprint's
    :param decided: see :class:`~.context.Hooks`
    :raises ConfigError: there is no function that says who may do what
    """
    known = [field.name for field in fields(Hooks)]
    for argument in decided:
        if argument not in known:
            choice = f"there are {', '.join(known)}, name"
            hint = did_you_mean(argument, known, choice, written="{}=".format)
            raise ConfigError(f"celeriac.api({argument}=...): there is no such argument: {hint}")
    hooks = Hooks(**decided)
    if not callable(hooks.access):
        raise ConfigError(
            "celeriac.api(access=...): give a function that returns Access.OPERATE, Access.READ or"
            " Access.NONE for the current request. Without one, nobody may do anything."
        )
    if type(hooks.streams) is not int or hooks.streams < 0:
        raise ConfigError(
            f"celeriac.api(streams={hooks.streams!r}): give how many streams of events one process"
            " may have, 0 for none; each holds a thread of the web server"
        )
    api = Api(find_app, hooks)
    blueprint = flask.Blueprint(name, __name__)
    blueprint.record(_know_paths)
    blueprint.before_request(partial(_guard, hooks))
    blueprint.register_error_handler(Exception, problems.answer)
    methods: dict[str, list[str]] = defaultdict(list)
    for route in ROUTES:
        methods[route.path].append(route.method)
        _add(blueprint, route.path, route.verb, partial(_answer, api, route), [route.method])
    for number, (path, allowed) in enumerate(methods.items()):
        others = [method for method in _METHODS if method not in allowed]
        _add(blueprint, path, f"no_{number}", partial(_refuse_method, allowed), others)
    _add(blueprint, "/", "nothing", _nothing, _METHODS)
    _add(blueprint, "/<path:rest>", "nothing", _nothing, _METHODS)
    return blueprint


class _AnyPath(PathConverter):
    """What ``path`` is, with line breaks: to Werkzeug, these end a URL."""

    regex = "(?s:[^/].*?)"


def _know_paths(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["celeriac_path"] = _AnyPath


def _add(blueprint: flask.Blueprint, path: str, endpoint: str, view: Any, methods: Any) -> None:
    path = path.replace("<path:", "<celeriac_path:")
    blueprint.add_url_rule(path, endpoint, view, methods=methods, provide_automatic_options=False)


def _guard(hooks: Hooks) -> None:
    """Let pass only whoever may do this.

    :raises Problem: they may not
    """
    request = flask.request
    if request.method == "OPTIONS":  # asked without credentials, and says nothing of any task
        return
    access = hooks.access()
    if not isinstance(access, Access):
        raise TypeError(f"access() has to return an Access, not {access!r}")
    if access is Access.NONE:
        raise Problem("forbidden", "You have no access to tasks here.")
    if access is Access.READ and request.method not in csrf.SAFE:
        raise Problem("forbidden", "You may look at tasks here, and change nothing.")
    if csrf.is_forged(request):
        raise Problem(
            "cross-site",
            "A request with cookies needs Sec-Fetch-Site: same-origin, or this site's Origin.",
        )


def _answer(api: Api, route: Route, **path: Any) -> flask.Response:
    _check_limit(api.hooks, route.verb)
    check_path(path)
    asked: dict[str, Any] = dict(path)
    query = query_of(flask.request, route.query)
    if query is not None:
        asked["query"] = query
    if route.body is not None:
        asked["body"] = body_of(flask.request, route.body)
    return respond(route.view(api, **asked))


def _check_limit(hooks: Hooks, verb: str) -> None:
    seconds = None if hooks.limit is None else hooks.limit(verb)
    if seconds is not None and seconds > 0:
        raise Problem(
            "too-many-requests", "Wait before you ask again.", headers=problems.later(seconds)
        )


def _refuse_method(allowed: list[str], **path: Any) -> flask.Response:
    implied = ["HEAD"] if "GET" in allowed else []
    headers = {"Allow": ", ".join([*allowed, *implied, "OPTIONS"])}
    if flask.request.method == "OPTIONS":
        return flask.Response(status=204, headers=headers)
    raise Problem("method-not-allowed", f"Only {headers['Allow']} here.", headers=headers)


def _nothing(rest: str = "") -> flask.Response:
    raise Problem("not-found", "See openapi.json for what there is.")
