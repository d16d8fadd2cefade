"""A message is the same whether its envelope, and its body, were read in full or as one known."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.serialization import register, registry
from kombu.transport import virtual
from kombu.utils import json as kombu_json

from flask_celeriac import signing, verification
from flask_celeriac.broker import stencil
from flask_celeriac.broker.channel import Channel
from flask_celeriac.broker.envelope import encode, unpack
from flask_celeriac.broker.message import Message
from flask_celeriac.broker.queries import Claimed

FLAT = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
NAME = st.text(max_size=3)
ANY = st.recursive(
    FLAT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAME, inner, max_size=2),
    max_leaves=5,
)
#: Two ids, so that one envelope may be known from the other; and such as are within other texts.
IDS = st.sampled_from(
    ["01a21593-49cd", "01a21593-4d42", "1", "id", "a", 'a"b', "a\\b", "\u00e4", ""]
)
#: What kombu's JSON has words of its own for.
TYPED = st.sampled_from(
    [UUID(int=1), Decimal("1.10"), datetime(2026, 1, 2), date(2026, 1, 2), b"a"]
)
OTHERS = st.dictionaries(
    st.sampled_from(["id", "root_id", "x", "1", "a"]), ANY | TYPED | st.lists(TYPED), max_size=4
)


def envelope(task_id: str, headers: dict[str, Any], properties: dict[str, Any]) -> str:
    message = {
        "headers": {**headers, "id": task_id, "root_id": task_id, "origin": "gen1@host"},
        "properties": {
            **properties,
            "correlation_id": task_id,
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_tag": None,
        },
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    try:
        return encode(message)
    except TypeError:
        return kombu_json.dumps(message)


def claimed(task_id: str | None, text: str, claims: int = 1) -> Claimed:
    return Claimed(0, 1, claims, task_id, text, "[[], {}, {}]")


def message_of(task_id: str, text: str) -> Message:
    return Message({**unpack(claimed(task_id, text), "1.2"), "body": ""}, None)


@given(ids=st.lists(IDS, min_size=2, max_size=4), headers=OTHERS, properties=OTHERS)
def test_a_known_envelope_is_the_message_that_was_sent(
    ids: list[str], headers: dict[str, Any], properties: dict[str, Any]
) -> None:
    stencil._kept.clear()
    for task_id in ids:
        text = envelope(task_id, headers, properties)
        read = unpack(claimed(task_id, text), "1.2")
        expected = kombu_json.loads(text)
        expected["properties"]["delivery_tag"] = "1.2"
        read.pop("stencil", None)
        assert read == {**expected, "body": "[[], {}, {}]"}
        for part in (read["headers"], read["properties"], read["properties"]["delivery_info"]):
            part["spoilt"] = True  # as whoever gets a message may do with it
        for value in read["headers"].values():
            if isinstance(value, list):
                value.append("spoilt")


@given(headers=OTHERS | st.fixed_dictionaries({"retries": FLAT, "timelimit": ANY, "eta": FLAT}))
def test_what_is_wrong_with_headers_is_wrong_with_those_that_are_like_them(
    headers: dict[str, Any],
) -> None:
    stencil._kept.clear()
    ids = ("01a21593-49cd", "01a21593-4d42", "01a21593-51b7")
    fresh, known, again = (
        verification._of_new_headers(message_of(one, envelope(one, headers, {}))) for one in ids
    )
    assert fresh == known == again


def test_the_headers_of_calls_that_are_alike_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stencil._kept.clear()
    looked: list[Any] = []
    monkeypatch.setattr(verification, "_of_headers", looked.append)
    for number in range(5):
        text = envelope(f"a-{number}", {}, {})
        verification._of_new_headers(message_of(f"a-{number}", text))
    assert len(looked) == 2  # that of which it was learned, and the first that was known by it
    assert stencil.known(envelope("a" * 256, {}, {}), "a" * 256) is None


def test_the_envelopes_of_two_calls_are_read_once() -> None:
    stencil._kept.clear()
    first, second = "01a21593-49cd", "01a21593-4d42"
    unpack(claimed(first, envelope(first, {}, {})), "1.2")
    assert stencil.known(envelope(second, {}, {}), second) is not None
    assert stencil.known(envelope(second, {"x": 1}, {}), second) is None
    again = unpack(claimed(second, envelope(second, {}, {}), claims=2), "1.2")
    assert again["properties"]["delivery_info"]["redelivered"] is True
    fresh = unpack(claimed(first, envelope(first, {}, {})), "1.2")
    assert "redelivered" not in fresh["properties"]["delivery_info"]


def test_only_so_many_are_kept_and_none_that_comes_but_once() -> None:
    stencil._kept.clear()
    for number in range(1000):
        task_id = f"task-{number:06}"
        text = envelope(task_id, {"argsrepr": f"({'x' * number},)"}, {})
        unpack(claimed(task_id, text), "1.2")
        signed = envelope(task_id, {signing.HEADER: "s" * number}, {})
        unpack(claimed(task_id, signed), "1.2")
        assert stencil.known(signed, task_id) is None
    assert len(stencil._kept) <= 100
    long = envelope("long", {"x": "x" * 5000}, {})
    unpack(claimed("long", long), "1.2")
    assert stencil.known(long, "long") is None


class NoChannel:
    """What a message asks of its channel before it is acknowledged."""

    def decode_body(self, body: Any, encoding: str | None = None) -> Any:
        return body


class KombusChannel:
    """What kombu does for a message before it is delivered."""

    codecs = virtual.Channel.codecs
    decode_body = virtual.Channel.decode_body


@given(
    replaced=st.dictionaries(
        st.sampled_from(["headers", "properties", "content-type", "content-encoding", "x"]),
        ANY,
        max_size=2,
    ),
    properties=st.dictionaries(
        st.sampled_from(["body_encoding", "delivery_info", "delivery_tag", "x"]), ANY, max_size=3
    ),
    headers=st.dictionaries(st.sampled_from(["compression", "id", "x"]), ANY, max_size=3),
)
def test_whatever_an_envelope_says_it_makes_a_message(
    replaced: dict[str, Any], properties: dict[str, Any], headers: dict[str, Any]
) -> None:
    text = envelope("1", {}, {})
    spoilt = json.loads(text)
    spoilt["properties"].update(properties)
    spoilt["headers"].update(headers)
    stencil._kept.clear()
    raw = unpack(claimed("1", encode({**spoilt, **replaced}), claims=2), "1.2")
    message = Message(raw, channel=KombusChannel())
    assert message.delivery_tag == "1.2"
    assert message.delivery_info["redelivered"] is True


def both(body: Any, accept: Any = ("application/json",)) -> list[Any]:
    """What kombu's message and ours say that a body is, or why it is none."""
    found = []
    for kind in (virtual.Message, Message):
        raw = {
            "body": body,
            "headers": {},
            "properties": {"delivery_tag": "1.2"},
            "content-type": "application/json",
            "content-encoding": "utf-8",
        }
        message = kind(raw, channel=NoChannel())
        message.accept = accept
        try:
            found.append(message.payload)
        except (DecodeError, ContentDisallowed) as error:
            found.append((type(error), str(error)))
    return found


