"""Compressed messages that would unpack to more than a machine holds.

kombu unpacks a message before it shows it to anybody. A thousandth of that is what has to be sent,
and a worker that is killed for it gets it again when it is back.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from kombu import compression

#: The stubs know only a part of it.
kombu_compression: Any = compression

#: Bytes that a message, or a compressed result, may unpack to. Far more than a message may have,
#: as kombu has one decoder for both.
LONGEST = 128 * 2**20

#: Bytes that are asked of brotli at once: some versions make room for them first.
_STEP = 2**20


def limit() -> None:
    """Have kombu's decoders of this process stop at :data:`LONGEST`."""
    for name, make in _decompressors().items():
        encoder, content_type = kombu_compression.get_encoder(name)
        kombu_compression.register(encoder, _limited(make), content_type)


def _decompressors() -> dict[str, Callable[[], Any]]:
    """What unpacks what, of the methods that kombu found the packages for."""
    found: dict[str, Callable[[], Any]] = {
        "gzip": zlib.decompressobj,
        "bzip2": bz2.BZ2Decompressor,
        "lzma": lzma.LZMADecompressor,
    }
    zstd = getattr(kombu_compression, "zstd", None)
    if zstd is not None:
        found["zstd"] = zstd.ZstdDecompressor
    brotli = getattr(kombu_compression, "brotli", None)
    if brotli is not None:
        found["brotli"] = lambda: _Brotli(brotli.Decompressor())
    return found


class _Brotli:
    """A decompressor of brotli's, as the standard library's are."""

    def __init__(self, decompressor: Any) -> None:
        self._decompressor = decompressor
        self.eof = False

    def decompress(self, body: bytes, longest: int) -> bytes:
        """Unpack a body, to this many bytes or a few more."""
        mine = self._decompressor
        if not hasattr(mine, "can_accept_more_data"):
            raise ValueError("this brotli knows no limit: install brotli 1.2 or later")
        parts = [mine.process(body, output_buffer_limit=_STEP)]
        size = len(parts[0])
        while size < longest and not mine.can_accept_more_data():
            parts.append(mine.process(b"", output_buffer_limit=_STEP))
            size += len(parts[-1])
        self.eof = mine.is_finished()
        return b"".join(parts)


def _limited(make: Callable[[], Any]) -> Callable[[bytes], bytes]:
    def decode(body: bytes) -> bytes:
        decompressor = make()
        data: bytes = decompressor.decompress(body, LONGEST + 1)
        if len(data) > LONGEST:
            raise ValueError(f"it unpacks to more than {LONGEST:,} bytes")
        if not decompressor.eof:
            raise ValueError("it ends too early")
        return data

    return decode
