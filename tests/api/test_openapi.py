"""The OpenAPI document is valid, has every route, and says what the API does."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from flask_celeriac.api import starting
from flask_celeriac.api.problems import KINDS
from flask_celeriac.api.routes import ROUTES
from tests.api.conftest import API, Client
from tests.support.markdown import ROOT

GUIDE = ROOT / "docs" / "http-api.md"
#: Requests to each route. `python -m pytest tests/api/test_openapi.py` with more finds more.
EXAMPLES = 8


@pytest.fixture
def document(api: Client) -> Any:
    return api.get("/openapi.json")


def test_the_document_is_valid(document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_in_the_document(document: Any) -> None:
    written = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if not re.match(r"/types/[^{]", path)
    }
    assert written == {
        (route.method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)) for route in ROUTES
    }


def test_tasks_that_may_be_started_are_in_the_document_with_their_arguments(document: Any) -> None:
    starts = {path for path in document["paths"] if re.match(r"/types/[^{]", path)}
    assert "/types/api.add/tasks" in starts
    assert "/types/api.hidden/tasks" not in starts
    call = document["components"]["schemas"]["api.add.call"]
    assert call["properties"]["kwargs"]["properties"]["x"]["type"] == "integer"


@pytest.mark.usefixtures("worker")
def test_whatever_is_asked_is_answered_as_the_document_says(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "LONGEST_WAIT", 0.05)
    schema = schemathesis.openapi.from_wsgi(f"{API}/openapi.json", app)
    bounded = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for found in schema.get_all_operations():
        operation = found.ok()
        said = operation.definition.raw
        asks = {each["in"] for each in said["parameters"]} & {"query"} or "requestBody" in said
        # What says nothing but a name in its path can say nothing wrong.
        wrong = [GenerationMode.NEGATIVE] if asks else []
        for mode in (GenerationMode.POSITIVE, *wrong):
            strategy = operation.as_strategy(generation_mode=mode)
            bounded(given(case=strategy)(check))()


def check(case: Any) -> None:
    # No schema says which cursors a list has given out, and which keys were used before.
    hidden = "cursor" in (case.query or {}) or "Idempotency-Key" in (case.headers or {})
    unsure = [positive_data_acceptance] if hidden else []
    case.call_and_validate(excluded_checks=unsure)


def test_the_guide_has_every_route_and_every_problem() -> None:
    text = GUIDE.read_text()
    for route in ROUTES:
        path = route.path.replace("path:", "")
        assert f"| `{route.method} {path}` | `{route.verb}` | {route.summary} |" in text
    for kind, (status, title) in KINDS.items():
        assert f"| `{kind}` | {status} {title} |" in text
