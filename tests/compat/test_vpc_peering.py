"""VPC peering connections: within an account, between accounts, between regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.compat.refused import refused

Client = Any
OTHER = "222222222222"


def new_vpc(ec2: Client, cidr: str) -> str:
    made: str = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    return made


def state(ec2: Client, id: str) -> str:
    (shown,) = ec2.describe_vpc_peering_connections(VpcPeeringConnectionIds=[id])["VpcPeeringConnections"]
    code: str = shown["Status"]["Code"]
    return code


def test_two_vpcs_of_one_account(client: Callable[..., Client], account: str) -> None:
    ec2 = client("ec2")
    mine, theirs = new_vpc(ec2, "10.1.0.0/16"), new_vpc(ec2, "10.2.0.0/16")
    made = ec2.create_vpc_peering_connection(VpcId=mine, PeerVpcId=theirs)["VpcPeeringConnection"]
    id = made["VpcPeeringConnectionId"]
    assert made["Status"]["Code"] == "initiating-request"
    assert state(ec2, id) == "pending-acceptance"
    table = ec2.create_route_table(VpcId=mine)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.2.0.0/16", VpcPeeringConnectionId=id)

    def route() -> dict[str, Any]:
        found: dict[str, Any] = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]["Routes"][-1]
        return found

    assert route()["State"] == "blackhole"
    active = ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=id)["VpcPeeringConnection"]
    assert active["Status"] == {"Code": "active", "Message": "Active"}
    assert active["AccepterVpcInfo"]["CidrBlock"] == "10.2.0.0/16"
    assert active["AccepterVpcInfo"]["Region"] == "us-east-1"
    assert active["RequesterVpcInfo"]["OwnerId"] == account
    assert route()["State"] == "active"
    assert route()["VpcPeeringConnectionId"] == id
    with refused("InvalidStateTransition"):
        ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=id)
    options = ec2.modify_vpc_peering_connection_options(
        VpcPeeringConnectionId=id, AccepterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": True}
    )
    assert options["AccepterPeeringConnectionOptions"]["AllowDnsResolutionFromRemoteVpc"] is True
    for name, value in {
        "accepter-vpc-info.vpc-id": theirs,
        "requester-vpc-info.vpc-id": mine,
        "accepter-vpc-info.cidr-block": "10.2.0.0/16",
        "requester-vpc-info.owner-id": account,
        "status-code": "active",
        "vpc-peering-connection-id": id,
    }.items():
        found = ec2.describe_vpc_peering_connections(Filters=[{"Name": name, "Values": [value]}])[
            "VpcPeeringConnections"
        ]
        assert [one["VpcPeeringConnectionId"] for one in found] == [id], name
    ec2.delete_vpc_peering_connection(VpcPeeringConnectionId=id)
    assert state(ec2, id) == "deleted"
    assert route()["State"] == "blackhole"


def test_between_accounts_and_regions(client: Callable[..., Client], account: str) -> None:
    here, there = client("ec2"), client("ec2", account=OTHER, region="eu-west-1")
    mine, theirs = new_vpc(here, "10.1.0.0/16"), new_vpc(there, "10.2.0.0/16")
    id = here.create_vpc_peering_connection(VpcId=mine, PeerVpcId=theirs, PeerOwnerId=OTHER, PeerRegion="eu-west-1")[
        "VpcPeeringConnection"
    ]["VpcPeeringConnectionId"]
    with refused("OperationNotPermitted"):
        here.accept_vpc_peering_connection(VpcPeeringConnectionId=id)
    assert state(there, id) == "pending-acceptance"
    there.accept_vpc_peering_connection(VpcPeeringConnectionId=id)
    assert state(here, id) == state(there, id) == "active"
    with refused("OperationNotPermitted"):
        here.modify_vpc_peering_connection_options(
            VpcPeeringConnectionId=id, AccepterPeeringConnectionOptions={"AllowDnsResolutionFromRemoteVpc": True}
        )
    there.delete_vpc_peering_connection(VpcPeeringConnectionId=id)
    assert state(here, id) == "deleted"


def test_what_cannot_be_linked(client: Callable[..., Client]) -> None:
    ec2 = client("ec2")
    mine, same = new_vpc(ec2, "10.1.0.0/16"), new_vpc(ec2, "10.1.0.0/20")
    failed = ec2.create_vpc_peering_connection(VpcId=mine, PeerVpcId=same)["VpcPeeringConnection"]
    assert failed["Status"]["Code"] == "failed"
    with refused("InvalidVpcID.NotFound"):
        ec2.create_vpc_peering_connection(VpcId=mine, PeerVpcId="vpc-0123456789abcdef0")
    stranger = ec2.create_vpc_peering_connection(VpcId=mine, PeerVpcId="vpc-0123456789abcdef0", PeerOwnerId=OTHER)
    assert stranger["VpcPeeringConnection"]["Status"]["Code"] == "failed"


def test_reject_and_vpc_gone(client: Callable[..., Client]) -> None:
    ec2 = client("ec2")
    mine, theirs = new_vpc(ec2, "10.1.0.0/16"), new_vpc(ec2, "10.2.0.0/16")
    ids = [
        ec2.create_vpc_peering_connection(VpcId=mine, PeerVpcId=theirs)["VpcPeeringConnection"][
            "VpcPeeringConnectionId"
        ]
        for _ in range(2)
    ]
    ec2.reject_vpc_peering_connection(VpcPeeringConnectionId=ids[0])
    assert state(ec2, ids[0]) == "rejected"
    with refused("InvalidStateTransition"):
        ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=ids[0])
    ec2.delete_vpc(VpcId=theirs)
    assert state(ec2, ids[1]) == "deleted"
    with refused("InvalidVpcPeeringConnectionID.NotFound"):
        ec2.accept_vpc_peering_connection(VpcPeeringConnectionId="pcx-0123456789abcdef0")
