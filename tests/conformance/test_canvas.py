"""What tasks are composed into does the same as on Celery's own."""

from __future__ import annotations

from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError
from celery.result import GroupResult

from tests.conformance.conftest import LONG, System, lines
from tests.conformance.tasks import OutOfPaper
from tests.system.workers import wait_for

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex")


def test_chain(system: System) -> None:
    result = chain(system.add.s(1, 2), system.add.s(3), system.add.s(4))()
    assert result.get(timeout=LONG) == 10
    assert (result.parent.get(), result.parent.parent.get()) == (6, 3)


def test_chain_that_breaks(system: System) -> None:
    result = chain(system.add.s(1, 2), system.fail.si("torn"), system.add.s(4))()
    with pytest.raises(OutOfPaper, match="torn"):
        result.get(timeout=LONG)
    # The error of the one before is told at once; a moment later it is this one's, too.
    wait_for(lambda: result.state == "FAILURE", "the last of the chain to fail")
    assert result.parent.parent.get(timeout=LONG) == 3


def test_families(system: System) -> None:
    result = chain(system.family.si(), system.family.si())()
    second = result.get(timeout=LONG)
    first = result.parent.get(timeout=LONG)
    assert first == {"id": first["id"], "parent": None, "root": first["id"]}
    assert second == {"id": result.id, "parent": first["id"], "root": first["id"]}
    assert [child.id for child in result.parent.children] == [result.id]
    collected = [value for _, value in result.parent.collect(timeout=LONG)]
    assert collected == [first, second]


def test_group(system: System) -> None:
    result = group(system.add.s(n, n) for n in range(5))()
    assert result.get(timeout=LONG) == [0, 2, 4, 6, 8]
    assert result.completed_count() == 5
    assert result.successful()
    result.save()
    restored = GroupResult.restore(result.id, app=system.app)
    assert restored is not None
    assert restored.get(timeout=LONG) == [0, 2, 4, 6, 8]
    restored.delete()
    assert GroupResult.restore(result.id, app=system.app) is None


def test_group_with_a_failure(system: System) -> None:
    result = group(system.add.s(1, 1), system.fail.s("one of us"))()
    with pytest.raises(OutOfPaper, match="one of us"):
        result.get(timeout=LONG)
    found = result.get(timeout=LONG, propagate=False)
    assert (found[0], type(found[1])) == (2, OutOfPaper)
    assert result.failed()


def test_group_as_its_members_end(system: System) -> None:
    result = group(system.add.s(n, 0) for n in range(4))()
    found = {task_id: meta["result"] for task_id, meta in result.iter_native(timeout=LONG)}
    assert found == {member.id: number for number, member in enumerate(result)}


def test_group_in_a_chain(system: System) -> None:
    result = (system.add.s(1, 1) | group(system.add.s(1), system.add.s(2)) | system.total.s())()
    assert result.get(timeout=LONG) == 7


@pytest.mark.parametrize("size", [1, 2, 17])
def test_chord(system: System, size: int) -> None:
    result = chord(system.add.s(n, 0) for n in range(size))(system.echo.s())
    assert result.get(timeout=LONG) == list(range(size))


def test_chord_of_none(system: System) -> None:
    assert chord([])(system.echo.s()).get(timeout=LONG) == []


def test_chord_with_a_failure(system: System) -> None:
    path = system.file()
    errback = system.on_error.s(path)
    body = system.total.s().on_error(errback)
    result = chord([system.add.s(1, 1), system.fail.s("one of us")])(body)
    wait_for(result.ready, "the body has failed", LONG)
    assert result.state == "FAILURE"
    assert isinstance(result.result, ChordError)
    assert "one of us" in str(result.result)
    assert lines(path, 1)[0].startswith(result.id)


def test_chord_whose_members_keep_no_result(system: System) -> None:
    member: Any = system.add.s(1, 1).set(ignore_result=True)
    result = chord([member, system.add.s(2, 2)])(system.echo.s())
    assert result.get(timeout=LONG) == [2, 4]


def test_chords_in_chords(system: System) -> None:
    inner = chord([system.add.s(1, 1), system.add.s(2, 2)], system.total.s())
    deeper = chord([inner, system.add.s(3, 3)], system.total.s())
    assert chord([deeper, system.add.s(4, 4)])(system.echo.s()).get(timeout=LONG) == [12, 8]


