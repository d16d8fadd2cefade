"""Looks at a broker's file from a process of its own, and prints what it finds as JSON."""

from __future__ import annotations

import json
import sys

import apsw


def check(path: str) -> dict[str, object]:
    db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)

    def number(sql: str) -> object:
        return db.execute(sql).fetchall()[0][0]

    found = {
        "integrity": number("PRAGMA integrity_check"),
        "messages": number("SELECT count(*) FROM message WHERE queue = 'celery'"),
        "claimed": number("SELECT count(*) FROM message WHERE claim IS NOT NULL"),
        "processes": number("SELECT count(*) FROM process"),
        "consumers": number("SELECT count(*) FROM consumer"),
    }
    db.close()
    return found


if __name__ == "__main__":
    print(json.dumps(check(sys.argv[1])))
