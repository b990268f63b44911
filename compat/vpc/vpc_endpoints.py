"""VPC endpoints: private doors to services. They are kept in the books; the services answer at the one endpoint
anyway."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from backends.errors import Exists, InUse
from backends.network.errors import WrongNetwork
from backends.network.models import Endpoint, Network, Port, PrefixList, RouteTable, Segment
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import KINDS, kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc.endpoint_services import gateway_service, known_service, service_domain
from compat.vpc.facts import ADDRESS_FACTS, EDGE, FULL_TABLE, TOO_MANY_GROUPS, Raises, fresh, mismatch, missing

kind(
    "vpc-endpoint",
    prefix="vpce-",
    row=Endpoint,
    missing="InvalidVpcEndpointId.NotFound",
    malformed="InvalidVpcEndpointId.Malformed",
    label="Vpc Endpoint Id",
    message="The {label} '{id}' does not exist",
    quota=1000,
)

NATIVE = {"Gateway": "gateway", "Interface": "interface", "GatewayLoadBalancer": "balancer"}
TYPES = {native: shown for shown, native in NATIVE.items()}
OPEN_POLICY = {
    "Version": "2008-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}],
}


def render_vpc_endpoint(ctx: Context, door: Endpoint) -> dict[str, Any]:
    """A VPC endpoint."""
    shown: dict[str, Any] = {
        "VpcEndpointId": door.id,
        "VpcEndpointType": TYPES[door.kind],
        "VpcId": door.network_id,
        "ServiceName": door.service,
        "State": door.state,
        "PolicyDocument": door.notes["policy"],
        "RouteTableIds": door.tables,
        "SubnetIds": door.segments,
        "Groups": [
            {"GroupId": id, "GroupName": name} for id, name in door.notes.get("group_names", ()) if id in door.groups
        ],
        "PrivateDnsEnabled": bool(door.notes.get("private_dns")),
        "RequesterManaged": False,
        "NetworkInterfaceIds": door.ports,
        "DnsEntries": _dns_entries(ctx, door),
        "CreationTimestamp": door.created,
        "OwnerId": door.tenant,
        "ServiceRegion": ctx.region,
        "Tags": ctx.tags(door.id),
    }
    if door.kind != "gateway":
        shown["IpAddressType"] = door.notes.get("ip_type", "ipv4")
        shown["DnsOptions"] = {"DnsRecordIpType": door.notes.get("dns_type", "ipv4")}
    return shown


def _dns_entries(ctx: Context, door: Endpoint) -> list[dict[str, Any]]:
    if door.kind != "interface":
        return []
    short = door.service.rsplit(".", 1)[-1]
    suffix = f"{short}.{ctx.region}.vpce.{service_domain(ctx.region)}"
    names = [f"{door.id}-{door.notes['name']}.{suffix}"]
    names += [f"{door.id}-{door.notes['name']}-{zone}.{suffix}" for zone in door.notes.get("zones", ())]
    if door.notes.get("private_dns"):
        names.append(f"{short}.{ctx.region}.{service_domain(ctx.region)}")
    return [{"DnsName": name, "HostedZoneId": door.notes["hosted_zone"]} for name in names]


def _policy(given: str | None) -> str:
    if not given:
        return json.dumps(OPEN_POLICY)
    try:
        if not isinstance(json.loads(given), dict):
            raise ValueError
    except ValueError:
        raise AWSError("InvalidParameterValue", "Invalid policy document: it is not valid JSON") from None
    return given


PLACING: Raises = {**ADDRESS_FACTS, **EDGE, **FULL_TABLE, **TOO_MANY_GROUPS}
"""What can go wrong when an endpoint gets its interfaces or routes."""


@operation(
    "ec2:CreateVpcEndpoint",
    on=(
        "vpc/{VpcId}",
        "vpc-endpoint/*",
        "route-table/{RouteTableIds}",
        "subnet/{SubnetIds}",
        "security-group/{SecurityGroupIds}",
    ),
    raises={
        **PLACING,
        Exists: lambda fact: AWSError(
            "RouteAlreadyExists",
            f"route table {fact.id} already has a route with destination-prefix-list-id {fact.destination}",
        ),
        WrongNetwork: mismatch,
    },
)
def create_vpc_endpoint(ctx: Context, p: Params) -> Result:
    """A door of a VPC to a service: through route tables, or through an interface in each subnet."""
    vpc = ctx.find("vpc", p["VpcId"])
    service = p.get("ServiceName")
    if not service:
        raise missing("serviceName")
    native = NATIVE.get(p.get("VpcEndpointType") or "Gateway")
    if native is None:
        raise AWSError("InvalidParameter", f"VPC endpoints of type {p['VpcEndpointType']} are not available")
    prefixes = _gateway_prefixes(ctx, service) if native == "gateway" else None
    if native == "interface" and not known_service(ctx.region, service):
        raise AWSError("InvalidServiceName", f"The Vpc Endpoint Service '{service}' does not exist")
    tables = ctx.find_all("route-table", p.get("RouteTableIds") or ())
    wanted = _wanted_addresses(p)
    subnets = ctx.find_all("subnet", [*(p.get("SubnetIds") or ()), *wanted])
    if any(row.network_id != vpc.id for row in (*tables, *subnets)):
        raise AWSError("InvalidParameter", f"The route tables and subnets must be of network {vpc.id}")
    id = ctx.mint("vpc-endpoint")
    groups = _groups(ctx, vpc, p) if native == "interface" else []
    ports = [_add_port(ctx, id, one, groups, wanted.get(one.id)) for one in subnets] if native == "interface" else []
    door = ctx.network.add_endpoint(
        id=id,
        network=vpc,
        kind=native,
        service=service,
        prefixes=prefixes,
        tables=tables,
        ports=[port.id for port in ports],
        segments=[subnet.id for subnet in subnets],
        groups=groups,
        notes={
            "policy": _policy(p.get("PolicyDocument")),
            "private_dns": native == "interface" and p.get("PrivateDnsEnabled", True),
            "ip_type": p.get("IpAddressType") or "ipv4",
            "dns_type": (p.get("DnsOptions") or {}).get("DnsRecordIpType") or "ipv4",
            "zones": sorted({subnet.zone for subnet in subnets}),
            "name": id[-8:],
            "hosted_zone": "Z" + id[-13:].upper(),
            "group_names": _group_names(ctx, groups),
        },
    )
    shown = {**render_vpc_endpoint(ctx, door), "State": "available" if native == "gateway" else "pending"}
    return {"VpcEndpoint": shown, "ClientToken": p.get("ClientToken")}


def _gateway_prefixes(ctx: Context, service: str) -> str:
    """The prefix list whose ranges a gateway endpoint's route leads to."""
    found = ctx.session.scalar(select(PrefixList.id).where(PrefixList.name == service, PrefixList.keeper.is_not(None)))
    if found is None or not gateway_service(ctx.region, service):
        raise AWSError("InvalidServiceName", f"The Vpc Endpoint Service '{service}' does not exist")
    return found


