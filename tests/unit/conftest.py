"""What unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.fresh import fresh_database

if TYPE_CHECKING:
    from tests.unit.nimbus import Nimbus


@pytest.fixture
def nimbus(tmp_path: Path) -> Iterator[Nimbus]:
    """Calls without a gateway, on an empty database."""
    from tests.unit.nimbus import Nimbus  # with every operation: for the tests that use it alone

    made = Nimbus(fresh_database(tmp_path))
    yield made
    made.close()
