"""Send a request with many numbers, and say when all of them are done.

python test/send_large_user_request.py <rid> <nb>
"""

from __future__ import annotations

import argparse
import random

from send_user_request import send

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send a request with many numbers.")
    parser.add_argument("rid", type=int)
    parser.add_argument("nb", type=int)
    options = parser.parse_args()
    numbers = [random.randint(-1000, 1000) for _ in range(options.nb)]
    jobs = [random.choice(["sum", "mul"]) for _ in range(options.nb)]
    answer = send(options.rid, numbers, jobs)
    right = [
        number + 2 if job == "sum" else number * 2
        for number, job in zip(numbers, jobs, strict=True)
    ]
    if answer["result"] != right:
        raise SystemExit("Some results are wrong.")
    print(f"All of {options.nb} results are right.")
