"""Locks of snapshots, and fast restores."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any


@pytest.fixture
def ec2(client: Callable[..., Client]) -> Client:
    return client("ec2")


@pytest.fixture
def snapshot(ec2: Client) -> str:
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[volume])
    id: str = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[id])
    return id


def test_a_governance_lock(ec2: Client, snapshot: str) -> None:
    lock = ec2.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=3)
    assert (lock["LockState"], lock["LockDuration"]) == ("governance", 3)
    assert lock["LockExpiresOn"] - lock["LockDurationStartTime"] == timedelta(days=3)
    with refused("SnapshotLocked", snapshot):
        ec2.delete_snapshot(SnapshotId=snapshot)
    shorter = ec2.lock_snapshot(SnapshotId=snapshot, LockMode="governance", LockDuration=1)
    assert shorter["LockCreatedOn"] == lock["LockCreatedOn"]
    (one,) = ec2.describe_locked_snapshots(Filters=[{"Name": "lock-state", "Values": ["governance"]}])["Snapshots"]
    assert (one["SnapshotId"], one["LockDuration"]) == (snapshot, 1)
    assert ec2.unlock_snapshot(SnapshotId=snapshot)["SnapshotId"] == snapshot
    assert ec2.describe_locked_snapshots()["Snapshots"] == []
    with refused("IncorrectState"):
        ec2.unlock_snapshot(SnapshotId=snapshot)
    ec2.delete_snapshot(SnapshotId=snapshot)


def test_a_compliance_lock_is_firm_once_it_has_cooled_off(ec2: Client, snapshot: str) -> None:
    lock = ec2.lock_snapshot(SnapshotId=snapshot, LockMode="compliance", LockDuration=2, CoolOffPeriod=1)
    assert (lock["LockState"], lock["CoolOffPeriod"]) == ("compliance-cooloff", 1)
    ec2.unlock_snapshot(SnapshotId=snapshot)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=10)
    lock = ec2.lock_snapshot(SnapshotId=snapshot, LockMode="compliance", ExpirationDate=until)
    assert (lock["LockState"], lock["LockExpiresOn"]) == ("compliance", until)
    for more in ({"LockMode": "governance", "LockDuration": 20}, {"LockMode": "compliance", "LockDuration": 1}):
        with refused("SnapshotLocked"):
            ec2.lock_snapshot(SnapshotId=snapshot, **more)
    with refused("SnapshotLocked"):
        ec2.unlock_snapshot(SnapshotId=snapshot)
    longer = ec2.lock_snapshot(SnapshotId=snapshot, LockMode="compliance", LockDuration=20)
    assert longer["LockDuration"] == 20
    with refused("SnapshotLocked"):
        ec2.delete_snapshot(SnapshotId=snapshot)


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("InvalidParameterCombination", {"LockMode": "governance"}),
        ("InvalidParameterCombination", {"LockMode": "governance", "LockDuration": 1, "CoolOffPeriod": 1}),
        ("InvalidParameterValue", {"LockMode": "compliance", "LockDuration": 1, "CoolOffPeriod": 73}),
    ],
)
def test_locks_that_cannot_be(ec2: Client, snapshot: str, code: str, more: dict[str, Any]) -> None:
    with refused(code):
        ec2.lock_snapshot(SnapshotId=snapshot, **more)


def test_fast_restores(ec2: Client, snapshot: str) -> None:
    zones = ["us-east-1a", "us-east-1b"]
    made = ec2.enable_fast_snapshot_restores(AvailabilityZones=zones, SourceSnapshotIds=[snapshot])
    assert [(one["AvailabilityZone"], one["State"]) for one in made["Successful"]] == [(z, "enabling") for z in zones]
    named = [{"Name": "availability-zone", "Values": zones[:1]}, {"Name": "snapshot-id", "Values": [snapshot]}]
    assert len(ec2.describe_fast_snapshot_restores(Filters=named)["FastSnapshotRestores"]) == 1
    gone = ec2.disable_fast_snapshot_restores(AvailabilityZones=zones[:1], SourceSnapshotIds=[snapshot])
    assert [one["State"] for one in gone["Successful"]] == ["disabling"]
    again = ec2.disable_fast_snapshot_restores(AvailabilityZones=zones[:1], SourceSnapshotIds=[snapshot])
    assert again["Successful"] == []
    (failed,) = again["Unsuccessful"]
    assert failed["FastSnapshotRestoreStateErrors"][0]["Error"]["Code"] == "InvalidFastSnapshotRestoreState"
    every = [f"us-east-1{letter}" for letter in "abcdef"]
    answer = ec2.enable_fast_snapshot_restores(AvailabilityZones=every, SourceSnapshotIds=[snapshot])
    assert (len(answer["Successful"]), len(answer["Unsuccessful"])) == (5, 1)
    ec2.delete_snapshot(SnapshotId=snapshot)
    assert ec2.describe_fast_snapshot_restores()["FastSnapshotRestores"] == []
