"""Messages that are not run are kept, with the reason, until somebody decides about them.

Where tasks are recorded, a dead letter is a record in the state ``dead``, and beside it the message
as it came. Where they are not, it is a message in the queue :data:`QUEUE` of the same broker.
"""

from __future__ import annotations

import base64
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from kombu.exceptions import OperationalError
from kombu.utils.json import dumps

from . import states
from .errors import DeadLetterError, StorageError
from .message_policy import ENCODINGS
from .records import description
from .records.recording import LONGEST_ARGUMENTS
from .task_ids import new_id
from .urls import records_url
from .verification import Complaint, is_unsigned

if TYPE_CHECKING:
    from .celery_app import FlaskCelery

#: Where dead letters go when there is no database for records.
QUEUE = "celeriac.dead"
#: The headers that say why, there.
REASON = "celeriac_dead_reason"
TEXT = "celeriac_dead_text"
#: Bytes of a body that are kept; of a longer one its beginning is, and its size.
LONGEST_BODY = 4 * 2**20
KEPT_OF_LONGER = 64 * 1024
#: What marks a body that is no text, in the database.
BINARY = "base64:"

_LONGEST_ID = 255
_LONGEST_ERROR = 500

#: What a request knows of the headers of its message, and of the rest of its body.
_HEADERS = (
    *("id", "root_id", "parent_id", "group", "group_index", "eta", "expires", "retries"),
    *("timelimit", "shadow", "origin", "ignore_result", "stamped_headers", "stamps"),
)
_EMBEDDED = ("callbacks", "errbacks", "chain", "chord")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Letter:
    """A message as it came.

    :param queue: the queue it came from, as far as that is known
    :param embedded: what travels with a task's arguments, where the body could be read
    """

    headers: dict[str, Any]
    body: str | bytes
    content_type: str | None
    content_encoding: str | None
    queue: str | None = None
    arguments: tuple[Any, Any] | None = None
    embedded: dict[str, Any] | None = None

    @property
    def task_id(self) -> str | None:
        """The id it gives itself, if it can be one."""
        return _short(self.headers.get("id"))

    @property
    def name(self) -> str | None:
        """The name of its task, if it can be one."""
        return _short(self.headers.get("task"))


def bury(app: FlaskCelery, message: Any, reason: str, text: str, *, forged: bool = False) -> str:
    """Keep a message that is not run. It is durable when this returns; acknowledge it then.

    :param message: as kombu received it
    :param reason: one word for lists and programs, such as ``"undecodable"``
    :param text: a sentence for people, with the remedy where there is one
    :param forged: nothing that it says of itself is believed: it gets an id of its own, and no
        task is told of it; so it is with all that is not signed, where messages are
    :return: the id under which it is listed
    :raises Exception: it could not be stored, for whatever reason: keep the message
    """
    why = Complaint(reason, text, forged or is_unsigned(app, message))
    return bury_letter(app, letter_of(message, readable=not why.forged), why)


def bury_letter(app: FlaskCelery, letter: Letter, why: Complaint) -> str:
    """:func:`bury`, for what was taken out of its message."""
    if why.forged and letter.task_id:  # for whoever looks for the task under that
        why = replace(why, text=f"{why.text}; it says that it is task {letter.task_id}")
    url = records_url(app)
    if url is None:
        task_id = (None if why.forged else letter.task_id) or new_id()
        _publish(app, letter, why)
    else:
        task_id = _record(app, url, letter, why)
    if not why.forged:
        _tell(app, letter, task_id, why)
    said = (letter.name, task_id, why.reason, why.text, _how_to_look(url, task_id))
    logger.error("Task %s[%s] is a dead letter (%s): %s. %s", *said)
    return task_id


def letter_of(message: Any, *, readable: bool = True) -> Letter:
    """A message as it came.

    :param readable: its body may be decoded, if that goes well
    """
    headers = message.headers if isinstance(message.headers, dict) else {}
    if "compression" in headers and not message.errors:  # kombu has undone it
        headers = {name: headers[name] for name in headers if name != "compression"}
    delivery: dict[str, Any] = message.delivery_info or {}
    body = message.body
    letter = Letter(
        headers=headers,
        body=body if isinstance(body, (str, bytes)) else bytes(body or b""),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        queue=_short(delivery.get("routing_key")),
    )
    return _read(letter, message) if readable else letter


def letter_of_request(request: Any) -> Letter:
    """The message of a task that is about to run, as far as its request still has it."""
    known: dict[str, Any] = {name: getattr(request, name, None) for name in _HEADERS}
    headers = {name: value for name, value in known.items() if value is not None}
    headers |= {"task": request.task, **(request.headers or {})}
    embedded = {name: getattr(request, name, None) for name in _EMBEDDED}
    body = dumps([list(request.args or ()), dict(request.kwargs or {}), embedded], default=repr)
    return Letter(
        headers=headers,
        body=body,
        content_type="application/json",
        content_encoding="utf-8",
        queue=_short((request.delivery_info or {}).get("routing_key")),
        arguments=(request.args or (), request.kwargs or {}),
        embedded=embedded,
    )


def _read(letter: Letter, message: Any) -> Letter:
    """The same with its arguments, where the body is JSON that can be read."""
    if message.content_type != "application/json" or len(letter.body) > LONGEST_BODY:
        return letter
    if str(message.content_encoding).lower() not in ENCODINGS:
        return letter
    try:
        args, kwargs, embedded = message.decode()
    except Exception:  # noqa: BLE001 - that may be why it is dead
        return letter
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, dict):
        return letter
    known = embedded if isinstance(embedded, dict) else None
    return replace(letter, arguments=(args, kwargs), embedded=known)


