"""The arguments of tasks that may be started over HTTP, as their type hints say."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import pydantic_core
from kombu.utils import json as kombu_json
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema

from ..errors import ConfigError, UnknownTaskNameError
from .problems import Problem

if TYPE_CHECKING:
    from celery import Task

    from ..celery_app import FlaskCelery

_known: WeakKeyDictionary[Task[..., Any], Signature] = WeakKeyDictionary()


class _Quiet(GenerateJsonSchema):
    def emit_warning(self, kind: object, detail: str) -> None:
        """Nothing: a default that is no JSON is left out of the schema, and that is all."""


@dataclass(frozen=True)
class Signature:
    """What a task takes.

    :param adapter: validates a JSON object or array of arguments, and gives ``(args, kwargs)``
    :param parameters: the names, in order
    :param by_name: whether all of them can be given by name
    :param rest: whether there may be more by position, ``*args``
    """

    adapter: TypeAdapter[Any]
    parameters: tuple[str, ...]
    by_name: bool
    rest: bool

    def schema(self, ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
        """The JSON Schema of the arguments: an object, or an array where names do not do."""
        try:
            return self.adapter.json_schema(
                ref_template=ref_template, schema_generator=_Quiet, mode="validation"
            )
        except PydanticInvalidForJsonSchema:
            return {}


def startable(app: FlaskCelery) -> list[Task[..., Any]]:
    """The tasks that may be started over HTTP, by name."""
    return [task for _, task in sorted(app.tasks.items()) if is_startable(task)]


def is_startable(task: object) -> bool:
    """Whether a task was declared with ``http=True``."""
    return getattr(task, "http", False) is True


def find(app: FlaskCelery, name: str) -> Task[..., Any]:
    """The task of this name that may be started over HTTP.

    :raises UnknownTaskNameError: there is none
    """
    task = app.tasks.get(name)
    if task is None or not is_startable(task):
        raise UnknownTaskNameError(f"There is no task {name!r} that may be started: see /types")
    return task


def signature_of(task: Task[..., Any]) -> Signature:
    """What a task takes.

    :raises ConfigError: its type hints mean nothing to pydantic
    """
    found = _known.get(task)
    if found is None:
        found = _known[task] = _signature(task)
    return found


def _signature(task: Task[..., Any]) -> Signature:
    def echo(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    signature = inspect.signature(task.run)
    try:
        hints = typing.get_type_hints(inspect.unwrap(task.run), include_extras=True)
        echo.__signature__ = signature  # type: ignore[attr-defined]
        echo.__annotations__ = {name: hints.get(name, Any) for name in signature.parameters}
        function: Any = echo  # which TypeAdapter takes, though its stub speaks of types
        adapter: TypeAdapter[Any] = TypeAdapter(function, config=ConfigDict(strict=True))
    except (NameError, TypeError, PydanticUserError) as error:
        raise ConfigError(
            f"Task {task.name!r} has http=True, but its type hints cannot be validated: {error}."
            " Use types that pydantic knows, imported where the module runs, or drop http=True."
        ) from error
    parameters = signature.parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    by_name = inspect.Parameter.POSITIONAL_ONLY not in kinds
    rest = inspect.Parameter.VAR_POSITIONAL in kinds
    return Signature(adapter, tuple(_positional(signature)), by_name, rest)


def _positional(signature: inspect.Signature) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, p in signature.parameters.items() if p.kind in kinds]


def validated(
    task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """A task's arguments, made into what its type hints say, as far as that can travel.

    :raises Problem: they are not what its type hints say
    """
    signature = signature_of(task)
    given = _together(signature, args, kwargs)
    try:
        found, named = _validate(signature, given)
    except ValidationError as error:
        raise Problem(
            "invalid-body",
            f"These are not the arguments of {task.name}.",
            places=[
                (_place(signature, len(args), each["loc"]), each["msg"])
                for each in error.errors(include_url=False, include_context=False)
            ],
        ) from None
    # What was not given stays the function's own default.
    return (
        [_travelling(value) for value in found[: len(args)]],
        {name: _travelling(value) for name, value in named.items() if name in given},
    )


def _validate(signature: Signature, given: Any) -> tuple[Any, Any]:
    try:
        text = pydantic_core.to_json(given)
        return cast("tuple[Any, Any]", signature.adapter.validate_json(text, strict=True))
    except ValidationError:
        text = pydantic_core.to_json(_with_whole_numbers(given))
        return cast("tuple[Any, Any]", signature.adapter.validate_json(text, strict=True))


def _with_whole_numbers(value: Any) -> Any:
    """The same with 3 for 3.0: in JSON, that is an integer, too."""
    if isinstance(value, dict):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _together(
    signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any] | list[Any]:
    """Positional arguments and those by name in one."""
    known = len(signature.parameters)
    if not signature.by_name or (signature.rest and (not kwargs or len(args) > known)):
        if kwargs:
            remedy = f"Give at most {known} in args, or these there, too"
            place = ("/kwargs", remedy if signature.by_name else "Give these in args")
            raise Problem(
                "invalid-body", "This task takes its arguments by position.", places=[place]
            )
        return list(args)
    names = signature.parameters[: len(args)]
    places = [
        (f"/args/{i}", "Unexpected positional argument") for i in range(len(names), len(args))
    ]
    places += [(f"/kwargs/{name}", "Given in args, too") for name in names if name in kwargs]
    if places:
        raise Problem("invalid-body", "These are not the arguments of the task.", places=places)
    return {**dict(zip(names, args, strict=True)), **kwargs}


def _place(signature: Signature, positional: int, path: tuple[int | str, ...]) -> str:
    """The JSON pointer to an argument."""
    head, *rest = path or ("",)
    if isinstance(head, int):
        steps: list[int | str] = ["args", head]
    elif head in signature.parameters[:positional]:
        steps = ["args", signature.parameters.index(head)]
    else:
        steps = ["kwargs", head]
    return pointer((*steps, *rest))


def pointer(path: Sequence[int | str]) -> str:
    """A path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def _travelling(value: Any) -> Any:
    """An argument as it can be sent: what Celery's JSON does not know becomes plain data."""
    try:
        kombu_json.dumps(value)
    except (TypeError, ValueError):
        return pydantic_core.to_jsonable_python(value)
    return value
