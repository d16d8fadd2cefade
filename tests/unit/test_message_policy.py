"""How much a message may hold, and which formats are let in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_celeriac.config import resolve
from flask_celeriac.errors import ConfigError, ConfigWarning, MessageRefusedError
from flask_celeriac.message_policy import (
    MessagePolicy,
    check_settings,
    is_deeper,
    outside_texts,
)

TEXT = st.text(alphabet='[]{}"\\ aä')
DEEP = st.recursive(
    st.none() | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=2),
    max_leaves=30,
)


@pytest.fixture
def policy() -> MessagePolicy:
    return MessagePolicy(size=4 * 2**20, depth=200, accepted=frozenset())


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(value=DEEP, plain=st.booleans())
def test_depth_is_counted_without_parsing(value: Any, plain: bool) -> None:
    body = json.dumps(value, ensure_ascii=plain).encode()
    depth = depth_of(value)
    assert not is_deeper(body, depth)
    assert depth == 0 or is_deeper(body, depth - 1)


@given(body=st.binary())
def test_what_is_no_json_is_counted_too(body: bytes) -> None:
    assert is_deeper(body, 3) in (True, False)


@pytest.mark.parametrize("text", [rb"\"", rb"x\"", rb"\\", b"["])
def test_a_text_that_never_ends_is_looked_at_once(text: bytes) -> None:
    body = b"[" * 201 + b'"' + text * 500
    assert outside_texts(body) == b"[" * 201
    assert is_deeper(body, 200)
    assert not is_deeper(body, 201)
    # Had a text to end, that would take a million times a million steps.
    assert not is_deeper(body + text * (2**22 // len(text)), 201)


def test_only_json_has_a_depth(policy: MessagePolicy) -> None:
    """In msgpack, a bracket is the number 91."""
    numbers = b"\xdc\x01\x2c" + b"[" * 300
    policy.check("task", numbers, "application/x-msgpack")
    with pytest.raises(MessageRefusedError, match="nested deeper"):
        policy.check("task", numbers, "application/json")
    with pytest.raises(MessageRefusedError, match="takes 5,000,000 bytes"):
        policy.check("task", b"[" * 5_000_000, "application/x-msgpack")


def test_what_never_ends_is_deep() -> None:
    assert is_deeper(b"[" * 100_000, 200)
    assert is_deeper(b'{"a":' * 100_000, 200)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("accept_content", ["json", "pickle"]),
        ("accept_content", ["application/x-python-serialize"]),
        ("result_accept_content", ["yaml"]),
        ("task_serializer", "pickle"),
        ("result_serializer", "yaml"),
        ("event_serializer", "pickle"),
    ],
)
def test_pickle_and_yaml_have_to_be_asked_for(key: str, value: Any) -> None:
    config: dict[str, Any] = {"CELERY": {key: value}}
    with pytest.raises(ConfigError, match=rf'"{key}"\]: (pickle|yaml) .*CELERIAC_ALLOW_PICKLE'):
        check_settings(resolve(config, environ={}))
    check_settings(resolve({**config, "CELERIAC_ALLOW_PICKLE": "yes"}, environ={}))


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("MAX_MESSAGE_SIZE", "a lot", "whole number"),
        ("MAX_MESSAGE_SIZE", -1, "whole number"),
        ("MAX_MESSAGE_DEPTH", True, "whole number"),
        ("MAX_MESSAGE_DEPTH", 1.5, "whole number"),
        ("ALLOW_PICKLE", "perhaps", "true or false"),
        ("SHOW_ARGUMENTS", [], "true or false"),
        ("SIGNING_KEYS", "short", "16 bytes"),
        ("SIGNING_KEYS", ["long enough, this one", 5], "list of texts"),
        ("SIGNING_KEYS", {"new": "a long enough secret"}, "list of texts"),
        ("SIGNING_KEYS", " , ", "list of texts"),
    ],
)
def test_a_value_of_no_use_is_refused(key: str, value: Any, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted) as refused:
        resolve({f"CELERIAC_{key}": value}, environ={})
    assert "long enough" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ("0123456789abcdef, fedcba9876543210", ("0123456789abcdef", "fedcba9876543210")),
        ('["0123456789abcdef"]', ("0123456789abcdef",)),
        ("1234567890123456", ("1234567890123456",)),
    ],
)
def test_secrets_come_from_the_environment(given: str, keys: tuple[str, ...]) -> None:
    settings = resolve({}, environ={"FLASK_CELERIAC_SIGNING_KEYS": given})
    assert settings.options.signing_keys == keys
    assert keys[0] not in repr(settings.options)


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("task_serializer", "jsn"),
        ("accept_content", ["json", "jsn"]),
        ("result_serializer", "Json"),
    ],
)
def test_a_format_that_is_like_a_known_one_is_warned_of(key: str, given: Any) -> None:
    with pytest.warns(ConfigWarning, match=rf'"{key}"\]: no format .* did you mean \'json\''):
        check_settings(resolve({"CELERY": {key: given}}, environ={}))


@pytest.mark.parametrize("given", ["json", "application/json", "protobuf", "auth"])
def test_other_formats_are_not(given: str) -> None:
    check_settings(resolve({"CELERY": {"task_serializer": given}}, environ={}))
