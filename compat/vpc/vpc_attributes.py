"""DescribeVpcAttribute and ModifyVpcAttribute."""

from __future__ import annotations

from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params, Result, operation


@operation("ec2:DescribeVpcAttribute", on="vpc/{VpcId}")
def describe_vpc_attribute(ctx: Context, p: Params) -> Result:
    """One attribute of a VPC."""
    vpc = ctx.find("vpc", p["VpcId"])
    values = {
        "enableDnsSupport": vpc.resolver,
        "enableDnsHostnames": vpc.hostnames,
        "enableNetworkAddressUsageMetrics": bool(vpc.notes.get("address_metrics")),
    }
    name = p["Attribute"]
    return {"VpcId": vpc.id, name[0].upper() + name[1:]: {"Value": values[name]}}


@operation("ec2:ModifyVpcAttribute", on="vpc/{VpcId}")
def modify_vpc_attribute(ctx: Context, p: Params) -> Result:
    """Set one attribute of a VPC; EC2 takes one at a time."""
    vpc = ctx.find("vpc", p["VpcId"])
    given = [
        name for name in ("EnableDnsHostnames", "EnableDnsSupport", "EnableNetworkAddressUsageMetrics") if name in p
    ]
    if len(given) != 1:
        raise AWSError("InvalidParameterCombination", "Exactly one VPC attribute must be modified in a request")
    value = bool((p[given[0]] or {}).get("Value"))
    if given[0] == "EnableDnsHostnames":
        vpc.hostnames = value
    elif given[0] == "EnableDnsSupport":
        vpc.resolver = value
    else:
        vpc.notes = {**vpc.notes, "address_metrics": value}
    return {}
