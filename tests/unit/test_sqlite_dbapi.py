"""SQLAlchemy on our SQLite file, through a DBAPI of our own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from flask_celeriac import sqlite, sqlite_dbapi


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "some.db")
    yield path
    sqlite.file_at(path).close()


@pytest.fixture
def engine(path: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(
        "sqlite://",
        module=sqlite_dbapi,
        creator=lambda: sqlite_dbapi.connect(path),
        poolclass=sa.QueuePool,
    )
    yield engine
    engine.dispose()


metadata = sa.MetaData()
thing = sa.Table(
    "thing",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String, unique=True, nullable=False),
    sa.Column("data", sa.LargeBinary),
    sa.Column("at", sa.DateTime),
    sa.Column("extra", sa.JSON),
)


@pytest.fixture
def table(engine: sa.Engine) -> sa.Table:
    metadata.create_all(engine)
    metadata.create_all(engine)
    return thing


def names(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(thing.c.name).order_by(thing.c.id)))


@pytest.mark.usefixtures("table")
def test_rows_come_back_as_they_were(engine: sa.Engine) -> None:
    row = {
        "name": "grüße \U0001f600",
        "data": b"\x00\xff",
        "at": datetime(2026, 1, 2, 3, 4, 5, 6),
        "extra": {"a": [1, None]},
    }
    with engine.begin() as connection:
        result = connection.execute(thing.insert().values(row))
        assert result.inserted_primary_key == (1,)
    with engine.connect() as connection:
        assert connection.execute(sa.select(thing)).mappings().one() == {"id": 1, **row}


@pytest.mark.usefixtures("table")
def test_rowcounts_and_returning(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(thing.insert(), [{"name": str(n)} for n in range(5)])
        assert connection.execute(thing.update().values(data=b"")).rowcount == 5
        assert connection.execute(thing.delete().where(thing.c.id > 3)).rowcount == 2
        assert connection.execute(thing.delete().where(thing.c.id > 3)).rowcount == 0
        made = connection.execute(thing.insert().values(name="x").returning(thing.c.id)).scalar()
        assert made == 4


@pytest.mark.usefixtures("table")
def test_a_rollback_takes_everything_back(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(thing.insert().values(name="gone"))
        connection.rollback()
        connection.execute(thing.insert().values(name="kept"))
        connection.commit()
    assert names(engine) == ["kept"]


@pytest.mark.usefixtures("table")
def test_savepoints(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(thing.insert().values(name="outer"))
        with pytest.raises(KeyError), connection.begin_nested():
            connection.execute(thing.insert().values(name="inner"))
            raise KeyError
        with connection.begin_nested():
            connection.execute(thing.insert().values(name="second"))
    assert names(engine) == ["outer", "second"]


@pytest.mark.usefixtures("table")
def test_a_savepoint_as_the_first_statement_is_rolled_back_with_the_rest(
    engine: sa.Engine,
) -> None:
    """With the standard library's driver the row would stay."""
    with engine.connect() as connection:
        with connection.begin_nested():
            connection.execute(thing.insert().values(name="ghost"))
        connection.rollback()
    assert names(engine) == []


@pytest.mark.usefixtures("table")
def test_errors_are_sqlalchemys(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(thing.insert().values(name="one"))
    with pytest.raises(exc.IntegrityError, match="UNIQUE"), engine.begin() as connection:
        connection.execute(thing.insert().values(name="one"))
    with pytest.raises(exc.IntegrityError, match="NOT NULL"), engine.begin() as connection:
        connection.execute(thing.insert().values(data=b""))
    with pytest.raises(exc.OperationalError, match="no such table"), engine.begin() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))
    with engine.begin() as connection:
        connection.execute(thing.insert().values(name="two"))
    assert names(engine) == ["one", "two"]


@pytest.mark.usefixtures("table")
def test_a_connection_given_back_in_the_middle_is_clean_for_the_next(engine: sa.Engine) -> None:
    connection = engine.connect()
    connection.execute(thing.insert().values(name="forgotten"))
    connection.close()
    with engine.begin() as connection:
        connection.execute(thing.insert().values(name="kept"))
    assert names(engine) == ["kept"]


@pytest.mark.usefixtures("table")
def test_many_threads_read_and_write_without_a_busy_error(engine: sa.Engine) -> None:
    """Reading first and then writing in one transaction is what fails elsewhere."""
    errors: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 20):
                with engine.begin() as connection:
                    connection.execute(sa.select(sa.func.count()).select_from(thing)).scalar()
                    connection.execute(thing.insert().values(name=str(number)))
        except Exception as error:  # noqa: BLE001 - a thread's error is the test's
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n * 20,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(names(engine)) == 120


@pytest.mark.usefixtures("table")
def test_the_same_statement_again_has_its_columns(engine: sa.Engine) -> None:
    statement = sa.text("SELECT * FROM thing")
    with engine.connect() as connection:
        before = connection.execute(statement).keys()
    assert list(before) == ["id", "name", "data", "at", "extra"]
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE thing ADD COLUMN late TEXT"))
        connection.execute(thing.insert().values(name="x"))
    with engine.connect() as connection:
        row = connection.execute(statement).mappings().one()
    assert list(row) == ["id", "name", "data", "at", "extra", "late"]


@pytest.mark.usefixtures("table")
def test_the_same_statement_on_another_file(engine: sa.Engine, tmp_path: Path) -> None:
    """Where the table has other columns."""
    statement = sa.text("SELECT * FROM thing")
    with engine.connect() as connection:
        connection.execute(statement)
    other = str(tmp_path / "other.db")
    second = sa.create_engine(
        "sqlite://", module=sqlite_dbapi, creator=lambda: sqlite_dbapi.connect(other)
    )
    with second.begin() as connection:
        connection.execute(sa.text("CREATE TABLE thing (only TEXT)"))
        connection.execute(sa.text("INSERT INTO thing VALUES ('x')"))
        assert connection.execute(statement).mappings().one() == {"only": "x"}
    second.dispose()
    sqlite.file_at(other).close()


@pytest.mark.usefixtures("table")
def test_inspection_and_dropping(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    assert inspector.get_table_names() == ["thing"]
    assert [column["name"] for column in inspector.get_columns("thing")][:2] == ["id", "name"]
    metadata.drop_all(engine)
    assert sa.inspect(engine).get_table_names() == []
