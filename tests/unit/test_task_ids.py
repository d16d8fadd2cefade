"""Ids of tasks: unique, in the order of sending, and what RFC 9562 calls a UUID of version 7."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from flask_celeriac.task_ids import new_id


def test_an_id_is_a_uuid_of_version_7_that_says_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    text = new_id()
    after = time.time_ns() // 1_000_000
    found = uuid.UUID(text)
    assert (str(found), found.version, found.variant) == (text, 7, uuid.RFC_4122)
    assert before <= found.int >> 80 <= after


def test_ids_of_one_process_are_in_order() -> None:
    ids = []
    for _ in range(200):
        ids.append(new_id())
        time.sleep(1e-6)  # longer than what the time in an id counts
    assert ids == sorted(ids)


def test_ids_made_at_once_differ() -> None:
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda _: [new_id() for _ in range(5_000)], range(4))
        ids = [each for part in parts for each in part]
    assert len(set(ids)) == len(ids)
