"""Places that disagree: which one wins, and when that is told."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from flask import Flask

from flask_celeriac.config import resolve
from flask_celeriac.errors import ConfigWarning

FLAT = {"CELERY_BROKER_URL": "redis://:hunter2@flat/0"}
SECTION = {"CELERY": {"BROKER_URL": "redis://:hunter3@section/0"}}


@pytest.mark.filterwarnings("ignore:.* both give broker_url")
def test_levels_from_the_weakest_to_the_strongest(tmp_path: Any) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"celery": {"broker_url": "file"}}')
    config: dict[str, Any] = {"CELERIAC_CONFIG_FILE": str(file)}
    environ: dict[str, str] = {}
    options: dict[str, str] = {}
    steps: list[tuple[str, Any]] = [
        ("file", lambda: None),
        ("flat", lambda: config.update(CELERY_BROKER_URL="flat")),
        ("CELERY", lambda: config.update(CELERY={"broker_url": "CELERY"})),
        ("FLASK_CELERY__", lambda: environ.update(FLASK_CELERY__broker_url="FLASK_CELERY__")),
        ("options", lambda: options.update(broker_url="options")),
        ("environment", lambda: environ.update(CELERY_BROKER_URL="environment")),
    ]
    for level, add in steps:
        add()
        found = resolve(config, options=options, environ=environ)
        assert found.celery["broker_url"] == level
        assert found.origins["broker_url"].level == level


def test_the_warning_names_both_and_the_winner_and_no_password() -> None:
    with pytest.warns(ConfigWarning) as caught:
        found = resolve({**FLAT, **SECTION}, environ={})
    assert found.celery["broker_url"] == "redis://:hunter3@section/0"
    (message,) = [str(warning.message) for warning in caught]
    assert message == (
        'app.config["CELERY"]["BROKER_URL"] = \'redis://:**@section/0\' and '
        "app.config[\"CELERY_BROKER_URL\"] = 'redis://:**@flat/0' both give broker_url: "
        "the first wins, remove the other"
    )
    assert caught[0].filename == __file__


def test_our_own_keys_too() -> None:
    config = {"CELERIAC_DURABILITY": "full", "CELERIAC": {"durability": "normal"}}
    with pytest.warns(ConfigWarning, match=r'"CELERIAC"\]\["durability"\].*"CELERIAC_DURABILITY"'):
        assert resolve(config, environ={}).options.durability == "normal"


@pytest.mark.parametrize(
    ("config", "environ", "options"),
    [
        ({"CELERYD_CONCURRENCY": "5", "CELERY": {"worker_concurrency": 5}}, {}, {}),
        ({"CELERY_BROKER_URL": None, **SECTION}, {}, {}),
        (FLAT, {"FLASK_CELERY__broker_url": "redis://env/0"}, {}),
        (SECTION, {"FLASK_CELERY_BROKER_URL": "redis://env/0"}, {}),
        ({**FLAT, **SECTION}, {"FLASK_CELERY__broker_url": "redis://env/0"}, {}),
        ({**FLAT, **SECTION}, {"CELERY_BROKER_URL": "redis://env/0"}, {}),
        ({**FLAT, **SECTION}, {}, {"broker_url": "redis://argument/0"}),
    ],
    ids=["equal", "nothing", "variable", "flat variable", "both", "celery's variable", "argument"],
)
def test_silent_where_it_is_no_mistake(
    config: dict[str, Any], environ: dict[str, str], options: dict[str, Any]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve(config, environ=environ, options=options)


@pytest.mark.parametrize(
    "variables",
    [
        {"FLASK_CELERY_BROKER_URL": "redis://env/0"},
        {"FLASK_CELERY__broker_url": "redis://env/0"},
        {"FLASK_CELERY_BROKER_URL": "redis://env/0", "FLASK_CELERY": '{"broker_pool_limit": 2}'},
    ],
)
def test_what_flask_copied_from_the_environment_is_silent(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    app = Flask(__name__)
    app.config["CELERY"] = {"broker_url": "redis://config/0"}
    app.config.from_prefixed_env()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve(app.config).celery["broker_url"] == "redis://env/0"


def test_a_copied_variable_that_loses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Under another prefix nothing tells it from a key that the application set.
    monkeypatch.setenv("SHOP_CELERY_BROKER_URL", "redis://env/0")
    app = Flask(__name__)
    app.config["CELERY"] = {"broker_url": "redis://config/0"}
    app.config.from_prefixed_env("SHOP")
    with pytest.warns(ConfigWarning, match="env/0"):
        assert resolve(app.config).celery["broker_url"] == "redis://config/0"
