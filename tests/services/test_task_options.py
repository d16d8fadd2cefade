"""Options that cannot be meant are told where a task is declared."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_celeriac import Celeriac, ConfigError, ConfigWarning, Task, Unique
from flask_celeriac.task_options import KNOWN


def nothing() -> None:
    """Does nothing."""


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("uniqe", "unique"),
        ("max_retry", "max_retries"),
        ("time_limt", "time_limit"),
        ("acks_lat", "acks_late"),
        ("label", "labels"),
        ("autoretry_four", "autoretry_for"),
    ],
)
def test_a_mistyped_option(given: str, meant: str) -> None:
    with pytest.warns(ConfigWarning, match=rf"nothing: .* {given}=, .*: did you mean {meant}="):
        Celeriac().task(**{given: True})(nothing)


def test_an_option_of_the_base_is_no_mistake() -> None:
    class Singleton(Task[..., None]):
        unique_on: tuple[str, ...] = ()

    assert Celeriac().task(base=Singleton, unique_on=["a"])(nothing) is not None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_retries", "3"),
        ("max_retries", -1),
        ("max_attempts", "x"),
        ("max_attempts", True),
        ("time_limit", -1),
        ("soft_time_limit", "5"),
        ("default_retry_delay", "a minute"),
        ("rate_limit", "x"),
        ("rate_limit", "5/q"),
        ("http", "yes"),
        ("acks_late", 1),
        ("labels", "nightly"),
        ("labels", [5]),
        ("labels", ["a\nb"]),
        ("priority", 256),
        ("priority", "high"),
    ],
)
def test_a_value_that_can_never_work(option: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"nothing: {option}=.*: give "):
        Celeriac().task(**{option: value})(nothing)


def test_all_others() -> None:
    options: dict[str, Any] = {
        "max_retries": None,
        "time_limit": 1.5,
        "soft_time_limit": timedelta(seconds=1),
        "rate_limit": "10/m",
        "http": True,
        "labels": ("nightly",),
        "priority": 0,
        "unique": Unique(),
        "mine": object(),
        "on_success": print,
        "queue": "special",
    }
    assert Celeriac().task(**options)(nothing) is not None


def test_the_options_are_those_of_tasks() -> None:
    others = {"base", "bind", "compression", "pydantic", "queue", "exchange", "exchange_type"}
    others |= {"routing_key", "delivery_mode", "dont_autoretry_for", "autoretry_for"}
    others |= {"retry_kwargs"}
    assert {name for name in KNOWN if not hasattr(Task, name)} <= others
