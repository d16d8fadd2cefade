"""A search for a text sees what is shown of tasks: of arguments, what is neither masked nor hidden.

The databases know arguments as they are. What they find is looked at once more, and where their
search stops does not depend on what they found, so that nothing can be guessed by it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kombu.utils.json import dumps

from . import reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..broker.task_queries import Message
    from ..celery_app import FlaskCelery
    from ..records.task_record import Filter


def of_rows(app: FlaskCelery, chosen: Filter) -> Callable[[Any], bool] | None:
    """Whether the text of a filter is shown of a record; None where it has no text."""
    text = chosen.text
    if not text:
        return None

    def shows(row: Any) -> bool:
        said = (row.name, row.error_type, row.error_message)
        return _is_in(text, *said) or _in_arguments(app, text, row.name, row.arguments)

    return shows


def of_messages(app: FlaskCelery, chosen: Filter) -> Callable[[Message], bool] | None:
    """Whether it is shown of a message in the embedded queue."""
    text = chosen.text
    if not text:
        return None

    def shows(message: Message) -> bool:
        name = message.task
        return _is_in(text, name) or _in_arguments(app, text, name, message.text)

    return shows


def _is_in(text: str, *places: str | None) -> bool:
    wanted = text.casefold()
    return any(place is not None and wanted in place.casefold() for place in places)


def _in_arguments(app: FlaskCelery, text: str, name: str | None, body: str | None) -> bool:
    args, kwargs = reading.shown(app, name, body)
    if args is None:
        return False
    try:
        said = dumps([args, kwargs], ensure_ascii=False)
    except (TypeError, ValueError):  # a task's `redact` may return anything
        said = repr([args, kwargs])
    as_it_travels = json.dumps(text, ensure_ascii=False)[1:-1]
    return _is_in(text, said) or _is_in(as_it_travels, said)
