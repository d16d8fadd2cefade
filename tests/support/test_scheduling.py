"""Which tests go to one process."""

from __future__ import annotations

import pytest

from tests.support.scheduling import group_of

EXAMPLES = "tests/examples/test_celery.py"


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        (f"{EXAMPLES}::test_a_sum[redis]", f"{EXAMPLES}[redis]"),
        (f"{EXAMPLES}::test_an_id[embedded-/result/%00]", f"{EXAMPLES}[embedded]"),
        (f"{EXAMPLES}::test_alone", f"{EXAMPLES}::test_alone"),
        ("tests/examples/test_data_desk.py::test_alone", "tests/examples/test_data_desk.py"),
        ("tests/cli/test_db.py::test_a[redis]", "tests/cli/test_db.py::test_a[redis]"),
    ],
)
def test_the_group_of_a_test(nodeid: str, group: str) -> None:
    assert group_of(nodeid) == group
