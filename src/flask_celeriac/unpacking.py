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

_KNOWN: dict[str, Callable[[], Any]] = {
    "gzip": zlib.decompressobj,
    "bzip2": bz2.BZ2Decompressor,
    "lzma": lzma.LZMADecompressor,
}


def limit() -> None:
    """Have kombu's decoders of this process stop at :data:`LONGEST`."""
    for name, make in _KNOWN.items():
        encoder, content_type = kombu_compression.get_encoder(name)
        kombu_compression.register(encoder, _limited(make), content_type)


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
