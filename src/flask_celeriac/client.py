"""The HTTP API from Python. This one file needs Python and nothing else: copy it where you like.

.. versionadded:: 0.1
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import partial
from http.client import HTTPException
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

#: The states in which a task has ended.
ENDED = ("succeeded", "failed", "revoked", "expired", "dead")
#: How often :meth:`Client.events` connects in vain before it gives up.
IN_VAIN = 5
KEY = "Idempotency-Key"

R = TypeVar("R")
_quoted = partial(quote, safe="")
Said = Mapping[str, Any] | None


@dataclass(frozen=True)
class Progress:
    """How far a task says it is, in numbers of its own."""

    current: float | None = None
    total: float | None = None
    message: str | None = None


@dataclass(frozen=True)
class Error:
    """What a task failed with; the fingerprint is the same for errors of one kind and place."""

    type: str | None = None
    message: str | None = None
    fingerprint: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Task:
    """A task, as far as it is known; None is what is not, and the result in lists."""

    id: str
    state: str
    created: datetime
    status: str | None = None
    name: str | None = None
    queue: str | None = None
    priority: int | None = None
    attempts: int = 0
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    result: Any = None
    error: Error | None = None
    progress: Progress | None = None
    eta: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    wait_seconds: float | None = None
    run_seconds: float | None = None
    worker: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    chord_id: str | None = None
    retry_of: str | None = None
    schedule: str | None = None
    labels: list[str] = field(default_factory=list)
    request_id: str | None = None
    trace_id: str | None = None

    @property
    def ended(self) -> bool:
        """Whether no attempt is to come."""
        return self.state in ENDED


@dataclass(frozen=True)
class Type:
    """A task that may be started; its arguments as a JSON Schema."""

    name: str
    arguments: dict[str, Any]
    description: str = ""


@dataclass(frozen=True)
class Attempt:
    """An attempt that did not end its task."""

    number: int
    state: str
    worker: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    error_type: str | None = None
    error_message: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Reason:
    """Why a task has not been begun: a word for programs, a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True)
class Count:
    """How many tasks there are; if it is capped, there may be more."""

    count: int
    capped: bool


@dataclass(frozen=True)
class Outcome:
    """To how many tasks something was done; why not to the others, and what was sent, by id."""

    done: int
    refused: dict[str, str]
    made: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Queue:
    """A queue as it is just now; ``oldest`` in seconds, ``at_least`` figures that may be more."""

    name: str
    ready: int | None = None
    scheduled: int | None = None
    running: int | None = None
    oldest: float | None = None
    paused_since: datetime | None = None
    at_least: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Worker:
    """A worker that answered just now; ``uptime`` in seconds."""

    name: str
    pid: int | None = None
    pool: str | None = None
    concurrency: int | None = None
    queues: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    uptime: float | None = None


