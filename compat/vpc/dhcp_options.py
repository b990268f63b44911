"""DHCP option sets."""

from __future__ import annotations

from typing import Any

from backends.errors import InUse
from backends.network.models import DhcpOptions
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc.facts import dependency

kind(
    "dhcp-options",
    prefix="dopt-",
    row=DhcpOptions,
    missing="InvalidDhcpOptionID.NotFound",
    malformed="InvalidDhcpOptionsId.Malformed",
    label="dhcpOption ID",
    quota=1000,
)

KEYS = (
    "domain-name-servers",
    "domain-name",
    "ntp-servers",
    "netbios-name-servers",
    "netbios-node-type",
    "ipv6-address-preferred-lease-time",
)


def render_dhcp_options(ctx: Context, row: DhcpOptions) -> dict[str, Any]:
    """A set of DHCP options."""
    return {
        "DhcpOptionsId": row.id,
        "OwnerId": row.tenant,
        "DhcpConfigurations": [
            {"Key": option["key"], "Values": [{"Value": value} for value in option["values"]]} for option in row.options
        ],
        "Tags": ctx.tags(row.id),
    }


@operation("ec2:CreateDhcpOptions", on="dhcp-options/*")
def create_dhcp_options(ctx: Context, p: Params) -> Result:
    """A set of DHCP options for VPCs to use."""
    options = []
    for given in p["DhcpConfigurations"]:
        key, values = given.get("Key") or "", list(given.get("Values") or ())
        if key not in KEYS:
            raise AWSError("InvalidParameterValue", f"Value ({key}) for parameter key is invalid. Unknown DHCP option")
        if not values:
            raise AWSError("InvalidParameterValue", f"DHCP option {key} has no value")
        if key == "netbios-node-type" and values[0] not in ("1", "2", "4", "8"):
            raise AWSError(
                "InvalidParameterValue", f"Value ({values[0]}) for parameter netbios-node-type is invalid: 1, 2, 4 or 8"
            )
        options.append({"key": key, "values": values})
    row = ctx.network.add_options(id=ctx.mint("dhcp-options"), options=options)
    ctx.session.flush()
    return {"DhcpOptions": render_dhcp_options(ctx, row)}


DHCP_FILTERS: Filters = {
    "dhcp-options-id": DhcpOptions.id,
    "key": lambda ctx, row: [option["key"] for option in row.options],
    "value": lambda ctx, row: [value for option in row.options for value in option["values"]],
    "owner-id": DhcpOptions.tenant,
}


@operation("ec2:DescribeDhcpOptions")
def describe_dhcp_options(ctx: Context, p: Params) -> Result:
    """The sets of DHCP options of the account in the region."""
    return page(ctx, p, "dhcp-options", DHCP_FILTERS, render_dhcp_options)


@operation("ec2:DeleteDhcpOptions", on="dhcp-options/{DhcpOptionsId}", raises={InUse: dependency("dhcpOptions")})
def delete_dhcp_options(ctx: Context, p: Params) -> Result:
    """Delete a set that no VPC uses."""
    ctx.network.remove_options(ctx.find("dhcp-options", p["DhcpOptionsId"]))
    drop_tags(ctx, p["DhcpOptionsId"])
    return {}


@operation("ec2:AssociateDhcpOptions", on=("dhcp-options/{DhcpOptionsId}", "vpc/{VpcId}"))
def associate_dhcp_options(ctx: Context, p: Params) -> Result:
    """Let a VPC use a set of options; "default" is none."""
    vpc = ctx.find("vpc", p["VpcId"])
    wanted = p["DhcpOptionsId"]
    vpc.dhcp_options_id = None if wanted == "default" else ctx.find("dhcp-options", wanted).id
    return {}
