"""A small message does not become a large one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kombu import compression
from kombu.message import Message

from flask_celeriac import unpacking


@pytest.fixture(autouse=True)
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_encoders", "_decoders", "_aliases"):
        monkeypatch.setattr(compression, name, dict(getattr(compression, name)))
    monkeypatch.setattr(unpacking, "LONGEST", 10_000)
    monkeypatch.setattr(unpacking, "_STEP", 1_000)
    unpacking.limit()


METHODS = ["gzip", "zlib", "bzip2", "lzma", "xz", "zstd", "zstandard", "brotli"]


@pytest.mark.parametrize("method", METHODS)
def test_it_stops_at_a_limit(method: str) -> None:
    if compression._aliases.get(method) not in compression.encoders():
        pytest.skip(f"install what kombu needs for {method}")
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


def test_a_method_that_knows_no_limit_unpacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As brotli did before its version 1.2."""
    old = SimpleNamespace(Decompressor=lambda: SimpleNamespace(process=bytes, is_finished=bool))
    monkeypatch.setattr(compression, "brotli", old, raising=False)
    compression.register(bytes, bytes, "application/x-brotli", aliases=["brotli"])
    unpacking.limit()
    with pytest.raises(ValueError, match=r"install brotli 1\.2 or later"):
        compression.decompress(b"small", "application/x-brotli")


def test_all_methods_of_kombu_are_limited() -> None:
    """One that comes with another version of it would not be."""
    limited = {compression._aliases[name] for name in METHODS if name in compression._aliases}
    assert set(compression.encoders()) <= limited
    assert all(decode.__module__ == unpacking.__name__ for decode in compression._decoders.values())
