"""Snapshots block by block: read, compared and written without a volume or an instance."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import Any

from backends.errors import WrongState
from backends.volume.drivers.base import GIB, DiskDriver
from backends.volume.models import Snapshot, SnapshotState
from compat import audit
from compat.context import Context
from compat.ec2.disk_keys import encryption
from compat.ec2.snapshots import snapshot_arn
from compat.errors import AWSError
from compat.kinds import KINDS
from compat.operation import Params, Raises, Result, operation
from compat.tags import put_tags

BLOCK = 512 * 1024
GOOD_FOR = timedelta(days=7)
"""How long block tokens may be used."""


def _driver(ctx: Context) -> DiskDriver:
    driver: DiskDriver = ctx.cloud.hosts["volumes"].driver
    return driver


def _invalid(reason: str, message: str) -> AWSError:
    return AWSError("ValidationException", message, 400, Reason=reason)


def _find(ctx: Context, id: str, *, complete: bool) -> Snapshot:
    """A snapshot, read in a unit of its own; only complete ones can be read, only pending ones written."""
    with ctx.transaction(write=False):
        try:
            row: Snapshot = ctx.find("snapshot", id)
        except AWSError as error:
            message = f"The snapshot '{id}' does not exist."
            raise AWSError("ResourceNotFoundException", message, 404, Reason="SNAPSHOT_NOT_FOUND") from error
    if complete and row.state != SnapshotState.COMPLETED:
        raise _invalid("INVALID_SNAPSHOT_STATE", f"The snapshot '{id}' is not complete.")
    if not complete and (
        row.state != SnapshotState.PENDING or row.tenant != ctx.account or not row.notes.get("direct")
    ):
        raise _invalid(
            "INVALID_SNAPSHOT_STATE", f"The snapshot '{id}' was not started by StartSnapshot, or is complete."
        )
    return row


def _token(snapshot: str, index: int) -> str:
    return base64.b64encode(hashlib.sha256(f"{snapshot}/{index}".encode()).digest()).decode()


def _indexes(driver: DiskDriver, snapshot: str) -> list[int]:
    """The blocks that hold data."""
    found: set[int] = set()
    for start, end in driver.extents(snapshot):
        found.update(range(start // BLOCK, (end - 1) // BLOCK + 1))
    return sorted(found)


def _page(p: Params, indexes: list[int]) -> tuple[list[int], str | None]:
    try:
        start = int(p["NextToken"]) if p.get("NextToken") else p.get("StartingBlockIndex") or 0
    except ValueError as error:
        raise _invalid("INVALID_PAGE_TOKEN", "The page token is not valid.") from error
    rest = [index for index in indexes if index >= start]
    limit = p.get("MaxResults") or 10000
    return rest[:limit], str(rest[limit]) if len(rest) > limit else None


def _about(ctx: Context, row: Snapshot, token: str | None) -> Result:
    answer: Result = {"ExpiryTime": ctx.now + GOOD_FOR, "VolumeSize": row.size, "BlockSize": BLOCK}
    return answer if token is None else answer | {"NextToken": token}


@operation("ebs:ListSnapshotBlocks", on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])], streams=True, slow=True)
def list_snapshot_blocks(ctx: Context, p: Params) -> Result:
    """The blocks of a snapshot that hold data, with the tokens to read them."""
    row = _find(ctx, p["SnapshotId"], complete=True)
    indexes, token = _page(p, _indexes(_driver(ctx), row.id))
    blocks = [{"BlockIndex": index, "BlockToken": _token(row.id, index)} for index in indexes]
    return _about(ctx, row, token) | {"Blocks": blocks}


@operation(
    "ebs:ListChangedBlocks",
    on=lambda ctx, p: [snapshot_arn(ctx, p["SecondSnapshotId"])],
    streams=True,
    slow=True,
)
def list_changed_blocks(ctx: Context, p: Params) -> Result:
    """The blocks in which two snapshots differ; without a first one, those that hold data."""
    driver, second = _driver(ctx), _find(ctx, p["SecondSnapshotId"], complete=True)
    here = set(_indexes(driver, second.id))
    first = _find(ctx, p["FirstSnapshotId"], complete=True) if p.get("FirstSnapshotId") else None
    there = set(_indexes(driver, first.id)) if first is not None else set()

    def differs(index: int) -> bool:
        if first is None:
            return True
        place = index * BLOCK
        return driver.read(first.id, place, BLOCK) != driver.read(second.id, place, BLOCK)

    indexes, token = _page(p, [index for index in sorted(here | there) if differs(index)])
    changed: list[dict[str, Any]] = []
    for index in indexes:
        block: dict[str, Any] = {"BlockIndex": index}
        if first is not None and index in there:
            block["FirstBlockToken"] = _token(first.id, index)
        if index in here:
            block["SecondBlockToken"] = _token(second.id, index)
        changed.append(block)
    return _about(ctx, second, token) | {"ChangedBlocks": changed}


@operation("ebs:GetSnapshotBlock", on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])], streams=True, slow=True)
def get_snapshot_block(ctx: Context, p: Params) -> Result:
    """The bytes of a block, with their checksum."""
    row, index = _find(ctx, p["SnapshotId"], complete=True), p["BlockIndex"]
    if p["BlockToken"] != _token(row.id, index):
        raise _invalid("INVALID_BLOCK_TOKEN", "The block token is not valid.")
    data = _driver(ctx).read(row.id, index * BLOCK, BLOCK)
    return {"DataLength": BLOCK, "BlockData": data, "Checksum": _checksum(data), "ChecksumAlgorithm": "SHA256"}


def _checksum(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


@operation("ebs:StartSnapshot", on=lambda ctx, p: [snapshot_arn(ctx, "*")], streams=True, slow=True)
def start_snapshot(ctx: Context, p: Params) -> Result:
    """Begin a snapshot whose blocks the caller writes, on top of another one if the call says so."""
    parent = _find(ctx, p["ParentSnapshotId"], complete=True) if p.get("ParentSnapshotId") else None
    if parent is not None and p["VolumeSize"] < parent.size:
        raise _invalid("INVALID_VOLUME_SIZE", "The volume size is smaller than that of the parent snapshot.")
    id = KINDS["snapshot"].mints()
    _driver(ctx).begin_upload(id, p["VolumeSize"] * GIB, parent.id if parent is not None else None)
    with ctx.transaction(write=True):
        inherited = parent is not None and parent.encrypted
        encrypted, key, fault = encryption(ctx, p.get("Encrypted"), p.get("KmsKeyArn"), inherited)
        if fault:
            raise _invalid("INVALID_CUSTOMER_KEY", fault)
        row = ctx.volumes.begin_snapshot(
            id=id,
            size=p["VolumeSize"],
            description=p.get("Description") or "",
            encrypted=encrypted,
            key=key,
            notes={"direct": True},
        )
        put_tags(ctx, "snapshot", id, p.get("Tags") or ())
        audit.record(ctx)
    answer: Result = {
        "SnapshotId": id,
        "Description": row.description,
        "OwnerId": ctx.account,
        "Status": row.state,
        "StartTime": row.started,
        "VolumeSize": row.size,
        "BlockSize": BLOCK,
        "Tags": list(p.get("Tags") or ()),
        "SseType": "sse-kms" if encrypted else "sse-ebs",
    }
    if parent is not None:
        answer["ParentSnapshotId"] = parent.id
    return answer if key is None else answer | {"KmsKeyArn": key}


@operation("ebs:PutSnapshotBlock", on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])], streams=True, slow=True)
def put_snapshot_block(ctx: Context, p: Params) -> Result:
    """Write a block of a snapshot that was started."""
    row, index = _find(ctx, p["SnapshotId"], complete=False), p["BlockIndex"]
    assert ctx.body is not None, "the operation streams its body in"
    data = b"".join(ctx.body.blocks())
    if len(data) != BLOCK or p["DataLength"] != BLOCK:
        raise _invalid("INVALID_PARAMETER_VALUE", f"A block has {BLOCK} bytes.")
    if not 0 <= index < row.size * GIB // BLOCK:
        raise _invalid("INVALID_PARAMETER_VALUE", f"The block index {index} lies outside the snapshot.")
    if _checksum(data) != p["Checksum"]:
        raise _invalid("INVALID_PARAMETER_VALUE", "The checksum does not match the data.")
    _driver(ctx).upload(row.id, index * BLOCK, data)
    return {"Checksum": p["Checksum"], "ChecksumAlgorithm": "SHA256"}


NOT_STARTED: Raises = {
    WrongState: lambda fact: _invalid("INVALID_SNAPSHOT_STATE", f"The snapshot '{fact.snapshot}' is {fact.state}.")
}


@operation(
    "ebs:CompleteSnapshot",
    on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])],
    streams=True,
    slow=True,
    raises=NOT_STARTED,
)
def complete_snapshot(ctx: Context, p: Params) -> Result:
    """Say that every block was written: from now on it is a snapshot as any other."""
    row = _find(ctx, p["SnapshotId"], complete=False)
    stored = _driver(ctx).finish_upload(row.id)
    with ctx.transaction(write=True):
        ctx.volumes.finish_snapshot(ctx.find("snapshot", row.id), stored)
        audit.record(ctx)
    return {"Status": "completed"}
