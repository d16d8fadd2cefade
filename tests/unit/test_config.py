"""Levels, spellings and origins: what `resolve` makes of a configuration."""

from __future__ import annotations

import subprocess
import sys
import types
import warnings
from typing import Any

import pytest
from celery import Celery
from flask import Flask

from flask_celeriac.config import CeleriacOptions, Settings, resolve
from flask_celeriac.errors import ConfigError, ConfigWarning


def settings(
    config: dict[str, Any] | None = None, environ: dict[str, str] | None = None, **options: Any
) -> Settings:
    return resolve(config or {}, options=options, environ=environ or {})


def celery(
    config: dict[str, Any] | None = None, environ: dict[str, str] | None = None, **options: Any
) -> dict[str, Any]:
    return settings(config, environ, **options).celery


def test_nothing_configured_gives_nothing() -> None:
    assert settings() == Settings({}, {}, CeleriacOptions())


@pytest.mark.parametrize(
    "config",
    [
        {"CELERY": {"broker_url": "redis://a/0", "result_backend": "redis://a/1"}},
        {"CELERY": '{"broker_url": "redis://a/0", "result_backend": "redis://a/1"}'},
        {"CELERY_CONFIG": {"broker_url": "redis://a/0", "result_backend": "redis://a/1"}},
        {"CELERY_BROKER_URL": "redis://a/0", "CELERY_RESULT_BACKEND": "redis://a/1"},
        {"BROKER_URL": "redis://a/0", "CELERY_RESULT_BACKEND": "redis://a/1"},
        {"BROKER_URL": "redis://a/0", "RESULT_BACKEND": "redis://a/1"},
        {"CELERY_BROKER_URL": "redis://a/0", "result_backend": "redis://a/1"},
        {"CELERY": {"BROKER_URL": "redis://a/0", "CELERY_RESULT_BACKEND": "redis://a/1"}},
    ],
)
def test_shapes_seen_in_the_wild(config: dict[str, Any]) -> None:
    found = celery(config)
    assert found == {"broker_url": "redis://a/0", "result_backend": "redis://a/1"}
    app = Celery(set_as_current=False)
    app.conf.update(found)
    assert app.conf.broker_url == "redis://a/0"


def test_old_and_new_names_never_clash() -> None:
    mixed = {
        "CELERY": {"broker_url": "redis://a/0", "CELERYBEAT_SCHEDULE": {}},
        "CELERY_TASK_SERIALIZER": "json",
        "CELERYD_CONCURRENCY": 3,
        "CELERY_ALWAYS_EAGER": True,
        "CELERY_TASK_RESULT_EXPIRES": 60,
    }
    app = Celery(set_as_current=False)
    app.config_from_object(celery(mixed))
    assert app.conf.worker_concurrency == 3
    assert app.conf.task_always_eager is True
    assert app.conf.result_expires == 60


def test_an_app_with_lower_case_keys_in_the_flask_configuration() -> None:
    schedule = {"sum": {"task": "tasks.sum", "schedule": 60}}
    app = Flask(__name__)
    app.config["CELERY_BROKER_URL"] = "redis://localhost:6379/0"
    app.config["result_backend"] = "redis://localhost:6379/0"
    app.config["beat_schedule"] = schedule
    app.config["timezone"] = "utc"
    found = resolve(app.config, environ={}).celery
    assert found["result_backend"] == "redis://localhost:6379/0"
    assert found["beat_schedule"] == schedule
    assert found["timezone"] == "UTC"


def test_a_module_or_an_object_may_hold_the_settings() -> None:
    module = types.ModuleType("celeryconfig")
    vars(module).update(BROKER_URL="redis://a/0", task_acks_late=True, sys=sys, helper=dict)
    assert celery({"CELERY": module}) == {"broker_url": "redis://a/0", "task_acks_late": True}

    class Config:
        worker_concurrency = 2
        CELERY_TYPO = 1

    with pytest.warns(ConfigWarning, match="CELERY_TYPO"):
        assert celery({"CELERY_CONFIG": Config})["worker_concurrency"] == 2


