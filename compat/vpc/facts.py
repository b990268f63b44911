"""How facts of the network backend are told in EC2's words, and ids of what nobody asked for by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backends.network.errors import (
    AddressReserved,
    AddressTaken,
    BadEdgeRoute,
    Malformed,
    NoAddresses,
    NotAttached,
    TooManyGroups,
    TooManyRules,
)
from compat.errors import AWSError
from compat.kinds import KINDS

Told = Callable[[Any], Exception]
Raises = dict[type[Exception], str | Told]


def fresh(kind: str) -> str:
    """An id for something that comes along with what the call makes; the call's tags are not meant for it."""
    return KINDS[kind].mints()


def dependency(noun: str) -> Told:
    """A resource that something else depends on."""
    return lambda fact: AWSError(
        "DependencyViolation", f"The {noun} '{fact.id}' has dependencies and cannot be deleted."
    )


def bad_value(parameter: str, why: str = "This is not a valid CIDR block.") -> Told:
    """A value that cannot be read."""
    return lambda fact: AWSError(
        "InvalidParameterValue", f"Value ({fact.value}) for parameter {parameter} is invalid. {why}"
    )


def bad_range(code: str) -> Told:
    """A range of a wrong size, or in a wrong place."""
    return lambda fact: AWSError(code, f"The CIDR '{fact.cidr}' is invalid.")


def missing(parameter: str) -> AWSError:
    """A parameter without which the call makes no sense."""
    return AWSError("MissingParameter", f"The request must contain the parameter {parameter}")


def mismatch(fact: Any) -> AWSError:
    """Two resources that should share a VPC do not."""
    return AWSError("InvalidParameter", f"The resource {fact.id} does not belong to network {fact.network}")


ADDRESS_FACTS: Raises = {
    AddressTaken: lambda fact: AWSError("InvalidIPAddress.InUse", f"Address {fact.ip} is in use."),
    AddressReserved: lambda fact: AWSError(
        "InvalidParameterValue", f"Address {fact.ip} does not fall within the subnet's address range or is reserved"
    ),
    NoAddresses: lambda fact: AWSError(
        "InsufficientFreeAddressesInSubnet", "There are not enough free addresses in the subnet to satisfy the request."
    ),
    Malformed: bad_value("privateIpAddress", "Invalid IPv4 address."),
}
"""What can go wrong when private addresses are given out."""

NO_GATEWAY: Told = lambda fact: AWSError(  # noqa: E731
    "Gateway.NotAttached", f"Network {fact.network} is not attached to any internet gateway"
)
GATEWAY_FACTS: Raises = {NotAttached: NO_GATEWAY}


def _edge(fact: Any) -> Exception:
    why = {
        "target": f"Route target is not supported for {fact.destination}. A route table of a gateway only supports "
        "local, interface and Gateway Load Balancer endpoint targets.",
        "destination": f"The destination {fact.destination} is not within the CIDR blocks of the VPC, as the routes of "
        "a gateway's route table must be.",
        "propagation": f"Route propagation is enabled for {fact.table}, which a gateway's route table can not have.",
    }
    return AWSError("InvalidParameterValue", why[fact.why])


FULL_TABLE: Raises = {
    TooManyRules: lambda fact: AWSError(
        "RouteLimitExceeded", f"The maximum number of routes has been reached: {fact.limit}."
    )
}
TOO_MANY_GROUPS: Raises = {
    TooManyGroups: lambda fact: AWSError(
        "SecurityGroupsPerInterfaceLimitExceeded",
        f"The maximum number of security groups per interface has been reached: {fact.limit}.",
    )
}


EDGE: Raises = {BadEdgeRoute: _edge}
"""Routes that a table for what comes in through a gateway cannot have."""
