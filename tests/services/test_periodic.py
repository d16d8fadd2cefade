"""``@celeriac.periodic``."""

from __future__ import annotations

import pickle
import shelve
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import schedules, shared_task
from celery.beat import PersistentScheduler
from flask import Flask

from flask_celeriac import Celeriac, ConfigError
from flask_celeriac.schedules.entry import ZonedCrontab, parse

from .conftest import MakeApp


def entries(app: Flask) -> dict[str, Any]:
    found: dict[str, Any] = app.extensions["celery"].conf.beat_schedule
    return found


def test_on_functions_and_on_tasks_of_every_application(make_app: MakeApp) -> None:
    celeriac = Celeriac()
    early, late = make_app("early"), make_app("late")
    celeriac.init_app(early)

    @celeriac.periodic("0 6 * * *", timezone="Europe/Berlin", queue="reports", max_retries=9)
    def daily_report() -> None: ...

    @celeriac.periodic(30, name="often", args=(1,), kwargs={"b": 2})
    @celeriac.periodic(timedelta(hours=1))
    @celeriac.task(name="clean")
    def clean(a: int = 0, b: int = 0) -> None: ...

    celeriac.init_app(late)
    for app in (early, late):
        with app.app_context():
            assert daily_report.max_retries == 9
        found = entries(app)
        daily = found.pop(f"{__name__}.daily_report (0 6 * * *)")
        assert daily["task"] == f"{__name__}.daily_report"
        assert daily["schedule"].tz == ZoneInfo("Europe/Berlin")
        hourly = found.pop("clean (1:00:00)")
        assert hourly["schedule"] == schedules.schedule(timedelta(hours=1))
        often = found.pop("often")
        assert (often["task"], often["args"], often["kwargs"]) == ("clean", (1,), {"b": 2})
        assert often["schedule"].run_every == timedelta(seconds=30)
        assert not found


def test_after_the_configuration_was_read(make_app: MakeApp) -> None:
    celeriac = Celeriac()
    app = make_app()
    celeriac.init_app(app)
    assert entries(app) == {}

    @celeriac.periodic(5, name="late")
    def late() -> None: ...

    assert list(entries(app)) == ["late"]


def test_the_users_entries_stay(make_app: MakeApp) -> None:
    celeriac = Celeriac()

    @celeriac.periodic(5, name="ours")
    def ours() -> None: ...

    @celeriac.periodic(5, name="same name")
    def replaced() -> None: ...

    mine = {"task": "mine", "schedule": 1}
    app = make_app(CELERY={"beat_schedule": {"same name": mine}})
    celeriac.init_app(app)
    assert entries(app)["same name"] == mine
    assert set(entries(app)) == {"same name", "ours"}


