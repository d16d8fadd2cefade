"""What a signature covers: every header that says what runs, and the body, to the last bit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_celeriac import signing
from flask_celeriac.signing import SIGNED, Signed

NEW, OLD = b"a new secret of some length", b"an old secret of some length"
JSON = ("application/json", "utf-8")
VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2)


def headers(**more: Any) -> dict[str, Any]:
    return {
        "task": "shop.refund", "id": "one", "root_id": "one", "eta": None, "retries": 0,
        "timelimit": (None, 30), "stamps": {"b": 1, "a": [2]}, "origin": "web@host", **more,
    }  # fmt: skip


def signed(body: str | bytes = "[[1], {}, {}]", keys: Any = (NEW, OLD), **more: Any) -> Signed:
    message = Signed(headers(**more), JSON, body, "waiting")
    found = {**message.headers, signing.HEADER: message.sign(keys)}
    # As it comes out of a transport: bytes, lists in place of tuples, in any order.
    arrived = dict(sorted(json.loads(json.dumps(found)).items(), reverse=True))
    return dataclasses.replace(message, headers=arrived)


def test_what_arrives_as_it_was_sent_is_right() -> None:
    assert signed().fault([NEW]) is None
    assert dataclasses.replace(signed(), body=b"[[1], {}, {}]").fault([NEW]) is None


def test_keys_rotate() -> None:
    assert signed(keys=[OLD]).fault([NEW, OLD]) is None
    assert "not among CELERIAC_SIGNING_KEYS" in str(signed(keys=[OLD]).fault([NEW]))


@given(name=st.sampled_from(SIGNED), value=VALUES)
def test_no_signed_header_can_be_changed(name: str, value: Any) -> None:
    message = signed()
    changed = {**message.headers, name: value}
    same = [message.headers.get(name)] == [value] and type(message.headers.get(name)) is type(value)
    fault = dataclasses.replace(message, headers=changed).fault([NEW])
    assert fault == (None if same else "it is not what was signed")


@given(position=st.integers(0, 12), bit=st.integers(0, 7))
def test_no_bit_of_the_body_can_be_changed(position: int, bit: int) -> None:
    body = bytearray(b"[[1], {}, {}]")
    body[position] ^= 1 << bit
    message = dataclasses.replace(signed(), body=bytes(body))
    assert message.fault([NEW]) == "it is not what was signed"


@pytest.mark.parametrize(
    "change",
    [
        {"content": ("application/x-python-serialize", "utf-8")},
        {"content": ("application/json", "binary")},
        {"reply_to": "somebody else"},
        {"reply_to": None},
    ],
)
def test_neither_can_what_is_no_header(change: dict[str, Any]) -> None:
    assert dataclasses.replace(signed(), **change).fault([NEW]) == "it is not what was signed"


@given(signature=st.text() | st.binary() | st.none() | st.lists(st.integers()))
def test_no_other_signature_is_right(signature: Any) -> None:
    message = signed()
    forged = {**message.headers, signing.HEADER: signature}
    assert dataclasses.replace(message, headers=forged).fault([NEW])


@pytest.mark.parametrize("part", range(4))
def test_no_part_of_it_can_be_changed(part: int) -> None:
    message = signed()
    parts = message.headers[signing.HEADER].split(":")
    for other in ("", "ä", "0", parts[part][:-1], parts[part] + "0", parts[part].upper() + " "):
        forged = ":".join([*parts[:part], other, *parts[part + 1 :]])
        found = {**message.headers, signing.HEADER: forged}
        assert dataclasses.replace(message, headers=found).fault([NEW])


@given(value=st.recursive(VALUES | st.binary() | st.dates(), st.lists))
def test_headers_of_any_kind_are_no_error(value: Any) -> None:
    message = signed()
    found = {**message.headers, "stamps": {"stamp": value}}
    assert dataclasses.replace(message, headers=found).fault([NEW])


def test_what_the_way_adds_is_not_covered() -> None:
    message = signed()
    found = {**message.headers, "celeriac_crashes": 1, "x-death": [{}], "origin": "elsewhere"}
    assert dataclasses.replace(message, headers=found).fault([NEW]) is None
