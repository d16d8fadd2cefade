"""JSON the short way is what kombu writes and reads."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import serialization
from kombu.exceptions import EncodeError
from kombu.serialization import register

from flask_celeriac import plain_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.uuids()
    | st.decimals() | st.datetimes() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("__type__"), inner),
)  # fmt: skip


@given(values)
def test_it_writes_what_kombu_writes(value: Any) -> None:
    assert plain_json.serialize(value, "json") == serialization.dumps(value, "json")


@given(values)
def test_it_reads_what_kombu_reads(value: Any) -> None:
    text = serialization.dumps(value, "json")[2]
    if plain_json.is_plain(text):
        read = serialization.loads(text, "application/json", "utf-8")
        assert repr(plain_json.decode(text)) == repr(read)  # as nan is not itself


@pytest.mark.parametrize(
    "value", [b"\xff", uuid.uuid4(), Decimal(1), date(2026, 1, 2), datetime.now(timezone.utc)]
)
def test_what_plain_json_has_no_word_for_is_left_to_kombu(value: Any) -> None:
    assert not plain_json.is_plain(plain_json.serialize([value], "json")[2])


def test_other_formats_are_left_to_kombu() -> None:
    assert plain_json.serialize([1], "yaml") == serialization.dumps([1], "yaml")
    assert not plain_json.is_plain(b"[1]")


def test_what_cannot_be_written_is_told_as_kombu_does() -> None:
    with pytest.raises(EncodeError, match="not JSON serializable"):
        plain_json.serialize(object(), "json")
    with pytest.raises(EncodeError):
        plain_json.serialize({1: {(): 2}}, "json")


@pytest.fixture
def own_json() -> Iterator[None]:
    """An application's own ``json``, which writes numbers in a list."""
    before = {name: dict(getattr(plain_json.registry, name)) for name in ("_encoders", "_decoders")}
    register("json", lambda value: json.dumps([value]), lambda text: json.loads(text)[0],
             content_type="application/json", content_encoding="utf-8")  # fmt: skip
    yield
    for name, found in before.items():
        getattr(plain_json.registry, name).update(found)


def test_an_application_may_have_its_own(own_json: None) -> None:
    assert plain_json.serialize(1, "json") == ("application/json", "utf-8", "[1]")
    assert not plain_json.is_plain("[1]")