def _groups(ctx: Context, vpc: Network, p: Params) -> list[str]:
    named = [group.id for group in ctx.find_all("security-group", p.get("SecurityGroupIds") or ())]
    return named or [ctx.network.default_group(vpc.id)]


def _group_names(ctx: Context, ids: list[str]) -> list[list[str]]:
    """Pairs of id and name of security groups; names never change."""
    return [[group.id, group.name] for group in ctx.find_all("security-group", ids)]


def _wanted_addresses(p: Params) -> dict[str, Params]:
    """Subnet -> the addresses (members Ipv4, Ipv6) that its interface is to have."""
    found: dict[str, Params] = {}
    for one in p.get("SubnetConfigurations") or ():
        if not one.get("SubnetId"):
            raise missing("SubnetConfigurations.SubnetId")
        if one["SubnetId"] in found:
            raise AWSError("InvalidParameter", f"The subnet {one['SubnetId']} is configured twice")
        found[one["SubnetId"]] = one
    return found


def _add_port(ctx: Context, door_id: str, subnet: Segment, groups: list[str], wanted: Params | None = None) -> Port:
    wanted = wanted or {}
    port = ctx.network.add_port(
        fresh("network-interface"),
        subnet,
        groups,
        address=wanted.get("Ipv4"),
        addresses6=[wanted["Ipv6"]] if wanted.get("Ipv6") else (),
        description=f"VPC Endpoint Interface {door_id}",
        role="endpoint",
        keeper="vpce",
    )
    port.state, port.attached_at, port.device_index = "in-use", ctx.network.now, 1
    port.attachment_id = "ela-attach-" + KINDS["network-interface"].mints().removeprefix("eni-")
    return port


ENDPOINT_FILTERS: Filters = {
    "ip-address-type": lambda ctx, door: door.notes.get("ip_type", "ipv4"),
    "service-name": Endpoint.service,
    "service-region": lambda ctx, door: door.region,
    "vpc-id": Endpoint.network_id,
    "vpc-endpoint-id": Endpoint.id,
    "vpc-endpoint-state": lambda ctx, door: [door.state, door.state.capitalize()],
    "vpc-endpoint-type": lambda ctx, door: [TYPES[door.kind], TYPES[door.kind].lower()],
}


