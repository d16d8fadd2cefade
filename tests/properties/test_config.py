"""Every setting, in every spelling, at every level."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from celery import Celery
from celery.app import defaults
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from flask_celeriac.config import resolve
from flask_celeriac.config_file import load_file
from flask_celeriac.config_keys import Setting, flat_name, new_name, settings
from flask_celeriac.errors import ConfigWarning

ORDER = ("file", "flat", "CELERY", "FLASK_CELERY__", "options", "environment")
PROCESS = {"broker_url", "broker_read_url", "broker_write_url", "result_backend"}

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "any": st.integers(1, 99),
    "bool": st.booleans(),
    "dict": st.dictionaries(st.sampled_from(["a", "b"]), st.integers(), min_size=1),
    "dict or list": st.dictionaries(st.sampled_from(["a", "b"]), st.just({})),
    "flag or dict": st.booleans(),
    "float": st.integers(1, 99) | st.floats(0, 99),
    "int": st.integers(1, 99),
    "list": st.lists(st.sampled_from(["json", "yaml"]), min_size=1),
    "string": st.text("abcxyz", min_size=1),
    "tuple": st.lists(st.sampled_from(["a.tasks", "b.tasks"]), min_size=1),
}
CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "task_default_delivery_mode": st.sampled_from([1, 2]),
    "task_protocol": st.sampled_from([1, 2]),
    "task_routes": st.sampled_from(["shop.route", {"a": "b"}]),
    "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
    "worker_pool": st.sampled_from(["solo", "shop:Pool"]),
}
#: One of each.
SAMPLES: dict[str, Any] = {
    "task_routes": "shop.route",
    "timezone": "Europe/Berlin",
    "worker_pool": "solo",
    "task_default_delivery_mode": 1,
    "task_protocol": 1,
}


def spellings(setting: Setting) -> list[str]:
    name = setting.name
    old = [spelling.upper() for spelling in setting.old]
    return [name, name.upper(), f"celery_{name}", f"CELERY_{name.upper()}", *old]


def places(setting: Setting) -> list[tuple[str, str, str]]:
    """Every (level, form, spelling) in which a setting can be given."""
    found = [("environment", "", f"CELERY_{setting.name.upper()}")] * (setting.name in PROCESS)
    for spelling in spellings(setting):
        found += [("file", "section", spelling), ("CELERY", "dict", spelling)]
        found += [("CELERY", "json", spelling), ("CELERY", "config", spelling)]
        found += [("FLASK_CELERY__", "nested", spelling), ("options", "", spelling)]
        found += [("FLASK_CELERY__", "section", spelling)]
        if flat_name(spelling):
            found += [("flat", "", spelling), ("FLASK_CELERY__", "flat", spelling)]
        if flat_name(spelling, shared_lower_case=True):
            found += [("file", "flat", spelling)]
    return found


class World:
    """What a person has written, in all the places."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.environ: dict[str, str] = {}
        self.options: dict[str, Any] = {}
        self.file: dict[str, Any] = {}

    def put(self, place: tuple[str, str, str], value: Any) -> None:
        level, form, key = place
        text = value if isinstance(value, str) else json.dumps(value)
        section = {key: value}
        writers: dict[tuple[str, str], tuple[dict[str, Any], str, Any]] = {
            ("file", "section"): (self.file, "celery", section),
            ("file", "flat"): (self.file, key, value),
            ("flat", ""): (self.config, key, value),
            ("CELERY", "dict"): (self.config, "CELERY", section),
            ("CELERY", "json"): (self.config, "CELERY", json.dumps(section)),
            ("CELERY", "config"): (self.config, "CELERY_CONFIG", section),
            ("FLASK_CELERY__", "nested"): (self.environ, f"FLASK_CELERY__{key}", text),
            ("FLASK_CELERY__", "section"): (self.environ, "FLASK_CELERY", json.dumps(section)),
            ("FLASK_CELERY__", "flat"): (self.environ, f"FLASK_{key}", text),
            ("options", ""): (self.options, key, value),
            ("environment", ""): (self.environ, key, text),
        }
        target, name, content = writers[level, form]
        target[name] = content


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Setting, dict[str, tuple[tuple[str, str, str], Any]]]:
    setting = draw(st.sampled_from(sorted(settings().values(), key=lambda setting: setting.name)))
    values = CHOICES.get(setting.name, VALUES[setting.kind])
    given_places = draw(
        st.lists(st.sampled_from(places(setting)), min_size=1, unique_by=lambda place: place[0])
    )
    return setting, {place[0]: (place, draw(values)) for place in given_places}


@given(worlds())
@hypothesis_settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_strongest_level_wins_whatever_the_spelling(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[Setting, dict[str, tuple[tuple[str, str, str], Any]]],
) -> None:
    setting, by_level = drawn
    world = World()
    for place, value in by_level.values():
        world.put(place, value)
    if world.file:
        path = tmp_path_factory.getbasetemp() / "drawn.json"
        path.write_text(json.dumps(world.file))
        assert load_file(path) == world.file
        world.config["CELERIAC_CONFIG_FILE"] = str(path)
    winner = next(level for level in reversed(ORDER) if level in by_level)
    wanted = by_level[winner][1]
    disagree = winner == "CELERY" and "flat" in by_level and by_level["flat"][1] != wanted
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = resolve(world.config, options=world.options, environ=world.environ)
    assert [warning.category for warning in caught] == [ConfigWarning] * disagree
    assert found.celery == {setting.name: wanted}
    assert found.origins[setting.name].level == winner


@pytest.mark.parametrize("setting", settings().values(), ids=lambda setting: setting.name)
def test_every_spelling_in_every_place(setting: Setting, tmp_path: Any) -> None:
    samples: dict[str, Any] = {"bool": True, "dict": {"a": 1}, "dict or list": {"a": {}}}
    samples |= {"list": ["json"], "tuple": ["a.tasks"], "string": "x", "flag or dict": True}
    value = SAMPLES.get(setting.name) or samples.get(setting.kind, 7)
    for place in places(setting):
        world = World()
        world.put(place, value)
        if world.file:
            path = tmp_path / "c.json"
            path.write_text(json.dumps(world.file))
            world.config["CELERIAC_CONFIG_FILE"] = str(path)
        found = resolve(world.config, options=world.options, environ=world.environ)
        assert found.celery == {setting.name: value}, place
        assert found.origins[setting.name].level == place[0]


def test_no_two_settings_share_a_spelling() -> None:
    seen: dict[str, str] = {}
    for setting in settings().values():
        for spelling in spellings(setting):
            assert seen.setdefault(spelling.lower(), setting.name) == setting.name


def test_no_setting_or_old_name_of_celery_is_missing() -> None:
    assert set(settings()) >= defaults.SETTING_KEYS
    assert len(defaults.SETTING_KEYS) >= 207
    # What Celery itself accepts as an old name, we accept with the same meaning.
    for old, new in vars(defaults)["_TO_NEW_KEY"].items():
        assert new_name(old) == new


def test_every_setting_in_a_mix_of_spellings_is_taken_by_celery() -> None:
    section = {
        spellings(setting)[index % len(spellings(setting))]: setting.default
        for index, setting in enumerate(settings().values())
    }
    section |= {"broker_url": "memory://", "broker_read_url": "memory://"}
    section |= {"broker_write_url": "memory://"}
    found = resolve({"CELERY": section}, environ={}).celery
    app = Celery(set_as_current=False)
    app.config_from_object(found)
    assert app.conf.task_default_queue == "celery"
    app.conf.update(found)
    assert set(found) == set(settings())
