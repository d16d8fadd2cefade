"""What is hidden, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from flask_celeriac.config import mask
from flask_celeriac.config_keys import settings


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("redis://:hunter2@h:6379/0", "redis://:**@h:6379/0"),
        ("amqp://u:hunter2@h//", "amqp://u:**@h//"),
        (
            "db+postgresql://u:hunter2@h/d?sslmode=require",
            "db+postgresql://u:**@h/d?sslmode=require",
        ),
        ("redis://:hunt/er2@h:6379/0", "redis://:**@h:6379/0"),
        ("redis://:hunt@er2@h:6379/0", "redis://:**@h:6379/0"),
        ("redis://u:hunt#er?2@h/0", "redis://u:**@h/0"),
        ("redis://u:hunter2@h/0?email=a@b", "redis://u:**@h/0?email=a@b"),
        ("redis://h/0?password=hunter2&db=1", "redis://h/0?password=**&db=1"),
        (
            "redis://h/0?ssl_keyfile=/k&sslpassword=hunter2",
            "redis://h/0?ssl_keyfile=/k&sslpassword=**",
        ),
        ("sentinel://:hunter2@a;sentinel://:hunter2@b", "sentinel://:**@a;sentinel://:**@b"),
        ("amqp://u:hunter2@a,amqp://u:hunter2@b", "amqp://u:**@a,amqp://u:**@b"),
        (
            "azureblockblob://AccountName=a;AccountKey=hunter2==;Suffix=core",
            "azureblockblob://AccountName=a;AccountKey=**;Suffix=core",
        ),
        ("host=h user=u password=hunter2 dbname=d", "host=h user=u password=** dbname=d"),
        ("the broker 'redis://:hunter2@h' is down", "the broker 'redis://:**@h' is down"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("celeriac:////srv/instance/celeriac.db", "celeriac:////srv/instance/celeriac.db"),
        ("sqlite:////home/a:b@c/x.db", "sqlite:////home/a:b@c/x.db"),
        ("redis://user@h/0", "redis://user@h/0"),
        ("plain", "plain"),
        ("://u:hunter2@h", "://u:**@h"),
        (b"redis://:hunter2@h", b"redis://:**@h"),
        (["redis://:hunter2@h", 5], ["redis://:**@h", 5]),
        (("redis://:hunter2@h",), ("redis://:**@h",)),
        ({"redis://:hunter2@h"}, {"redis://:**@h"}),
        (
            {"sentinel_kwargs": {"password": "hunter2"}, "master_name": "m", "n": None},
            {"sentinel_kwargs": {"password": "**"}, "master_name": "m", "n": None},
        ),
        ({"api_key": "hunter2", "aws_secret": b"hunter2"}, {"api_key": "**", "aws_secret": "**"}),
        (
            {"routing_key": "mail", "global_keyprefix": "p"},
            {"routing_key": "mail", "global_keyprefix": "p"},
        ),
        ({"password": None, "token": ""}, {"password": None, "token": ""}),
        ({"Authorization": ["Bearer hunter2"], 5: "x"}, {"Authorization": "**", 5: "x"}),
        (5, 5),
        (None, None),
    ],
)
def test_mask(given: Any, wanted: Any) -> None:
    found = mask(given)
    assert found == wanted
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("text", ["token" * 100_000 + " a=b", "a-" * 200_000, "pwd=" * 50_000])
def test_a_long_text_is_looked_through_once(text: str) -> None:
    """At the square of its length this would take hours."""
    assert mask(text).startswith(text[:4])


def test_the_settings_that_are_secrets() -> None:
    hidden = {name for name in settings() if mask("x", name) == "**"}
    assert hidden == {
        "broker_password",
        "redis_backend_credential_provider",
        "redis_password",
        "s3_access_key_id",
        "s3_secret_access_key",
        "security_key_password",
    }


def test_other_objects_are_left_alone() -> None:
    thing = object()
    assert mask(thing) is thing