def test_chord_with_a_chain_in_it(system: System) -> None:
    member = chain(system.add.s(1, 1), system.add.s(1), system.add.s(1))
    assert chord([member, system.add.s(0, 0)])(system.echo.s()).get(timeout=LONG) == [4, 0]


def test_chord_with_a_chain_that_breaks(system: System) -> None:
    member = chain(system.fail.si("torn"), system.add.s(1), system.add.s(1))
    result = chord([member, system.add.s(0, 0)])(system.echo.s())
    wait_for(result.ready, "the body has failed", LONG)
    assert isinstance(result.result, ChordError)


def test_chord_with_a_group_in_a_chain_in_it(system: System) -> None:
    member = chain(system.add.s(1, 1), group(system.add.s(1), system.add.s(2)))
    result = chord([member, system.add.s(0, 0)])(system.echo.s())
    assert result.get(timeout=LONG) == [[3, 4], 0]


def test_chord_whose_body_is_a_group(system: System) -> None:
    result = chord([system.add.s(1, 1)])(group(system.echo.s(), system.total.s()))
    assert result.get(timeout=LONG) == [[2], 2]


def test_chord_whose_body_is_a_chain(system: System) -> None:
    result = chord([system.add.s(1, 1)])(system.total.s() | system.add.s(5))
    assert result.get(timeout=LONG) == 7


def test_chords_one_after_the_other(system: System) -> None:
    step = group(system.add.s(1), system.add.s(2))
    assert (system.add.s(0, 0) | step | system.total.s() | step | system.echo.s())().get(
        timeout=LONG
    ) == [4, 5]


@pytest.mark.parametrize(
    ("task", "value"), [("becomes_chain", 16), ("becomes_group", [5, 6, 7]), ("becomes_chord", 18)]
)
def test_a_task_that_is_replaced(system: System, task: str, value: Any) -> None:
    replaced: Any = getattr(system, task)
    assert replaced.delay(5).get(timeout=LONG) == value
    assert chain(replaced.s(5), system.echo.s())().get(timeout=LONG) == value
    assert chord([replaced.s(5), system.add.s(1, 1)])(system.echo.s()).get(timeout=LONG) == [
        value,
        2,
    ]


def test_chunks_map_starmap(system: System) -> None:
    pairs = [(n, n) for n in range(6)]
    assert system.add.chunks(pairs, 4)().get(timeout=LONG) == [[0, 2, 4, 6], [8, 10]]
    assert system.add.starmap(pairs).delay().get(timeout=LONG) == [0, 2, 4, 6, 8, 10]
    assert system.total.map([[1, 2], [3]]).delay().get(timeout=LONG) == [3, 3]


def test_links(system: System) -> None:
    path = system.file()
    signature = system.add.s(1, 2)
    signature.link(system.write.s(path))
    signature.link(system.add.s(10) | system.write.s(path))
    assert signature.delay().get(timeout=LONG) == 3
    assert sorted(lines(path, 2)) == ["13", "3"]


def test_error_links(system: System) -> None:
    path = system.file()
    signature = system.fail.s("jammed")
    signature.link(system.write.s(path))
    signature.link_error(system.on_error.s(path))
    result = signature.delay()
    with pytest.raises(OutOfPaper):
        result.get(timeout=LONG)
    assert lines(path, 1) == [f"{result.id} jammed"]


def test_callbacks_of_results(system: System) -> None:
    seen: list[Any] = []
    result = system.add.delay(1, 2)
    result.then(lambda ended: seen.append(ended.id))
    result.get(timeout=LONG, callback=lambda task_id, value: seen.append((task_id, value)))
    assert sorted(map(str, seen)) == sorted(map(str, [result.id, (result.id, 3)]))


@pytest.mark.parametrize("system", ["embedded"], indirect=True)  # on Redis nobody does
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_is_killed_as_it_starts_the_body(system: System, when: str) -> None:
    """Another one finds the body and sends it, if it has not been sent."""
    path = system.file()
    body = system.deadly.s(path=path, when=when)
    result = chord([system.add.s(n, n) for n in range(3)])(body)
    assert result.get(timeout=LONG) == 6
    assert lines(path + ".killed", 1)
    # Whatever was sent twice would be in the queue, before this.
    system.add.delay(1, 1).get(timeout=LONG)
    assert lines(path, 1) == ["6"]
