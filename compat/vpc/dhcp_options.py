"""DHCP option sets."""

from __future__ import annotations

import ipaddress
from typing import Any

from backends.errors import InUse
from backends.network.leases import OWN_RESOLVER
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

SERVERS = {"domain-name-servers": 4, "ntp-servers": 8, "netbios-name-servers": 4}
"""How many addresses an option may have; of clocks, four of each family."""
OF_A_FAMILY = 4
ONE_VALUE = ("domain-name", "netbios-node-type", "ipv6-address-preferred-lease-time")
NODE_TYPES = ("1", "2", "4", "8")
LEASE_TIMES = range(140, 2147483648)
"""Seconds that AWS takes as the preferred lease time of IPv6 addresses."""


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


def _check(key: str, values: list[str]) -> None:
    """That an option may have these values."""

    def no(why: str) -> AWSError:
        return AWSError("InvalidParameterValue", f"Value ({', '.join(values)}) for parameter {key} is invalid. {why}")

    if key not in SERVERS and key not in ONE_VALUE:
        raise AWSError("InvalidParameterValue", f"Value ({key}) for parameter key is invalid. Unknown DHCP option")
    if not values:
        raise AWSError("InvalidParameterValue", f"DHCP option {key} has no value")
    if key in ONE_VALUE and len(values) > 1:
        raise no("It takes one value.")
    if key == "netbios-node-type" and values[0] not in NODE_TYPES:
        raise no(f"It is one of {', '.join(NODE_TYPES)}.")
    if key == "ipv6-address-preferred-lease-time" and not (values[0].isdecimal() and int(values[0]) in LEASE_TIMES):
        raise no(f"It is {LEASE_TIMES[0]} to {LEASE_TIMES[-1]}.")
    if key not in SERVERS:
        return
    families = [_family(value) for value in values if value != OWN_RESOLVER or key != "domain-name-servers"]
    if 0 in families or (key == "netbios-name-servers" and 6 in families):
        raise no("Invalid IP address.")
    if len(values) > SERVERS[key] or (key == "ntp-servers" and max(map(families.count, (4, 6))) > OF_A_FAMILY):
        raise no("There are too many addresses.")


def _family(text: str) -> int:
    """4 or 6 for an address, 0 for anything else."""
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0


@operation("ec2:CreateDhcpOptions", on="dhcp-options/*")
def create_dhcp_options(ctx: Context, p: Params) -> Result:
    """A set of DHCP options for VPCs to use."""
    options: list[dict[str, Any]] = []
    for given in p["DhcpConfigurations"]:
        key, values = given.get("Key") or "", list(given.get("Values") or ())
        if any(option["key"] == key for option in options):
            raise AWSError("InvalidParameterValue", f"DHCP option {key} is given twice")
        _check(key, values)
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
