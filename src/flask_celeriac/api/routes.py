"""Every route, once: the blueprint, the OpenAPI document and the table in the guide follow this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import events, idempotency, places, schemas, shapes, starting, tasks
from .answers import Answer

if TYPE_CHECKING:
    import flask
    from pydantic import BaseModel

#: Headers of requests and answers, as the OpenAPI document describes them.
PREFER = (
    "Prefer",
    "`wait=5`: answer when the task has ended, or after 5 seconds; 30 at most.",
    {"type": "string"},
)
KEY = (
    "Idempotency-Key",
    "A request sent again with the same key starts no second task.",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^[!-~]+$",
        "not": {"const": idempotency.EMPTY},
    },
)
LAST = (
    "Last-Event-ID",
    "The id of the event that the client had last: it is not sent again.",
    {"type": "string", "pattern": "^[!-~]+$"},
)
LOCATION = ("Location", "The task.")
RETRY_AFTER = ("Retry-After", "Seconds after which to ask for it.")


@dataclass(frozen=True)
class Route:
    """One method of one path.

    :param path: as Flask spells it
    :param view: called with the :class:`~.context.Api`, what the path names, and ``query`` and
        ``body`` where there are such
    :param query: what the query string may say
    :param body: what the JSON body may say
    :param answers: what is in a success, by its status: None where it is empty
    :param problems: the statuses of problems that this route has of its own
    :param takes: request headers that mean something here: name, description, schema
    :param gives: headers of the answers: name, description
    :param media_type: of the answers
    """

    method: str
    path: str
    view: Callable[..., Answer | flask.Response]
    answers: dict[int, type[BaseModel] | None]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    problems: tuple[int, ...] = ()
    takes: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    gives: tuple[tuple[str, str], ...] = ()
    media_type: str = "application/json"

    @property
    def verb(self) -> str:
        """What is done here, in one word: the endpoint, and what rate limits go by."""
        return self.view.__name__

    @property
    def summary(self) -> str:
        """What is done here, in a sentence."""
        return (self.view.__doc__ or "").partition("\n")[0]


def _document(api: Any) -> Answer:
    """This API in OpenAPI 3.1."""
    from . import openapi  # it reads the table below

    return Answer(openapi.document(api, ROUTES))


_document.__name__ = "openapi"

_STARTS: dict[str, Any] = {
    "answers": {200: shapes.Task, 202: shapes.Task},
    "gives": (LOCATION, RETRY_AFTER),
}

ROUTES: tuple[Route, ...] = (
    Route("GET", "/types", starting.list_types, {200: shapes.Types}),
    Route(
        "POST", "/types/<path:name>/tasks", starting.start, **_STARTS,
        body=schemas.Call, problems=(404, 409), takes=(PREFER, KEY),
    ),
    Route("GET", "/tasks", tasks.list_tasks, {200: shapes.TaskList}, query=schemas.Listed),
    Route("GET", "/tasks/count", tasks.count, {200: shapes.Count}, query=schemas.Chosen),
    Route(
        "POST", "/tasks/retry", tasks.retry_many, {200: shapes.Outcome},
        body=schemas.Many, problems=(409,),
    ),
    Route(
        "POST", "/tasks/revoke", tasks.revoke_many, {200: shapes.Outcome},
        body=schemas.ManyRevoked, problems=(409,),
    ),
    Route(
        "POST", "/tasks/discard", tasks.discard_many, {200: shapes.Outcome},
        body=schemas.Many, problems=(409,),
    ),
    Route(
        "GET", "/tasks/<task_id>", tasks.show, {200: shapes.Task},
        query=schemas.Waiting, problems=(404,),
    ),
    Route("DELETE", "/tasks/<task_id>", tasks.discard, {204: None}, problems=(404, 409)),
    Route(
        "GET", "/tasks/<task_id>/attempts", tasks.attempts, {200: shapes.Attempts}, problems=(404,)
    ),
    Route(
        "GET", "/tasks/<task_id>/events", events.events, {200: shapes.Stream},
        problems=(404,), takes=(LAST,), media_type="text/event-stream",
    ),
    Route("GET", "/tasks/<task_id>/why", tasks.why, {200: shapes.Reasons}, problems=(404,)),
    Route(
        "POST", "/tasks/<task_id>/revoke", tasks.revoke, {202: shapes.Task},
        body=schemas.Revoking, problems=(404, 409),
    ),
    Route(
        "POST", "/tasks/<task_id>/retry", starting.retry, **_STARTS,
        body=schemas.OtherCall, problems=(404, 409), takes=(PREFER, KEY),
    ),
    Route("GET", "/queues", places.list_queues, {200: shapes.Queues}),
    Route("PUT", "/queues/<path:name>/pause", places.pause, {204: None}, problems=(404,)),
    Route("DELETE", "/queues/<path:name>/pause", places.resume, {204: None}, problems=(404,)),
    Route("GET", "/workers", places.list_workers, {200: shapes.Workers}),
    Route("GET", "/openapi.json", _document, {200: shapes.Document}),
)  # fmt: skip
