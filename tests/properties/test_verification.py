"""Whatever is in a message, looking at it is no error, and what is let in Celery can work with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery.worker.request import Request
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.message import Message

from flask_celeriac import Celeriac, verification

celeriac = Celeriac()


@celeriac.task(name="verified")
def verified(*args: Any, **kwargs: Any) -> None: ...


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    app = Flask("verified", instance_path=str(tmp_path_factory.mktemp("instance")))
    celeriac.init_app(app)
    with app.app_context():
        yield app


NAMES = st.sampled_from([*verification._KINDS, "x-other"])
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates().map(str)
    | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip
TYPES = (
    st.sampled_from(["application/json", "application/x-python-serialize", "", None]) | st.text()
)
CODES = st.sampled_from(["utf-8", "UTF-8", "binary", "utf-7", "zlib", None]) | st.text()


def quietly(chance: st.SearchStrategy[Any], usual: Any) -> st.SearchStrategy[Any]:
    return st.just(usual) | st.just(usual) | chance


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changed=st.dictionaries(NAMES, ANY, max_size=3),
    body=quietly(ANY.map(json.dumps) | st.text() | st.binary(), "[[1], {}, {}]")
    | st.tuples(ANY, ANY, ANY).map(json.dumps),
    content=st.tuples(quietly(TYPES, "application/json"), quietly(CODES, "utf-8")),
)
def test_what_is_let_in_can_be_made_a_request(
    app: Flask, changed: dict[str, Any], body: Any, content: tuple[Any, Any]
) -> None:
    celery = app.extensions["celery"]
    headers = {"task": "verified", "id": "one", "timelimit": [None, None], **changed}
    message = Message(
        body, content_type=content[0], content_encoding=content[1], headers=headers, accept=None
    )
    found = verification.complaint(celery, message)
    if found is not None:
        assert found.text
        assert "cannot be looked at" not in found.text
        return
    body = message.payload
    if "args" not in body:
        request = Request(message, app=celery, task=celery.tasks["verified"])
        assert request.id == headers["id"]
        assert hash(request.id)
        assert request.info(safe=True)


@pytest.mark.parametrize("depth", [100_000, 10_000_000])
def test_depth_is_refused_before_it_is_read(app: Flask, depth: int) -> None:
    message = Message(
        b"[" * depth, content_type="application/json", content_encoding="utf-8",
        headers={"task": "verified", "id": "one"},
    )  # fmt: skip
    found = verification.complaint(app.extensions["celery"], message)
    assert found is not None
    assert found.reason == ("depth" if depth < 4_000_000 else "size")
    assert message._decoded_cache is None


def complaint_of(app: Flask, body: str = "[[], {}, {}]", **headers: Any) -> Any:
    message = Message(
        body, content_type="application/json", content_encoding="utf-8", headers=headers
    )
    return verification.complaint(app.extensions["celery"], message)


def test_names_of_headers_count_and_are_not_kept(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_shapes", {})
    usual: dict[str, Any] = {"task": "verified", "id": "one"}
    for number in range(1000):
        assert complaint_of(app, **usual, **{f"x-{number}": "x"}) is None
        assert complaint_of(app, **usual, **{f"x-{number}": "x" * 70_000}).reason == "size"
        assert complaint_of(app, **usual, **{f"x-{number}" + "y" * 5000: "x"}) is None
        assert complaint_of(app, **usual, **{f"x-{number}" + "y" * 70_000: 1}).reason == "size"
    many = {f"{number:05}": 1 for number in range(20_000)}
    assert complaint_of(app, **usual, **many).reason == "size"
    assert complaint_of(app, **usual, data=b"x" * 70_000).reason == "size"
    assert len(verification._shapes) <= 200
    assert sum(len(name) for key in verification._shapes for name in key[:3]) < 200 * 5000
    assert complaint_of(app, **usual) is None
    assert ("task", "id", str, str) in verification._shapes


INTERNAL = [
    *("_protected", "_children", "called_directly", "is_eager", "get", "update", "clear"),
    *("as_execution_options", "_get_custom_headers", "celeriac_started", "celeriac_outer"),
    *("celeriac_run", "celeriac_over", "celeriac_superseded", "celeriac_progress"),
]


@pytest.mark.parametrize("name", INTERNAL)
@pytest.mark.parametrize("value", [None, 1, {}])
def test_no_message_says_what_a_run_does(app: Flask, name: str, value: Any) -> None:
    usual: dict[str, Any] = {"task": "verified", "id": "one"}
    found = complaint_of(app, **usual, **{name: value})
    assert (found.reason, found.forged) == ("invalid", True)
    found = complaint_of(app, json.dumps({**usual, "args": [], name: value}))
    assert (found.reason, found.forged) == ("invalid", True)


def test_what_follows_a_task_is_in_its_body(app: Flask) -> None:
    usual: dict[str, Any] = {"task": "verified", "id": "one"}
    for name in ("callbacks", "errbacks", "chain", "chord"):
        assert complaint_of(app, **usual, **{name: None}) is None
        found = complaint_of(app, **usual, **{name: [{"task": "verified"}]})
        assert (found.reason, found.forged) == ("invalid", True)


def test_what_other_clients_send_is_let_in(app: Flask) -> None:
    usual: dict[str, Any] = {"task": "verified", "id": "one"}
    harmless = {"lang": "js", "meth": None, "origin": "1@host", "hostname": "host", "utc": True,
                "delivery_info": {}, "properties": {}, "reply_to": "", "correlation_id": "one",
                "taskset": None, "x-death": [{"count": 1}], "headers": {"sentry-trace": "1"},
                "sentry-trace": "1", "__tracer": None}  # fmt: skip
    assert complaint_of(app, **usual, **harmless) is None
    assert complaint_of(app, **usual, headers=None) is None
    assert complaint_of(app, **usual, headers=["sentry-trace"]).reason == "invalid"
    first = {**usual, "args": [], "kwargs": {}, "retries": 0, "eta": None, "expires": None,
             "utc": True, "callbacks": None, "errbacks": None, "timelimit": [None, None],
             "taskset": None, "chord": None, "group": None, "group_index": None}  # fmt: skip
    assert complaint_of(app, json.dumps(first)) is None


def test_a_mapping_is_a_task_of_the_first_protocol_only(app: Flask) -> None:
    """Celery would take its three keys for arguments and more."""
    three = json.dumps({"task": "verified", "id": "one", "z": 1})
    found = complaint_of(app, three, task="verified", id="one")
    assert (found.reason, found.forged) == ("unknown_message", False)
    assert complaint_of(app, three) is None
    both = json.dumps({"task": "verified", "id": "one", "args": [1]})
    assert complaint_of(app, both) is None
    assert complaint_of(app, both, task="verified", id="one") is None


@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chord", "chain"])
def test_what_follows_a_task_of_the_first_protocol_are_tasks(app: Flask, name: str) -> None:
    usual: dict[str, Any] = {"task": "verified", "id": "one", "args": []}
    following: Any = {"task": "verified", "args": [], "kwargs": {}, "options": {}}
    following = following if name == "chord" else [following]
    assert complaint_of(app, json.dumps({**usual, name: following})) is None
    assert complaint_of(app, json.dumps({**usual, name: [1]})).reason == "invalid"


def test_headers_may_not_be_endless(app: Flask) -> None:
    nested: Any = []
    for _ in range(5000):
        nested = [nested]
    for value in (["x"] * 100_000, {"a": "x" * 100_000}, nested):
        headers = {"task": "verified", "id": "one", "stamps": {"stamp": value}}
        message = Message(
            "[[], {}, {}]", content_type="application/json", content_encoding="utf-8",
            headers=headers,
        )  # fmt: skip
        found = verification.complaint(app.extensions["celery"], message)
        assert found is not None
        assert found.reason == "size"
