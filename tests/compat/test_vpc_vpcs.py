"""CreateVpc, DescribeVpcs, DeleteVpc, CIDR blocks and attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


def filters(**values: str) -> list[dict[str, Any]]:
    return [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in values.items()]


def test_a_new_vpc_has_all_that_terraform_reads(ec2: Client, account: str) -> None:
    vpc = ec2.create_vpc(
        CidrBlock="10.1.0.0/16",
        TagSpecifications=[{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "one"}]}],
    )["Vpc"]
    assert vpc["State"] == "pending"
    shown = ec2.describe_vpcs(VpcIds=[vpc["VpcId"]])["Vpcs"][0]
    assert shown["State"] == "available"
    assert shown["CidrBlock"] == "10.1.0.0/16"
    assert shown["OwnerId"] == account
    assert shown["InstanceTenancy"] == "default"
    assert shown["IsDefault"] is False
    assert shown["DhcpOptionsId"].startswith("dopt-")
    assert shown["Tags"] == [{"Key": "Name", "Value": "one"}]
    (block,) = shown["CidrBlockAssociationSet"]
    assert block["CidrBlock"] == "10.1.0.0/16"
    assert block["CidrBlockState"] == {"State": "associated"}

    (table,) = ec2.describe_route_tables(
        Filters=filters(vpc_id=vpc["VpcId"]) + [{"Name": "association.main", "Values": ["true"]}]
    )["RouteTables"]
    assert [(r["DestinationCidrBlock"], r["GatewayId"], r["State"]) for r in table["Routes"]] == [
        ("10.1.0.0/16", "local", "active")
    ]
    (acl,) = ec2.describe_network_acls(Filters=filters(vpc_id=vpc["VpcId"], default="true"))["NetworkAcls"]
    assert sorted((e["Egress"], e["RuleNumber"], e["RuleAction"]) for e in acl["Entries"]) == [
        (False, 100, "allow"),
        (False, 32767, "deny"),
        (True, 100, "allow"),
        (True, 32767, "deny"),
    ]
    (group,) = ec2.describe_security_groups(Filters=filters(vpc_id=vpc["VpcId"], group_name="default"))[
        "SecurityGroups"
    ]
    assert group["IpPermissions"][0]["UserIdGroupPairs"] == [{"GroupId": group["GroupId"], "UserId": account}]
    assert group["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]


@pytest.mark.parametrize("cidr", ["10.0.0.0/15", "10.0.0.0/29"])
def test_a_vpc_is_16_to_28_bits_wide(ec2: Client, cidr: str) -> None:
    with refused("InvalidVpc.Range", cidr):
        ec2.create_vpc(CidrBlock=cidr)


def test_host_bits_are_cleared(ec2: Client) -> None:
    assert ec2.create_vpc(CidrBlock="100.68.0.18/18")["Vpc"]["CidrBlock"] == "100.68.0.0/18"


@pytest.mark.parametrize("cidr", ["10.0.0.0", "10.0.0/16", "300.0.0.0/16", "x"])
def test_what_is_no_block_is_refused(ec2: Client, cidr: str) -> None:
    with refused("InvalidParameterValue"):
        ec2.create_vpc(CidrBlock=cidr)


def test_unknown_and_malformed_ids(ec2: Client) -> None:
    with refused("InvalidVpcID.NotFound", "vpc-0123456789abcdef0"):
        ec2.describe_vpcs(VpcIds=["vpc-0123456789abcdef0"])
    with refused("InvalidVpcID.Malformed"):
        ec2.describe_vpcs(VpcIds=["vpc-nonsense"])
    with refused("InvalidVpcID.NotFound"):
        ec2.delete_vpc(VpcId="vpc-0123456789abcdef0")


def test_filters(ec2: Client, account: str) -> None:
    one = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]
    ec2.create_vpc(CidrBlock="10.3.0.0/16")
    association = one["CidrBlockAssociationSet"][0]["AssociationId"]
    for asked in (
        {"vpc-id": one["VpcId"]},
        {"cidr": "10.2.0.0/16"},
        {"cidr": "10.2.*"},
        {"cidr-block-association.cidr-block": "10.2.0.0/16"},
        {"cidr-block-association.association-id": association},
        {"owner-id": account, "cidr": "10.2.0.0/16"},
    ):
        found = ec2.describe_vpcs(Filters=[{"Name": k, "Values": [v]} for k, v in asked.items()])["Vpcs"]
        assert [vpc["VpcId"] for vpc in found] == [one["VpcId"]], asked
    defaults = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    assert [vpc["CidrBlock"] for vpc in defaults] == ["172.31.0.0/16"]
    assert len(ec2.describe_vpcs(Filters=[{"Name": "state", "Values": ["available"]}])["Vpcs"]) == 3
    with refused("InvalidParameterValue", "no-such-filter"):
        ec2.describe_vpcs(Filters=[{"Name": "no-such-filter", "Values": ["x"]}])


def test_a_vpc_with_something_in_it_stays(ec2: Client) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    with refused("DependencyViolation", vpc):
        ec2.delete_vpc(VpcId=vpc)
    ec2.delete_subnet(SubnetId=subnet)
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc)
    ec2.delete_security_group(GroupId=group)
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_vpc(VpcId=vpc)
    with refused("InvalidVpcID.NotFound"):
        ec2.describe_vpcs(VpcIds=[vpc])
    for describe, listed in (
        (ec2.describe_route_tables, "RouteTables"),
        (ec2.describe_network_acls, "NetworkAcls"),
        (ec2.describe_security_groups, "SecurityGroups"),
    ):
        assert describe(Filters=filters(vpc_id=vpc))[listed] == []


def test_more_blocks(ec2: Client) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    added = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.1.0.0/16")["CidrBlockAssociation"]
    assert added["CidrBlockState"]["State"] == "associating"
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24")["Subnet"]["SubnetId"]
    table = ec2.describe_route_tables(Filters=filters(vpc_id=vpc))["RouteTables"][0]
    assert [r["DestinationCidrBlock"] for r in table["Routes"]] == ["10.0.0.0/16", "10.1.0.0/16"]
    with refused("InvalidVpc.Range"):
        ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.1.128.0/20")
    with refused("InvalidCidr.InUse"):
        ec2.disassociate_vpc_cidr_block(AssociationId=added["AssociationId"])
    ec2.delete_subnet(SubnetId=subnet)
    gone = ec2.disassociate_vpc_cidr_block(AssociationId=added["AssociationId"])
    assert gone["CidrBlockAssociation"]["CidrBlockState"]["State"] == "disassociating"
    first = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlockAssociationSet"]
    assert [block["CidrBlock"] for block in first] == ["10.0.0.0/16"]
    with refused("OperationNotPermitted"):
        ec2.disassociate_vpc_cidr_block(AssociationId=first[0]["AssociationId"])
    for third in range(1, 5):
        ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock=f"10.{third}.0.0/16")
    with refused("CidrLimitExceeded"):
        ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.9.0.0/16")


def test_ipv6(ec2: Client) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    (block,) = vpc["Ipv6CidrBlockAssociationSet"]
    assert block["Ipv6CidrBlock"].endswith("/56")
    part = block["Ipv6CidrBlock"].replace("/56", "/64")
    subnet = ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.0.0/24", Ipv6CidrBlock=part)["Subnet"]
    assert subnet["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] == part
    with refused("InvalidSubnet.Conflict"):
        ec2.create_subnet(VpcId=vpc["VpcId"], CidrBlock="10.0.1.0/24", Ipv6CidrBlock=part)
    (table,) = ec2.describe_route_tables(Filters=filters(vpc_id=vpc["VpcId"]))["RouteTables"]
    assert {"DestinationIpv6CidrBlock": block["Ipv6CidrBlock"]}.items() <= table["Routes"][1].items()
    (acl,) = ec2.describe_network_acls(Filters=filters(vpc_id=vpc["VpcId"]))["NetworkAcls"]
    assert {entry["RuleNumber"] for entry in acl["Entries"]} == {100, 101, 32767, 32768}
    made = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc["VpcId"])["GroupId"]
    for group in ec2.describe_security_groups(Filters=filters(vpc_id=vpc["VpcId"]))["SecurityGroups"]:
        (way_out,) = group["IpPermissionsEgress"]
        assert (way_out["IpRanges"], way_out["Ipv6Ranges"]) == ([{"CidrIp": "0.0.0.0/0"}], [{"CidrIpv6": "::/0"}])
    ec2.delete_security_group(GroupId=made)
    interface = ec2.create_network_interface(SubnetId=subnet["SubnetId"], Ipv6AddressCount=2)["NetworkInterface"]
    assert len(interface["Ipv6Addresses"]) == 2


def test_attributes(ec2: Client) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]

    def value(name: str) -> bool:
        answer = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)
        found: bool = answer[name[0].upper() + name[1:]]["Value"]
        return found

    assert value("enableDnsSupport") is True
    assert value("enableDnsHostnames") is False
    assert value("enableNetworkAddressUsageMetrics") is False
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsSupport={"Value": False})
    ec2.modify_vpc_attribute(VpcId=vpc, EnableNetworkAddressUsageMetrics={"Value": True})
    assert value("enableDnsSupport") is False
    assert value("enableDnsHostnames") is True
    assert value("enableNetworkAddressUsageMetrics") is True
    with refused("InvalidParameterCombination"):
        ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True}, EnableDnsSupport={"Value": True})


def test_tenancy(ec2: Client) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", InstanceTenancy="dedicated")["Vpc"]["VpcId"]
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["InstanceTenancy"] == "dedicated"
    assert ec2.modify_vpc_tenancy(VpcId=vpc, InstanceTenancy="default")["ReturnValue"] is True
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["InstanceTenancy"] == "default"


def test_accounts_and_regions_do_not_see_each_other(client: Callable[..., Client]) -> None:
    here = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    for other in (client("ec2", region="eu-west-1"), client("ec2", account="999999999999")):
        with refused("InvalidVpcID.NotFound"):
            other.describe_vpcs(VpcIds=[here])
        assert here not in [vpc["VpcId"] for vpc in other.describe_vpcs()["Vpcs"]]


def test_pages(ec2: Client) -> None:
    made = {ec2.create_vpc(CidrBlock=f"10.{n}.0.0/16")["Vpc"]["VpcId"] for n in range(11)}
    pages = list(ec2.get_paginator("describe_vpcs").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(page["Vpcs"]) for page in pages] == [5, 5, 2]
    assert made < {vpc["VpcId"] for page in pages for vpc in page["Vpcs"]}


def test_dry_run_and_waiter(ec2: Client) -> None:
    with refused("DryRunOperation"):
        ec2.create_vpc(CidrBlock="10.0.0.0/16", DryRun=True)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc])


def test_tags_for_another_kind_are_refused(ec2: Client) -> None:
    for tagged, words in (
        ({"ResourceType": "subnet"}, "'subnet' is not a valid taggable resource type"),
        ({}, "Tag specification resource type must have a value"),
    ):
        with refused("InvalidParameterValue", words):
            ec2.create_vpc(
                CidrBlock="10.77.0.0/16", TagSpecifications=[tagged | {"Tags": [{"Key": "a", "Value": "b"}]}]
            )
    assert ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.77.0.0/16"]}])["Vpcs"] == []
