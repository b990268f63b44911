"""Network interfaces, their attributes and addresses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.fixture
def subnet(ec2: Client, vpc: str) -> str:
    made: str = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-east-1a")["Subnet"][
        "SubnetId"
    ]
    return made


@pytest.fixture
def port(ec2: Client, subnet: str) -> str:
    made: str = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    return made


def shown(ec2: Client, id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"][0]
    return found


def addresses(ec2: Client, id: str) -> list[str]:
    return [one["PrivateIpAddress"] for one in shown(ec2, id)["PrivateIpAddresses"]]


def test_an_interface_shows_all_that_aws_shows(ec2: Client, vpc: str, subnet: str, account: str) -> None:
    made = ec2.create_network_interface(SubnetId=subnet, Description="first", PrivateIpAddress="10.0.1.50")
    id = made["NetworkInterface"]["NetworkInterfaceId"]
    assert made["NetworkInterface"]["Status"] == "pending"
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    found = shown(ec2, id)
    assert found.pop("MacAddress").count(":") == 5
    assert found == {
        "NetworkInterfaceId": id,
        "SubnetId": subnet,
        "VpcId": vpc,
        "OwnerId": account,
        "AvailabilityZone": "us-east-1a",
        "AvailabilityZoneId": "use1-az6",
        "Description": "first",
        "InterfaceType": "interface",
        "Status": "available",
        "SourceDestCheck": True,
        "RequesterManaged": False,
        "Groups": [{"GroupId": group["GroupId"], "GroupName": "default"}],
        "PrivateIpAddress": "10.0.1.50",
        "PrivateDnsName": "ip-10-0-1-50.ec2.internal",
        "PrivateIpAddresses": [
            {"PrivateIpAddress": "10.0.1.50", "PrivateDnsName": "ip-10-0-1-50.ec2.internal", "Primary": True}
        ],
        "Ipv6Addresses": [],
        "Operator": {"Managed": False},
        "TagSet": [],
    }


def test_an_interface_is_in_five_groups_at_most(ec2: Client, vpc: str, subnet: str, port: str) -> None:
    groups = [
        ec2.create_security_group(VpcId=vpc, GroupName=f"group {number}", Description="d")["GroupId"]
        for number in range(6)
    ]
    with refused("SecurityGroupsPerInterfaceLimitExceeded", "5"):
        ec2.create_network_interface(SubnetId=subnet, Groups=groups)
    with refused("SecurityGroupsPerInterfaceLimitExceeded"):
        ec2.modify_network_interface_attribute(NetworkInterfaceId=port, Groups=groups)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=port, Groups=groups[:5])
    assert len(shown(ec2, port)["Groups"]) == 5


def test_wished_addresses(ec2: Client, subnet: str) -> None:
    for ip in ("10.0.1.0", "10.0.1.1", "10.0.1.3", "10.0.1.255", "10.0.2.9"):
        with refused("InvalidParameterValue", ip):
            ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress=ip)
    listed = [{"PrivateIpAddress": "10.0.1.21", "Primary": False}, {"PrivateIpAddress": "10.0.1.20", "Primary": True}]
    id = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddresses=listed)["NetworkInterface"][
        "NetworkInterfaceId"
    ]
    assert addresses(ec2, id) == ["10.0.1.20", "10.0.1.21"]
    with refused("InvalidIPAddress.InUse", "10.0.1.20"):
        ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.0.1.20")
    with refused("InvalidSubnetID.NotFound"):
        ec2.create_network_interface(SubnetId="subnet-0123456789abcdef0")


def test_secondary_addresses(ec2: Client, subnet: str, port: str) -> None:
    first = addresses(ec2, port)[0]
    given = ec2.assign_private_ip_addresses(NetworkInterfaceId=port, SecondaryPrivateIpAddressCount=2)
    assert len(given["AssignedPrivateIpAddresses"]) == 2
    ec2.assign_private_ip_addresses(NetworkInterfaceId=port, PrivateIpAddresses=["10.0.1.99"])
    held = addresses(ec2, port)
    assert held[0] == first
    assert len(held) == 4
    other = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    with refused("InvalidIPAddress.InUse"):
        ec2.assign_private_ip_addresses(NetworkInterfaceId=other, PrivateIpAddresses=["10.0.1.99"])
    ec2.assign_private_ip_addresses(NetworkInterfaceId=other, PrivateIpAddresses=["10.0.1.99"], AllowReassignment=True)
    assert "10.0.1.99" not in addresses(ec2, port)
    ec2.unassign_private_ip_addresses(NetworkInterfaceId=other, PrivateIpAddresses=["10.0.1.99"])
    with refused("InvalidParameterValue"):
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=other, PrivateIpAddresses=addresses(ec2, other))
    free = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
    assert free == 251 - 4


def test_ipv6_addresses(ec2: Client) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    part = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.0.0/24", Ipv6CidrBlock=part)["Subnet"]["SubnetId"]
    wish = part.replace("::/64", "::1234")
    id = ec2.create_network_interface(SubnetId=subnet, Ipv6Addresses=[{"Ipv6Address": wish}])["NetworkInterface"][
        "NetworkInterfaceId"
    ]
    assert [one["Ipv6Address"] for one in shown(ec2, id)["Ipv6Addresses"]] == [wish]
    given = ec2.assign_ipv6_addresses(NetworkInterfaceId=id, Ipv6AddressCount=2)["AssignedIpv6Addresses"]
    assert len(given) == 2
    ec2.unassign_ipv6_addresses(NetworkInterfaceId=id, Ipv6Addresses=given)
    assert [one["Ipv6Address"] for one in shown(ec2, id)["Ipv6Addresses"]] == [wish]


def test_attributes(ec2: Client, vpc: str, port: str) -> None:
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=port, Description={"Value": "new"})
    ec2.modify_network_interface_attribute(NetworkInterfaceId=port, SourceDestCheck={"Value": False})
    ec2.modify_network_interface_attribute(NetworkInterfaceId=port, Groups=[group])
    found = shown(ec2, port)
    assert found["Description"] == "new"
    assert found["SourceDestCheck"] is False
    assert found["Groups"] == [{"GroupId": group, "GroupName": "g"}]

    def attribute(name: str) -> dict[str, Any]:
        answer: dict[str, Any] = ec2.describe_network_interface_attribute(NetworkInterfaceId=port, Attribute=name)
        return answer

    assert attribute("description")["Description"] == {"Value": "new"}
    assert attribute("sourceDestCheck")["SourceDestCheck"] == {"Value": False}
    assert attribute("groupSet")["Groups"] == [{"GroupId": group, "GroupName": "g"}]
    assert "Attachment" not in attribute("attachment")
    ec2.reset_network_interface_attribute(NetworkInterfaceId=port, SourceDestCheck="true")
    assert shown(ec2, port)["SourceDestCheck"] is True
    other = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    foreign = ec2.create_security_group(GroupName="g", Description="d", VpcId=other)["GroupId"]
    for wrong in (foreign, "sg-0123456789abcdef0"):
        with refused("InvalidGroup.NotFound", wrong):
            ec2.modify_network_interface_attribute(NetworkInterfaceId=port, Groups=[wrong])


def test_delete(ec2: Client, port: str) -> None:
    ec2.delete_network_interface(NetworkInterfaceId=port)
    with refused("InvalidNetworkInterfaceID.NotFound", port):
        ec2.delete_network_interface(NetworkInterfaceId=port)
    with refused("InvalidAttachmentID.NotFound"):
        ec2.detach_network_interface(AttachmentId="eni-attach-0123456789abcdef0")


def test_filters(ec2: Client, vpc: str, subnet: str, port: str) -> None:
    other = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.2.0/24", AvailabilityZone="us-east-1b")["Subnet"]["SubnetId"]
    ec2.create_network_interface(SubnetId=other, Description="other")
    found = shown(ec2, port)
    for name, value in {
        "network-interface-id": port,
        "subnet-id": subnet,
        "availability-zone": "us-east-1a",
        "availability-zone-id": "use1-az6",
        "mac-address": found["MacAddress"],
        "private-ip-address": found["PrivateIpAddress"],
        "addresses.private-ip-address": found["PrivateIpAddress"],
        "private-dns-name": found["PrivateDnsName"],
    }.items():
        asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]
        listed = ec2.describe_network_interfaces(Filters=asked)["NetworkInterfaces"]
        assert [one["NetworkInterfaceId"] for one in listed] == [port], name
    for name, value in {
        "status": "available",
        "group-id": found["Groups"][0]["GroupId"],
        "group-name": "default",
        "interface-type": "interface",
        "requester-managed": "false",
        "source-dest-check": "true",
        "addresses.primary": "true",
        "owner-id": found["OwnerId"],
    }.items():
        asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]
        assert len(ec2.describe_network_interfaces(Filters=asked)["NetworkInterfaces"]) == 2, name


def test_tags_on_create(ec2: Client, subnet: str) -> None:
    tags = [{"Key": "Name", "Value": "card"}]
    made = ec2.create_network_interface(
        SubnetId=subnet, TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}]
    )["NetworkInterface"]
    assert made["TagSet"] == tags
    (found,) = ec2.describe_network_interfaces(Filters=[{"Name": "tag:Name", "Values": ["card"]}])["NetworkInterfaces"]
    assert found["NetworkInterfaceId"] == made["NetworkInterfaceId"]
