"""Reachability analyses: whether a packet would pass, answered from the same plans that real packets are handled by."""

from __future__ import annotations

import ipaddress
from typing import Any

from sqlalchemy import select

from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind_of
from compat.operation import Params, Result, operation
from compat.records import Document, Record, member, record_kind
from compat.vpc.reachability import Analysis

PATH = record_kind(
    "network-insights-path",
    prefix="nip-",
    missing="InvalidNetworkInsightsPathId.NotFound",
    malformed="InvalidNetworkInsightsPathId.Malformed",
    id_member="NetworkInsightsPathId",
    quota=100,
    ids="NetworkInsightsPathIds",
)
ANALYSIS = record_kind(
    "network-insights-analysis",
    prefix="nia-",
    missing="InvalidNetworkInsightsAnalysisId.NotFound",
    malformed="InvalidNetworkInsightsAnalysisId.Malformed",
    id_member="NetworkInsightsAnalysisId",
    quota=1000,
    ids="NetworkInsightsAnalysisIds",
)


# --- paths ------------------------------------------------------------------------------------------------------------


def render_path(ctx: Context, row: Record) -> Document:
    """A path."""
    return {
        **row.document,
        "NetworkInsightsPathId": row.id,
        "NetworkInsightsPathArn": ctx.arn("ec2", f"network-insights-path/{row.id}"),
        "CreatedDate": row.created,
        "Tags": ctx.tags(row.id),
    }


@operation("ec2:CreateNetworkInsightsPath", on="network-insights-path/*")
def create_network_insights_path(ctx: Context, p: Params) -> Result:
    """Keep a path to be analysed."""
    document: Document = {
        name: p[name]
        for name in (
            "SourceIp",
            "DestinationIp",
            "Protocol",
            "DestinationPort",
            "FilterAtSource",
            "FilterAtDestination",
        )
        if p.get(name) is not None
    }
    for member_name in ("SourceIp", "DestinationIp"):
        if member_name in document:
            _check_address(member_name, document[member_name])
    for member_name in ("Source", "Destination"):
        named = p.get(member_name)
        if named:
            id, arn = _resource(ctx, named)
            document |= {member_name: id, f"{member_name}Arn": arn}
    at_destination = p.get("FilterAtDestination") or {}
    at_source = p.get("FilterAtSource") or {}
    if not any(
        (
            document.get("Destination"),
            document.get("DestinationIp"),
            at_destination.get("DestinationAddress"),
            at_source.get("DestinationAddress"),
        )
    ):
        raise AWSError("MissingParameter", "The request must contain the parameter Destination or DestinationIp")
    if (p.get("DestinationIp") or p.get("SourceIp") or p.get("DestinationPort") is not None) and (
        at_source or at_destination
    ):
        raise AWSError(
            "InvalidParameterCombination", "Filters cannot be used together with SourceIp, DestinationIp or port."
        )
    row = PATH.add(ctx, document)
    ctx.session.flush()
    return {"NetworkInsightsPath": render_path(ctx, row)}


