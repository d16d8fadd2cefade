"""A port in front of a server, on which a test meddles with what is said."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

#: Bytes read at once.
CHUNK = 65536


class CutError(Exception):
    """Raised by what meddles: both ends of the connection are closed."""


@dataclass
class Link:
    """A connection through a proxy; without a server nobody answers."""

    client: socket.socket
    server: socket.socket | None
    #: For what meddles: something that it has seen.
    marked: bool = False


class Proxy:
    """Passes on what clients and the server say, as far as a subclass lets it.

    :param host: of the server.
    :param port: of the server.
    :param listening: False: the port refuses connections until :meth:`listen` is called.
    """

    def __init__(self, host: str, port: int, *, listening: bool = True) -> None:
        self._target = (host, port)
        self.door = socket.socket()
        self.door.bind(("127.0.0.1", 0))  # bound and not listening: taken, and refusing
        self.port: int = self.door.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self.sockets: list[socket.socket] = []
        if listening:
            self.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def listen(self) -> None:
        """Take connections, if it does not yet."""
        if not self._threads:
            self.door.listen(50)
            self._start(self._accept)

    def cut(self) -> None:
        """Break the connections there are."""
        for each in list(self.sockets):
            _shut(each)

    def close(self) -> None:
        """Cut every connection, and take none any more."""
        _shut(self.door)
        self.door.close()
        if self._threads:
            self._threads[0].join()  # nothing is added after that
        for each in self.sockets:
            _shut(each)
        for thread in self._threads:
            thread.join()
        for each in self.sockets:
            each.close()

    # What a subclass says

    def connects(self) -> bool:
        """Whether a new connection reaches the server."""
        return True

    def asked(self, link: Link, data: bytes) -> bool:
        """A client has said something; whether it is passed on.

        :raises CutError: the connection breaks instead.
        """
        return True

    def answered(self, link: Link, data: bytes) -> bool:
        """The server has said something; whether it is passed on.

        :raises CutError: the connection breaks instead.
        """
        return True

    # Passing on

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.door.accept()
            except OSError:
                return
            self.sockets.append(client)
            server = None
            if self.connects():
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    _shut(client)
                    continue
                self.sockets.append(server)
            link = Link(client, server)
            self._start(self._pass_on, link, client, server, self.asked)
            if server is not None:
                self._start(self._pass_on, link, server, client, self.answered)

    def _pass_on(
        self,
        link: Link,
        source: socket.socket,
        sink: socket.socket | None,
        passes: Callable[[Link, bytes], bool],
    ) -> None:
        with contextlib.suppress(OSError, CutError):
            while data := source.recv(CHUNK):
                if passes(link, data) and sink is not None:
                    sink.sendall(data)
        for each in (link.client, link.server):
            if each is not None:
                _shut(each)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