@pytest.mark.parametrize("value", ["redis://:secret@a/0", 5, ["broker_url"], True])
def test_a_section_that_holds_no_settings_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="give a mapping") as error:
        celery({"CELERY": value})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("level", "text"),
    [
        ({"config": {"CELERY_BROKER_URL": "x"}}, 'app.config["CELERY_BROKER_URL"]'),
        ({"config": {"CELERY": {"BROKER_URL": "x"}}}, 'app.config["CELERY"]["BROKER_URL"]'),
        (
            {"environ": {"FLASK_CELERY__broker_url": "x"}},
            "environment FLASK_CELERY__broker_url",
        ),
        ({"environ": {"FLASK_CELERY_BROKER_URL": "x"}}, "environment FLASK_CELERY_BROKER_URL"),
        ({"environ": {"CELERY_BROKER_URL": "x"}}, "environment CELERY_BROKER_URL"),
        ({"broker": "x"}, "init_app(broker=...)"),
        ({"broker_url": "x"}, "init_app(broker_url=...)"),
    ],
)
def test_origins_say_where_to_look(level: dict[str, Any], text: str) -> None:
    found = settings(**level)
    assert found.celery["broker_url"] == "x"
    assert str(found.origins["broker_url"]) == text


def test_two_spellings_that_disagree_warn_without_showing_the_password() -> None:
    config = {
        "BROKER_URL": "redis://:hunter2@old/0",
        "CELERY_BROKER_URL": "redis://:hunter3@new/0",
    }
    with pytest.warns(ConfigWarning) as caught:
        assert celery(config)["broker_url"] == "redis://:hunter3@new/0"
    (message,) = [str(warning.message) for warning in caught]
    assert message == (
        "app.config[\"CELERY_BROKER_URL\"] = 'redis://:**@new/0' and "
        "app.config[\"BROKER_URL\"] = 'redis://:**@old/0' both give broker_url: "
        "the first wins, remove the other"
    )
    assert caught[0].filename == __file__


def test_two_spellings_that_agree_are_silent() -> None:
    config = {"CELERY": {"broker_pool_limit": 5, "BROKER_POOL_LIMIT": "5"}}
    assert celery(config) == {"broker_pool_limit": 5}


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"CELERY_SEND_SENT_EVENT": 1}, "did you mean CELERY_TASK_SEND_SENT_EVENT?"),
        ({"CELERY_BROKER": "x"}, "did you mean CELERY_BROKER_URL?"),
        ({"CELERY": {"broker_ulr": "x"}}, "did you mean broker_url?"),
        ({"CELERY": {"backend": "x"}}, "did you mean result_backend?"),
        ({"CELERY": {"task_always_eagre": True}}, "did you mean task_always_eager?"),
        ({"CELERYD_CONCURENCY": 2}, "did you mean CELERY_WORKER_CONCURRENCY?"),
        (
            {"CELERY": {"broker_transport_options": {"visibilty_timeout": 5}}},
            "knows no 'visibilty_timeout': did you mean 'visibility_timeout'?",
        ),
        ({"CELERY_CHORD_PROPAGATES": True}, "no longer has this setting"),
        ({"CELERY_XYZZY": True}, "no such setting"),
    ],
)
def test_an_unknown_key_warns_with_a_hint(config: dict[str, Any], hint: str) -> None:
    with pytest.warns(ConfigWarning) as caught:
        celery(config)
    assert len(caught) == 1
    assert hint in str(caught[0].message)


def test_a_transport_option_that_is_like_none_passes() -> None:
    options = {"predefined_queues": {}, "region": "eu-west-1", "visibility_timeout": 5}
    config = {"CELERY": {"broker_transport_options": options}}
    assert celery(config) == {"broker_transport_options": options}


def test_an_unknown_key_in_the_section_still_reaches_celery() -> None:
    with pytest.warns(ConfigWarning, match="my_own_key"):
        assert celery({"CELERY": {"my_own_key": 1}}) == {"my_own_key": 1}


def test_keys_of_other_programs_are_silent() -> None:
    config = {
        "CELERY_APP": "x",
        "CELERY_BIN": "/usr/bin/celery",
        "CELERY_CONFIG": "app.celeryconfig",
        "CELERY_FLOWER_PORT": 5555,
        "CELERY_LOG_LEVEL": "INFO",
        "CELERY_TASK_LIST": ("a.tasks",),
        "CELERY_TASK_LOCK_BACKEND": "redis://a/1",
        "CELERY_WORKERS": 2,
        "CELERYD_OPTS": "--time-limit=300",
        "DEBUG": True,
        "TIME_ZONE": "Europe/Berlin",
    }
    assert celery(config) == {}


def test_settings_of_packages_around_celery_pass_under_the_name_they_read() -> None:
    config = {
        "CELERY": {"redbeat_redis_url": "redis://a/1", "singleton_lock_expiry": 5},
        "CELERY_ONCE": {"backend": "x"},
        "CELERY_REDBEAT_LOCK_TIMEOUT": 5,
    }
    assert celery(config) == {
        "redbeat_redis_url": "redis://a/1",
        "redbeat_lock_timeout": 5,
        "singleton_lock_expiry": 5,
        "ONCE": {"backend": "x"},
    }


