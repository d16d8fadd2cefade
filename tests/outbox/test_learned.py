"""A plain call on commit is filled in, and says what Celery's way says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import celery.signals
import pytest
import sqlalchemy as sa
from celery import Celery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_celeriac.errors import OutboxError, UnserializableArgumentError
from flask_celeriac.outbox.courier import courier
from flask_celeriac.tables import outbox
from tests.services.test_publishing import JSON

from .conftest import DATABASES, Shop, opened, own_url


@pytest.fixture
def learned(small_shop: Shop) -> Shop:
    """One whose task was sent on commit once."""
    small_shop.add.delay_on_commit(0, 0)
    return small_shop


def kept(shop: Shop) -> list[dict[str, Any]]:
    """What this transaction has written, which is rolled back then."""
    rows = shop.session.execute(sa.select(outbox).order_by(outbox.c.id)).mappings().all()
    shop.session.rollback()
    return [dict(row) for row in rows]


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what differs from one call to the next."""
    text = row["message"].replace(row["task_id"], "ID")
    gone = dict.fromkeys(("id", "task_id", "created", "due"))
    return {**row, **gone, "message": list(json.loads(text).items())}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(args=st.lists(JSON, max_size=3), kwargs=st.dictionaries(st.text(), JSON, max_size=3))
def test_a_message_is_as_celery_makes_it(
    learned: Shop, args: list[Any], kwargs: dict[str, Any]
) -> None:
    shop, add = learned, learned.celery.tasks["shop.add"]
    add.typing = False
    shop.session.rollback()
    quick = add.apply_async_on_commit(args, kwargs)
    slow = add.apply_async_on_commit(args, kwargs, retry=True)  # an option: Celery's way
    ours, theirs = kept(shop)
    assert (ours["task_id"], theirs["task_id"]) == (quick.id, slow.id)
    assert comparable(ours) == comparable(theirs)
    assert (type(quick), quick.ignored, quick.parent) == (type(slow), slow.ignored, None)


@pytest.mark.parametrize("database", DATABASES)
def test_celery_makes_only_the_first_one(
    database: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    send = Celery.send_task

    def counted(self: Any, name: str, *args: Any, **options: Any) -> Any:
        made.append(name)
        return send(self, name, *args, **options)

    monkeypatch.setattr(Celery, "send_task", counted)
    with opened(tmp_path, own_url(request, database, tmp_path)) as shop:
        ids = [shop.add.delay_on_commit(number, 1).id for number in range(5)]
        shop.session.commit()
        messages = {message.headers["id"]: message.payload[0] for message in wait(shop)}
    assert made == ["shop.add"]
    assert messages == {task_id: [number, 1] for number, task_id in enumerate(ids)}


def wait(shop: Shop) -> list[Any]:
    assert courier.wait(30)
    return shop.messages()


def test_on_redis_too_where_plain_calls_go_celerys_way(tmp_path: Path, redis_url: str) -> None:
    celery = {"broker_url": redis_url, "result_backend": f"celeriac:///{tmp_path}/results.db"}
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", CELERY=celery) as shop:
        ids = [shop.add.delay_on_commit(number, 1).id for number in range(3)]
        plans = shop.celery.tasks["shop.add"].__dict__["_plans"]
        assert [plan.template is not None for plan in plans.values()] == [True]
        shop.session.commit()
        assert shop.sent() == ids


def test_letters_of_every_script_arrive(learned: Shop) -> None:
    @learned.celeriac.task(name="shop.greet")
    def greet(name: str) -> None: ...

    for name in ("Zoë", "名前", "100 % 🌱", 'a "quote" %(id)s'):
        greet.delay_on_commit(name)
    learned.session.commit()
    names = [m.payload[0][0] for m in wait(learned) if m.headers["task"] == "shop.greet"]
    assert names == ["Zoë", "名前", "100 % 🌱", 'a "quote" %(id)s']


def test_each_expires_after_its_own_sending(learned: Shop) -> None:
    @learned.celeriac.task(name="shop.briefly", expires=60)
    def briefly() -> None: ...

    for _ in range(3):
        briefly.delay_on_commit()
    learned.session.commit()
    moments = [message.headers["expires"] for message in wait(learned)[1:]]
    assert len(set(moments)) == 3


def test_a_receiver_of_the_publishing_signals_is_heard(learned: Shop) -> None:
    heard: list[str] = []

    def on_publish(headers: dict[str, Any], **_: Any) -> None:
        heard.append(headers["id"])

    celery.signals.before_task_publish.connect(on_publish)
    try:
        result = learned.add.delay_on_commit(1, 2)
    finally:
        celery.signals.before_task_publish.disconnect(on_publish)
    assert heard == [result.id]


def test_a_setting_that_changes_is_heeded(learned: Shop) -> None:
    learned.celery.conf.task_default_queue = "other"
    learned.add.delay_on_commit(1, 2)
    assert [row["queue"] for row in kept(learned)] == ["celery", "other"]


def test_what_is_refused_is_refused_in_the_same_words(learned: Shop) -> None:
    with pytest.raises(UnserializableArgumentError, match=r"args\[0\]"):
        learned.add.delay_on_commit(object(), 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        learned.add.delay_on_commit(1)  # type: ignore[call-arg]
    with pytest.raises(OutboxError, match="is no SQLAlchemy session"):
        learned.add.apply_async_on_commit((1, 2), session=object())
    assert len(kept(learned)) == 1


def test_always_means_the_short_way_too(tmp_path: Path) -> None:
    with opened(tmp_path, f"sqlite:///{tmp_path}/app.db", CELERIAC_OUTBOX="always") as shop:
        shop.session.connection()
        ids = [shop.add.delay(number, 1).id for number in range(3)]
        (plan,) = shop.celery.tasks["shop.add"].__dict__["_plans"].values()
        assert plan.template is not None
        assert [row["task_id"] for row in kept(shop)] == ids
