from __future__ import annotations

import pytest

from flask_celeriac.cli.pools import PoolRefused, check_pool, default_pool


@pytest.mark.parametrize("configured", ["prefork", "solo", "threads", "mine.pools:Pool"])
@pytest.mark.parametrize("concurrency", [None, 0, 1, 4, "auto"])
def test_where_there_is_fork_the_configured_pool_is_left_alone(
    configured: str, concurrency: int | str | None
) -> None:
    assert default_pool(configured, concurrency, fork=True) == configured


@pytest.mark.parametrize(
    ("concurrency", "pool"),
    [
        (None, "solo"),
        (0, "solo"),
        (1, "solo"),
        (2, "threads"),
        (16, "threads"),
        ("auto", "threads"),
    ],
)
def test_without_fork_the_pool_follows_the_concurrency(
    concurrency: int | str | None, pool: str
) -> None:
    assert default_pool("prefork", concurrency, fork=False) == pool


def test_without_fork_a_configured_pool_that_works_is_kept() -> None:
    assert default_pool("threads", 1, fork=False) == "threads"
    assert default_pool("solo", 8, fork=False) == "solo"


def test_without_fork_asking_for_prefork_names_what_works() -> None:
    with pytest.raises(PoolRefused, match="-P threads"):
        check_pool("prefork", "prefork", fork=False)
    check_pool(None, "prefork", fork=False)
    check_pool("prefork", "prefork", fork=True)


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_green_pools_name_the_command_that_works(pool: str) -> None:
    for asked, configured in ((pool, "prefork"), (None, pool)):
        with pytest.raises(PoolRefused, match=f"celery -A module.celery worker -P {pool}"):
            check_pool(asked, configured, fork=True)


def test_a_pool_that_is_asked_for_wins_over_a_green_one_in_the_settings() -> None:
    check_pool("threads", "gevent", fork=True)
