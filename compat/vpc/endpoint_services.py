"""DescribeVpcEndpointServices: which services a VPC can have a private door to."""

from __future__ import annotations

import hashlib
from typing import Any

from compat.context import Context
from compat.ec2.listing import cut, pick
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.regions import partition_of, zones
from compat.vpc.endpoint_names import INTERFACES

GATEWAYS = ("s3", "dynamodb")


def service_domain(region: str) -> str:
    """The domain that services of a region are named in."""
    return "amazonaws.com.cn" if partition_of(region) == "aws-cn" else "amazonaws.com"


def _name(region: str, service: str) -> str:
    prefix = "cn.com.amazonaws" if partition_of(region) == "aws-cn" and service not in GATEWAYS else "com.amazonaws"
    return f"{prefix}.{region}.{service}"


def gateway_service(region: str, name: str) -> bool:
    """Whether routes of a VPC can lead to the service of that name."""
    return name in {_name(region, service) for service in GATEWAYS}


def known_service(region: str, name: str) -> bool:
    """Whether a VPC can have interfaces of the service of that name. A service of another account may be named too."""
    return name in {_name(region, service) for service in INTERFACES} or ".vpce-svc-" in f".{name}"


def _detail(region: str, service: str, kind: str) -> dict[str, Any]:
    domain = service_domain(region)
    shown: dict[str, Any] = {
        "ServiceName": _name(region, service),
        "ServiceId": f"vpce-svc-{_digits(region + service + kind)}",
        "ServiceType": [{"ServiceType": kind}],
        "ServiceRegion": region,
        "AvailabilityZones": [zone.name for zone in zones(region)],
        "AvailabilityZoneIds": [zone.id for zone in zones(region)],
        "Owner": "amazon",
        "BaseEndpointDnsNames": [
            f"{service}.{region}.vpce.{domain}" if kind == "Interface" else f"{service}.{region}.{domain}"
        ],
        "VpcEndpointPolicySupported": True,
        "AcceptanceRequired": False,
        "ManagesVpcEndpoints": False,
        "Tags": [],
        "SupportedIpAddressTypes": ["ipv4"],
    }
    if kind == "Interface":
        private = f"{service}.{region}.{domain}"
        shown["PrivateDnsName"] = private
        shown["PrivateDnsNames"] = [{"PrivateDnsName": private}]
        shown["PrivateDnsNameVerificationState"] = "verified"
    return shown


def _digits(text: str) -> str:
    """Seventeen hexadecimal digits that are always the same for the same text."""
    return hashlib.sha256(text.encode()).hexdigest()[:17]


SERVICE_FILTERS: Filters = {
    "owner": lambda ctx, one: one["Owner"],
    "service-name": lambda ctx, one: one["ServiceName"],
    "service-region": lambda ctx, one: one["ServiceRegion"],
    "service-type": lambda ctx, one: one["ServiceType"][0]["ServiceType"],
    "supported-ip-address-types": lambda ctx, one: one["SupportedIpAddressTypes"],
}


@operation("ec2:DescribeVpcEndpointServices")
def describe_vpc_endpoint_services(ctx: Context, p: Params) -> Result:
    """The services that endpoints of the region can lead to."""
    known = [_detail(ctx.region, service, "Gateway") for service in GATEWAYS]
    known += [_detail(ctx.region, service, "Interface") for service in INTERFACES]
    named = set(p.get("ServiceNames") or ())
    for name in sorted(named - {one["ServiceName"] for one in known}):
        raise AWSError("InvalidServiceName", f"The Vpc Endpoint Service '{name}' does not exist")
    known = [one for one in known if not named or one["ServiceName"] in named]
    found, token = cut(
        ctx,
        p,
        pick(ctx, p, known, SERVICE_FILTERS),
        lambda one: f"{one['ServiceName']}/{one['ServiceType'][0]['ServiceType']}",
    )
    answer: Result = {"ServiceNames": sorted({one["ServiceName"] for one in found}), "ServiceDetails": found}
    return answer | ({"NextToken": token} if token else {})