@given(body=ANY.map(json.dumps) | ANY.map(kombu_json.dumps) | st.text() | st.binary())
def test_a_body_is_read_as_kombu_reads_it(body: str | bytes) -> None:
    kombus, ours = both(body)
    assert ours == kombus


@pytest.mark.parametrize(
    "value",
    [
        UUID(int=1),
        Decimal("1.10"),
        datetime(2026, 1, 2, tzinfo=timezone.utc),
        {"inner": [b"bytes"]},
    ],
)
def test_what_plain_json_has_no_word_for_comes_as_it_was_sent(value: Any) -> None:
    assert both(kombu_json.dumps([[value], {}, {}])) == [[[value], {}, {}]] * 2


def test_a_body_nested_too_deep_is_told_as_kombu_tells_it() -> None:
    kombus, ours = both("[" * 100_000)
    assert kombus == ours
    assert ours[0] is DecodeError


@pytest.mark.parametrize("accept", [None, (), ("application/x-yaml",), ("application/json",)])
def test_who_does_not_accept_json_gets_none(accept: Any) -> None:
    kombus, ours = both("[1]", accept)
    assert ours == kombus


def test_json_that_somebody_else_reads_is_left_to_them() -> None:
    before = registry._decoders["application/json"]
    register("json", kombu_json.dumps, lambda text: ["theirs", len(text)], "application/json")
    try:
        assert both("[1]") == [["theirs", 3]] * 2
    finally:
        register("json", kombu_json.dumps, before, "application/json", "utf-8")
    assert both("[1]") == [[1]] * 2


def test_the_embedded_channel_gives_out_these() -> None:
    assert Channel.Message is Message
