"""What `flask celery config` prints."""

from __future__ import annotations

from celery import Celery

from flask_celeriac.config import effective, resolve


def test_rows_name_origins_and_hide_secrets() -> None:
    found = resolve(
        {"CELERY": {"broker_url": "redis://u:pw@h/0"}, "CELERY_REDIS_PASSWORD": "pw"},
        options={"durability": "full"},
        environ={},
    )
    app = Celery(set_as_current=False)
    app.add_defaults(lambda: {"task_acks_late": True})
    app.config_from_object(found.celery)
    app.conf.worker_concurrency = 3
    rows = effective(found, app.conf)
    assert [tuple(row) for row in rows] == [
        ("CELERIAC_DURABILITY", "full", "init_app(durability=...)"),
        ("CELERIAC_KEEP_SUCCEEDED", 7, "default of Flask-Celeriac"),
        ("CELERIAC_KEEP_OTHERS", 30, "default of Flask-Celeriac"),
        ("CELERIAC_KEEP_AUDIT", 365, "default of Flask-Celeriac"),
        ("CELERIAC_MAX_ATTEMPTS", 5, "default of Flask-Celeriac"),
        ("CELERIAC_UNKNOWN_TASK_PATIENCE", 3600, "default of Flask-Celeriac"),
        ("CELERIAC_MAX_MESSAGE_SIZE", 4_194_304, "default of Flask-Celeriac"),
        ("CELERIAC_MAX_MESSAGE_DEPTH", 200, "default of Flask-Celeriac"),
        ("CELERIAC_ALLOW_PICKLE", False, "default of Flask-Celeriac"),
        ("CELERIAC_SHOW_ARGUMENTS", False, "default of Flask-Celeriac"),
        ("CELERIAC_OUTBOX", "on_commit", "default of Flask-Celeriac"),
        ("broker_url", "redis://u:**@h/0", 'app.config["CELERY"]["broker_url"]'),
        ("redis_password", "**", 'app.config["CELERY_REDIS_PASSWORD"]'),
        ("task_acks_late", True, "default of Flask-Celeriac"),
        ("worker_concurrency", 3, "set on celery.conf"),
    ]


def test_options_of_ours_beside_the_users_do_not_hide_where_theirs_came_from() -> None:
    found = resolve({"CELERY": {"broker_transport_options": {"a": 1}}}, environ={})
    app = Celery(set_as_current=False)
    app.conf.update(broker_transport_options={"a": 1, "durability": "full"})
    (row,) = [row for row in effective(found, app.conf) if row.key.startswith("broker")]
    assert row.value == {"a": 1, "durability": "full"}
    assert row.origin == 'app.config["CELERY"]["broker_transport_options"]'


def test_what_was_changed_on_celery_conf_says_so() -> None:
    found = resolve({"CELERY": {"worker_concurrency": 2}}, environ={})
    app = Celery(set_as_current=False)
    app.conf.update(found.celery)
    app.conf.worker_concurrency = 5
    (row,) = [row for row in effective(found, app.conf) if row.key == "worker_concurrency"]
    assert row == ("worker_concurrency", 5, "set on celery.conf")


def test_defaults_on_demand() -> None:
    app = Celery(set_as_current=False)
    rows = {row.key: row for row in effective(resolve({}, environ={}), app.conf, defaults=True)}
    assert rows["task_default_queue"] == (*("task_default_queue", "celery", "default of Celery"),)
    assert rows["CELERIAC_DURABILITY"].origin == "default of Flask-Celeriac"
    assert len(rows) > 200