def test_names_that_others_use_are_taken_only_with_the_prefix() -> None:
    shared = {
        "CACHE_BACKEND": "x",
        "DATABASE_URL": "postgresql://h/d",
        "INCLUDE": ["x"],
        "REDIS_HOST": "h",
        "S3_BUCKET": "uploads",
        "SECURITY_KEY": "x",
        "TIMEZONE": "Europe/Berlin",
    }
    assert celery(shared) == {}
    assert celery({f"CELERY_{key}": value for key, value in shared.items()}).keys() == {
        key.lower() for key in shared
    }


def test_flask_has_loaded_the_environment_before_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_CELERY__broker_url", "redis://env/0")
    monkeypatch.setenv("FLASK_CELERY__BROKER_POOL_LIMIT", "3")
    monkeypatch.setenv("FLASK_CELERY_TASK_ACKS_LATE", "true")
    app = Flask(__name__)
    app.config["CELERY"] = {"broker_url": "redis://config/0", "broker_pool_limit": 1}
    app.config.from_prefixed_env()
    found = resolve(app.config)
    assert found.celery == {
        "broker_url": "redis://env/0",
        "broker_pool_limit": 3,
        "task_acks_late": True,
    }
    assert {origin.level for origin in found.origins.values()} == {"FLASK_CELERY__"}


def test_a_variable_of_ours_without_flasks_prefix_is_told() -> None:
    environ = {"CELERIAC_DATABASE": "sqlite:///secret.db", "CELERIAC_TEST_RUN": "1"}
    with pytest.warns(ConfigWarning, match="call it FLASK_CELERIAC_DATABASE") as told:
        assert settings(environ=environ).options.database is None
    assert len(told) == 1
    assert "secret" not in str(told[0].message)
    config = {"CELERIAC_DATABASE": environ["CELERIAC_DATABASE"]}  # as an application may read it
    assert settings(config, environ).options.database == "sqlite:///secret.db"


def test_a_nested_variable_changes_one_option_and_keeps_the_others() -> None:
    config = {"CELERY": {"broker_transport_options": {"durability": "full", "timeout": 1}}}
    environ = {
        "FLASK_CELERY__broker_transport_options__timeout": "2",
        "FLASK_CELERY__task_publish_retry_policy__max_retries": "9",
        "FLASK_CELERY__beat_schedule__a__task": "t",
    }
    found = celery(config, environ)
    assert found["broker_transport_options"] == {"durability": "full", "timeout": 2}
    assert found["task_publish_retry_policy"]["max_retries"] == 9
    assert found["task_publish_retry_policy"]["interval_max"] == 1
    assert found["beat_schedule"] == {"a": {"task": "t"}}
    assert config["CELERY"]["broker_transport_options"]["timeout"] == 1


def test_a_whole_variable_replaces_and_a_nested_one_adds_to_it() -> None:
    config = {"CELERY": {"broker_transport_options": {"a": 1}}}
    environ = {
        "FLASK_CELERY__broker_transport_options": '{"b": 2}',
        "FLASK_CELERY__broker_transport_options__c": "3",
    }
    assert celery(config, environ)["broker_transport_options"] == {"b": 2, "c": 3}


