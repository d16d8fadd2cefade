"""What an application's Celery is configured with: what the user set, over our defaults."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .directories import make_private
from .errors import StorageError

if TYPE_CHECKING:
    from .celery_app import FlaskCelery
    from .config import Settings

#: Defaults that differ from Celery's on the embedded broker: a task is taken off the queue when it
#: has ended, not when it starts, so that one whose worker was killed runs again.
EMBEDDED = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
}


#: Where the result backend is ours: a task whose result cannot be stored waits until it can be,
#: instead of being taken off the queue without one.
OUR_RESULTS = {"result_backend_always_retry": True}


def configure(celery_app: FlaskCelery, settings: Settings, instance_path: str) -> None:
    """Give a new Celery application its configuration.

    What the user set becomes the application's own (``conf.changes``), which everything else gives
    way to; our defaults are worked out when Celery first reads its configuration, so that they
    also give way to what is set on ``celery.conf`` or by ``config_from_object`` until then.

    :param instance_path: the Flask application's instance folder
    """
    own = dict(settings.celery)
    given = own.get("broker_transport_options")
    urls = [own[key] for key in ("broker_read_url", "broker_write_url", "broker_url") if key in own]
    if given and all(map(_is_embedded, urls)):
        own["broker_transport_options"] = {"durability": settings.options.durability, **given}
    celery_app.conf.update(own)
    celery_app.add_defaults(lambda: _defaults(celery_app, settings, instance_path))


def _defaults(celery_app: FlaskCelery, settings: Settings, instance_path: str) -> dict[str, Any]:
    conf: Any = celery_app.conf
    folder = os.path.join(instance_path, "celeriac")
    # Celery's own default is one dict that all applications share.
    ours: dict[str, Any] = {"beat_schedule": {}, "worker_hijack_root_logger": False}
    broker_url = conf.broker_read_url or conf.broker_write_url
    if not broker_url:
        broker_url = ours["broker_url"] = _embedded_url(folder)
    if _is_embedded(broker_url):
        _make_folder(folder)
        ours.update(EMBEDDED)
        ours["broker_transport_options"] = {"durability": settings.options.durability}
        ours["beat_schedule_filename"] = os.path.join(folder, "beat-schedule")
        ours["result_backend"] = broker_url
        ours.update(OUR_RESULTS)
    else:
        ours["result_backend"] = "flask_celeriac.records.disabled:DisabledBackend"
    if settings.options.database:
        ours.update(OUR_RESULTS)
        ours["result_backend"] = f"celeriac+{settings.options.database}"
    # Celery lays these over what config_from_object() brings.
    return {name: value for name, value in ours.items() if not conf.value_set_for(name)}


def _make_folder(folder: str) -> None:
    """Make the folder of the file: beat opens its schedule there before anything opens the file."""
    try:
        make_private(folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be made ({error.strerror or error}): give"
            " Flask(instance_path=...) a folder that this user may write, or set CELERY_BROKER_URL"
        ) from error


def _is_embedded(broker_url: object) -> bool:
    return str(broker_url).startswith("celeriac:")


def _embedded_url(folder: str) -> str:
    from .sqlite import url_of  # opening SQLite is no part of importing this package

    return url_of(os.path.join(folder, "celeriac.db"))
