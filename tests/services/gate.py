"""A door in front of a server: shut, silent or open, as the test wants it."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit

from tests.support.proxies import Link, Proxy


class Gate(Proxy):
    """A port that refuses connections until it is told to be silent or open.

    :param url: the server behind it
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        super().__init__(parts.hostname or "", parts.port or 0, listening=False)
        self._open = threading.Event()
        #: All that clients have sent.
        self.received = bytearray()
        user, _, _ = parts.netloc.rpartition("@")
        host = f"127.0.0.1:{self.port}"
        self.url = parts._replace(netloc=f"{user}@{host}" if user else host).geturl()

    def silent(self) -> None:
        """Take connections, and what they send, and never answer."""
        self._open.clear()
        self.listen()

    def open(self) -> None:
        """Let new connections through to the server."""
        self._open.set()
        self.listen()

    def full(self) -> None:
        """Let the first packet of a new connection get lost, as a router does that drops."""
        self.door.listen(0)
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(self.door.getsockname())
            self.sockets.append(client)

    def connects(self) -> bool:
        return self._open.is_set()

    def asked(self, link: Link, data: bytes) -> bool:
        self.received += data
        return self._open.is_set()

    def answered(self, link: Link, data: bytes) -> bool:
        return self._open.is_set()
