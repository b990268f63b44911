"""The tests' own PostgreSQL: what `database_url` hands out is an empty database that works."""

from __future__ import annotations

import sqlalchemy


def test_a_database_is_new_empty_and_writable(database_url: str) -> None:
    engine = sqlalchemy.create_engine(database_url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE word (word TEXT)"))
        connection.execute(sqlalchemy.text("INSERT INTO word VALUES ('cloud')"))
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT word FROM word")) == "cloud"
    engine.dispose()
