"""What values a setting takes, from text and from Python."""

from __future__ import annotations

import json
import zoneinfo
from datetime import timedelta
from typing import Any

import pytest
from celery.schedules import crontab
from kombu import Exchange, Queue

from flask_celeriac.config import resolve
from flask_celeriac.config_keys import Setting, settings
from flask_celeriac.config_values import coerce
from flask_celeriac.errors import ConfigError, ConfigWarning


def value(name: str, given: Any) -> Any:
    return resolve({"CELERY": {name: given}}, environ={}).celery[name]


def from_variable(name: str, text: str) -> Any:
    return resolve({}, environ={f"FLASK_CELERY__{name}": text}).celery[name]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("task_acks_late", "true", True),
        ("task_acks_late", "YES", True),
        ("task_acks_late", "1", True),
        ("task_acks_late", "off", False),
        ("task_acks_late", "0", False),
        ("task_acks_late", "null", None),
        ("broker_pool_limit", "300", 300),
        ("broker_pool_limit", "none", None),
        ("result_expires", "300", 300),
        ("result_expires", "1.5", 1.5),
        ("result_backend_max_retries", "inf", float("inf")),
        ("broker_heartbeat", "2.5", 2.5),
        ("worker_concurrency", "4", 4),
        ("task_default_priority", "5", 5),
        ("task_default_rate_limit", "10/m", "10/m"),
        ("task_default_queue", "12", "12"),
        ("redis_password", "0123", "0123"),
        ("broker_transport_options", '{"a": 1}', {"a": 1}),
        ("broker_use_ssl", "true", True),
        ("broker_use_ssl", '{"cert_reqs": 0}', {"cert_reqs": 0}),
        ("accept_content", "json, pickle", ["json", "pickle"]),
        ("accept_content", "json", ["json"]),
        ("accept_content", '["json"]', ["json"]),
        ("imports", "a.tasks,b.tasks", ("a.tasks", "b.tasks")),
        ("task_routes", '{"a": {"queue": "b"}}', {"a": {"queue": "b"}}),
        ("task_routes", "myapp.routes.route", "myapp.routes.route"),
        ("timezone", "utc", "UTC"),
        ("timezone", "europe/BERLIN", "Europe/Berlin"),
        ("result_backend_thread_safe", "true", True),
    ],
)
def test_texts_become_what_celery_takes(name: str, text: str, wanted: object) -> None:
    for found in (from_variable(name, text), value(name, text)):
        if not (text == "null" and found == "null"):
            assert found == wanted
            assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task_acks_late", "maybe"),
        ("task_acks_late", ""),
        ("task_acks_late", ["x"]),
        ("broker_pool_limit", "many"),
        ("broker_pool_limit", "1.5"),
        ("broker_pool_limit", 2.5),
        ("broker_pool_limit", {"a": 1}),
        ("broker_pool_limit", timedelta(seconds=1)),
        ("result_expires", "nan"),
        ("result_expires", "1 day"),
        ("broker_transport_options", "visibility_timeout=3"),
        ("broker_transport_options", '["a"]'),
        ("broker_transport_options", [("a", 1)]),
        ("broker_transport_options", 5),
        ("beat_schedule", "every day"),
        ("broker_url", {"host": "x"}),
        ("accept_content", 5),
        ("accept_content", {"json": True}),
        ("task_routes", '{"a": '),
        ("timezone", 5),
        ("worker_concurrency", -3),
        ("worker_concurrency", "auto"),
        ("broker_pool_limit", "-1"),
        ("task_time_limit", -0.5),
        ("result_expires", timedelta(seconds=-1)),
        ("task_routes", 5),
        ("task_routes", [("shop.*", {"queue": "shop"})]),
        ("task_default_rate_limit", "10/x"),
        ("task_default_rate_limit", "often"),
        ("task_default_rate_limit", "-1/s"),
        ("task_queues", ["a", "b"]),
        ("task_queues", [{"name": "a"}]),
        ("task_queues", {"a": 5}),
        ("task_default_queue", ""),
        ("task_default_delivery_mode", "sometimes"),
        ("task_protocol", 3),
        ("accept_content", []),
    ],
)
def test_impossible_values_are_refused_with_spelling_and_remedy(name: str, given: object) -> None:
    with pytest.raises(ConfigError) as error:
        value(name, given)
    assert f'app.config["CELERY"]["{name}"]: ' in str(error.value)
    assert " takes " in str(error.value)


def test_a_refused_secret_is_not_shown() -> None:
    with pytest.raises(ConfigError) as error:
        value("redis_password", {"a": "hunter2"})
    assert "hunter2" not in str(error.value)


def test_an_unknown_time_zone_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean 'Europe/Berlin'"):
        value("timezone", "Europe/Berlim")
    with pytest.raises(ConfigError, match="give a name such as"):
        value("timezone", "!")


def test_a_soft_limit_above_the_hard_one() -> None:
    limits = {"task_soft_time_limit": 30, "task_time_limit": 20}
    with pytest.raises(ConfigError, match=r'"task_soft_time_limit"\]: .* more than the 20 of'):
        resolve({"CELERY": limits}, environ={})
    resolve({"CELERY": {**limits, "task_time_limit": 30}}, environ={})


