"""Tags of alarms and dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from compat.cloudwatch.alarm_rows import find
from compat.cloudwatch.alarms import tags_of
from compat.cloudwatch.dashboards import Dashboard
from compat.errors import AWSError
from compat.operation import operation

if TYPE_CHECKING:
    from compat.cloudwatch.alarm_rows import Alarm
    from compat.context import Context
    from compat.operation import Params, Result


def _row(ctx: Context, arn: str) -> Alarm | Dashboard:
    for row in (
        find(ctx.session, arn.partition(":alarm:")[2]),
        ctx.session.scalar(select(Dashboard).where(Dashboard.name == arn.partition(":dashboard/")[2])),
    ):
        if row is not None and arn == row_arn(ctx, row):
            return row
    raise AWSError("ResourceNotFoundException", f"The resource {arn} does not exist.", 404)


def row_arn(ctx: Context, row: Alarm | Dashboard) -> str:
    """The ARN of an alarm or a dashboard."""
    if isinstance(row, Dashboard):
        return ctx.arn("cloudwatch", f"dashboard/{row.name}", region="")
    return ctx.arn("cloudwatch", f"alarm:{row.name}")


@operation("cloudwatch:TagResource", on="{ResourceARN}")
def tag_resource(ctx: Context, p: Params) -> Result:
    """Set tags."""
    row = _row(ctx, p["ResourceARN"])
    held = [{"Key": name, "Value": value} for name, value in row.document["tags"].items()]
    row.document = {**row.document, "tags": tags_of([*held, *p["Tags"]])}
    return {}


@operation("cloudwatch:UntagResource", on="{ResourceARN}")
def untag_resource(ctx: Context, p: Params) -> Result:
    """Remove tags; keys that are not there are no error."""
    row = _row(ctx, p["ResourceARN"])
    kept = {name: value for name, value in row.document["tags"].items() if name not in p["TagKeys"]}
    row.document = {**row.document, "tags": kept}
    return {}


@operation("cloudwatch:ListTagsForResource", on="{ResourceARN}")
def list_tags_for_resource(ctx: Context, p: Params) -> Result:
    """The tags of a resource."""
    tags = _row(ctx, p["ResourceARN"]).document["tags"]
    return {"Tags": [{"Key": name, "Value": value} for name, value in tags.items()]}
