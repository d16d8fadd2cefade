"""A worker publishes what was committed and not sent, as its sender died or the broker was away."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from .periodic import Periodic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..celery_app import FlaskCelery
    from ..outbox.relay import Relay, Turn

#: Seconds between two looks, on average.
INTERVAL = 1.0
#: The longest pause after a failure: they double from one to the next.
LONGEST = 30.0
#: Seconds between two looks for the table, where there is none.
RARELY = 60.0

logger = logging.getLogger(__name__)


class Rounds:
    """One look after the other, with pauses that fit what was found.

    :param app: the Celery application
    """

    def __init__(self, app: FlaskCelery) -> None:
        self._app = app
        self._relay: Relay | None = None
        self._failures = 0
        #: What became of the last round.
        self.last: Turn | None = None

    def step(self) -> float:
        """Publish some; whatever goes wrong, the worker goes on.

        :return: seconds until the next look
        """
        try:
            self.last = self._turn()
        except Exception as error:  # noqa: BLE001 - whatever the database says
            return self._failed("The outbox cannot be read", error)
        if self.last is None:
            return RARELY
        if self.last.out_of_reach:
            return self._failed("The broker is out of reach", self.last.out_of_reach)
        self._failures = 0
        return 0.0 if self.last.published else INTERVAL * random.uniform(0.9, 1.1)

    def _turn(self) -> Turn | None:
        """One round, None where there is no outbox."""
        outbox = self._app.on_commit
        if outbox is None:
            return None
        if self._relay is None:
            self._relay = outbox.find_relay()
        return None if self._relay is None else self._relay.turn()

    def _failed(self, what: str, why: object) -> float:
        pause = min(INTERVAL * 2.0**self._failures, LONGEST)
        log = logger.debug if self._failures else logger.warning
        log("%s: what was committed waits there and is sent later (%s)", what, why)
        self._failures += 1
        return pause * random.uniform(0.8, 1.2)


class Relaying(Periodic):
    """Worker step that relays, where the application has an outbox.

    .. versionadded:: 0.1
    """

    thread_name = "celeriac-relay"

    def is_needed(self, app: FlaskCelery) -> bool:
        """Whether there is an outbox."""
        return app.on_commit is not None

    def rounds(self, app: FlaskCelery) -> Iterator[float]:
        """Publish some, again and again; what is left at the end is somebody else's."""
        rounds = Rounds(app)
        while True:
            yield rounds.step()
