"""A door in front of a server: shut, silent or open, as the test wants it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Gate:
    """A port that refuses connections until it is told to be silent or open.

    :param url: the server behind it
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._door = socket.socket()
        self._door.bind(("127.0.0.1", 0))  # bound and not listening: taken, and refusing
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._open = threading.Event()
        #: All that clients have sent.
        self.received = bytearray()
        user, _, _ = parts.netloc.rpartition("@")
        host = f"127.0.0.1:{self._door.getsockname()[1]}"
        self.url = parts._replace(netloc=f"{user}@{host}" if user else host).geturl()

    def silent(self) -> None:
        """Take connections, and what they send, and never answer."""
        self._open.clear()
        self._listen()

    def open(self) -> None:
        """Let new connections through to the server."""
        self._open.set()
        self._listen()

    def full(self) -> None:
        """Let the first packet of a new connection get lost, as a router does that drops."""
        self._door.listen(0)
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(self._door.getsockname())
            self._sockets.append(client)

    def close(self) -> None:
        """Cut every connection."""
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _listen(self) -> None:
        if not self._threads:
            self._door.listen(50)
            self._start(self._accept)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            self._sockets.append(client)
            server = None
            if self._open.is_set():
                server = socket.create_connection(self._target)
                self._sockets.append(server)
                self._start(self._pass_on, server, client)
            self._start(self._hear, client, server)

    def _hear(self, client: socket.socket, server: socket.socket | None) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.received += data
                if server is not None and self._open.is_set():
                    server.sendall(data)
        if server is not None:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self._open.is_set():
                    client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def _start(self, work: object, *args: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=args)
        self._threads.append(thread)
        thread.start()


@contextmanager
def gate(url: str) -> Iterator[Gate]:
    """A shut door in front of a server."""
    door = Gate(url)
    try:
        yield door
    finally:
        door.close()
