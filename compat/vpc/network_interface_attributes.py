"""What may be changed of a network interface: its attributes and its addresses."""

from __future__ import annotations

from typing import Any

from backends.network.errors import Malformed
from backends.network.models import Port
from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.vpc.facts import ADDRESS_FACTS, missing
from compat.vpc.network_interfaces import GROUP_RAISES, attached_port, render_attachment


@operation("ec2:DescribeNetworkInterfaceAttribute", on="network-interface/{NetworkInterfaceId}")
def describe_network_interface_attribute(ctx: Context, p: Params) -> Result:
    """One attribute of an interface."""
    port = ctx.find("network-interface", p["NetworkInterfaceId"])
    name = p.get("Attribute")
    if name is None:
        raise missing("attribute")
    shown: Result = {"NetworkInterfaceId": port.id}
    if name == "description":
        shown["Description"] = {"Value": port.description}
    elif name == "groupSet":
        shown["Groups"] = [{"GroupId": link.group_id, "GroupName": link.name} for link in port.groups]
    elif name == "sourceDestCheck":
        shown["SourceDestCheck"] = {"Value": port.checked}
    elif name == "associatePublicIpAddress":
        private = port.private()
        shown["AssociatePublicIpAddress"] = private is not None and private.public_ip is not None
    elif port.attachment_id is not None:
        shown["Attachment"] = render_attachment(port)
    return shown


@operation(
    "ec2:ModifyNetworkInterfaceAttribute",
    on=("network-interface/{NetworkInterfaceId}", "security-group/{Groups}"),
    raises=GROUP_RAISES,
)
def modify_network_interface_attribute(ctx: Context, p: Params) -> Result:
    """Set attributes of an interface."""
    port: Port = ctx.find("network-interface", p["NetworkInterfaceId"])
    if "Description" in p:
        port.description = p["Description"].get("Value") or ""
    if "SourceDestCheck" in p:
        port.checked = bool(p["SourceDestCheck"].get("Value"))
    if p.get("Groups"):
        ctx.network.set_groups(port, p["Groups"])
    if "Attachment" in p:
        _modify_attachment(ctx, port, p["Attachment"])
    if p.get("ConnectionTrackingSpecification"):
        port.notes = {**port.notes, "tracking": dict(p["ConnectionTrackingSpecification"])}
    if "AssociatePublicIpAddress" in p:
        if p["AssociatePublicIpAddress"]:
            ctx.network.lend_public(port)
        else:
            ctx.network.return_public(port)
    if p.get("EnablePrimaryIpv6"):
        _enable_primary6(port)
    return {}


def _modify_attachment(ctx: Context, port: Port, wanted: Params) -> None:
    id = wanted.get("AttachmentId")
    if not id:
        raise missing("attachmentId")
    if attached_port(ctx, id).id != port.id:
        raise AWSError("InvalidAttachmentID.NotFound", f"The attachment '{id}' is not of interface {port.id}")
    if wanted.get("DeleteOnTermination") is not None:
        port.ends_with_guest = wanted["DeleteOnTermination"]


def _enable_primary6(port: Port) -> None:
    first = next((row.ip for row in port.addresses if row.family == 6), None)
    if first is None:
        raise AWSError("InvalidParameterValue", f"The interface {port.id} has no IPv6 address")
    port.notes = {**port.notes, "primary6": port.notes.get("primary6", first)}


@operation("ec2:ResetNetworkInterfaceAttribute", on="network-interface/{NetworkInterfaceId}")
def reset_network_interface_attribute(ctx: Context, p: Params) -> Result:
    """Check sources and destinations again."""
    ctx.find("network-interface", p["NetworkInterfaceId"]).checked = True
    return {}


@operation("ec2:AssignPrivateIpAddresses", on="network-interface/{NetworkInterfaceId}", raises=ADDRESS_FACTS)
def assign_private_ip_addresses(ctx: Context, p: Params) -> Result:
    """Give an interface more private addresses: those named, or any."""
    port = ctx.find("network-interface", p["NetworkInterfaceId"])
    wishes, count = list(p.get("PrivateIpAddresses") or ()), p.get("SecondaryPrivateIpAddressCount") or 0
    if wishes and count:
        raise AWSError(
            "InvalidParameterCombination",
            "Only one of privateIpAddresses and secondaryPrivateIpAddressCount can be specified",
        )
    if not wishes and not count:
        raise missing("secondaryPrivateIpAddressCount")
    given = ctx.network.assign(port, wishes, count, move=bool(p.get("AllowReassignment")))
    return {
        "NetworkInterfaceId": port.id,
        "AssignedPrivateIpAddresses": [{"PrivateIpAddress": ip} for ip in given],
    }


def _not_held(fact: Any) -> AWSError:
    return AWSError(
        "InvalidParameterValue", f"Some of the specified addresses are not assigned to the interface: {fact.value}"
    )


@operation(
    "ec2:UnassignPrivateIpAddresses",
    on="network-interface/{NetworkInterfaceId}",
    raises={Malformed: _not_held},
)
def unassign_private_ip_addresses(ctx: Context, p: Params) -> Result:
    """Take secondary private addresses from an interface."""
    port = ctx.find("network-interface", p["NetworkInterfaceId"])
    ctx.network.unassign(port, list(p.get("PrivateIpAddresses") or ()))
    return {}


@operation("ec2:AssignIpv6Addresses", on="network-interface/{NetworkInterfaceId}", raises=ADDRESS_FACTS)
def assign_ipv6_addresses(ctx: Context, p: Params) -> Result:
    """Give an interface IPv6 addresses: those named, or any."""
    port = ctx.find("network-interface", p["NetworkInterfaceId"])
    wishes, count = list(p.get("Ipv6Addresses") or ()), p.get("Ipv6AddressCount") or 0
    if not wishes and not count:
        raise missing("ipv6AddressCount")
    return {"NetworkInterfaceId": port.id, "AssignedIpv6Addresses": ctx.network.assign(port, wishes, count, family=6)}


@operation(
    "ec2:UnassignIpv6Addresses",
    on="network-interface/{NetworkInterfaceId}",
    raises={Malformed: _not_held},
)
def unassign_ipv6_addresses(ctx: Context, p: Params) -> Result:
    """Take IPv6 addresses from an interface."""
    port = ctx.find("network-interface", p["NetworkInterfaceId"])
    ips = list(p.get("Ipv6Addresses") or ())
    ctx.network.unassign(port, ips)
    return {"NetworkInterfaceId": port.id, "UnassignedIpv6Addresses": ips}
