"""A small message does not become a large one."""

from __future__ import annotations

import pytest
from kombu import compression
from kombu.message import Message

from flask_celeriac import unpacking


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_decoders", dict(compression._decoders))
    monkeypatch.setattr(unpacking, "LONGEST", 10_000)
    unpacking.limit()


@pytest.mark.parametrize("method", ["gzip", "zlib", "bzip2", "lzma", "xz"])
def test_it_stops_at_a_limit(method: str) -> None:
    text = b"0123456789" * 1_000
    packed, content_type = compression.compress(text, method)
    assert compression.decompress(packed, content_type) == text
    bomb, _ = compression.compress(text + b"!", method)
    with pytest.raises(ValueError, match="unpacks to more than 10,000 bytes"):
        compression.decompress(bomb, content_type)
    with pytest.raises((ValueError, EOFError)):
        compression.decompress(packed[:-20], content_type)
    message = Message(bomb, headers={"compression": content_type})
    assert message.errors
