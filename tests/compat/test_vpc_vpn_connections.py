"""VPN connections: their tunnels, their configuration for the far end, static routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any


@pytest.fixture
def ec2(client: Callable[..., Client]) -> Client:
    return client("ec2")


@pytest.fixture
def far(ec2: Client) -> str:
    made = ec2.create_customer_gateway(Type="ipsec.1", IpAddress="192.0.2.9", BgpAsn=65010)
    id: str = made["CustomerGateway"]["CustomerGatewayId"]
    return id


@pytest.fixture
def near(ec2: Client) -> str:
    id: str = ec2.create_vpn_gateway(Type="ipsec.1", AmazonSideAsn=64600)["VpnGateway"]["VpnGatewayId"]
    return id


def connect(ec2: Client, far: str, near: str, **options: Any) -> dict[str, Any]:
    made = ec2.create_vpn_connection(Type="ipsec.1", CustomerGatewayId=far, VpnGatewayId=near, Options=options)
    return dict(made["VpnConnection"])


def test_a_connection_and_what_its_far_end_is_told(ec2: Client, far: str, near: str) -> None:
    first = {"TunnelInsideCidr": "169.254.44.88/30", "PreSharedKey": "secret.1234", "Phase1LifetimeSeconds": 3600}
    made = connect(ec2, far, near, TunnelOptions=[first | {"IKEVersions": [{"Value": "ikev2"}]}])
    id = made["VpnConnectionId"]
    assert made["State"] == "pending"
    wait(ec2, "vpn_connection_available", VpnConnectionIds=[id])
    (one,) = ec2.describe_vpn_connections(Filters=[{"Name": "bgp-asn", "Values": ["65010"]}])["VpnConnections"]
    assert (one["VpnConnectionId"], one["Category"], one["VpnGatewayId"]) == (id, "VPN", near)
    tunnels = one["Options"]["TunnelOptions"]
    assert first.items() <= tunnels[0].items()
    assert tunnels[0]["IkeVersions"] == [{"Value": "ikev2"}]
    assert tunnels[1]["TunnelInsideCidr"] != tunnels[0]["TunnelInsideCidr"]
    assert [one["Status"] for one in one["VgwTelemetry"]] == ["DOWN", "DOWN"]
    told = ElementTree.fromstring(one["CustomerGatewayConfiguration"])
    assert told.get("id") == id
    keys = [tunnel.findtext("ike/pre_shared_key") for tunnel in told.findall("ipsec_tunnel")]
    assert keys == [tunnel["PreSharedKey"] for tunnel in tunnels]
    inner = told.findtext("ipsec_tunnel/customer_gateway/tunnel_inside_address/ip_address")
    assert (inner, told.findtext("ipsec_tunnel/vpn_gateway/bgp/asn")) == ("169.254.44.90", "64600")
    with refused("IncorrectState", "in use"):
        ec2.delete_customer_gateway(CustomerGatewayId=far)
    with refused("IncorrectState", near):
        ec2.delete_vpn_gateway(VpnGatewayId=near)
    outside = tunnels[1]["OutsideIpAddress"]
    changed = {"VpnTunnelOutsideIpAddress": outside, "TunnelOptions": {"DPDTimeoutAction": "restart"}}
    ec2.modify_vpn_tunnel_options(VpnConnectionId=id, **changed)
    ec2.modify_vpn_connection_options(VpnConnectionId=id, LocalIpv4NetworkCidr="10.9.0.0/16")
    options = ec2.describe_vpn_connections(VpnConnectionIds=[id])["VpnConnections"][0]["Options"]
    assert options["LocalIpv4NetworkCidr"] == "10.9.0.0/16"
    assert options["TunnelOptions"] == [tunnels[0], tunnels[1] | {"DpdTimeoutAction": "restart"}]
    ec2.delete_vpn_connection(VpnConnectionId=id)
    with refused("InvalidVpnConnectionID.NotFound"):
        ec2.describe_vpn_connections(VpnConnectionIds=[id])
    ec2.delete_customer_gateway(CustomerGatewayId=far)
    ec2.delete_vpn_gateway(VpnGatewayId=near)


def test_static_routes(ec2: Client, far: str, near: str) -> None:
    dynamic = connect(ec2, far, near)["VpnConnectionId"]
    with refused("InvalidVpnConnection.InvalidType"):
        ec2.create_vpn_connection_route(VpnConnectionId=dynamic, DestinationCidrBlock="10.1.0.0/16")
    id = connect(ec2, far, near, StaticRoutesOnly=True)["VpnConnectionId"]
    for cidr in ("10.1.0.0/16", "10.2.0.0/16"):
        ec2.create_vpn_connection_route(VpnConnectionId=id, DestinationCidrBlock=cidr)
    ec2.delete_vpn_connection_route(VpnConnectionId=id, DestinationCidrBlock="10.2.0.0/16")
    named = [{"Name": "route.destination-cidr-block", "Values": ["10.1.0.0/16"]}]
    (one,) = ec2.describe_vpn_connections(Filters=named)["VpnConnections"]
    assert (one["VpnConnectionId"], len(one["Routes"])) == (id, 1)
    assert "bgp" not in one["CustomerGatewayConfiguration"]
    with refused("InvalidRoute.NotFound"):
        ec2.delete_vpn_connection_route(VpnConnectionId=id, DestinationCidrBlock="10.2.0.0/16")


def test_connections_that_cannot_be(ec2: Client, far: str, near: str) -> None:
    with refused("InvalidCustomerGatewayID.NotFound"):
        connect(ec2, "cgw-0123abcd", near)
    with refused("InvalidVpnGatewayID.NotFound"):
        connect(ec2, far, "vgw-0123abcd")
    given = {"Type": "ipsec.1", "CustomerGatewayId": far, "TransitGatewayId": "tgw-0123456789abcdef0"}
    with refused("InvalidTransitGatewayID.NotFound"):
        ec2.create_vpn_connection(**given)
    with refused("InvalidParameterValue", "must not contain both"):
        ec2.create_vpn_connection(**given, VpnGatewayId=near)
    for tunnel in (
        {"TunnelInsideCidr": "169.254.0.0/30"},
        {"TunnelInsideCidr": "10.0.0.0/30"},
        {"PreSharedKey": "0short"},
        {"DPDTimeoutSeconds": 5},
        {"Phase1EncryptionAlgorithms": [{"Value": "ROT13"}]},
    ):
        with refused("InvalidParameterValue"):
            connect(ec2, far, near, TunnelOptions=[tunnel])
