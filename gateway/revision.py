"""`python -m gateway.revision "what changed"`: draft the migration from the newest revision to the models of today."""

from __future__ import annotations

import sys

from sqlalchemy import create_engine

from backends import schema
from compat.operation import load


def main(message: str) -> None:
    """Migrate an empty database in memory, compare it with all models, and write down the difference."""
    load()
    schema.load_models()
    with create_engine("sqlite://").begin() as connection:
        if schema.revisions():
            schema.upgrade(connection)
        schema.revise(connection, message)


if __name__ == "__main__":
    main(sys.argv[1])
