"""Fresh databases for unit tests: the tables are made once, and the file is copied."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import event

from backends.db import Base, Database


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="nephele-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = Database(f"sqlite:///{folder}/empty.db")
    Base.metadata.create_all(database.engine)
    database.close()
    return folder / "empty.db"


def fresh_database(
    folder: Path, clock: Callable[[], datetime] | None = None, *, exclusive: bool = False, name: str = ""
) -> Database:
    """An empty database in `folder`, with every table that was imported when the first one was made. `name` is the
    file's, which is left as it is where it is there already."""
    path = folder / (name or "test.db")
    if not name or not path.exists():
        shutil.copy(_template(), path)
    database = Database(f"sqlite:///{path}", exclusive=exclusive, **({} if clock is None else {"clock": clock}))
    event.listen(database.engine, "connect", unsynced)
    return database


def unsynced(connection: Any, record: object) -> None:
    """Nobody pulls the plug of a unit test."""
    connection.execute("PRAGMA synchronous=OFF")
