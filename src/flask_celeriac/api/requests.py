"""What a request says, checked before a view sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError

from .problems import Problem
from .signatures import pointer

if TYPE_CHECKING:
    from flask import Request

Model = TypeVar("Model", bound=BaseModel)

#: Bytes of a body, at most.
LARGEST_BODY = 64 * 1024
#: Characters of a name in a path, at most: what the tables hold.
LONGEST_NAME = 255


def check_path(values: dict[str, Any]) -> None:
    """Refuse names that cannot be any.

    :raises Problem: a name is too long, or has a character that no database keeps
    """
    for value in values.values():
        if len(str(value)) > LONGEST_NAME or "\0" in str(value):
            raise Problem("not-found", "There can be nothing of this name.")


def query_of(request: Request, model: type[Model] | None) -> Model | None:
    """The query string.

    :param model: None where there are no parameters
    :raises Problem: it says what the model does not
    """
    fields = model.model_fields if model is not None else {}
    values: dict[str, Any] = {}
    for name, given in request.args.lists():
        many = name in fields and fields[name].default == []
        if len(given) > 1 and not many:
            _refuse("invalid-request", [(name, "Given more than once")])
        values[name] = given if many else given[0]
    unknown = [(name, "There is no such parameter") for name in values if name not in fields]
    if unknown:
        _refuse("invalid-request", unknown)
    if model is None:
        return None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        places = [(str(each["loc"][0]), each["msg"]) for each in _errors(error)]
    _refuse("invalid-request", places)
    return None


def body_of(request: Request, model: type[Model]) -> Model:
    """The JSON body; none is an empty object.

    :raises Problem: it is too large, no JSON, or says what the model does not
    """
    raw = _read(request)
    value: Any = {}
    if raw:
        mimetype = request.mimetype
        if mimetype != "application/json":
            raise Problem("not-json", "Send the body with Content-Type: application/json.")
        try:
            value = pydantic_core.from_json(raw, allow_inf_nan=False)
        except ValueError as error:
            raise Problem("invalid-request", f"The body is no JSON: {error}.") from None
    if not isinstance(value, dict):
        _refuse("invalid-body", [("", "It has to be an object")])
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        places = [(pointer(each["loc"]), each["msg"]) for each in _errors(error)]
    _refuse("invalid-body", places)
    raise AssertionError


def _read(request: Request) -> bytes:
    if (request.content_length or 0) > LARGEST_BODY:
        raise _too_large()
    raw = request.stream.read(LARGEST_BODY + 1)
    if len(raw) > LARGEST_BODY:
        raise _too_large()
    return raw


def _too_large() -> Problem:
    return Problem("too-large", f"A body has {LARGEST_BODY // 1024} KiB at most.")


def _errors(error: ValidationError) -> list[Any]:
    return list(error.errors(include_url=False, include_context=False, include_input=False))


def _refuse(kind: str, places: list[tuple[str, str]]) -> None:
    where = ", ".join(place or "the body" for place, _ in places)
    raise Problem(kind, f"This cannot be understood: {where}.", places=places)
