"""URLs that can never work are refused where they are configured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult
from flask import Flask

from flask_celeriac import Celeriac, ConfigError
from flask_celeriac.errors import ResultsDisabledError, StorageError


def flask_app(tmp_path: Path, **config: Any) -> Flask:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(config)
    return app


@pytest.mark.parametrize(
    ("key", "url", "words"),
    [
        ("CELERY_BROKER_URL", "redsi://:secret@localhost", 'did you mean "redis://"'),
        ("CELERY_BROKER_URL", "amqp://one;nothing://two", '"nothing"'),
        ("CELERY_BROKER_URL", "rediss//:secret@host", 'begins with its kind, as in "redis://"'),
        ("CELERY_BROKER_URL", "localhost:6379", "it is no URL"),
        ("CELERY_BROKER_URL", "${REDIS_URL}", "it is no URL"),
        ("CELERY_BROKER_URL", "5", "it is no URL"),
        ("CELERY_BROKER_URL", "redis://:secret@host:63799999/1", "no number up to 65535"),
        ("CELERY_BROKER_URL", "amqp://u:se/secret@host", "have to be quoted"),
        ("CELERY_BROKER_URL", "redis://host/secret", "no database of Redis"),
        ("CELERY_BROKER_URL", "celeriac://me:secret@host/x.db", "only a path may"),
        ("CELERY_BROKER_URL", "celeriac:///", "names no file"),
        ("CELERY_BROKER_URL", "celeriac:////x.db?alow=9p", "'alow', and there is none but 'allow'"),
        ("CELERY_RESULT_BACKEND", "celeriac://host/x.db", "write celeriac:////absolute"),
        ("CELERY_RESULT_BACKEND", "redis://host/secret", "no database of Redis"),
        ("CELERY_RESULT_BACKEND", "sqlite:///x.db", 'write "db+sqlite://"'),
        ("CELERY_RESULT_BACKEND", "mongo://h/x", 'did you mean "mongodb://"'),
        ("CELERIAC_DATABASE", "postgres://u:secret@h/x", "write postgresql+psycopg://"),
        ("CELERIAC_DATABASE", "oracle://u:secret@h/x", "'oracledb' is not installed"),
    ],
)
def test_a_url_that_can_never_work_is_refused(
    tmp_path: Path, key: str, url: str, words: str
) -> None:
    app = flask_app(tmp_path, **{key: url})
    with pytest.raises(ConfigError) as caught:
        Celeriac(app)
    message = str(caught.value)
    assert key in message
    assert words in message
    assert "secret" not in message


@pytest.mark.parametrize(
    "config",
    [
        {"broker_url": ["redis://a", "redis://b"], "result_backend": "redis"},
        {"broker_url": "sqla+sqlite:///x.db", "result_backend": "db+sqlite:///x.db"},
        {"broker_url": "memory://", "result_backend": "cache+memory://"},
        {"broker_url": "amqp://", "result_backend": "rpc://"},
        {"broker_url": "AMQP://guest@host//"},
        {"broker_url": "redis://:p%2Fw@[::1]:6379/15"},
        {"broker_url": "rediss://host/?ssl_cert_reqs=required"},
        {"broker_url": "redis+socket:///run/redis.sock"},
        {"broker_url": "celeriac:////x/a%20b.db?allow=9p", "result_backend": "celeriac:///x.db"},
        {"broker_url": "localhost", "result_backend": "celery.backends.redis:RedisBackend"},
    ],
)
def test_what_celery_knows_passes(tmp_path: Path, config: dict[str, Any]) -> None:
    Celeriac(flask_app(tmp_path, CELERY=config))


def test_a_broker_without_results_says_what_to_set(tmp_path: Path) -> None:
    app = flask_app(tmp_path, CELERY_BROKER_URL="memory://")
    Celeriac(app)
    with app.app_context():
        result: AsyncResult[Any] = AsyncResult("one")
        for ask in (lambda: result.state, lambda: result.result, result.get):
            with pytest.raises(ResultsDisabledError, match="CELERY_RESULT_BACKEND"):
                ask()


def test_an_instance_folder_that_cannot_be_made_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = flask_app(tmp_path / "file" / "instance")
    Celeriac(app)
    with pytest.raises(StorageError, match=r"instance_path=.*CELERY_BROKER_URL"):
        _ = app.extensions["celery"].conf.broker_url
