"""Tasks that bring disk images in from S3, or take them out: what is kept of them, and how they are told.

The document of a task has AWS's members, and in small letters what only the machinery needs.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from backends.db import Database
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.records import Record, RecordKind, record_kind

ACTIVE, COMPLETED, DELETING, DELETED = "active", "completed", "deleting", "deleted"
PENDING, UPDATING = "pending", "updating"
"""`StatusMessage` while a task waits, and while an export hands over what it made: then it cannot be cancelled."""

_IMPORT: dict[str, Any] = {
    "missing": "InvalidConversionTaskId",
    "malformed": "InvalidConversionTaskId.Malformed",
    "message": "The import task ID '{id}' does not exist",
}

IMPORT_IMAGE = record_kind(
    "import-image-task", prefix="import-ami-", id_member="ImportTaskId", ids="importtaskids", **_IMPORT
)
IMPORT_SNAPSHOT = record_kind(
    "import-snapshot-task", prefix="import-snap-", id_member="ImportTaskId", ids="importtaskids", **_IMPORT
)
EXPORT_IMAGE = record_kind(
    "export-image-task",
    prefix="export-ami-",
    id_member="ExportImageTaskId",
    ids="exportimagetaskids",
    missing="InvalidExportTaskID.NotFound",
    malformed="InvalidExportTaskID.Malformed",
    message="The export task ID '{id}' does not exist",
)
TASKS: tuple[RecordKind, ...] = (IMPORT_IMAGE, IMPORT_SNAPSHOT, EXPORT_IMAGE)

OPEN = Record.kind.in_([about.name for about in TASKS]) & Record.state.in_((ACTIVE, DELETING))
"""The tasks for which something is to be done."""

FILTERS: Filters = {"task-state": Record.state}


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    return {member: value for member, value in document.items() if member[0].isupper() and value is not None}


def render_import_image(ctx: Context, row: Record) -> dict[str, Any]:
    """An import of an image in AWS's form."""
    answer = _shown(row.document)
    answer["SnapshotDetails"] = [_shown(disk) for disk in row.document["disks"]]
    return answer | {"ImportTaskId": row.id, "Status": row.state, "Tags": ctx.tags(row.id)}


def render_import_snapshot(ctx: Context, row: Record) -> dict[str, Any]:
    """An import of a snapshot in AWS's form."""
    (disk,) = row.document["disks"]
    shared = ("Encrypted", "KmsKeyId", "Progress", "StatusMessage")
    detail = _shown(disk) | {member: row.document.get(member) for member in shared} | {"Status": row.state}
    return {
        "ImportTaskId": row.id,
        "Description": row.document["Description"],
        "SnapshotTaskDetail": {member: value for member, value in detail.items() if value is not None},
        "Tags": ctx.tags(row.id),
    }


def render_export_image(ctx: Context, row: Record) -> dict[str, Any]:
    """An export of an image in AWS's form."""
    return _shown(row.document) | {"ExportImageTaskId": row.id, "Status": row.state, "Tags": ctx.tags(row.id)}


@operation("ec2:DescribeImportImageTasks")
def describe_import_image_tasks(ctx: Context, p: Params) -> Result:
    """The caller's imports of images."""
    return page(ctx, p, IMPORT_IMAGE.name, FILTERS, render_import_image)


@operation("ec2:DescribeImportSnapshotTasks")
def describe_import_snapshot_tasks(ctx: Context, p: Params) -> Result:
    """The caller's imports of snapshots."""
    return page(ctx, p, IMPORT_SNAPSHOT.name, FILTERS, render_import_snapshot)


@operation("ec2:DescribeExportImageTasks")
def describe_export_image_tasks(ctx: Context, p: Params) -> Result:
    """The caller's exports of images."""
    return page(ctx, p, EXPORT_IMAGE.name, FILTERS, render_export_image)


def _import_kind(id: str) -> RecordKind:
    return IMPORT_SNAPSHOT if id.startswith("import-snap-") else IMPORT_IMAGE


def _import_target(ctx: Context, p: Params) -> list[str]:
    id = p.get("ImportTaskId") or "*"
    return [f"{_import_kind(id).name}/{id}"]


@operation("ec2:CancelImportTask", on=_import_target)
def cancel_import_task(ctx: Context, p: Params) -> Result:
    """Have an import stopped, and what it made so far dropped."""
    id = p.get("ImportTaskId") or ""
    row: Record = ctx.find(_import_kind(id).name, id)
    before = row.state
    _cancel(ctx, row, p.get("CancelReason"))
    return {"ImportTaskId": row.id, "PreviousState": before, "State": row.state}


@operation("ec2:CancelExportTask", on="export-image-task/{ExportTaskId}")
def cancel_export_task(ctx: Context, p: Params) -> Result:
    """Have an export stopped that does not hand over its file yet."""
    row: Record = ctx.find(EXPORT_IMAGE.name, p["ExportTaskId"])
    if row.state == ACTIVE and row.document.get("StatusMessage") == UPDATING:
        raise _over(row, "transferring its disk image")
    _cancel(ctx, row, None)
    return {}


def has_open(database: Database) -> bool:
    """Whether anything is to be done for any task."""
    with database.unit(None, write=False) as unit:
        return unit.session.scalar(select(Record.id).where(OPEN).limit(1)) is not None


def _cancel(ctx: Context, row: Record, reason: str | None) -> None:
    ctx.session.refresh(row, with_for_update=True)
    if row.state in (COMPLETED, DELETED):
        raise _over(row, row.state)
    row.state = DELETING
    row.document = row.document | {"StatusMessage": reason or "cancelled by the user"}
    ctx.unit.nudge("records")


def _over(row: Record, state: str) -> AWSError:
    return AWSError("IncorrectState", f"The task {row.id} is {state} and cannot be cancelled.")
