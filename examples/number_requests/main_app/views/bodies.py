"""What requests bring: each function returns something usable, or ends the request with a 400."""

from __future__ import annotations

import json
import uuid
from typing import Any, NoReturn

from flask import current_app, request
from werkzeug.exceptions import BadRequest

from main_app.models.models import JOBS

#: What an integer column takes, and half of it, for a number may be doubled.
LARGEST_ID = 2**31 - 1
LARGEST_NUMBER = 10**9


def refuse(why: str) -> NoReturn:
    raise BadRequest(why)


def opaque_text() -> str:
    """A body of any kind, as text."""
    try:
        text = request.get_data().decode()
    except UnicodeDecodeError:
        refuse("The body is not UTF-8: send text.")
    if not text:
        refuse("The body is empty: send some data, or JSON with rid, numbers and jobtodo.")
    return text


def json_object() -> dict[str, Any]:
    """A JSON object, whatever the Content-Type says; a GET may have one too."""
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        refuse(f"The body is not JSON: {error}.")
    if not isinstance(body, dict):
        refuse("The body has to be a JSON object.")
    return body


def named(key: str) -> Any:
    """A value from the query string, or else from the JSON object in the body."""
    if key in request.args:
        return request.args[key]
    body = json_object() if request.get_data() else {}
    return member(body, key)


def number_request() -> dict[str, Any]:
    """A new request, as the arguments of its task."""
    body = json_object()
    numbers = whole_numbers(body, "numbers", -LARGEST_NUMBER, LARGEST_NUMBER)
    return {
        "request_id": rid(member(body, "rid")),
        "number_list": numbers,
        "jobtodo_list": words(body, "jobtodo", JOBS, as_many_as=numbers),
    }


def results() -> dict[str, Any]:
    """What a processing found out, as the arguments of the task that notes it."""
    body = json_object()
    rows = whole_numbers(body, "numbers_id", 1, LARGEST_ID)
    numbers = whole_numbers(body, "numbers", -LARGEST_NUMBER, LARGEST_NUMBER)
    result = whole_numbers(body, "result", -LARGEST_ID, LARGEST_ID)
    if not len(rows) == len(numbers) == len(result):
        refuse("numbers_id, numbers and result have to be of the same length.")
    done = words(body, "jobtodo_new", tuple(f"{job}_Done" for job in JOBS), as_many_as=rows)
    return {"numbers_id": rows, "numbers": numbers, "jobtodo_new": done, "result": result}


def rid(given: Any) -> int:
    """The number of a request; text where it is from a query string."""
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= 10:
        given = int(given)
    if not is_whole_number(given, 0, LARGEST_ID):
        refuse(f"rid has to be a whole number from 0 to {LARGEST_ID}.")
    assert isinstance(given, int)
    return given


def task_id(given: Any) -> str:
    try:
        if isinstance(given, str) and str(uuid.UUID(given)) == given:
            return given
    except ValueError:
        pass
    refuse("taskID has to be an id that this server gave out.")


def whole_numbers(body: dict[str, Any], key: str, lowest: int, highest: int) -> list[int]:
    values = items(body, key)
    if not all(is_whole_number(value, lowest, highest) for value in values):
        refuse(f"{key} has to be a list of whole numbers from {lowest} to {highest}.")
    return values


def is_whole_number(value: Any, lowest: int, highest: int) -> bool:
    # True and False are numbers to Python, and not to anybody who sends them.
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def words(
    body: dict[str, Any], key: str, known: tuple[str, ...], as_many_as: list[int]
) -> list[str]:
    values = items(body, key)
    if not all(value in known for value in values):
        refuse(f"{key} has to be a list of {' or '.join(known)}.")
    if len(values) != len(as_many_as):
        refuse(f"{key} has to have one entry for each number: {len(as_many_as)}.")
    return values


def items(body: dict[str, Any], key: str) -> list[Any]:
    values, most = member(body, key), current_app.config["MAX_NUMBERS"]
    if not isinstance(values, list) or not 1 <= len(values) <= most:
        refuse(f"{key} has to be a list of 1 to {most} entries.")
    return values


def member(body: dict[str, Any], key: str) -> Any:
    if key not in body:
        refuse(f"There is no {key}: send it in a JSON object, or in the query string of a GET.")
    return body[key]
