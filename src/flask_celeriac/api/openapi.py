"""The API in OpenAPI 3.1, made of the table of routes."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from . import shapes, signatures
from .problems import KINDS
from .requests import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from .context import Api
    from .routes import Route

_REF = "#/components/schemas/{model}"
#: What the name of a schema cannot have.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
#: Problems that every route has, and those that every route with a body has.
_ALWAYS = (400, 403, 404, 429, 503)
_WITH_BODY = (413, 415, 422)
_START = "/types/{name}/tasks"


def document(api: Api, routes: Iterable[Route]) -> dict[str, Any]:
    """The document, with the tasks that may be started in this application."""
    routes = tuple(routes)
    paths: dict[str, Any] = {}
    for route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    schemas = _schemas(routes)
    for task in signatures.startable(api.celery):
        paths[_START.format(name=task.name)] = {"post": _start(paths[_START]["post"], task.name)}
        schemas.update(_arguments(task))
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tasks", "version": version("flask-celeriac")},
        "servers": [{"url": _base()}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _base() -> str:
    from .context import current_path

    return current_path("openapi").removesuffix("/openapi.json") or "/"


def _operation(route: Route) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": route.verb,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_headers(route)],
        "responses": {**_answers(route), **_problems(route)},
    }
    if route.body is not None:
        content = {"application/json": {"schema": _ref(route.body)}}
        needed = any(field.is_required() for field in route.body.model_fields.values())
        said["requestBody"] = {"content": content, "required": needed}
    return said


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    schema = {
        "type": "string", "minLength": 1, "maxLength": LONGEST_NAME, "pattern": r"^[^\x00/]+$"
    }  # fmt: skip
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in _PARAMETER.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    properties = route.query.model_json_schema(ref_template=_REF)["properties"]
    found = []
    for name, schema in properties.items():
        said = {key: value for key, value in schema.items() if key not in ("title", "description")}
        # Left out is how a query string says null.
        if "anyOf" in said:
            (given,) = (each for each in said.pop("anyOf") if each != {"type": "null"})
            said = {**given, **{key: value for key, value in said.items() if key != "default"}}
        parameter = {"name": name, "in": "query", "required": False, "schema": said}
        if "description" in schema:
            parameter["description"] = schema["description"]
        found.append(parameter)
    return found


def _headers(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
        for name, text, schema in route.takes
    ]


def _answers(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, shape in route.answers.items():
        said: dict[str, Any] = {"description": "" if shape is None else _sentence(shape)}
        said["description"] = said["description"] or "It is done."
        if shape is not None:
            said["content"] = {route.media_type: {"schema": _ref(shape)}}
        if route.gives:
            text = {"type": "string"}
            said["headers"] = {
                name: {"description": about, "schema": text} for name, about in route.gives
            }
        found[str(status)] = said
    if route.method == "GET":
        found["304"] = {"description": "It is as the client has it (ETag)."}
    return found


def _problems(route: Route) -> dict[str, Any]:
    statuses = {*_ALWAYS, *route.problems, *(_WITH_BODY if route.body is not None else ())}
    titles = dict(reversed(KINDS.values()))
    content = {"application/problem+json": {"schema": _ref(shapes.Problem)}}
    found: dict[str, Any] = {
        str(status): {"description": titles[status], "content": content}
        for status in sorted(statuses)
    }
    return {**found, "default": {"description": "Something else.", "content": content}}


def _start(generic: dict[str, Any], name: str) -> dict[str, Any]:
    """Starting one task, with the schema of its arguments."""
    said = {key: value for key, value in generic.items() if key != "parameters"}
    said["operationId"] = f"start {name}"
    said["parameters"] = [each for each in generic["parameters"] if each["in"] != "path"]
    content = {"application/json": {"schema": {"$ref": _REF.format(model=f"{_clean(name)}.call")}}}
    said["requestBody"] = {"content": content, "required": True}
    return said


def _arguments(task: Any) -> dict[str, Any]:
    signature = signatures.signature_of(task)
    prefix = _clean(task.name)
    schema = signature.schema(_REF.format(model=f"{prefix}.{{model}}"))
    own = {f"{prefix}.{name}": each for name, each in schema.pop("$defs", {}).items()}
    name = "kwargs" if signature.by_name else "args"
    call: dict[str, Any] = {
        "type": "object",
        "properties": {name: schema},
        "additionalProperties": False,
    }
    if schema.get("required") or schema.get("minItems"):
        call["required"] = [name]
    return {**own, f"{prefix}.call": call}


def _clean(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name)


def _schemas(routes: tuple[Route, ...]) -> dict[str, Any]:
    used: set[type[BaseModel]] = {shapes.Problem}
    for route in routes:
        used.update(shape for shape in (*route.answers.values(), route.body) if shape is not None)
    ordered = sorted(used, key=lambda model: model.__name__)
    _, found = models_json_schema([(m, "validation") for m in ordered], ref_template=_REF)
    return dict(found["$defs"])


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _sentence(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]
