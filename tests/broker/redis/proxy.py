"""A way to Redis on which answers get lost."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.support import proxies
from tests.support.proxies import CutError, Link


class Proxy(proxies.Proxy):
    """Passes everything on, but for the answers to some commands: those it cuts the connection at.

    :param url: of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._word = b""
        #: How many more answers are lost, and how many were.
        self.lose = self.lost = 0
        super().__init__(parts.hostname or "", parts.port or 0)
        self.url = parts._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    def lose_answers_to(self, word: str, count: int = 1) -> None:
        """Let the server do what is asked for with this word, and never tell that it did."""
        self._word, self.lose = word.encode(), count

    def asked(self, link: Link, data: bytes) -> bool:
        if self.lose and self._word in data:
            self.lose -= 1
            link.marked = True
        return True

    def answered(self, link: Link, data: bytes) -> bool:
        if link.marked:
            self.lost += 1
            raise CutError
        return True
