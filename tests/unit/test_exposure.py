"""A server that everybody may write to is told of."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flask import Flask

from flask_celeriac import Celeriac
from flask_celeriac.exposure import complaints


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache.internal/0", "redis://10.0.0.5:6379", "rediss://cache.internal/0",
        "sentinel://a.internal:26379;sentinel://b.internal:26379", "redis://user@10.0.0.5/0",
        "amqp://rabbit.internal//", "pyamqp://guest:guest@rabbit.internal", "redis://[fe80::1]:6379",
    ],
)  # fmt: skip
def test_open_to_everybody(url: str) -> None:
    (said,) = set(complaints(SimpleNamespace(broker_read_url=url, broker_write_url=url)))
    assert "broker_url has no password" in said


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost/0", "redis://127.0.0.1:6379", "redis://127.8.0.1", "redis://[::1]:6379",
        "redis://:secret@cache.internal", "rediss://u:secret@10.0.0.5", "redis+socket:///run/redis",
        "amqp://shop:secret@rabbit.internal", "amqp://guest:guest@localhost//", "celeriac:////x.db",
        "redis://cache.internal?password=secret", "memory://", "", None, "redis://[broken",
    ],
)  # fmt: skip
def test_open_to_nobody(url: str | None) -> None:
    assert list(complaints(SimpleNamespace(broker_read_url=url, result_backend=url))) == []


def test_the_result_store_too() -> None:
    (said,) = complaints(SimpleNamespace(result_backend="redis://cache.internal/1"))
    assert "reaches cache.internal" in said
    assert "result_backend has no password" in said


def test_of_an_applications_configuration() -> None:
    app = Flask("exposed")
    app.config["CELERY_BROKER_URL"] = "redis://cache.internal/0"
    Celeriac(app)
    assert len(list(complaints(app.extensions["celery"].conf))) == 2
