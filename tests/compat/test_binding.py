"""A Celery that was made before there was a Flask application, bound to one later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import celery
import pytest
from flask import Flask, current_app

from flask_celeriac import CeleriacError, FlaskCelery, celery_init_app


def new_app(folder: Path, name: str = "shop", **config: Any) -> Flask:
    app = Flask(name, instance_path=str(folder / name))
    app.config.update(config)
    return app


def test_it_becomes_the_applications_celery(tmp_path: Path) -> None:
    early = FlaskCelery("early", autofinalize=False)
    app = new_app(tmp_path, CELERYD_CONCURRENCY=7)
    assert celery_init_app(app, early) is early is app.extensions["celery"]
    assert early.main == "early"
    assert early.conf.worker_concurrency == 7
    assert early.conf.broker_url == f"celeriac:///{tmp_path}/shop/celeriac/celeriac.db"
    assert early.conf.task_acks_late is True
    assert celery_init_app(app) is celery_init_app(app, early) is early


def test_its_tasks_get_the_applications_context(tmp_path: Path) -> None:
    early = FlaskCelery("early")

    @early.task
    def name() -> str:
        return current_app.name

    celery_init_app(new_app(tmp_path), early)
    assert name() == "shop"


def test_what_was_set_on_it_stays(tmp_path: Path) -> None:
    early = FlaskCelery("early", autofinalize=False)
    early.conf.broker_url = "memory://"

    class AppContextTask(early.Task):  # type: ignore[misc,name-defined]
        mine = True

    early.Task = AppContextTask  # type: ignore[misc]

    @early.task
    def nothing() -> None: ...

    celery_init_app(new_app(tmp_path, CELERY={"task_track_started": True}), early)
    early.finalize()
    assert nothing.mine
    assert early.conf.broker_url == "memory://"
    assert early.conf.task_track_started is True


def test_periodic_tasks_may_be_added_before_and_afterwards(tmp_path: Path) -> None:
    early = FlaskCelery("early")

    @early.task
    def tick() -> None: ...

    @early.on_after_configure.connect
    def before(sender: FlaskCelery, **_: Any) -> None:
        sender.add_periodic_task(1, tick.s(), name="before")

    celery_init_app(new_app(tmp_path), early)

    @early.on_after_configure.connect
    def afterwards(sender: FlaskCelery, **_: Any) -> None:
        sender.add_periodic_task(2, tick.s(), name="afterwards")

    assert early.conf.beat_schedule.keys() == {"before", "afterwards"}


def test_one_application_each(tmp_path: Path) -> None:
    early = FlaskCelery("early")
    celery_init_app(new_app(tmp_path), early)
    with pytest.raises(CeleriacError, match=r"'shop' already: .* celery_init_app\(app\)"):
        celery_init_app(new_app(tmp_path, "other"), early)


def test_an_application_with_another_celery_is_refused(tmp_path: Path) -> None:
    app = new_app(tmp_path)
    celery_init_app(app)
    early = FlaskCelery("early")
    with pytest.raises(CeleriacError, match="has a Celeriac already"):
        celery_init_app(app, early)
    assert early.flask_app is None


def test_a_plain_celery_is_refused_in_words(tmp_path: Path) -> None:
    plain: Any = celery.Celery("plain", set_as_current=False)
    with pytest.raises(CeleriacError, match="from flask_celeriac import FlaskCelery"):
        celery_init_app(new_app(tmp_path), plain)
