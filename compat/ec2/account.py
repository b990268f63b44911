"""Attributes of the account."""

from __future__ import annotations

from sqlalchemy import select

from backends.network.models import Network
from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params, Result, operation


@operation("ec2:DescribeAccountAttributes")
def describe_account_attributes(ctx: Context, p: Params) -> Result:
    """What an account may have, and its default network."""
    default = ctx.session.scalar(select(Network.id).where(Network.is_default))
    known = {
        "supported-platforms": "VPC",
        "default-vpc": default or "none",
        "max-instances": "1000000",
        "max-elastic-ips": "1000000",
        "vpc-max-elastic-ips": "1000000",
        "vpc-max-security-groups-per-interface": "16",
    }
    wanted = p.get("AttributeNames") or list(known)
    for name in wanted:
        if name not in known:
            raise AWSError("InvalidParameterValue", f"Value ({name}) for parameter attributeName is invalid.")
    return {
        "AccountAttributes": [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": known[name]}]} for name in wanted
        ]
    }
