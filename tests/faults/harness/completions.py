"""Every end that a record was given, noted by the database itself.

A completion is a row of ``celeriac_record`` being given an ended state, or another result while it
has one. A task with two completions of different content was completed twice.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import apsw
import sqlalchemy

from flask_celeriac import sqlite_opening, states

NOTES = "faults_completion"
_ENDED = ", ".join(f"'{state}'" for state in states.ENDED)
_CHANGED = (
    f"NEW.state IN ({_ENDED}) AND (OLD.state NOT IN ({_ENDED}) OR OLD.state <> NEW.state"
    " OR coalesce(OLD.result, '') <> coalesce(NEW.result, ''))"
)
_NOTE = f"INSERT INTO {NOTES} VALUES (NEW.task_id, NEW.state, NEW.result)"
_TABLE = f"CREATE TABLE {NOTES} (task_id TEXT, state TEXT, result TEXT)"
_SQLITE = (
    _TABLE,
    (
        f"CREATE TRIGGER {NOTES}_insert AFTER INSERT ON celeriac_record"
        f" WHEN NEW.state IN ({_ENDED}) BEGIN {_NOTE}; END"
    ),
    (
        f"CREATE TRIGGER {NOTES}_update AFTER UPDATE ON celeriac_record"
        f" WHEN {_CHANGED} BEGIN {_NOTE}; END"
    ),
)
_POSTGRES = (
    _TABLE,
    (
        f"CREATE FUNCTION {NOTES}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {_NOTE}; RETURN NULL; END $$"
    ),
    (
        f"CREATE TRIGGER {NOTES}_insert AFTER INSERT ON celeriac_record FOR EACH ROW"
        f" WHEN (NEW.state IN ({_ENDED})) EXECUTE FUNCTION {NOTES}()"
    ),
    (
        f"CREATE TRIGGER {NOTES}_update AFTER UPDATE ON celeriac_record FOR EACH ROW"
        f" WHEN ({_CHANGED}) EXECUTE FUNCTION {NOTES}()"
    ),
)


class Completions:
    """The notes of a database.

    :param where: a URL, or the path of the embedded file.
    """

    def __init__(self, where: str | Path) -> None:
        self._where = where
        statements = _POSTGRES if str(where).startswith("postgres") else _SQLITE
        self._run(*statements)

    def _run(self, *statements: str) -> list[tuple[str, str, str]]:
        rows: list[tuple[str, str, str]] = []
        if isinstance(self._where, Path):
            db: apsw.Connection = sqlite_opening.connect(str(self._where))
            try:
                for statement in statements:
                    rows = db.execute(statement).fetchall()
            finally:
                db.close()
            return rows
        engine = sqlalchemy.create_engine(self._where, poolclass=sqlalchemy.NullPool)
        with engine.begin() as connection:
            for statement in statements:
                answer = connection.execute(sqlalchemy.text(statement))
                if answer.returns_rows:
                    rows = [(row[0], row[1], row[2]) for row in answer]
        return rows

    def read(self) -> dict[str, list[tuple[str, str]]]:
        """The different ends of each task."""
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for task_id, state, result in self._run(f"SELECT task_id, state, result FROM {NOTES}"):
            if (state, result) not in found[task_id]:
                found[task_id].append((state, result))
        return found

    def given_up(self) -> list[str]:
        """Those of the tasks that ended as dead letters."""
        return [task_id for task_id, ends in self.read().items() if ends[-1][0] == states.DEAD]

    def twice(self) -> dict[str, list[tuple[str, str]]]:
        """Those of the tasks that were completed more than once."""
        return {task_id: ends for task_id, ends in self.read().items() if len(ends) > 1}
