"""What the processings have in common: read numbers, tell the web server the results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

#: So many results a request, well below what the web server takes.
PIECE = 1000


def process(done: str, operation: Callable[[int], int]) -> None:
    """Process the numbers on standard input, and POST the results to the URL in the arguments.

    :param done: what becomes of the numbers' job
    """
    url = sys.argv[1]
    rows = json.load(sys.stdin)
    for start in range(0, len(rows), PIECE):
        piece = rows[start : start + PIECE]
        numbers = [row["number"] for row in piece]
        post(
            url,
            {
                "numbers_id": [row["id"] for row in piece],
                "numbers": numbers,
                "jobtodo_new": [done for _ in piece],
                "result": [operation(number) for number in numbers],
            },
        )


def post(url: str, body: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=60):
        pass
