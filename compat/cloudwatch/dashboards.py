"""Dashboards: kept as they are given; nothing here draws them."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from compat.cloudwatch.alarms import tags_of
from compat.errors import AWSError
from compat.operation import operation
from compat.records import Record

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")


class Dashboard(Record):
    """A dashboard: `document["body"]` is its text."""

    __mapper_args__ = {"polymorphic_identity": "dashboard"}


def _key(ctx: Context, name: str) -> str:
    """The id of a dashboard's row: one for a name, so that two calls cannot both make it."""
    return "dashboard-" + hashlib.sha256(f"{ctx.account}/{ctx.region}/{name}".encode()).hexdigest()[:40]


def _find(ctx: Context, name: str) -> Dashboard | None:
    return ctx.session.scalar(select(Dashboard).where(Dashboard.name == name))


def _invalid(message: str, path: str = "/") -> AWSError:
    return AWSError("InvalidParameterInput", f"The dashboard body is invalid: {path}: {message}")


def _missing(names: list[str]) -> AWSError:
    told = ", ".join(names)
    return AWSError("ResourceNotFound", f"Dashboard {told} does not exist", 404)


def _check(text: str) -> None:
    try:
        body: Any = json.loads(text)
    except ValueError:
        raise _invalid("it is no JSON") from None
    if not isinstance(body, dict) or not isinstance(body.get("widgets", []), list):
        raise _invalid("it must be an object with a list of widgets")
    for place, widget in enumerate(body.get("widgets", ())):
        if not isinstance(widget, dict) or not isinstance(widget.get("type"), str):
            raise _invalid("a widget must have a type", f"/widgets/{place}")


@operation("cloudwatch:PutDashboard", on="dashboard/{DashboardName}")
def put_dashboard(ctx: Context, p: Params) -> Result:
    """Keep a dashboard."""
    name, body = p["DashboardName"], p["DashboardBody"]
    if not _NAME.fullmatch(name):
        raise AWSError(
            "InvalidParameterValue",
            "The value for field DashboardName contains invalid characters. It can only contain alphanumerics, dash (-)"
            " and underscore (_).\n",
        )
    _check(body)
    row = _find(ctx, name)
    if row is None:
        tags = tags_of(p.get("Tags"))
        document = {"body": body, "tags": tags, "modified": ctx.now.isoformat()}
        row = Dashboard(id=_key(ctx, name), name=name, state="available", document=document, created=ctx.now)
        ctx.session.add(row)
    row.document = {**row.document, "body": body, "modified": ctx.now.isoformat()}
    return {"DashboardValidationMessages": []}


@operation("cloudwatch:GetDashboard", on="dashboard/{DashboardName}")
def get_dashboard(ctx: Context, p: Params) -> Result:
    """A dashboard's text."""
    row = _find(ctx, p["DashboardName"])
    if row is None:
        raise _missing([p["DashboardName"]])
    arn = ctx.arn("cloudwatch", f"dashboard/{row.name}", region="")
    return {"DashboardName": row.name, "DashboardArn": arn, "DashboardBody": row.document["body"]}


@operation("cloudwatch:ListDashboards", on="*")
def list_dashboards(ctx: Context, p: Params) -> Result:
    """The account's dashboards, by name."""
    query = select(Dashboard).order_by(Dashboard.name)
    if p.get("DashboardNamePrefix"):
        query = query.where(Dashboard.name.startswith(p["DashboardNamePrefix"], autoescape=True))
    return {
        "DashboardEntries": [
            {
                "DashboardName": row.name,
                "DashboardArn": ctx.arn("cloudwatch", f"dashboard/{row.name}", region=""),
                "LastModified": datetime.fromisoformat(row.document["modified"]),
                "Size": len(row.document["body"].encode()),
            }
            for row in ctx.session.scalars(query)
        ]
    }


@operation("cloudwatch:DeleteDashboards", on="dashboard/{DashboardNames}")
def delete_dashboards(ctx: Context, p: Params) -> Result:
    """Remove dashboards: all of them, or none where one is not there."""
    rows = [(name, _find(ctx, name)) for name in p["DashboardNames"]]
    missing = [name for name, row in rows if row is None]
    if missing:
        raise _missing(missing)
    for _, row in rows:
        ctx.session.delete(row)
    return {}
