"""An application with the HTTP API, on the embedded broker, with a worker beside it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from kombu import pools
from werkzeug.test import TestResponse

from flask_celeriac import Access, Celeriac
from tests.services.conftest import working

celeriac = Celeriac()

#: Where the blueprint is.
API = "/api/celery"
#: The queue that no worker consumes.
IDLE = "idle"


@celeriac.task(name="api.add", http=True)
def add(x: int, y: int = 2) -> int:
    """Add two numbers.

    More than the first paragraph is not said.
    """
    return x + y


@celeriac.task(name="api.fail", http=True)
def fail(message: str = "No") -> None:
    raise ValueError(message)


@celeriac.task(name="api.day", http=True)
def day(when: datetime) -> datetime:
    return when


@celeriac.task(name="api.idle", http=True, queue=IDLE)
def idle(number: int = 0) -> None:
    """Waits for ever."""


@celeriac.task(name="api.hidden")
def hidden() -> str:
    return "Nobody starts me over HTTP"


def make_app(
    folder: Path, /, *, database: str | None = None, CELERY: Any = None, **hooks: Any
) -> Flask:
    app = Flask("api", instance_path=str(folder / "instance"))
    app.config["CELERY"] = CELERY or {}
    if database is not None:
        app.config["CELERIAC_DATABASE"] = database
    celeriac.init_app(app)
    hooks.setdefault("access", lambda: Access.OPERATE)
    app.register_blueprint(celeriac.api(**hooks), url_prefix=API)
    return app


class Client:
    """A client of the blueprint."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        if body is not None:
            options["json"] = body
        return self.client.open(API + path, method=method, **options)

    def get(self, path: str, **options: Any) -> Any:
        response = self("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json

    def start(self, name: str, *args: Any, wait: int = 0, **kwargs: Any) -> Any:
        """Start a task; the task as it is answered."""
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        body = {"args": list(args), "kwargs": kwargs}
        response = self("POST", f"/types/{name}/tasks", body, headers=headers)
        assert response.status_code == (200 if wait else 202), response.text
        return response.json


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """An application of a module's own; everybody may do everything."""
    yield make_app(tmp_path_factory.mktemp("api"))
    pools.reset()


@pytest.fixture(scope="module")
def worker(app: Flask) -> Iterator[None]:
    """A worker beside a module's tests."""
    with working(app):
        yield


@pytest.fixture
def api(app: Flask) -> Client:
    return Client(app.test_client())
