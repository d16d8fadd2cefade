"""Keep the processes of a prefork worker from sharing connections to databases and brokers."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, cast

from celery import signals
from celery.app import default_app
from kombu import pools

from .. import celery_app
from ..broker import orphans
from . import ends, entries, patient, sessions

if TYPE_CHECKING:
    from celery.local import Proxy

#: What the parent process still uses. Collecting a connection or a pool here would end or roll
#: back the parent's conversation with its database, so this process keeps them until it ends.
_inherited: list[object] = []


def install() -> None:
    """Have Celery call :func:`on_process_init` in every new process of a worker's pool, and more
    where beat begins.

    On every broker such a process ends with its worker, whose tasks others run again then.
    """
    orphans.end_with_parent()
    signals.worker_before_create_process.connect(before_fork, dispatch_uid=__name__)
    signals.worker_process_init.connect(on_process_init, dispatch_uid=__name__)
    signals.worker_process_shutdown.connect(on_process_shutdown, dispatch_uid=__name__)
    signals.beat_init.connect(patient.on_beat_init, dispatch_uid=patient.__name__)
    signals.beat_init.connect(entries.on_beat_init, dispatch_uid=entries.__name__)


def before_fork(**_: Any) -> None:
    """Let go of the idle connections to RabbitMQ that this process sends on.

    kombu closes what a new process inherits of them, and py-amqp does so by ``shutdown(2)``, which
    ends the parent's conversation, too: what that sends next would fail. It connects anew instead.
    """
    for pool in list(pools.connections.values()):
        if pool.limit and pool.connection.transport.driver_type == "amqp":
            _let_go(pool)


def _let_go(pool: Any) -> None:
    idle = []
    with contextlib.suppress(pool.LimitExceeded):
        while True:
            idle.append(pool.acquire())
    for connection in idle:
        if connection.connected:
            connection.collect()
        connection.release()


def on_process_init(**_: Any) -> None:
    """Start a new process with no database connection; let Celery follow ``current_app``."""
    for app in list(celery_app.alive()):
        app.patient = True
        if app.pid != os.getpid():  # Celery sends the signal in pools without processes, too
            _leave_connections(app)
            app.pid = os.getpid()
    working = cast("Proxy[Any]", default_app)._get_current_object()
    if isinstance(working, celery_app.FlaskCelery):
        working.set_current()
        working.set_default()
        ends.listen(working)  # a process that was started fresh does not yet


def on_process_shutdown(**_: Any) -> None:
    """Record what is still to be recorded: nothing else is called in a process that ends here."""
    for app in list(celery_app.alive()):
        if "recorder" in vars(app):  # none is made for that
            app.recorder.settle()


def _leave_connections(app: celery_app.FlaskCelery) -> None:
    flask_app = app.flask_app
    if flask_app is None:
        return
    _inherited.extend(sessions.take_sessions(flask_app, app.session))
    with flask_app.app_context():
        for engine in sessions.engines(flask_app, app.session):
            _inherited.append(engine.pool)
            engine.dispose(close=False)
