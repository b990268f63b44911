"""CreateSubnet, DescribeSubnets, DeleteSubnet, ModifySubnetAttribute."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.compat.refused import refused

Client = Any


def test_a_subnet_shows_all_that_aws_shows(ec2: Client, vpc: str, account: str) -> None:
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]
    (shown,) = ec2.describe_subnets(SubnetIds=[made["SubnetId"]])["Subnets"]
    assert shown == made
    assert shown == {
        "SubnetId": made["SubnetId"],
        "SubnetArn": f"arn:aws:ec2:us-east-1:{account}:subnet/{made['SubnetId']}",
        "VpcId": vpc,
        "OwnerId": account,
        "State": "available",
        "CidrBlock": "10.0.1.0/24",
        "AvailabilityZone": "us-east-1b",
        "AvailabilityZoneId": "use1-az1",
        "AvailableIpAddressCount": 251,
        "DefaultForAz": False,
        "MapPublicIpOnLaunch": False,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": False,
        "Ipv6CidrBlockAssociationSet": [],
        "EnableDns64": False,
        "Ipv6Native": False,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
        },
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": "off"},
        "Tags": [],
    }


def test_zone_by_id_and_unknown_zone(ec2: Client, vpc: str) -> None:
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZoneId="use1-az6")["Subnet"]
    assert made["AvailabilityZone"] == "us-east-1a"
    with refused("InvalidParameterValue", "us-east-1x"):
        ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.2.0/24", AvailabilityZone="us-east-1x")


@pytest.mark.parametrize(
    ("cidr", "code"),
    [
        ("10.0.1.128/25", "InvalidSubnet.Conflict"),
        ("10.0.0.0/20", "InvalidSubnet.Conflict"),
        ("10.1.0.0/24", "InvalidSubnet.Range"),
        ("10.0.4.0/29", "InvalidSubnet.Range"),
        ("10.0.0.0/15", "InvalidSubnet.Range"),
        ("ten", "InvalidParameterValue"),
    ],
)
def test_where_a_subnet_cannot_be(ec2: Client, vpc: str, cidr: str, code: str) -> None:
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")
    with refused(code, cidr):
        ec2.create_subnet(VpcId=vpc, CidrBlock=cidr)


def test_free_addresses_are_counted(ec2: Client, vpc: str) -> None:
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/28")["Subnet"]["SubnetId"]

    def free() -> int:
        count: int = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
        return count

    assert free() == 11
    made = [ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"] for _ in range(4)]
    assert free() == 7
    ec2.create_network_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=6)
    assert free() == 0
    with refused("InsufficientFreeAddressesInSubnet"):
        ec2.create_network_interface(SubnetId=subnet)
    ec2.delete_network_interface(NetworkInterfaceId=made[0]["NetworkInterfaceId"])
    assert free() == 1
    again = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    assert again["PrivateIpAddress"] == made[0]["PrivateIpAddress"]


def test_reserved_ranges_are_given_to_who_asks_for_their_addresses(ec2: Client, vpc: str) -> None:
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/28")["Subnet"]["SubnetId"]

    def reserve(cidr: str, **about: Any) -> Any:
        asked = {"SubnetId": subnet, "Cidr": cidr, "ReservationType": "explicit", **about}
        return ec2.create_subnet_cidr_reservation(**asked)["SubnetCidrReservation"]

    tags = [{"ResourceType": "subnet-cidr-reservation", "Tags": [{"Key": "k", "Value": "v"}]}]
    made = reserve("10.0.1.4/30", Description="d", TagSpecifications=tags)
    assert made["Tags"] == [{"Key": "k", "Value": "v"}]
    with refused("InvalidParameterValue", "within subnet CIDR block (10.0.1.0/28)"):
        reserve("10.0.2.0/30")
    with refused("InvalidParameterValue", "overlap"):
        reserve("10.0.1.6/31", ReservationType="prefix")
    cards = [ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"] for _ in range(7)]
    assert sorted(int(card["PrivateIpAddress"].split(".")[3]) for card in cards) == list(range(8, 15))
    with refused("InsufficientFreeAddressesInSubnet"):
        ec2.create_network_interface(SubnetId=subnet)
    ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.0.1.5")
    told = ec2.get_subnet_cidr_reservations(SubnetId=subnet)
    assert (told["SubnetIpv4CidrReservations"], told["SubnetIpv6CidrReservations"]) == ([made], [])
    wanted = [{"Name": "reservationType", "Values": ["prefix"]}]
    assert ec2.get_subnet_cidr_reservations(SubnetId=subnet, Filters=wanted)["SubnetIpv4CidrReservations"] == []
    id = made["SubnetCidrReservationId"]
    assert ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId=id)["DeletedSubnetCidrReservation"] == made
    with refused("InvalidSubnetCidrReservationID.NotFound"):
        ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId=id)
    assert ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["PrivateIpAddress"] == "10.0.1.4"


def test_a_subnet_with_an_interface_stays(ec2: Client, vpc: str) -> None:
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    with refused("DependencyViolation", subnet):
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    ec2.delete_subnet(SubnetId=subnet)
    with refused("InvalidSubnetID.NotFound"):
        ec2.delete_subnet(SubnetId=subnet)


def test_attributes(ec2: Client, vpc: str) -> None:
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    ec2.modify_subnet_attribute(SubnetId=subnet, EnableDns64={"Value": True})
    ec2.modify_subnet_attribute(SubnetId=subnet, PrivateDnsHostnameTypeOnLaunch="resource-name")
    ec2.modify_subnet_attribute(SubnetId=subnet, EnableResourceNameDnsARecordOnLaunch={"Value": True})
    (shown,) = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
    assert shown["MapPublicIpOnLaunch"] is shown["EnableDns64"] is True
    assert shown["PrivateDnsNameOptionsOnLaunch"] == {
        "HostnameType": "resource-name",
        "EnableResourceNameDnsARecord": True,
        "EnableResourceNameDnsAAAARecord": False,
    }
    with refused("InvalidParameterValue"):
        ec2.modify_subnet_attribute(SubnetId=subnet, AssignIpv6AddressOnCreation={"Value": True})


def test_filters(ec2: Client, vpc: str, account: str) -> None:
    one = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone="us-east-1c")["Subnet"]
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.2.0/25", AvailabilityZone="us-east-1d")
    for name, value in {
        "availability-zone": "us-east-1c",
        "availability-zone-id": "use1-az2",
        "available-ip-address-count": "251",
        "cidr-block": "10.0.1.0/24",
        "subnet-arn": one["SubnetArn"],
        "subnet-id": one["SubnetId"],
    }.items():
        asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]
        assert [s["SubnetId"] for s in ec2.describe_subnets(Filters=asked)["Subnets"]] == [one["SubnetId"]], name
    for name, value in {
        "state": "available",
        "owner-id": account,
        "default-for-az": "false",
        "ipv6-native": "false",
    }.items():
        asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]
        assert len(ec2.describe_subnets(Filters=asked)["Subnets"]) == 2, name


def test_an_ipv6_block_comes_and_goes(ec2: Client) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    part = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].replace("/56", "/64")
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    added = ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=part)["Ipv6CidrBlockAssociation"]
    assert added["Ipv6CidrBlock"] == part
    interface = ec2.create_network_interface(SubnetId=subnet, Ipv6AddressCount=1)["NetworkInterface"]
    with refused("InvalidCidr.InUse"):
        ec2.disassociate_subnet_cidr_block(AssociationId=added["AssociationId"])
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    ec2.disassociate_subnet_cidr_block(AssociationId=added["AssociationId"])
    assert ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["Ipv6CidrBlockAssociationSet"] == []


def test_writers_at_once_keep_the_books_right(client: Callable[..., Client], ec2: Client, vpc: str) -> None:
    clients = [client("ec2") for _ in range(6)]

    def create(one: Client, number: int) -> str:
        try:
            made: str = one.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/22")["Subnet"]["SubnetId"]
        except ClientError as fault:
            assert fault.response["Error"]["Code"] == "InvalidSubnet.Conflict"
            return ""
        return made

    with ThreadPoolExecutor(len(clients)) as pool:
        made = list(pool.map(create, clients, range(6)))
        # 10.0.0.0/22 was asked for four times, 10.0.4.0/22 twice.
        assert len([id for id in made if id]) == 2
        subnet = next(id for id in made if id)
        (block,) = [s["CidrBlock"] for s in ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]]
        first = int(ip_network(block).network_address)
        wishes = [str(ip_address(first + 20 + n)) for n in range(len(clients))]
        list(
            pool.map(
                lambda one, ip: one.create_network_interface(SubnetId=subnet, PrivateIpAddress=ip), clients, wishes
            )
        )
    (shown,) = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
    assert shown["AvailableIpAddressCount"] == 1024 - 5 - len(clients)


def test_a_subnet_of_ipv6_alone_has_no_ipv4_range(ec2: Client, vpc: str) -> None:
    with refused("MissingParameter", "Either 'ipv6CidrBlock' or 'ipv6IpamPoolId'"):
        ec2.create_subnet(VpcId=vpc, Ipv6Native=True, CidrBlock="10.0.0.0/24")
    with refused("InvalidParameterCombination", "you cannot set ipv6Native to true"):
        ec2.create_subnet(VpcId=vpc, Ipv6Native=True, CidrBlock="10.0.0.0/24", Ipv6CidrBlock="2001:db8::/64")