@operation("ec2:DescribeVpcEndpoints")
def describe_vpc_endpoints(ctx: Context, p: Params) -> Result:
    """The VPC endpoints of the account in the region."""
    return page(ctx, p, "vpc-endpoint", ENDPOINT_FILTERS, render_vpc_endpoint)


@operation(
    "ec2:ModifyVpcEndpoint",
    on=(
        "vpc-endpoint/{VpcEndpointId}",
        "route-table/{AddRouteTableIds}",
        "subnet/{AddSubnetIds}",
        "security-group/{AddSecurityGroupIds}",
    ),
    raises={**PLACING, WrongNetwork: mismatch, Exists: "RouteAlreadyExists", InUse: "DependencyViolation"},
)
def modify_vpc_endpoint(ctx: Context, p: Params) -> Result:
    """Change the route tables, subnets, groups, policy or names of an endpoint."""
    door: Endpoint = ctx.find("vpc-endpoint", p["VpcEndpointId"])
    notes = dict(door.notes)
    if p.get("ResetPolicy"):
        notes["policy"] = json.dumps(OPEN_POLICY)
    elif p.get("PolicyDocument"):
        notes["policy"] = _policy(p["PolicyDocument"])
    if "PrivateDnsEnabled" in p:
        notes["private_dns"] = bool(p["PrivateDnsEnabled"])
    if p.get("IpAddressType"):
        notes["ip_type"] = p["IpAddressType"]
    if (p.get("DnsOptions") or {}).get("DnsRecordIpType"):
        notes["dns_type"] = p["DnsOptions"]["DnsRecordIpType"]
    door.notes = notes
    if door.kind == "gateway":
        _modify_tables(ctx, door, p)
    else:
        _modify_ports(ctx, door, p)
    return {"Return": True}


def _modify_tables(ctx: Context, door: Endpoint, p: Params) -> None:
    add: list[RouteTable] = ctx.find_all("route-table", p.get("AddRouteTableIds") or ())
    remove: list[RouteTable] = ctx.find_all("route-table", p.get("RemoveRouteTableIds") or ())
    if add or remove:
        ctx.network.serve_tables(door, _gateway_prefixes(ctx, door.service), add, remove)


def _moves(port: Port, wanted: Params | None) -> bool:
    """Whether an interface is to have another address than it has: another interface takes its place then."""
    private = port.private()
    held = {address.ip for address in port.addresses}
    if wanted is None:
        return False
    other4 = bool(wanted.get("Ipv4")) and (private is None or private.ip != wanted["Ipv4"])
    return other4 or (bool(wanted.get("Ipv6")) and wanted["Ipv6"] not in held)


def _modify_ports(ctx: Context, door: Endpoint, p: Params) -> None:
    gone = set(p.get("RemoveSecurityGroupIds") or ())
    fresh_groups = [group.id for group in ctx.find_all("security-group", p.get("AddSecurityGroupIds") or ())]
    door.groups = list(dict.fromkeys([id for id in [*door.groups, *fresh_groups] if id not in gone]))
    ports = [ctx.network.port(id) for id in door.ports]
    leaving, wanted = set(p.get("RemoveSubnetIds") or ()), _wanted_addresses(p)
    moving = {port.segment_id for port in ports if _moves(port, wanted.get(port.segment_id))}
    for port in [port for port in ports if port.segment_id in leaving | moving]:
        ports.remove(port)
        port.attachment_id = None
        ctx.network.remove_port(port.id)
    for subnet in ctx.find_all("subnet", [*(p.get("AddSubnetIds") or ()), *wanted]):
        if all(port.segment_id != subnet.id for port in ports):
            ports.append(_add_port(ctx, door.id, subnet, door.groups, wanted.get(subnet.id)))
    for port in ports:
        ctx.network.set_groups(port, door.groups)
    door.ports, door.segments = [port.id for port in ports], [port.segment_id for port in ports]
    zones = sorted({port.zone for port in ports})
    door.notes = {**door.notes, "zones": zones, "group_names": _group_names(ctx, door.groups)}


@operation("ec2:DeleteVpcEndpoints", on="vpc-endpoint/{VpcEndpointIds}")
def delete_vpc_endpoints(ctx: Context, p: Params) -> Result:
    """Begin to delete endpoints; those that do not exist are told one by one."""
    failed = []
    for id in p["VpcEndpointIds"]:
        try:
            door = ctx.find("vpc-endpoint", id)
        except AWSError as fault:
            failed.append({"ResourceId": id, "Error": {"Code": fault.code, "Message": fault.message}})
            continue
        ctx.network.end_endpoint(door)
        drop_tags(ctx, id)
    return {"Unsuccessful": failed}