def _record(app: FlaskCelery, url: str, letter: Letter, why: Complaint) -> str:
    from .database import engine_for
    from .records import gate_queries, write_queries

    now = time.time()
    task_id = (None if why.forged else letter.task_id) or new_id()
    with engine_for(url).begin() as connection:
        values = _values(letter, why, now) | {"result": _result(app, why)}
        write_queries.write(connection, {"task_id": task_id, **values})
        found = gate_queries.standing(connection, task_id)
        if found is None or found.state != states.DEAD:
            # A task of this id has ended otherwise, and stays as it is.
            task_id = new_id()
            write_queries.write(connection, {"task_id": task_id, **values})
        gate_queries.put_letter(connection, {"task_id": task_id, **_columns(letter, why, now)})
    return task_id


def _tell(app: FlaskCelery, letter: Letter, task_id: str, why: Complaint) -> None:
    """Tell those who wait for the task that it has failed: callers, its chord, its errbacks."""
    args, kwargs = letter.arguments or ((), {})
    known: dict[str, Any] = {**letter.headers, **(letter.embedded or {})}
    if isinstance(letter.headers.get("headers"), dict):
        known["headers"] = description.headers_of(letter.headers)
    known |= {"id": task_id, "args": args, "kwargs": kwargs, "delivery_info": {}}
    backend: Any = app.backend
    try:
        backend.mark_as_failure(task_id, _error(why), request=Context(known))
    except (OperationalError, StorageError):
        raise  # it is tried again
    except Exception:
        logger.exception("Nobody could be told that task %s is a dead letter", task_id)


def _error(why: Complaint) -> DeadLetterError:
    return DeadLetterError(f"{why.reason}: {_clean(why.text)}"[:_LONGEST_ERROR])


def _values(letter: Letter, why: Complaint, now: float) -> dict[str, Any]:
    """What the record of a dead task says."""
    values: dict[str, Any] = {
        "state": states.DEAD,
        "status": "FAILURE",
        "name": letter.name,
        "queue": letter.queue,
        "arguments": _arguments(letter),
        "error_type": DeadLetterError.__name__,
        "error_message": str(_error(why)),
        "error_fingerprint": description.fingerprint(letter.name, why.reason, None),
        "finished": now,
        "updated": now,
    }
    if why.forged:
        return values
    values |= description.of_cut_off(letter.headers)
    for column, header in (
        ("root_id", "root_id"),
        ("parent_id", "parent_id"),
        ("group_id", "group"),
    ):
        values[column] = _short(letter.headers.get(header))
    return values


def _result(app: FlaskCelery, why: Complaint) -> str | None:
    """What ``AsyncResult.get()`` raises, where the results are in the records."""
    backend: Any = app.backend
    pack = getattr(backend, "pack", None)
    return None if pack is None else str(pack(backend.encode_result(_error(why), "FAILURE")))


def _arguments(letter: Letter) -> str | None:
    if letter.arguments is None:
        return None
    text = dumps([list(letter.arguments[0]), letter.arguments[1]])
    return text if len(text) <= LONGEST_ARGUMENTS else None


def _columns(letter: Letter, why: Complaint, now: float) -> dict[str, Any]:
    body, headers = letter.body, letter.headers
    if len(body) > LONGEST_BODY:
        headers = {**headers, "celeriac_size": len(body)}
        body = body[:KEPT_OF_LONGER]
    return {
        "reason": why.reason,
        "content_type": _short(letter.content_type),
        "content_encoding": (_short(letter.content_encoding) or "")[:50] or None,
        "headers": _clean(_json(headers)),
        "body": as_text(body),
        "at": now,
    }


def _json(headers: dict[str, Any]) -> str:
    """Headers as a database keeps them, without those that nothing can be made of."""
    try:
        return dumps(headers, default=repr)
    except (ValueError, TypeError, RecursionError):
        plain = (str, int, float, type(None))
        return dumps({key: headers[key] for key in headers if isinstance(headers[key], plain)})


def as_text(body: str | bytes) -> str:
    """A body as a database keeps it: as it is, or in base64 where it is no text."""
    try:
        text = body if isinstance(body, str) else body.decode("utf-8")
        raw = text.encode("utf-8")
    except UnicodeError:
        raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    else:
        if "\0" not in text and not text.startswith(BINARY):
            return text
    return BINARY + base64.b64encode(raw).decode("ascii")


def _publish(app: FlaskCelery, letter: Letter, why: Complaint) -> None:
    """Send it to the queue of dead letters; the broker has it when this returns."""
    from kombu import Exchange, Queue

    queue = Queue(QUEUE, Exchange("", type="direct"), routing_key=QUEUE, durable=True)
    headers = {**letter.headers, REASON: why.reason, TEXT: why.text}
    with app.connection_for_write() as connection, connection.channel() as channel:
        queue(channel).queue_declare()
        app.amqp.Producer(channel, auto_declare=False).publish(
            letter.body,
            exchange="",
            routing_key=QUEUE,
            headers={key: value for key, value in headers.items() if not key.startswith("x-")},
            content_type=letter.content_type or "application/octet-stream",
            content_encoding=letter.content_encoding or "binary",
            delivery_mode=2,
        )


def _how_to_look(url: str | None, task_id: str) -> str:
    if url is None:
        return f"It is in the queue {QUEUE!r} of the broker"
    return f"Look with `flask celery show {task_id}`"


def _short(value: object) -> str | None:
    if not isinstance(value, str) or not value or len(value) > _LONGEST_ID:
        return None
    return value if _clean(value) == value else None


def _clean(text: str) -> str:
    """Text that every database takes."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