class Problem(Exception):
    """The server refused a request, or could not answer it (RFC 9457).

    ``type`` says which kind it is, ``detail`` is a sentence with the remedy, ``errors`` say what is
    wrong where; ``retry_after`` are the seconds after which to ask again, if the server says so;
    ``outcome`` is what was done until then, where a part of many tasks was changed.

    .. versionadded:: 0.1
    """

    def __init__(
        self, status: int, document: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        self.status = status
        self.type = str(document.get("type", "about:blank"))
        self.title = str(document.get("title", ""))
        self.detail = str(document.get("detail", ""))
        self.errors: list[dict[str, str]] = list(document.get("errors", ()))
        self.retry_after = retry_after
        done = document.get("outcome")
        self.outcome: Outcome | None = _made(Outcome, done) if done else None
        super().__init__(f"{status} {self.title}: {self.detail}")


_MOMENTS = {"created", "eta", "started", "finished", "paused_since"}
_PARTS: dict[str, type[Any]] = {"progress": Progress, "error": Error}


class Client:
    """The HTTP API of one application.

    Every method raises :exc:`Problem` when the server refuses, and :exc:`OSError` when it cannot be
    reached.

    :param url: where the API is, such as ``https://shop.example/api/celery``
    :param headers: to send with each request, such as ``Authorization``
    :param timeout: seconds for an answer to begin, besides those it is asked to wait

    .. versionadded:: 0.1
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r}: give a URL that begins with http:// or https://")
        self._url, self._headers, self._timeout = url.rstrip("/"), dict(headers or {}), timeout

    def types(self) -> list[Type]:
        """The tasks that may be started."""
        return [_made(Type, each) for each in self._json("GET", "/types")["types"]]

    def start(
        self, name: str, args: Sequence[Any] = (), kwargs: Said = None, *,
        wait: int = 0, idempotency_key: str | None = None,
    ) -> Task:  # fmt: skip
        """Start a task.

        :param wait: seconds to wait for its end, 30 at most; the task may not have ended then
        :param idempotency_key: sent again with the same key, it is started once
        """
        headers = {"Prefer": f"wait={wait:d}" if wait else None, KEY: idempotency_key}
        body = {"args": list(args), "kwargs": dict(kwargs or {})}
        path = f"/types/{_quoted(name)}/tasks"
        return _made(Task, self._json("POST", path, body=body, headers=headers, wait=wait))

    def task(self, task_id: str, *, wait: float = 0) -> Task:
        """A task, with its result or its error; when it has ended, or after ``wait`` seconds."""
        query = {"wait": f"{wait:g}"} if wait else None
        return _made(Task, self._json("GET", f"/tasks/{_quoted(task_id)}", query=query, wait=wait))

    def tasks(self, **filters: Any) -> Iterator[Task]:
        """The tasks that are chosen, newest first, without results; pages are asked for as needed.

        :param filters: ``state`` (one or a list), ``name``, ``queue``, ``worker``, ``label``,
            ``error``, ``root``, ``text``, ``created_after``, ``created_before``, ``limit``
        """
        query = _filters(filters)
        while True:
            page = self._json("GET", "/tasks", query=query)
            yield from (_made(Task, each) for each in page["tasks"])
            if page["next"] is None:
                return
            query["cursor"] = page["next"]

    def count(self, **filters: Any) -> Count:
        """How many tasks are chosen; filters as for :meth:`tasks`."""
        return _made(Count, self._json("GET", "/tasks/count", query=_filters(filters)))

    def attempts(self, task_id: str) -> list[Attempt]:
        """The attempts that did not end a task."""
        found = self._json("GET", f"/tasks/{_quoted(task_id)}/attempts")["attempts"]
        return [_made(Attempt, each) for each in found]

    def why(self, task_id: str) -> list[Reason]:
        """Why a task is where it is, the strongest reason first."""
        found = self._json("GET", f"/tasks/{_quoted(task_id)}/why")
        return [_made(Reason, each) for each in found["reasons"]]

    def retry(
        self, task_id: str, args: Sequence[Any] | None = None, kwargs: Said = None, *,
        idempotency_key: str | None = None,
    ) -> Task:  # fmt: skip
        """Send an ended task again, also with other arguments, as the new task that is returned.

        :param idempotency_key: as :meth:`start` takes it
        """
        others = args is not None or kwargs is not None
        body = {"args": list(args or ()), "kwargs": dict(kwargs or {})} if others else {}
        path, headers = f"/tasks/{_quoted(task_id)}/retry", {KEY: idempotency_key}
        return _made(Task, self._json("POST", path, body=body, headers=headers))

    def revoke(self, task_id: str, *, terminate: bool = False) -> Task:
        """Take a task back; with ``terminate``, stop it if it runs, with its process."""
        path, body = f"/tasks/{_quoted(task_id)}/revoke", {"terminate": terminate}
        return _made(Task, self._json("POST", path, body=body))

    def discard(self, task_id: str) -> None:
        """Forget an ended task."""
        self._json("DELETE", f"/tasks/{_quoted(task_id)}")

    def apply_to_many(self, verb: str, *, expected: int, **filters: Any) -> Outcome:
        """Retry, revoke or discard all tasks that are chosen, ``expected`` by :meth:`count`."""
        body = {"filter": _filters(filters), "expected": expected}
        return _made(Outcome, self._json("POST", f"/tasks/{_quoted(verb)}", body=body))

    def events(self, task_id: str) -> Iterator[Task]:
        """A task as it is, and again whenever it has changed, until it has ended.

        Connects again when it is cut off; in vain up to :data:`IN_VAIN` times, some seconds apart.

        :raises Problem: there is no such task, it may not be seen, or every answer was 503
        :raises OSError: the server could not be reached several times in a row
        """
        last, again, in_vain = None, 2.0, 0
        while True:
            try:
                for block in self._blocks(task_id, last):
                    in_vain = 0
                    again = float(block.get("retry", again * 1000)) / 1000
                    last = block.get("id", last)
                    if block.get("event") == "task":
                        yield _made(Task, json.loads(block["data"]))
                    elif block.get("event") == "end":
                        return
                pause = again
            except (Problem, OSError, HTTPException) as error:
                if in_vain >= IN_VAIN or getattr(error, "status", 503) != 503:
                    raise
                in_vain += 1
                pause = getattr(error, "retry_after", None) or again
            time.sleep(pause)

    def queues(self) -> list[Queue]:
        """The queues that a setting or a task names, that hold tasks or are paused."""
        return [_made(Queue, each) for each in self._json("GET", "/queues")["queues"]]

    def pause(self, queue: str) -> None:
        """Let no task of a queue be begun, until it is resumed."""
        self._json("PUT", f"/queues/{_quoted(queue)}/pause")

    def resume(self, queue: str) -> None:
        """Let the tasks of a queue be begun again."""
        self._json("DELETE", f"/queues/{_quoted(queue)}/pause")

    def workers(self) -> list[Worker]:
        """The workers that answer, and what they run."""
        return [_made(Worker, each) for each in self._json("GET", "/workers")["workers"]]

    def _blocks(self, task_id: str, last: str | None) -> Iterator[dict[str, str]]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        block: dict[str, str] = {}
        with self._open("GET", f"/tasks/{_quoted(task_id)}/events", headers=headers) as response:
            for line in response:
                name, _, value = line.decode().rstrip("\r\n").partition(":")
                if name:
                    block[name] = value.removeprefix(" ")
                elif block:
                    yield block
                    block = {}

    def _json(self, method: str, path: str, **said: Any) -> Any:
        with self._open(method, path, **said) as response:
            text = response.read()
        return json.loads(text) if text else None

    def _open(
        self, method: str, path: str, *,
        query: Said = None, body: Any = None, headers: Said = None, wait: float = 0,
    ) -> Any:  # fmt: skip
        url = f"{self._url}{path}?{urlencode(query, doseq=True)}" if query else self._url + path
        said = {name: value for name, value in (headers or {}).items() if value is not None}
        sent = {"Accept": "application/json", **self._headers, **said}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        request = Request(url, data, sent, method=method)  # noqa: S310 - http, as __init__ saw to
        try:
            return urlopen(request, timeout=self._timeout + wait)  # noqa: S310
        except HTTPError as error:
            with error:
                raise _problem(error) from None


def _problem(error: HTTPError) -> Problem:
    after = error.headers.get("Retry-After", "")
    try:
        document = dict(json.loads(error.read()))
    except (ValueError, TypeError):  # something in between answered
        document = {"title": error.reason, "detail": error.url}
    return Problem(error.code, document, float(after) if after.isdigit() else None)


def _made(kind: type[R], said: Mapping[str, Any]) -> R:
    """What the server said, as an object; a newer server may say more."""
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    given = {name: value for name, value in said.items() if name in known and value is not None}
    return kind(**{name: _value(name, value) for name, value in given.items()})


def _value(name: str, said: Any) -> Any:
    if name in _MOMENTS:
        return datetime.fromisoformat(said.replace("Z", "+00:00"))
    return _made(_PARTS[name], said) if name in _PARTS else said


def _filters(given: Mapping[str, Any]) -> dict[str, Any]:
    filters = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in given.items()
        if value is not None
    }
    if isinstance(filters.get("state"), str):
        filters["state"] = [filters["state"]]
    return filters