def _check_address(name: str, text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError as error:
        raise AWSError("InvalidParameterValue", f"Value ({text}) for parameter {name} is invalid.") from error


def _resource(ctx: Context, named: str) -> tuple[str, str]:
    """The id and the ARN of a resource that a path may begin or end at, however it was named."""
    id = named.rpartition("/")[2] if named.startswith("arn:") else named
    kind = kind_of(id)
    if kind is None or kind.name not in ("instance", "network-interface", "internet-gateway"):
        raise AWSError(
            "InvalidParameterValue",
            f"Value ({named}) is invalid: instances, network interfaces and internet gateways can be analysed.",
        )
    ctx.find(kind.name, id)
    return id, ctx.arn("ec2", f"{kind.name}/{id}")


def _filter(prefix: str, member_name: str) -> Filters:
    def inside(name: str) -> Any:
        return lambda ctx, row: (row.document.get(member_name) or {}).get(name)

    def ports(name: str) -> Any:
        def spell(ctx: Context, row: Any) -> str | None:
            found = (row.document.get(member_name) or {}).get(name)
            return None if found is None else f"{found.get('FromPort')}-{found.get('ToPort')}"

        return spell

    return {
        f"{prefix}.source-address": inside("SourceAddress"),
        f"{prefix}.source-port-range": ports("SourcePortRange"),
        f"{prefix}.destination-address": inside("DestinationAddress"),
        f"{prefix}.destination-port-range": ports("DestinationPortRange"),
    }


PATH_FILTERS: Filters = {
    "source": member("Source"),
    "destination": member("Destination"),
    "protocol": member("Protocol"),
    **_filter("filter-at-source", "FilterAtSource"),
    **_filter("filter-at-destination", "FilterAtDestination"),
}


@operation("ec2:DescribeNetworkInsightsPaths")
def describe_network_insights_paths(ctx: Context, p: Params) -> Result:
    """The paths that are kept."""
    return page(ctx, p, PATH.name, PATH_FILTERS, render_path)


@operation("ec2:DeleteNetworkInsightsPath", on="network-insights-path/{NetworkInsightsPathId}")
def delete_network_insights_path(ctx: Context, p: Params) -> Result:
    """Forget a path that has no analyses any more."""
    row = ctx.find(PATH.name, p["NetworkInsightsPathId"])
    if any(one.document["NetworkInsightsPathId"] == row.id for one in ctx.session.scalars(select(ANALYSIS.row))):
        raise AWSError("DependencyViolation", f"The path '{row.id}' has analyses and cannot be deleted.")
    PATH.drop(ctx, row)
    return {"NetworkInsightsPathId": row.id}


# --- analyses ---------------------------------------------------------------------------------------------------------


def render_analysis(ctx: Context, row: Record) -> Document:
    """An analysis."""
    return {
        **row.document,
        "NetworkInsightsAnalysisId": row.id,
        "NetworkInsightsAnalysisArn": ctx.arn("ec2", f"network-insights-analysis/{row.id}"),
        "StartDate": row.created,
        "Status": row.state,
        "Tags": ctx.tags(row.id),
    }


@operation(
    "ec2:StartNetworkInsightsAnalysis",
    on=("network-insights-path/{NetworkInsightsPathId}", "network-insights-analysis/*"),
)
def start_network_insights_analysis(ctx: Context, p: Params) -> Result:
    """Analyse a path as the network is now. It is done at once, and told with the next Describe."""
    path = ctx.find(PATH.name, p["NetworkInsightsPathId"])
    if p.get("FilterInArns") or p.get("FilterOutArns"):
        raise AWSError("UnsupportedOperation", "Analyses cannot be confined to resources on the way.")
    found = Analysis(ctx, path.document).result()
    row = ANALYSIS.add(ctx, {"NetworkInsightsPathId": path.id, **found}, state="succeeded")
    ctx.session.flush()
    shown = render_analysis(ctx, row)
    told = ("NetworkInsightsAnalysisId", "NetworkInsightsAnalysisArn", "NetworkInsightsPathId", "StartDate", "Tags")
    return {"NetworkInsightsAnalysis": {name: shown[name] for name in told} | {"Status": "running"}}


ANALYSIS_FILTERS: Filters = {
    "path-found": lambda ctx, row: str(row.document["NetworkPathFound"]).lower(),
    "status": ANALYSIS.row.state,
}


@operation("ec2:DescribeNetworkInsightsAnalyses")
def describe_network_insights_analyses(ctx: Context, p: Params) -> Result:
    """The analyses that are kept."""
    where = []
    if p.get("AnalysisStartTime"):
        where.append(ANALYSIS.row.created >= p["AnalysisStartTime"])
    if p.get("AnalysisEndTime"):
        where.append(ANALYSIS.row.created <= p["AnalysisEndTime"])
    filters = dict(ANALYSIS_FILTERS)
    if p.get("NetworkInsightsPathId"):
        path = ctx.find(PATH.name, p["NetworkInsightsPathId"]).id
        of_path = [
            row.id for row in ctx.session.scalars(select(ANALYSIS.row)) if row.document["NetworkInsightsPathId"] == path
        ]
        where.append(ANALYSIS.row.id.in_(of_path))
    return page(ctx, p, ANALYSIS.name, filters, render_analysis, where=where)


@operation("ec2:DeleteNetworkInsightsAnalysis", on="network-insights-analysis/{NetworkInsightsAnalysisId}")
def delete_network_insights_analysis(ctx: Context, p: Params) -> Result:
    """Forget an analysis."""
    row = ctx.find(ANALYSIS.name, p["NetworkInsightsAnalysisId"])
    ANALYSIS.drop(ctx, row)
    return {"NetworkInsightsAnalysisId": row.id}
