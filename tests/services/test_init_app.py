"""What ``init_app`` sets up, and the drop-ins for the two recipes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import celery
import pytest
from flask import Flask, current_app

from flask_celeriac import (
    Celeriac,
    CeleriacError,
    ConfigError,
    celery_init_app,
    current_celeriac,
    make_celery,
)

from .conftest import MakeApp, working


def flask_app(tmp_path: Path, **config: Any) -> Flask:
    app = Flask("shop", instance_path=str(tmp_path))
    app.config.update(config)
    return app


def conf_of(app: Flask) -> Any:
    Celeriac(app)
    return app.extensions["celery"].conf


def test_no_broker_means_the_embedded_one(tmp_path: Path) -> None:
    app = flask_app(tmp_path)
    conf = conf_of(app)
    url = f"celeriac:///{tmp_path}/celeriac/celeriac.db"
    assert conf.broker_url == conf.broker_read_url == conf.broker_write_url == url
    assert conf.result_backend == url
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_connection_retry_on_startup
    assert conf.broker_transport_options == {"durability": "normal"}
    assert conf.beat_schedule_filename == f"{tmp_path}/celeriac/beat-schedule"
    assert (tmp_path / "celeriac").stat().st_mode & 0o777 == 0o700
    assert not conf.task_track_started
    assert isinstance(app.extensions["celery"], celery.Celery)
    state = app.extensions["celeriac"]
    assert state.celery is app.extensions["celery"]
    assert state.settings.celery == {}


def test_nothing_is_written_by_init_app(tmp_path: Path) -> None:
    Celeriac(flask_app(tmp_path / "instance"))
    assert not (tmp_path / "instance").exists()


def test_only_a_read_url_is_another_broker_too(tmp_path: Path) -> None:
    conf = conf_of(flask_app(tmp_path, CELERY={"broker_read_url": "redis://localhost"}))
    assert conf.broker_url is None
    assert conf.result_backend.endswith("DisabledBackend")


def test_what_the_user_set_wins(tmp_path: Path) -> None:
    app = flask_app(
        tmp_path,
        CELERIAC_DURABILITY="full",
        CELERY={
            "task_acks_late": False,
            "result_backend": "cache+memory://",
            "broker_transport_options": {"polling_interval": 3},
        },
    )
    conf = conf_of(app)
    assert conf.task_acks_late is False
    assert conf.result_backend == "cache+memory://"
    assert conf.broker_transport_options == {"durability": "full", "polling_interval": 3}


@pytest.mark.parametrize("how", ["attribute", "update", "object"])
def test_what_is_set_on_celery_afterwards_wins(tmp_path: Path, how: str) -> None:
    app = flask_app(tmp_path)
    Celeriac(app)
    celery_app = app.extensions["celery"]
    settings = {"broker_url": "redis://localhost", "result_backend": "redis://localhost/1"}
    if how == "attribute":
        celery_app.conf.broker_url = settings["broker_url"]
        celery_app.conf.result_backend = settings["result_backend"]
    elif how == "update":
        celery_app.conf.update(settings)
    else:
        celery_app.config_from_object(settings)
    assert celery_app.conf.broker_url == "redis://localhost"
    assert celery_app.conf.result_backend == "redis://localhost/1"
    assert "durability" not in celery_app.conf.broker_transport_options


def test_options_are_settings(tmp_path: Path) -> None:
    app = flask_app(tmp_path, CELERY={"task_default_queue": "from config"})
    Celeriac().init_app(app, task_default_queue="from code")
    assert app.extensions["celery"].conf.task_default_queue == "from code"


def test_results_go_to_the_database_that_is_named(tmp_path: Path) -> None:
    conf = conf_of(flask_app(tmp_path, CELERIAC_DATABASE="postgresql+psycopg://db/shop"))
    assert conf.result_backend == "celeriac+postgresql+psycopg://db/shop"


def test_our_keys_can_be_seen_in_the_configuration(tmp_path: Path) -> None:
    app = flask_app(tmp_path)
    Celeriac(app)
    assert app.config["CELERIAC_DURABILITY"] == "normal"
    assert app.config["CELERIAC_DATABASE"] is None
    assert app.config["CELERIAC_URL_BASE"] is None


def test_a_bad_configuration_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CELERIAC_DURABILITY"):
        Celeriac(flask_app(tmp_path, CELERIAC_DURABILITY="maybe"))


def test_twice_on_one_application_is_refused(make_app: MakeApp) -> None:
    app = make_app()
    celeriac = Celeriac(app)
    with pytest.raises(CeleriacError, match=r"call init_app\(\) once"):
        celeriac.init_app(app)
    with pytest.raises(CeleriacError, match="current_celeriac"):
        Celeriac(app)


def test_another_celery_in_the_extensions_is_refused(make_app: MakeApp) -> None:
    app = make_app()
    app.extensions["celery"] = celery.Celery("other", set_as_current=False)
    with pytest.raises(CeleriacError, match="another Celery"):
        Celeriac(app)


def test_settings_are_not_shared_between_applications(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"beat_schedule": {}}
    first, second, third = (flask_app(tmp_path, CELERY=shared) for _ in range(3))
    third.config.pop("CELERY")
    for app in (first, second, third):
        Celeriac(app)
    first.extensions["celery"].add_periodic_task(3, first.extensions["celery"].signature("x"))
    assert len(first.extensions["celery"].conf.beat_schedule) == 1
    assert not second.extensions["celery"].conf.beat_schedule
    assert not third.extensions["celery"].conf.beat_schedule
    assert not celery.Celery("plain", set_as_current=False).conf.beat_schedule
    assert shared == {"beat_schedule": {}}


def test_celery_init_app(make_app: MakeApp) -> None:
    app = make_app(CELERY={"task_ignore_result": True})
    celery_app = celery_init_app(app)
    assert isinstance(celery_app, celery.Celery)
    assert celery_app is app.extensions["celery"] is celery_init_app(app)
    assert celery_app.main == app.name
    assert celery_app.conf.task_ignore_result
    with app.app_context():
        assert isinstance(current_celeriac, Celeriac)


def test_celery_init_app_without_configuration(tmp_path: Path) -> None:
    assert celery_init_app(flask_app(tmp_path)).conf.broker_url.startswith("celeriac:///")


def test_make_celery(tmp_path: Path) -> None:
    """Old and new spellings, as in applications of ten years ago."""
    app = Flask("shop.web", instance_path=str(tmp_path))
    app.config.update(
        CELERY_BROKER_URL="redis://localhost:6379/0",
        CELERY_RESULT_BACKEND="cache+memory://",
        CELERYD_CONCURRENCY=3,
        CELERY_TASK_SERIALIZER="json",
        CELERY_TASK_ALWAYS_EAGER=True,
        result_expires=60,
        SECRET_KEY="secret",
        MY_OWN={"key": 1},
    )
    celery_app = make_celery(app)
    assert celery_app is app.extensions["celery"] is make_celery(app)
    assert celery_app.main == app.import_name
    conf = celery_app.conf
    assert conf.broker_url == "redis://localhost:6379/0"
    assert conf.result_backend == "cache+memory://"
    assert (conf.worker_concurrency, conf.result_expires) == (3, 60)
    assert conf.task_always_eager
    assert conf["SECRET_KEY"] == conf.SECRET_KEY == "secret"
    assert conf.MY_OWN == {"key": 1}
    assert conf.CELERY_BROKER_URL == "redis://localhost:6379/0"
    conf.update(task_track_started=True, CELERYD_PREFETCH_MULTIPLIER=9)
    assert conf.task_track_started

    @celery_app.task(shared=False)  # type: ignore[untyped-decorator]
    def whose() -> str:
        return current_app.name

    assert whose.delay().get() == "shop.web"


def test_a_worker_runs_the_tasks_of_make_celery(make_app: MakeApp) -> None:
    app = make_app()
    celery_app = make_celery(app)

    @celery_app.task(shared=False)
    def whose() -> str:
        return current_app.name

    with working(app):
        assert whose.delay().get(timeout=10) == "shop"


def test_in_a_process_that_was_started_fresh(tmp_path: Path) -> None:
    """As a worker's pool is on macOS: Celery pickles the application."""
    app = flask_app(tmp_path)
    Celeriac(app)
    celery_app = app.extensions["celery"]
    assert pickle.loads(pickle.dumps(celery_app)) is celery_app
    (tmp_path / "shop.py").write_text(
        "from flask import Flask\nfrom flask_celeriac import Celeriac\n"
        "app = Flask('shop')\nCeleriac(app)\n"
    )
    script = f"import pickle\nprint(pickle.loads({pickle.dumps(celery_app)!r}).main)"

    def started_fresh(**environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **environ}, cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert started_fresh(FLASK_APP="shop").stdout == "shop\n"
    assert "set FLASK_APP" in started_fresh().stderr
