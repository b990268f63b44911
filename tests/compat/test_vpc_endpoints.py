"""VPC endpoints and endpoint services."""

from __future__ import annotations

import json
from typing import Any

from tests.compat.passing import until
from tests.compat.refused import refused

Client = Any
S3 = "com.amazonaws.us-east-1.s3"
STS = "com.amazonaws.us-east-1.sts"


def until_available(ec2: Client, id: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        (shown,) = ec2.describe_vpc_endpoints(VpcEndpointIds=[id])["VpcEndpoints"]
        return dict(shown)

    return until(look, lambda found: found["State"] == "available")


def until_gone(ec2: Client, id: str) -> None:
    named = [{"Name": "vpc-endpoint-id", "Values": [id]}]
    until(lambda: ec2.describe_vpc_endpoints(Filters=named)["VpcEndpoints"], lambda found: not found)


def prefix_routes(ec2: Client, table: str) -> list[tuple[str, str]]:
    (shown,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    return [
        (route["DestinationPrefixListId"], route["GatewayId"])
        for route in shown["Routes"]
        if "DestinationPrefixListId" in route
    ]


def test_a_gateway_endpoint(ec2: Client, vpc: str) -> None:
    one, two = (ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2))
    made = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=S3, RouteTableIds=[one])["VpcEndpoint"]
    id = made["VpcEndpointId"]
    assert made["VpcEndpointType"] == "Gateway"
    assert json.loads(made["PolicyDocument"])["Statement"][0]["Effect"] == "Allow"
    assert until_available(ec2, id)["RouteTableIds"] == [one]
    assert prefix_routes(ec2, one) == [("pl-63a5400a", id)]
    ec2.modify_vpc_endpoint(VpcEndpointId=id, AddRouteTableIds=[two], RemoveRouteTableIds=[one])
    assert prefix_routes(ec2, one) == []
    assert prefix_routes(ec2, two) == [("pl-63a5400a", id)]
    with refused("RouteAlreadyExists"):
        ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=S3, RouteTableIds=[two])
    policy = '{"Version": "2012-10-17", "Statement": []}'
    ec2.modify_vpc_endpoint(VpcEndpointId=id, PolicyDocument=policy)
    assert until_available(ec2, id)["PolicyDocument"] == policy
    assert ec2.delete_vpc_endpoints(VpcEndpointIds=[id])["Unsuccessful"] == []
    until_gone(ec2, id)
    assert prefix_routes(ec2, two) == []
    with refused("InvalidVpcEndpointId.NotFound", id):
        ec2.describe_vpc_endpoints(VpcEndpointIds=[id])


def test_an_interface_endpoint(ec2: Client, vpc: str) -> None:
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"][
            "SubnetId"
        ]
        for n, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    made = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName=STS, VpcEndpointType="Interface", SubnetIds=subnets[:1], SecurityGroupIds=[group]
    )["VpcEndpoint"]
    id = made["VpcEndpointId"]
    shown = until_available(ec2, id)
    assert shown["Groups"] == [{"GroupId": group, "GroupName": "g"}]
    assert shown["PrivateDnsEnabled"] is True
    assert any(entry["DnsName"] == "sts.us-east-1.amazonaws.com" for entry in shown["DnsEntries"])
    (port,) = shown["NetworkInterfaceIds"]
    (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[port])["NetworkInterfaces"]
    assert interface["InterfaceType"] == "vpc_endpoint"
    assert interface["SubnetId"] == subnets[0]
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    second = ec2.create_security_group(GroupName="second", Description="d", VpcId=vpc)["GroupId"]
    ec2.modify_vpc_endpoint(VpcEndpointId=id, AddSecurityGroupIds=[second])
    assert {one["GroupName"] for one in until_available(ec2, id)["Groups"]} == {"g", "second"}
    ec2.modify_vpc_endpoint(VpcEndpointId=id, RemoveSecurityGroupIds=[second])
    ec2.delete_security_group(GroupId=second)
    ec2.modify_vpc_endpoint(VpcEndpointId=id, AddSubnetIds=subnets[1:])
    assert until_available(ec2, id)["SubnetIds"] == subnets
    ec2.modify_vpc_endpoint(VpcEndpointId=id, RemoveSubnetIds=subnets[:1])
    assert until_available(ec2, id)["SubnetIds"] == subnets[1:]
    ec2.delete_vpc_endpoints(VpcEndpointIds=[id])
    until_gone(ec2, id)
    for subnet in subnets:
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_security_group(GroupId=group)
    ec2.delete_vpc(VpcId=vpc)


