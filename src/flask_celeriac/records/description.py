"""What a record says of a task: read from the request a worker runs it with, and from its error."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timezone
from math import isfinite
from typing import Any

from kombu.utils.json import dumps, loads

from ..config_mask import mask

#: Message headers of ours.
LABELS = "celeriac_labels"
RETRY_OF = "celeriac_retry_of"
REQUEST_ID = "celeriac_request_id"
TRACE_ID = "celeriac_trace_id"
SCHEDULE = "celeriac_schedule"
#: Those that say something of the task which its record keeps.
OURS = frozenset((LABELS, RETRY_OF, REQUEST_ID, TRACE_ID, SCHEDULE))
#: How many runs of the task were cut off by the death of their process, as the broker counts.
CRASHES = "celeriac_crashes"
#: The worker of the last of those runs and when it took the message, where the broker knows.
CUT_OFF = "celeriac_cut_off"
#: The message may be the second one of its task.
AGAIN = "celeriac_again"
#: Since when no worker is known that knows the task, in seconds since the epoch.
UNKNOWN_SINCE = "celeriac_unknown_since"
#: The task was taken back while a worker had the message: should it come again, it is not run.
REVOKED = "celeriac_revoked"

#: The attribute of a request that says when its task's body began, in seconds since the epoch.
STARTED = "celeriac_started"
#: The attribute of a request with the application context there was before its task's own.
OUTER = "celeriac_outer"
#: The attribute of a request that tells its run from others of its task, where the queue does not.
RUN = "celeriac_run"
#: The attribute of a request whose run does not count any more, as another one has begun.
SUPERSEDED = "celeriac_superseded"
#: The attribute of a request with what its task said of its progress.
PROGRESS = "celeriac_progress"
#: What a request is given here, and what no message brings.
OF_A_RUN = frozenset((STARTED, OUTER, RUN, SUPERSEDED, PROGRESS))

#: Characters of a task's arguments that are kept with its record.
LONGEST_ARGUMENTS = 65_536
#: Characters that are kept of the id of a request, a trace or a schedule, and of all labels.
LONGEST_ID = 255
LONGEST_TRACE = 64
LONGEST_LABELS = 500
_OURS = "celeriac_"
_LONGEST_MESSAGE = 500
_LONGEST_TYPE = 255
_COLUMNS = (
    ("retry_of", RETRY_OF, LONGEST_ID),
    ("schedule", SCHEDULE, LONGEST_ID),
    ("request_id", REQUEST_ID, LONGEST_ID),
    ("trace_id", TRACE_ID, LONGEST_TRACE),
)
#: What travels with the arguments of a task, by the options it comes from.
_EMBEDDED = {"callbacks": "link", "errbacks": "link_error", "chain": "chain", "chord": "chord"}
#: Other options that a task needs to be sent again as it was.
_KEPT = (
    *("time_limit", "soft_time_limit", "shadow", "group_index", "ignore_result", "serializer"),
    *("headers", "replaced_task_nesting"),
)
#: The headers that Celery gives every message
#: (https://docs.celeryq.dev/en/stable/internals/protocol.html).
_OF_CELERY = frozenset(
    (
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"),
        *("timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin"),
        *("ignore_result", "replaced_task_nesting", "stamped_headers", "stamps"),
    )
)
_PLACE = re.compile(r'File "([^"]+)", line \d+, in (\S+)')


def of_request(request: Any) -> dict[str, Any]:
    """What a worker knows of the task it runs."""
    task_id = request.id
    root = request.root_id
    values: dict[str, Any] = {
        "name": getattr(request, "task", None),  # a request that was pushed by hand has none
        "attempts": (request.retries or 0) + 1,
        "worker": request.hostname,
        "started": request.__dict__.get(STARTED),
    }
    if root and root != task_id:
        values["root_id"] = root
    if request.parent_id and request.parent_id != task_id:  # as a repeated attempt's is
        values["parent_id"] = request.parent_id
    if request.group:
        values["group_id"] = request.group
    if request.chord:
        values["chord_id"] = request.group
    if request.eta:
        values["eta"] = moment_of(request.eta)
    headers = request.headers
    if headers:
        values.update(of_headers(headers))
    inner = request.__dict__
    if RUN in inner:
        values["run"] = inner[RUN]
    if PROGRESS in inner:
        values.update(inner[PROGRESS].columns())
    return values


def of_message(
    task_id: str, headers: dict[str, Any], text: str | None, due: float | None = None
) -> dict[str, Any]:
    """What a message says of its task besides its arguments, by the names of the columns.

    :param text: its body, where that is a text
    :param due: when it may be taken, where its queue knows better than its headers
    """
    group = headers.get("group")
    chord = group is not None and _is_of_chord(text)
    values = lineage(task_id, {**headers, "group_id": group, "chord": chord})
    values["eta"] = moment_of(headers.get("eta")) if due is None else due
    return values | of_headers(headers)


def _is_of_chord(text: str | None) -> bool:
    """Whether a message's body says that its task is a member of a chord."""
    try:
        embedded = loads(text or "")[2]
    except (ValueError, LookupError, TypeError):
        return False
    return isinstance(embedded, dict) and bool(embedded.get("chord"))


