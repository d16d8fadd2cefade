"""Where what is known of an application's tasks is kept: the embedded queue, and the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import sqlite
from ..errors import RecordsDisabledError
from ..urls import records_url

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ..broker.store import Store
    from ..celery_app import FlaskCelery


@dataclass(frozen=True)
class Sources:
    """The places to ask.

    :param store: the embedded broker, None where tasks go to another
    :param engine: the database with the records
    """

    store: Store | None
    engine: Engine

    @property
    def queue(self) -> sqlite.File | None:
        """The file of the embedded broker."""
        return None if self.store is None else self.store.file


def sources_of(celery_app: FlaskCelery) -> Sources:
    """The places to ask about an application's tasks.

    :raises RecordsDisabledError: nothing is recorded of them
    :raises StorageError: as of :func:`embedded_store`
    """
    from ..database import engine_for

    url = records_url(celery_app)
    if url is None:
        raise RecordsDisabledError
    return Sources(embedded_store(celery_app.conf), engine_for(url))


def embedded_store(conf: Any) -> Store | None:
    """The embedded broker, None where tasks go to, or come from, anywhere else.

    :raises StorageError: its file cannot be used here, and may hold any task
    """
    urls = {str(conf.broker_read_url), str(conf.broker_write_url)}
    url = urls.pop()
    if urls or not url.startswith("celeriac:"):
        return None
    from ..broker.store import store_at
    from ..sqlite import path_of

    durability = (conf.broker_transport_options or {}).get("durability", "normal")
    store = store_at(path_of(url), durability)
    store.open()
    return store
