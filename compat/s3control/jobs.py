"""Batch jobs, kept as records: what was asked for, its priority and its state. None is ever run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import select

from compat.errors import AWSError
from compat.iam.keys import Keys, text
from compat.iam.policy.request import ContextValue
from compat.iam.s3_keys import EXACT
from compat.operation import Params, Result, operation
from compat.records import Record, record_kind
from compat.s3 import faults
from compat.s3.documents import plain, rich
from compat.s3.properties import check_tags
from compat.s3control.public_access import account_of, limit_of

if TYPE_CHECKING:
    from compat.context import Context

JOB = record_kind(
    "s3-job",
    prefix="",
    missing="NoSuchJob",
    malformed=None,
    id_member="JobId",
    arn="job/{id}",
    mints=lambda: str(uuid4()),
)
ON = "job/{JobId}"
FORMATS = ("S3BatchOperations_CSV_20180820", "S3InventoryReport_CSV_20161130")
_ROLE = re.compile(r"arn:[a-z-]+:iam::[0-9]{12}:role/.+")
OVER = ("Cancelled", "Complete", "Failed")
KEPT = (
    "ConfirmationRequired",
    "Description",
    "Manifest",
    "ManifestGenerator",
    "Operation",
    "Priority",
    "Report",
    "RoleArn",
)


def _job(ctx: Context, p: Params) -> Record:
    account_of(ctx, p)
    row = ctx.session.scalar(select(JOB.row).where(JOB.row.id == p["JobId"]))
    if row is None:
        raise AWSError("NoSuchJob", "The specified job does not exist.", 404, JobId=p["JobId"])
    return row


def _check_priority(priority: int) -> int:
    if not 0 <= priority <= 2147483647:
        raise faults.invalid_request("Priority must be between 0 and 2147483647.")
    return priority


def _check_manifest(manifest: dict[str, Any] | None) -> None:
    if manifest is None:
        return
    spec, location = manifest.get("Spec") or {}, manifest.get("Location") or {}
    if spec.get("Format") not in FORMATS:
        raise faults.invalid_request(f"The format of the manifest must be one of {', '.join(FORMATS)}.")
    fields = spec.get("Fields") or []
    if spec["Format"] == FORMATS[0] and not {"Bucket", "Key"} <= set(fields):
        raise faults.invalid_request("The fields of a CSV manifest must include Bucket and Key.")
    if set(fields) - {"Ignore", "Bucket", "Key", "VersionId"}:
        raise faults.invalid_request("A field of the manifest is not valid.")
    if not location.get("ObjectArn", "").startswith("arn:") or not location.get("ETag"):
        raise faults.invalid_request("The location of the manifest must have the ARN of an object and its ETag.")


def _check_report(report: dict[str, Any]) -> None:
    if report.get("Enabled") and (
        report.get("Format") != "Report_CSV_20180820"
        or report.get("ReportScope") not in ("AllTasks", "FailedTasksOnly")
        or not (report.get("Bucket") or "").startswith("arn:")
    ):
        raise faults.invalid_request("A report that is enabled needs a bucket, a format and a scope.")


@operation("s3control:CreateJob", on="job/*")
def create_job(ctx: Context, p: Params) -> Result:
    account_of(ctx, p)
    if len([one for one in p["Operation"].values() if one is not None]) != 1:
        raise faults.invalid_request("A job has exactly one operation.")
    if (p.get("Manifest") is None) == (p.get("ManifestGenerator") is None):
        raise faults.invalid_request("A job has a manifest or a manifest generator.")
    _check_priority(p["Priority"])
    _check_manifest(p.get("Manifest"))
    _check_report(p["Report"])
    if not _ROLE.fullmatch(p["RoleArn"]):
        raise faults.invalid_request("The role ARN of the job is not valid.")
    tags = p.get("Tags") or []
    check_tags(tags, 50)
    document = {name: plain(p[name]) for name in KEPT if p.get(name) is not None}
    # A job waits for its confirmation, or else for what would run it.
    row = JOB.add(ctx, {**document, "Tags": tags}, state="Suspended" if p.get("ConfirmationRequired") else "Ready")
    return {"JobId": row.id}


@operation("s3control:DescribeJob", on=ON)
def describe_job(ctx: Context, p: Params) -> Result:
    row = _job(ctx, p)
    book: dict[str, Any] = rich({name: value for name, value in row.document.items() if name != "Tags"})
    about = {
        "ConfirmationRequired": False,
        **book,
        "JobId": row.id,
        "JobArn": ctx.arn("s3", f"job/{row.id}"),
        "Status": row.state,
        "CreationTime": row.created,
        "FailureReasons": [],
        "ProgressSummary": _progress(),
    }
    if row.state == "Suspended":
        about |= {"SuspendedDate": row.created, "SuspendedCause": "AwaitingConfirmation"}
    return {"Job": about}


def _progress() -> dict[str, Any]:
    return {"TotalNumberOfTasks": 0, "NumberOfTasksSucceeded": 0, "NumberOfTasksFailed": 0}


@operation("s3control:ListJobs")
def list_jobs(ctx: Context, p: Params) -> Result:
    account_of(ctx, p)
    limit, states = limit_of(p), p.get("JobStatuses")
    query = select(JOB.row).where(JOB.row.id > (p.get("NextToken") or ""))
    if states:
        query = query.where(JOB.row.state.in_(states))
    found = ctx.session.scalars(query.order_by(JOB.row.id).limit(limit + 1)).all()
    listed = []
    for row in found[:limit]:
        one = {
            "JobId": row.id,
            "Operation": next(iter(row.document["Operation"])),
            "Priority": row.document["Priority"],
            "Status": row.state,
            "CreationTime": row.created,
            "ProgressSummary": _progress(),
        }
        if row.document.get("Description"):
            one["Description"] = row.document["Description"]
        listed.append(one)
    result: Result = {"Jobs": listed}
    if len(found) > limit:
        result["NextToken"] = found[limit - 1].id
    return result


@operation("s3control:UpdateJobPriority", on=ON)
def update_job_priority(ctx: Context, p: Params) -> Result:
    row = _job(ctx, p)
    _check_open(row)
    row.document = {**row.document, "Priority": _check_priority(p["Priority"])}
    return {"JobId": row.id, "Priority": p["Priority"]}


@operation("s3control:UpdateJobStatus", on=ON)
def update_job_status(ctx: Context, p: Params) -> Result:
    row, wanted = _job(ctx, p), p["RequestedJobStatus"]
    _check_open(row)
    if wanted not in ("Cancelled", "Ready"):
        raise faults.invalid_request("The requested job status is not valid.")
    if wanted == "Ready" and row.state != "Suspended":
        raise _wrong_state(row)
    row.state = wanted
    result: Result = {"JobId": row.id, "Status": wanted}
    if p.get("StatusUpdateReason"):
        result["StatusUpdateReason"] = p["StatusUpdateReason"]
    return result


def _check_open(row: Record) -> None:
    if row.state in OVER:
        raise _wrong_state(row)


def _wrong_state(row: Record) -> AWSError:
    return AWSError("JobStatusException", f"The job is {row.state}.", 400)


@operation("s3control:GetJobTagging", on=ON)
def get_job_tagging(ctx: Context, p: Params) -> Result:
    return {"Tags": _job(ctx, p).document.get("Tags") or []}


@operation("s3control:PutJobTagging", on=ON)
def put_job_tagging(ctx: Context, p: Params) -> None:
    row = _job(ctx, p)
    check_tags(p["Tags"], 50)
    row.document = {**row.document, "Tags": p["Tags"]}


@operation("s3control:DeleteJobTagging", on=ON)
def delete_job_tagging(ctx: Context, p: Params) -> None:
    row = _job(ctx, p)
    row.document = {**row.document, "Tags": []}


# --- condition keys ---------------------------------------------------------------------------------------------------


def _existing(keys: Keys) -> Record | None:
    ctx = keys.ctx
    return ctx.session.scalar(select(JOB.row).where(JOB.row.id == keys.p.get("JobId")))


def _operation_of(document: Any) -> ContextValue:
    return next((name for name, one in (document or {}).items() if one is not None), None)


def _existing_operation(keys: Keys) -> ContextValue:
    row = _existing(keys)
    return None if row is None else _operation_of(row.document["Operation"])


def _existing_priority(keys: Keys) -> ContextValue:
    row = _existing(keys)
    return None if row is None else str(row.document["Priority"])


def _suspended_cause(keys: Keys) -> ContextValue:
    row = _existing(keys)
    return "AWAITING_CONFIRMATION" if row is not None and row.state == "Suspended" else None


EXACT |= {
    "requestjoboperation": lambda keys: _operation_of(keys.p.get("Operation")),
    "requestjobpriority": lambda keys: text(keys.p.get("Priority")),
    "existingjoboperation": _existing_operation,
    "existingjobpriority": _existing_priority,
    "jobsuspendedcause": _suspended_cause,
}
