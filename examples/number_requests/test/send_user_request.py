"""Send a request with three numbers, and show what becomes of them.

python test/send_user_request.py <rid>

The web server is at http://127.0.0.1:5000, or where NUMBER_REQUESTS_URL says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

URL = os.environ.get("NUMBER_REQUESTS_URL", "http://127.0.0.1:5000")
PATIENCE = 180


def ask(method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send JSON, and return the JSON of the answer."""
    headers = {"Content-Type": "application/json"}
    request = Request(URL + path, json.dumps(body).encode(), headers, method=method)
    try:
        with urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
    except HTTPError as error:
        sys.exit(f"{method} {path} answers {error.code}: {error.read().decode()}")
    return answer


def outcome(started: dict[str, Any], until: float) -> Any:
    """Wait for a task; return its response."""
    while time.monotonic() < until:
        task = ask("GET", "/check_request", {"taskID": started["taskID"]})
        if task["status"] == "SUCCESS":
            return task["response"]
        if task["status"] in ("FAILURE", "REVOKED"):
            sys.exit(f"The task failed: {task['error']}")
        time.sleep(0.5)
    sys.exit(f"Nothing after {PATIENCE} seconds: does a worker run, with -B?")


def send(rid: int, numbers: list[int], jobs: list[str]) -> dict[str, Any]:
    """Send a request, and return it when all of its numbers are done."""
    until = time.monotonic() + PATIENCE
    body = {"rid": rid, "numbers": numbers, "jobtodo": jobs}
    print(f"Request {rid}:", outcome(ask("POST", "/number_request", body), until))
    while True:
        found: dict[str, Any] = outcome(ask("GET", "/number_request", {"rid": rid}), until)
        if set(found["state"]) == {"done"}:
            return found
        time.sleep(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send a request with three numbers.")
    parser.add_argument("rid", type=int)
    answer = send(parser.parse_args().rid, [1, 20, 300], ["sum", "mul", "sum"])
    for number, job, result in zip(
        answer["numbers"], answer["jobtodo"], answer["result"], strict=True
    ):
        print(f"{job} of {number} is {result}")
