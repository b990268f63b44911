"""Blocks of snapshots through the EBS direct API: the bytes are real, from upload to the volume's snapshot and back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any
BLOCK = 512 * 1024


@pytest.fixture
def ebs(client: Callable[..., Client]) -> Client:
    return client("ebs")


def put(ebs: Client, snapshot: str, index: int, data: bytes, *, checksum: str | None = None) -> None:
    digest = checksum or base64.b64encode(hashlib.sha256(data).digest()).decode()
    ebs.put_snapshot_block(
        SnapshotId=snapshot,
        BlockIndex=index,
        BlockData=data,
        DataLength=len(data),
        Checksum=digest,
        ChecksumAlgorithm="SHA256",
    )


def upload(ebs: Client, blocks: dict[int, bytes], **options: Any) -> str:
    id: str = ebs.start_snapshot(VolumeSize=1, **options)["SnapshotId"]
    for index, data in blocks.items():
        put(ebs, id, index, data)
    assert ebs.complete_snapshot(SnapshotId=id, ChangedBlocksCount=len(blocks))["Status"] == "completed"
    return id


def content(ebs: Client, snapshot: str) -> dict[int, bytes]:
    found = {}
    for block in ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]:
        answer = ebs.get_snapshot_block(
            SnapshotId=snapshot, BlockIndex=block["BlockIndex"], BlockToken=block["BlockToken"]
        )
        data = answer["BlockData"].read()
        assert answer["Checksum"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
        found[block["BlockIndex"]] = data
    return found


def test_bytes_survive_volume_and_snapshot(ebs: Client, ec2: Client) -> None:
    blocks = {0: b"a" * BLOCK, 7: bytes(range(256)) * 2048, 2047: b"z" * BLOCK}
    first = upload(ebs, blocks, Description="brought", Tags=[{"Key": "a", "Value": "b"}])
    (shown,) = ec2.describe_snapshots(SnapshotIds=[first])["Snapshots"]
    assert (shown["State"], shown["Description"], shown["VolumeSize"]) == ("completed", "brought", 1)
    assert shown["Tags"] == [{"Key": "a", "Value": "b"}]
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=first)["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[volume])
    ec2.modify_volume(VolumeId=volume, Size=2)
    second = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[second])
    third = ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=second)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[third])
    ec2.delete_snapshot(SnapshotId=second)
    assert content(ebs, third) == blocks
    assert ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=third)["ChangedBlocks"] == []


def test_changes_on_top_of_a_parent(ebs: Client) -> None:
    parent = upload(ebs, {1: b"1" * BLOCK, 2: b"2" * BLOCK})
    child = upload(ebs, {2: b"x" * BLOCK, 3: b"3" * BLOCK}, ParentSnapshotId=parent)
    assert content(ebs, child) == {1: b"1" * BLOCK, 2: b"x" * BLOCK, 3: b"3" * BLOCK}
    assert content(ebs, parent) == {1: b"1" * BLOCK, 2: b"2" * BLOCK}
    changed = ebs.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=child)["ChangedBlocks"]
    assert [(one["BlockIndex"], "FirstBlockToken" in one) for one in changed] == [(2, True), (3, False)]
    page = ebs.list_snapshot_blocks(SnapshotId=child, MaxResults=100)
    assert "NextToken" not in page and (page["VolumeSize"], page["BlockSize"]) == (1, BLOCK)
    (last,) = ebs.list_snapshot_blocks(SnapshotId=child, StartingBlockIndex=3)["Blocks"]
    assert last["BlockIndex"] == 3


def test_refusals(ebs: Client, ec2: Client) -> None:
    with refused("ResourceNotFoundException"):
        ebs.list_snapshot_blocks(SnapshotId="snap-0123456789abcdef0")
    id = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    with refused("ValidationException", "not complete"):
        ebs.list_snapshot_blocks(SnapshotId=id)
    with refused("ValidationException", "checksum"):
        put(ebs, id, 0, b"a" * BLOCK, checksum=base64.b64encode(hashlib.sha256(b"b").digest()).decode())
    with refused("ValidationException", "bytes"):
        put(ebs, id, 0, b"short")
    with refused("ValidationException", "outside"):
        put(ebs, id, 2048, b"a" * BLOCK)
    with refused("IncorrectState"):
        ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=id)
    done = upload(ebs, {0: b"a" * BLOCK})
    with refused("ValidationException"):
        put(ebs, done, 1, b"a" * BLOCK)
    with refused("ValidationException", "token"):
        ebs.get_snapshot_block(SnapshotId=done, BlockIndex=0, BlockToken="bm90IGEgdG9rZW4=")