def test_the_addresses_of_an_endpoint(ec2: Client, vpc: str) -> None:
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]

    def place(address: str) -> dict[str, Any]:
        return {"SubnetConfigurations": [{"SubnetId": subnet, "Ipv4": address}]}

    def addresses() -> list[str]:
        named = [{"Name": "vpc-id", "Values": [vpc]}]
        return [one["PrivateIpAddress"] for one in ec2.describe_network_interfaces(Filters=named)["NetworkInterfaces"]]

    given = {"VpcId": vpc, "ServiceName": STS, "VpcEndpointType": "Interface", "SubnetIds": [subnet]}
    id = ec2.create_vpc_endpoint(**given, **place("10.0.0.10"))["VpcEndpoint"]["VpcEndpointId"]
    assert addresses() == ["10.0.0.10"]
    ec2.modify_vpc_endpoint(VpcEndpointId=id, **place("10.0.0.11"))
    assert addresses() == ["10.0.0.11"]
    (port,) = until_available(ec2, id)["NetworkInterfaceIds"]
    ec2.modify_vpc_endpoint(VpcEndpointId=id, **place("10.0.0.11"))
    assert until_available(ec2, id)["NetworkInterfaceIds"] == [port]
    with refused("InvalidIPAddress.InUse"):
        ec2.create_vpc_endpoint(**given, **place("10.0.0.11"))


def test_an_endpoint_without_subnets_has_groups_too(ec2: Client, vpc: str) -> None:
    made = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=STS, VpcEndpointType="Interface")["VpcEndpoint"]
    assert [one["GroupName"] for one in made["Groups"]] == ["default"]
    assert made["NetworkInterfaceIds"] == []


def test_faults_and_filters(ec2: Client, vpc: str) -> None:
    with refused("InvalidServiceName", "no.such.service"):
        ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="no.such.service")
    told = ec2.delete_vpc_endpoints(VpcEndpointIds=["vpce-0123456789abcdef0"])["Unsuccessful"]
    assert [one["Error"]["Code"] for one in told] == ["InvalidVpcEndpointId.NotFound"]
    id = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=S3)["VpcEndpoint"]["VpcEndpointId"]
    until_available(ec2, id)
    for name, value in {
        "vpc-id": vpc,
        "service-name": S3,
        "vpc-endpoint-id": id,
        "vpc-endpoint-state": "available",
        "vpc-endpoint-type": "Gateway",
    }.items():
        found = ec2.describe_vpc_endpoints(Filters=[{"Name": name, "Values": [value]}])["VpcEndpoints"]
        assert [one["VpcEndpointId"] for one in found] == [id], name


def test_services(ec2: Client) -> None:
    every = ec2.describe_vpc_endpoint_services()
    assert {S3, STS, S3.replace("s3", "ecs"), S3.replace("s3", "rds")} <= set(every["ServiceNames"])
    asked = [{"Name": "service-type", "Values": ["Gateway"]}]
    gateways = ec2.describe_vpc_endpoint_services(ServiceNames=[S3], Filters=asked)["ServiceDetails"]
    assert [one["ServiceType"] for one in gateways] == [[{"ServiceType": "Gateway"}]]
    assert len(gateways[0]["AvailabilityZones"]) == 6
    first = ec2.describe_vpc_endpoint_services(MaxResults=5)
    second = ec2.describe_vpc_endpoint_services(MaxResults=5, NextToken=first["NextToken"])
    listed = [one["ServiceId"] for page in (first, second) for one in page["ServiceDetails"]]
    assert len(set(listed)) == 10
    tagged = ec2.describe_vpc_endpoint_services(Filters=[{"Name": "tag:a", "Values": ["b"]}])
    assert tagged["ServiceDetails"] == []
    with refused("InvalidServiceName"):
        ec2.describe_vpc_endpoint_services(ServiceNames=["com.amazonaws.us-east-1.nothing"])
