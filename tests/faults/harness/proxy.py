"""A TCP proxy in this process that loses replies."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from types import TracebackType


class Proxy:
    """Forwards both ways, but now and then drops what came from the server, and breaks off.

    :param server: where the server is.
    :param mark: what is in a reply that may be dropped.
    :param limit: how many are dropped.
    :param seed: of the choice.
    """

    #: How likely a reply is dropped.
    chance = 0.2

    def __init__(self, server: tuple[str, int], mark: bytes, limit: int, seed: float) -> None:
        self._server, self._mark, self._limit = server, mark, limit
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._threads: list[threading.Thread] = []
        self.dropped = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Proxy:
        self._go(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(self._listener)
        for pair in list(self._pairs):
            self._end(*pair)
        for thread in self._threads:
            thread.join()

    def _go(self, *work: object) -> None:
        thread = threading.Thread(target=work[0], args=work[1:], daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            self._pairs.add((client, server))
            self._go(self._pump, client, server, False)
            self._go(self._pump, server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if replies and self._drops(data):
                    break
                sink.sendall(data)
        self._end(source, sink)

    def _drops(self, data: bytes) -> bool:
        with self._lock:
            chosen = (
                self._mark in data
                and self.dropped < self._limit
                and self._random.random() < self.chance
            )
            self.dropped += chosen
            return chosen

    def _end(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