def of_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """What our own headers of a message say; whatever else they hold, somebody else wrote it."""
    values: dict[str, Any] = {
        column: str(headers[key])[:longest] for column, key, longest in _COLUMNS if headers.get(key)
    }
    labels = labels_in(headers)
    if labels:
        text = labels_as_text(labels)
        if len(text) <= LONGEST_LABELS:
            values["labels"] = text
    return values


def headers_of(headers: dict[str, Any]) -> dict[str, Any]:
    """What a request knows as its headers where its message has one that is called ``headers``.

    Celery takes that for all of them. Sentry and others put theirs into it. Ours are beside it: in
    it, nobody has signed them.

    :param headers: all of the message's
    """
    given: dict[str, Any] = headers["headers"]
    others = {name: given[name] for name in given if not name.startswith(_OURS)}
    return others | {name: headers[name] for name in headers if name.startswith(_OURS)}


def labels_in(headers: Any) -> list[str]:
    """The labels in the headers of a message."""
    found = headers.get(LABELS)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def labels_as_text(labels: list[str]) -> str:
    """Labels as they are kept, and searched for."""
    return json.dumps(labels, ensure_ascii=False)


def of_cut_off(headers: dict[str, Any]) -> dict[str, Any]:
    """What a message says of its last run, which was cut off, by the names of the columns."""
    said = headers.get(CUT_OFF) if headers.get(CRASHES) else None
    if not isinstance(said, (list, tuple)) or len(said) != 2:
        return {}
    worker, started = said
    return {
        "worker": storable(worker)[:LONGEST_ID] if isinstance(worker, str) else None,
        "started": started if isinstance(started, float) and isfinite(started) else None,
    }


def of_error(name: str | None, result: Any, traceback: str | None) -> dict[str, Any]:
    """An error as it is listed.

    :param result: the error as a result backend encodes it, or the exception itself
    """
    if isinstance(result, dict):
        kind, said = str(result.get("exc_type")), result.get("exc_message")
        if isinstance(said, (list, tuple)):
            said = said[0] if len(said) == 1 else ", ".join(map(str, said))
    else:
        kind, said = type(result).__name__, result
    return {
        "error_type": storable(kind[:_LONGEST_TYPE]),
        "error_message": mask(storable(str(said)[: 8 * _LONGEST_MESSAGE]))[:_LONGEST_MESSAGE],
        "error_fingerprint": fingerprint(name, kind, traceback),
    }


def storable(text: str) -> str:
    """A text that every database takes: PostgreSQL has no NUL, none has half a character."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def fingerprint(name: str | None, kind: str, traceback: str | None) -> str:
    """Sixteen characters that are the same for errors of one kind from one place in the code.

    Line numbers and messages do not count: they change while the error stays the same.
    """
    places = _PLACE.findall(traceback or "")
    text = "\n".join([name or "", kind, *(f"{file}:{function}" for file, function in places)])
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def moment_of(eta: Any) -> float | None:
    """An ``eta`` header in seconds since the epoch."""
    if isinstance(eta, str):
        try:
            eta = datetime.fromisoformat(eta.replace("Z", "+00:00"))
        except ValueError:
            return None
    if not isinstance(eta, datetime):
        return None
    return (eta if eta.tzinfo else eta.replace(tzinfo=timezone.utc)).timestamp()


def besides(options: dict[str, Any], now: float) -> tuple[Any, ...]:
    """What a task is sent with besides its arguments, for it to be sent again; often nothing.

    :param options: the named options of ``send_task``
    """
    embedded = {key: options[name] for key, name in _EMBEDDED.items() if options.get(name)}
    kept = {name: options[name] for name in _KEPT if options.get(name) is not None}
    expires = options.get("expires")
    if expires is not None:
        at = now + expires if isinstance(expires, (int, float)) else moment_of(expires)
        if at is not None:
            kept["expires"] = datetime.fromtimestamp(at, timezone.utc).isoformat()
    return (embedded, kept) if embedded or kept else ()


def with_besides(text: str, headers: dict[str, Any]) -> str | None:
    """What :func:`text_of` makes of what :func:`besides` says, of a message made before.

    :param text: its body, a list in JSON
    """
    limits = headers.get("timelimit") or (None, None)
    said = {**headers, "time_limit": limits[0], "soft_time_limit": limits[1]}
    said["headers"] = {name: headers[name] for name in headers.keys() - _OF_CELERY} or None
    kept = {name: said[name] for name in (*_KEPT, "expires") if said.get(name) is not None}
    if not kept.get("ignore_result"):
        kept.pop("ignore_result", None)
    if kept and text.endswith("]"):
        text = f"{text[:-1]}, {dumps(kept)}]"
    return text if len(text) <= LONGEST_ARGUMENTS else None


def text_of(args: Any, kwargs: Any, *more: Any) -> str | None:
    """Arguments, and what :func:`besides` says, as they are kept; None where they are not."""
    try:
        text = dumps([list(args or ()), dict(kwargs or {}), *more])
    except (TypeError, ValueError):
        return None
    return text if len(text) <= LONGEST_ARGUMENTS else None


def lineage(task_id: str, options: dict[str, Any]) -> dict[str, Any]:
    """Where a task comes from, as what it is sent with says."""
    found = {"group_id": options.get("group_id")}
    for key in ("root_id", "parent_id"):
        if options.get(key) != task_id:
            found[key] = options.get(key)
    if options.get("chord"):
        found["chord_id"] = options.get("group_id")
    return found
