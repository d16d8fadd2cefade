"""What is refused when it is sent, not when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from kombu import pools

from flask_celeriac import Access, Celeriac
from tests.api.conftest import API, Client

celeriac = Celeriac()


@celeriac.task(name="refused.total", http=True)
def total(numbers: list[int]) -> int:
    return sum(numbers)


@pytest.mark.parametrize(
    ("key", "limit"), [("CELERIAC_MAX_MESSAGE_SIZE", 2000), ("CELERIAC_MAX_MESSAGE_DEPTH", 2)]
)
def test_a_message_that_would_be_too_large_or_too_deep(
    tmp_path: Path, key: str, limit: int
) -> None:
    app = Flask("large", instance_path=str(tmp_path))
    app.config[key] = limit
    celeriac.init_app(app)
    app.register_blueprint(celeriac.api(access=lambda: Access.OPERATE), url_prefix=API)
    response = Client(app.test_client())(
        "POST", "/types/refused.total/tasks", {"args": [[10**9] * 300]}
    )
    assert response.json is not None
    assert (response.status_code, response.json["type"]) == (422, "urn:flask-celeriac:invalid-body")
    assert key in response.json["detail"] or "nested deeper" in response.json["detail"]
    pools.reset()
