"""Which events are told of a replication as it goes on."""

from __future__ import annotations

import pytest

from compat.s3.replication import COMPLETED, FAILED, events_of
from compat.s3.replication_document import PENDING

MISSED, AFTER = "OperationMissedThreshold", "OperationReplicatedAfterThreshold"


@pytest.mark.parametrize(
    ("status", "late", "missed", "told"),
    [
        (COMPLETED, False, False, []),
        (PENDING, True, False, [MISSED]),
        (PENDING, True, True, []),
        (COMPLETED, True, True, [AFTER]),
        (COMPLETED, True, False, [MISSED, AFTER]),
        (FAILED, True, False, ["OperationFailedReplication"]),
    ],
)
def test_what_is_told(status: str, late: bool, missed: bool, told: list[str]) -> None:
    assert list(events_of(status, late=late, missed=missed)) == told