def test_an_unknown_pool_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="there is no worker_pool 'gevnt': did you mean 'gevent'"):
        value("worker_pool", "gevnt")
    with pytest.raises(ConfigError, match="did you mean 'threads'"):
        value("worker_pool", "Threads")
    with pytest.raises(ConfigError, match="there are prefork, "):
        value("worker_pool", "x")


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task_queues", [Queue("a", Exchange("a"), routing_key="a")]),
        ("task_queues", (Queue("a"),)),
        ("task_queues", {"a": {"exchange": "a"}}),
        ("task_routes", [lambda name, *args, **kwargs: None]),
        ("task_annotations", {"*": {"rate_limit": "10/s"}}),
        ("beat_schedule", {"a": {"task": "t", "schedule": crontab(minute="*/5"), "args": (1,)}}),
        ("beat_scheduler", dict),
        ("database_engine_callback", print),
        ("broker_url", ["redis://a", "redis://b"]),
        ("broker_failover_strategy", iter),
        ("accept_content", {"json"}),
        ("include", ["a"]),
        ("result_expires", timedelta(hours=1)),
        ("result_expires", None),
        ("timezone", zoneinfo.ZoneInfo("Europe/Berlin")),
        ("broker_pool_limit", 0),
        ("broker_use_ssl", {"keyfile": "k"}),
        ("redis_backend_use_ssl", False),
        ("task_compression", False),
        ("worker_max_memory_per_child", 12000),
        ("worker_pool", "threads"),
        ("worker_pool", "some.where:Pool"),
        ("worker_pool", dict),
        ("task_routes", [{"shop.*": "shop"}, "some.where.route"]),
        ("task_routes", [[("shop.*", {"queue": "shop"})]]),
        ("task_default_rate_limit", 5),
        ("task_default_rate_limit", "0.5/h"),
        ("result_cache_max", -1),
        ("task_queues", {"a": Queue("a")}),
        ("task_default_delivery_mode", "transient"),
        ("task_protocol", 1),
    ],
)
def test_objects_of_python_pass_unchanged(name: str, given: object) -> None:
    found = value(name, given)
    assert found == given
    assert type(found) is type(given)


@pytest.mark.parametrize("setting", settings().values(), ids=lambda setting: setting.name)
def test_every_default_of_celery_is_accepted(setting: Setting) -> None:
    found = coerce(setting, setting.default, where="here")
    assert found == setting.default


@pytest.mark.parametrize(
    "setting",
    # JSON has no word for the time span that is the default of the one, and no broker is no
    # configuration.
    [
        setting
        for setting in settings().values()
        if setting.name != "result_expires" and not setting.name.startswith("broker_")
    ],
    ids=lambda setting: setting.name,
)
def test_every_default_of_celery_survives_a_variable(setting: Setting) -> None:
    text = setting.default if isinstance(setting.default, str) else json.dumps(setting.default)
    if text:
        found = from_variable(setting.name, text)
        assert found == setting.default or found == list(setting.default)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("https://shop.example/app/", "https://shop.example/app"),
        ("http://localhost:5000", "http://localhost:5000"),
        (" https://shop.example ", "https://shop.example"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
    ],
)
def test_the_url_base_loses_its_slash(given: str, wanted: str) -> None:
    assert resolve({}, options={"url_base": given}, environ={}).options.url_base == wanted


@pytest.mark.parametrize(
    "given",
    [
        *("shop.example", "ftp://shop.example", "https://", "https:///x", "", 5),
        *("https://shop.example/?a=1", "https://shop.example/#a", "https://u:p@shop.example"),
        *("https://shop.example:99999", "https://shop.example/a b"),
    ],
)
def test_what_is_no_url_base(given: object) -> None:
    with pytest.raises(ConfigError, match="CELERIAC_URL_BASE"):
        resolve({"CELERIAC_URL_BASE": given}, environ={})


@pytest.mark.parametrize(
    "given", ["sqlite:////tmp/x.db", "postgresql+psycopg://u:p@h/d", "mysql+pymysql://h/d"]
)
def test_databases(given: str) -> None:
    assert resolve({"CELERIAC_DATABASE": given}, environ={}).options.database == given


@pytest.mark.parametrize("given", ["", "x.db", "://x", 5, "u:hunter2@h/d"])
def test_what_is_no_database(given: object) -> None:
    with pytest.raises(ConfigError, match="give an SQLAlchemy URL") as error:
        resolve({"CELERIAC_DATABASE": given}, environ={})
    assert "hunter2" not in str(error.value)


def test_a_url_of_sqlalchemy_keeps_its_password() -> None:
    from sqlalchemy.engine import make_url

    url = make_url("postgresql+psycopg://u:p@h/d")
    found = resolve({"CELERIAC_DATABASE": url}, environ={}).options.database
    assert found == "postgresql+psycopg://u:p@h/d"


@pytest.mark.parametrize("given", ["full", "FULL", " Full "])
def test_the_durability_in_any_case(given: str) -> None:
    found = resolve({}, environ={"FLASK_CELERIAC_DURABILITY": given})
    assert found.options.durability == "full"


@pytest.mark.parametrize("variable", ["CELERY_BROKER_ULR", "CELERY_RESULT_BACKENDS"])
def test_a_mistyped_variable_of_celerys_is_warned_of(variable: str) -> None:
    with pytest.warns(ConfigWarning, match=f"{variable} is not read: did you mean CELERY_"):
        assert resolve({}, environ={variable: "redis://x"}).celery == {}


@pytest.mark.parametrize("variable", ["CELERY_WORKERS", "CELERY_APP", "SHOP_CELERY_BROKER_URL"])
def test_variables_of_others_are_not(variable: str) -> None:
    assert resolve({}, environ={variable: "x"}).celery == {}