def test_windows_has_upper_case_variables_only() -> None:
    environ = {
        "FLASK_CELERY__BROKER_URL": "redis://env/0",
        "FLASK_CELERY__BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "7200",
    }
    config = {"CELERY": {"broker_url": "redis://config/0", "BROKER_URL": "redis://env/0"}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = celery(config, environ)
    assert found == {
        "broker_url": "redis://env/0",
        "broker_transport_options": {"visibility_timeout": 7200},
    }


def test_a_json_variable_gives_the_whole_section() -> None:
    environ = {
        "FLASK_CELERY": '{"broker_url": "redis://a/0", "worker_concurrency": 2}',
        "FLASK_CELERY__worker_concurrency": "4",
    }
    assert celery({}, environ) == {"broker_url": "redis://a/0", "worker_concurrency": 4}


def test_an_empty_variable_is_as_good_as_none() -> None:
    environ = {"CELERY_BROKER_URL": "", "FLASK_CELERY__worker_prefetch_multiplier": ""}
    loaded = {"CELERY": {"worker_prefetch_multiplier": ""}}
    assert celery(loaded, environ) == {}


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_broker_that_is_not_there_is_not_configured(nothing: str | None) -> None:
    assert celery({"CELERY": {"broker_url": nothing, "result_backend": ""}}) == {}
    weaker = {"CELERY_BROKER_URL": "redis://a/0", "CELERY": {"broker_url": nothing}}
    assert celery(weaker) == {"broker_url": "redis://a/0"}
    assert celery({"CELERY": {"result_backend": None}}) == {"result_backend": None}


def test_digits_of_a_text_survive_the_reading_as_json() -> None:
    environ = {"FLASK_CELERY__redis_password": "1e5", "FLASK_CELERY__result_backend": "null"}
    assert celery({}, environ) == {"redis_password": "1e5", "result_backend": None}


def test_a_nested_variable_below_a_plain_one_is_refused() -> None:
    environ = {"FLASK_CELERY__broker_url": "x", "FLASK_CELERY__broker_url__y": "1"}
    with pytest.raises(ConfigError, match="FLASK_CELERY__broker_url__y"):
        celery({}, environ)


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean broker_url"):
        celery(broker_ulr="x")
    with pytest.raises(ConfigError, match="did you mean durability"):
        celery(durabilty="full")


def test_apps_made_from_one_class_do_not_share_their_schedule() -> None:
    shared: dict[str, Any] = {"CELERY": {"beat_schedule": {"a": {"options": {}}}}}
    found = celery(shared)["beat_schedule"]
    found["b"] = {}
    found["a"]["options"]["queue"] = "q"
    assert shared["CELERY"]["beat_schedule"] == {"a": {"options": {}}}


def test_the_configuration_is_only_read() -> None:
    config = {"CELERY": {"broker_url": "x"}, "BROKER_POOL_LIMIT": "3"}
    celery(config)
    assert config == {"CELERY": {"broker_url": "x"}, "BROKER_POOL_LIMIT": "3"}


class TestOwnKeys:
    @pytest.mark.filterwarnings("ignore:.* both give CELERIAC_URL_BASE")
    def test_every_level(self, tmp_path: Any) -> None:
        file = tmp_path / "c.yaml"
        file.write_text("celeriac: {durability: full}\nCELERIAC_URL_BASE: http://file/\n")
        config: dict[str, Any] = {"CELERIAC_CONFIG_FILE": str(file)}
        found = settings(config)
        expected = CeleriacOptions("full", None, "http://file", config_file=str(file))
        assert found.options == expected
        config["CELERIAC_URL_BASE"] = "http://flat"
        assert settings(config).options.url_base == "http://flat"
        config["CELERIAC"] = {"url_base": "http://section"}
        assert settings(config).options.url_base == "http://section"
        environ = {"FLASK_CELERIAC_URL_BASE": "http://env"}
        assert settings(config, environ).options.url_base == "http://env"
        found = settings(config, environ, url_base="http://option")
        assert found.options.url_base == "http://option"
        assert found.origins["CELERIAC_URL_BASE"].level == "options"
        assert found.celery == {}

    def test_none_stands_for_the_default(self) -> None:
        config = {"CELERIAC_DURABILITY": "full", "CELERIAC_DATABASE": "sqlite:///x.db"}
        found = settings(config, durability=None, database=None).options
        assert found == CeleriacOptions()

    @pytest.mark.parametrize(
        ("place", "hint"),
        [
            ({"config": {"CELERIAC_DURABLITY": "full"}}, "did you mean CELERIAC_DURABILITY?"),
            ({"config": {"CELERIAC": {"db": "x"}}}, "the keys are CELERIAC_DURABILITY"),
            ({"environ": {"FLASK_CELERIAC_URLBASE": "x"}}, "did you mean CELERIAC_URL_BASE?"),
            ({"config": {"CELERIAC_DURABILITY": "fast"}}, "'normal' or 'full', not 'fast'"),
            ({"config": {"CELERIAC_DURABILITY": 1}}, "'normal' or 'full'"),
        ],
    )
    def test_a_mistake_is_an_error(self, place: dict[str, Any], hint: str) -> None:
        with pytest.raises(ConfigError) as error:
            settings(**place)
        assert hint in str(error.value)


def test_importing_the_module_does_not_import_celery() -> None:
    code = (
        "import sys, importlib.machinery, types, importlib\n"
        "from importlib.util import find_spec\n"
        "package = types.ModuleType('flask_celeriac')\n"
        "package.__path__ = [sys.argv[1]]\n"
        "sys.modules['flask_celeriac'] = package\n"
        "import flask_celeriac.config\n"
        "print([name for name in ('celery', 'kombu', 'flask', 'yaml') if name in sys.modules])\n"
    )
    import flask_celeriac

    command = [sys.executable, "-c", code, next(iter(flask_celeriac.__path__))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