@pytest.mark.parametrize(
    ("expression", "options", "says"),
    [
        ("0 6 * *", {}, "'0 6 * *' is not a cron expression: it needs five fields"),
        ("61 6 * * *", {}, "'61 6 * * *' is not a cron expression"),
        ("x 6 * * *", {}, "'x 6 * * *' is not a cron expression"),
        ("0 0 30 2 *", {}, "'0 0 30 2 *' is not a cron expression"),
        ("0 6 * * *", {"timezone": "Europe/Berlyn"}, "timezone='Europe/Berlyn' is not a known"),
        ("0 6 * * *", {"timezone": "../etc/passwd"}, "is not a known time zone"),
        (0, {}, "0 is not a schedule: the interval must be positive"),
        (-1.5, {}, "must be positive"),
        (float("nan"), {}, "nan is not a schedule"),
        (None, {}, "None is not a schedule"),
        (30, {"timezone": "UTC"}, "timezone='UTC' only goes with a cron expression"),
    ],
)
def test_what_means_nothing_is_refused(expression: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Celeriac().periodic(expression, **options)
    assert says in str(refused.value)


def test_options_on_top_of_a_task_are_refused() -> None:
    celeriac = Celeriac()
    with pytest.raises(ConfigError, match=r"queue: options of a task go to @celeriac\.task"):

        @celeriac.periodic(5, queue="mail")
        @celeriac.task
        def clean() -> None: ...


def test_two_entries_of_one_name_are_refused() -> None:
    celeriac = Celeriac()

    @celeriac.periodic(5, args=(1,))
    @celeriac.periodic(6, name="six")
    @celeriac.task
    def clean(a: int = 0) -> None: ...

    with pytest.raises(ConfigError, match="give one of them another name="):
        celeriac.periodic(5, args=(2,))(clean)
    with pytest.raises(ConfigError, match="'six': give one"):
        celeriac.periodic(7, name="six")(clean)
    celeriac.periodic(5, args=(2,), name="another")(clean)


def test_a_shared_task_is_refused() -> None:
    @shared_task(name="periodic.shared")
    def shared() -> None: ...

    with pytest.raises(ConfigError, match=r"put @celeriac\.task, not @shared_task"):
        Celeriac().periodic(5)(shared)


def test_one_schedule_object_serves_many_applications(make_app: MakeApp) -> None:
    given = schedules.crontab(minute="*/5")
    one, other = parse(given), parse(given)
    assert one == other == given
    assert one is not other is not given


def test_beat_can_store_it(tmp_path: Path) -> None:
    entry = parse("*/5 6 * * 1-5", "Europe/Berlin")
    again = pickle.loads(pickle.dumps(entry))
    assert again == entry
    assert isinstance(again, ZonedCrontab)
    assert again.tz == ZoneInfo("Europe/Berlin")
    assert entry != parse("*/5 6 * * 1-5", "Europe/Paris")
    assert entry != parse("*/5 7 * * 1-5", "Europe/Berlin")


def test_beats_own_scheduler_keeps_it_across_restarts(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    celeriac = Celeriac(app)

    @celeriac.periodic("0 6 * * *", timezone="Europe/Berlin", name="daily")
    def daily() -> None: ...

    celery_app = app.extensions["celery"]
    for _ in range(2):
        scheduler = PersistentScheduler(app=celery_app, schedule_filename=str(tmp_path / "beat"))
        kept: Any = scheduler.schedule["daily"].schedule
        assert kept.tz == ZoneInfo("Europe/Berlin")
        scheduler.close()
    with shelve.open(str(tmp_path / "beat")) as stored:
        assert stored["entries"]["daily"].schedule.zone == "Europe/Berlin"


def at(clock: datetime, zone: str | None = "Europe/Berlin", cron: str = "30 6 * * *") -> Any:
    entry = parse(cron, zone)
    assert isinstance(entry, ZonedCrontab)
    entry.nowfun = lambda: clock  # type: ignore[attr-defined]
    return entry


@pytest.mark.parametrize(
    ("now", "due_in"),
    [
        (datetime(2026, 1, 15, 5, 0, tzinfo=timezone.utc), timedelta(minutes=30)),  # UTC+1
        (datetime(2026, 7, 15, 4, 0, tzinfo=timezone.utc), timedelta(minutes=30)),  # UTC+2
        # The night the clocks go forward and the night they go back.
        (datetime(2026, 3, 28, 5, 30, tzinfo=timezone.utc), timedelta(hours=23)),
        (datetime(2026, 10, 24, 4, 30, tzinfo=timezone.utc), timedelta(hours=25)),
    ],
)
def test_the_time_of_day_is_that_of_the_zone(
    make_app: MakeApp, now: datetime, due_in: timedelta
) -> None:
    Celeriac(make_app())
    assert at(now).remaining_estimate(now) == due_in


def test_without_a_zone_it_is_the_applications(make_app: MakeApp) -> None:
    app = make_app(CELERY={"timezone": "America/New_York"})
    Celeriac(app)
    with app.app_context():
        assert at(datetime.now(timezone.utc), zone=None).tz == ZoneInfo("America/New_York")


def test_configured_entries_are_read_as_text_where_they_are_text(make_app: MakeApp) -> None:
    app = make_app(CELERY={"beat_schedule": {
        "a": {"task": "clean", "schedule": "*/5 * * * *"},
        "b": {"task": "clean", "schedule": 30, "args": [1], "relative": True},
        "c": {"task": "clean", "schedule": schedules.crontab(minute="3")},
    }})  # fmt: skip
    Celeriac(app)
    found = entries(app)
    assert found["a"]["schedule"] == ZonedCrontab("*/5", "*", "*", "*", "*")
    assert found["b"]["schedule"] == 30
    assert found["c"]["schedule"] == schedules.crontab(minute="3")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"task": "clean", "schedule": "every day"}, "not a cron expression"),
        ({"task": "clean", "schedule": -1}, "must be positive"),
        ({"task": "clean", "schedule": schedules.schedule(-5)}, "must be positive"),
        ({"task": "clean"}, "it has no 'schedule'"),
        ({"tsk": "clean", "schedule": 1}, "did you mean 'task'"),
        ({"schedule": 1}, "it has no 'task'"),
        (5, "not a mapping"),
        ({"task": "clean", "schedule": 1, "args": 5}, "args takes a list, not 5"),
        ({"task": "clean", "schedule": 1, "args": "ab"}, "args takes a list"),
        ({"task": "clean", "schedule": 1, "kwargs": [1]}, "kwargs takes a mapping"),
        ({"task": "clean", "schedule": 1, "options": "mail"}, "options takes a mapping"),
    ],
)
def test_configured_entries_that_beat_would_stop_at_are_refused(
    make_app: MakeApp, entry: Any, words: str
) -> None:
    app = make_app(CELERY={"beat_schedule": {"tidy": entry}})
    with pytest.raises(ConfigError, match=words) as caught:
        Celeriac(app)
    assert "beat_schedule" in str(caught.value)
    assert "'tidy'" in str(caught.value)


def test_an_interval_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        parse(schedules.schedule(-5))
