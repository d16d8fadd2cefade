"""The URLs of broker, results and records: whether they name something, and where records are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from celery.app.backends import BACKEND_ALIASES
from kombu.transport import TRANSPORT_ALIASES

from .config import Settings
from .config_sources import Origin
from .errors import ConfigError
from .spelling import did_you_mean

if TYPE_CHECKING:
    from .celery_app import FlaskCelery

_HOST = re.compile(r"[A-Za-z][\w.-]*")
#: SQLAlchemy's names, which Celery knows behind ``db+`` only.
_DATABASES = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql")


def check(settings: Settings) -> None:
    """Check every URL of the configuration as far as that needs no server.

    :raises ConfigError: one can never work; the message names it by where it was set, not by its
        value, which may hold a password
    """
    for key in ("broker_url", "broker_read_url", "broker_write_url"):
        for url in _urls(settings.celery.get(key)):
            scheme, separator, _ = url.partition("://")
            if not separator:
                if _HOST.fullmatch(url):  # kombu's short way to name a RabbitMQ server
                    continue
                raise ConfigError(
                    f"{settings.origins[key]}: it is no URL: a broker's begins with its kind, as in"
                    ' "redis://", "amqp://" or "celeriac:///"'
                )
            known = {*TRANSPORT_ALIASES, *map(str.lower, TRANSPORT_ALIASES)}
            _check(settings, key, scheme.lower(), known, "broker")
            _check_parts(settings, key, url)
    for url in _urls(settings.celery.get("result_backend")):
        scheme, separator, _ = url.partition("://")
        if not separator:  # some may be named without
            continue
        _check_parts(settings, "result_backend", url)
        found = entry_points(group="celery.result_backends")
        known = {*BACKEND_ALIASES, *(point.name for point in found)}
        _check(settings, "result_backend", scheme, known, "result backend")
    if settings.options.database:
        _check_database(settings)


def records_url(celery_app: FlaskCelery) -> str | None:
    """The database with the records: that of the results, if it is ours, or the broker's file.

    :return: None where there is none
    """
    conf: Any = celery_app.conf
    backend = str(conf.result_backend or "")
    if backend.startswith("celeriac+"):
        return backend.removeprefix("celeriac+")
    if backend.startswith("celeriac:"):
        return backend
    state = getattr(celery_app, "celeriac", None)  # a pasted celery.Celery has none
    if state is not None and state.settings.options.database:
        return str(state.settings.options.database)
    url = str(conf.broker_write_url or "")
    return url if url.startswith("celeriac:") else None


def _urls(value: Any) -> Iterable[str]:
    urls = value if isinstance(value, (list, tuple)) else str(value or "").split(";")
    return [url for url in urls if isinstance(url, str) and url.strip()]


def _check_parts(settings: Settings, key: str, url: str) -> None:
    """What is found wrong otherwise only when the first task is sent, or never."""
    parts = urlsplit(url)
    if parts.scheme == "celeriac":
        _check_file(settings.origins[key], parts)
    if parts.scheme not in ("redis", "rediss", "amqp", "amqps", "pyamqp"):
        return
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(
            f"{settings.origins[key]}: its port is no number up to 65535; signs such as / or # in"
            " a password have to be quoted, as %2F and %23"
        ) from None
    database = parts.path.strip("/")
    if parts.scheme.startswith("redis") and database and not database.isdecimal():
        raise ConfigError(
            f"{settings.origins[key]}: after the last / is no database of Redis: they are numbers,"
            ' as in "redis://localhost:6379/0"'
        )


def _check_file(origin: Origin, parts: SplitResult) -> None:
    unknown = parse_qs(parts.query, keep_blank_values=True).keys() - {"allow"}
    if parts.netloc:
        fault = "a host stands where only a path may, as the file is on this machine"
    elif not parts.path.strip("/"):
        fault = "it names no file"
    elif unknown:
        fault = f"it has an option {min(unknown)!r}, and there is none but 'allow'"
    else:
        return
    raise ConfigError(f"{origin}: {fault}: write celeriac:////absolute/path/celeriac.db")


def _check(settings: Settings, key: str, scheme: str, known: Iterable[str], what: str) -> None:
    name = scheme.partition("+")[0]
    if name in known or "." in name or ":" in name:  # a dotted path is the user's own
        return
    if what == "result backend" and name in _DATABASES:
        hint = f'write "db+{scheme}://", or set CELERIAC_DATABASE instead'
    elif what == "result backend" and name in ("amqp", "amqps", "pyamqp"):
        hint = 'write "rpc://" for results in messages'
    else:
        choice = "there are " + ", ".join(sorted(known))
        hint = did_you_mean(name, known, choice, written='"{}://"'.format)
    raise ConfigError(f'{settings.origins[key]}: there is no {what} called "{name}": {hint}')


def _check_database(settings: Settings) -> None:
    from .database import UnknownDatabase, driver_of

    origin = settings.origins["CELERIAC_DATABASE"]
    try:
        driver_of(str(settings.options.database))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{origin}: its driver {error.name!r} is not installed: `pip install"
            " 'flask-celeriac[postgres]'` (or [mysql]) brings one, for URLs that begin with"
            " postgresql+psycopg:// (or mysql+pymysql://)"
        ) from None
    except UnknownDatabase as error:
        raise ConfigError(
            f"{origin}: SQLAlchemy does not know such a database ({error}): write"
            " postgresql+psycopg://, mysql+pymysql:// or the like"
        ) from None
