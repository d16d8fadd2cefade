"""A broker, and the database with the records, for tests that are run on several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from kombu import Producer, pools

from flask_celeriac import Celeriac
from flask_celeriac.database import engine_for
from tests.support import pieces, services

#: Brokers with records, and in which database these are.
RECORDED = ["embedded", "redis+postgresql", "rabbitmq+mariadb"]
#: Those without.
BARE = ["redis", "rabbitmq"]

_DATABASES = {
    "postgresql": (services.POSTGRES, "DROP DATABASE {} WITH (FORCE)", "postgresql+psycopg"),
    "mariadb": (services.MARIADB, "DROP DATABASE {}", "mysql+pymysql"),
}


@contextmanager
def system(
    name: str,
    folder: Path,
    celeriac: Celeriac,
    *,
    url_of: Callable[[str], str] = str,
    **celery: Any,
) -> Iterator[Flask]:
    """An application on one of these systems, in its context.

    :param url_of: what becomes of the URLs of its broker and database.
    """
    broker, _, database = name.partition("+")
    with ExitStack() as stack:
        app = Flask("system", instance_path=str(folder))
        ours = {key: celery.pop(key) for key in [*celery] if key.startswith("CELERIAC_")}
        app.config.update(ours)
        app.config["CELERY"] = {"task_default_queue": "system", **celery}
        if broker != "embedded":
            piece = pieces.redis_database() if broker == "redis" else pieces.rabbitmq_vhost()
            app.config["CELERY"]["broker_url"] = url_of(stack.enter_context(piece))
        if database:
            url = app.config["CELERIAC_DATABASE"] = url_of(_new_database(database, stack))
            stack.callback(lambda: engine_for(url).dispose())
        celeriac.init_app(app)
        stack.callback(pools.reset)
        stack.callback(app.extensions["celery"].close)
        with app.app_context():
            yield app


@contextmanager
def environ_of(name: str) -> Iterator[dict[str, str]]:
    """The environment of processes on one of these systems."""
    broker, _, database = name.partition("+")
    with ExitStack() as stack:
        environ: dict[str, str] = {}
        if broker != "embedded":
            piece = pieces.redis_database() if broker == "redis" else pieces.rabbitmq_vhost()
            environ["CELERY_BROKER_URL"] = stack.enter_context(piece)
        if database:
            environ["FLASK_CELERIAC_DATABASE"] = _new_database(database, stack)
        yield environ


def _new_database(name: str, stack: ExitStack) -> str:
    service, drop, driver = _DATABASES[name]
    url = stack.enter_context(pieces.sql_database(service, drop=drop))
    return f"{driver}:{url.partition(':')[2]}"


def inject(app: Flask, body: str | bytes, **options: Any) -> None:
    """Put a message into the application's queue, as it is."""
    celery = app.extensions["celery"]
    queue = celery.amqp.queues["system"]
    options.setdefault("content_type", "application/json")
    options.setdefault("content_encoding", "utf-8")
    with celery.connection_for_write() as connection, Producer(connection.channel()) as producer:
        producer.publish(body, routing_key=queue.routing_key, exchange=queue.exchange,
                         declare=[queue], **options)  # fmt: skip
