"""A TCP proxy in this process that loses replies."""

from __future__ import annotations

import random
import threading
import time

from tests.support import proxies
from tests.support.proxies import CutError, Link


class Proxy(proxies.Proxy):
    """Forwards both ways, but now and then drops what came from the server, and breaks off.

    :param server: where the server is.
    :param mark: what is in a reply that may be dropped.
    :param limit: how many are dropped.
    :param seed: of the choice.
    """

    #: How likely a reply is dropped.
    chance = 0.2

    def __init__(self, server: tuple[str, int], mark: bytes, limit: int, seed: float) -> None:
        self._mark, self._limit = mark, limit
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        #: When each was dropped, and what was in it.
        self.lost: list[tuple[float, bytes]] = []
        super().__init__(*server)

    def answered(self, link: Link, data: bytes) -> bool:
        with self._lock:
            chosen = (
                self._mark in data
                and len(self.lost) < self._limit
                and self._random.random() < self.chance
            )
            if chosen:
                self.lost.append((time.monotonic(), data))
                raise CutError
        return True

    @property
    def dropped(self) -> int:
        return len(self.lost)
