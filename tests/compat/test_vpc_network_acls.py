"""Network ACLs, their entries and associations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.fixture
def acl(ec2: Client, vpc: str) -> str:
    made: str = ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    return made


def entries(ec2: Client, acl: str) -> list[dict[str, Any]]:
    (shown,) = ec2.describe_network_acls(NetworkAclIds=[acl])["NetworkAcls"]
    found: list[dict[str, Any]] = shown["Entries"]
    return found


def entry(acl: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "NetworkAclId": acl,
        "RuleNumber": number,
        "Protocol": "6",
        "RuleAction": "allow",
        "Egress": False,
        "CidrBlock": "0.0.0.0/0",
        "PortRange": {"From": 80, "To": 80},
    } | more


def test_a_new_one_denies_everything(ec2: Client, vpc: str, acl: str, account: str) -> None:
    (shown,) = ec2.describe_network_acls(NetworkAclIds=[acl])["NetworkAcls"]
    denies = {"CidrBlock": "0.0.0.0/0", "Protocol": "-1", "RuleAction": "deny", "RuleNumber": 32767}
    assert shown == {
        "NetworkAclId": acl,
        "VpcId": vpc,
        "OwnerId": account,
        "IsDefault": False,
        "Associations": [],
        "Entries": [denies | {"Egress": True}, denies | {"Egress": False}],
        "Tags": [],
    }


def test_entries_come_and_go(ec2: Client, acl: str) -> None:
    ec2.create_network_acl_entry(**entry(acl, 100))
    assert entries(ec2, acl)[1] == {
        "CidrBlock": "0.0.0.0/0",
        "Egress": False,
        "PortRange": {"From": 80, "To": 80},
        "Protocol": "6",
        "RuleAction": "allow",
        "RuleNumber": 100,
    }
    with refused("NetworkAclEntryAlreadyExists", "100"):
        ec2.create_network_acl_entry(**entry(acl, 100, PortRange={"From": 1, "To": 2}))
    ec2.create_network_acl_entry(**entry(acl, 100, Egress=True))
    ec2.replace_network_acl_entry(**entry(acl, 100, RuleAction="deny", Protocol="udp", CidrBlock="10.1.2.3/8"))
    changed = entries(ec2, acl)[2]
    assert (changed["RuleAction"], changed["Protocol"], changed["CidrBlock"]) == ("deny", "17", "10.0.0.0/8")
    ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Egress=False)
    with refused("InvalidNetworkAclEntry.NotFound"):
        ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=100, Egress=False)
    with refused("InvalidNetworkAclEntry.NotFound"):
        ec2.replace_network_acl_entry(**entry(acl, 100))
    assert [one["RuleNumber"] for one in entries(ec2, acl)] == [100, 32767, 32767]


def test_each_direction_holds_so_many_entries(ec2: Client, acl: str) -> None:
    for number in range(1, 21):
        ec2.create_network_acl_entry(**entry(acl, number))
    with refused("NetworkAclEntryLimitExceeded", "20"):
        ec2.create_network_acl_entry(**entry(acl, 21))
    ec2.create_network_acl_entry(**entry(acl, 21, Egress=True))
    ec2.replace_network_acl_entry(**entry(acl, 20, RuleAction="deny"))
    ec2.delete_network_acl_entry(NetworkAclId=acl, RuleNumber=20, Egress=False)
    ec2.create_network_acl_entry(**entry(acl, 21))


def test_icmp_and_ipv6(ec2: Client, acl: str) -> None:
    icmp = {"Type": 8, "Code": -1}
    ec2.create_network_acl_entry(**entry(acl, 1, Protocol="icmp", IcmpTypeCode=icmp) | {"PortRange": {}})
    assert entries(ec2, acl)[1]["IcmpTypeCode"] == icmp
    six = entry(acl, 2)
    del six["CidrBlock"]
    ec2.create_network_acl_entry(**six, Ipv6CidrBlock="::/0")
    assert entries(ec2, acl)[2]["Ipv6CidrBlock"] == "::/0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"RuleNumber": 32767},
        {"RuleNumber": 0},
        {"Protocol": "pigeon"},
        {"PortRange": {"From": 9, "To": 8}},
        {"CidrBlock": "10.0.0.0/40"},
    ],
)
def test_what_no_entry_can_say(ec2: Client, acl: str, wrong: dict[str, Any]) -> None:
    with refused("InvalidParameterValue"):
        ec2.create_network_acl_entry(**entry(acl, 100) | wrong)


def test_another_acl_guards_a_subnet(ec2: Client, vpc: str, acl: str) -> None:
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    asked = [{"Name": "association.subnet-id", "Values": [subnet]}]
    (default,) = ec2.describe_network_acls(Filters=asked)["NetworkAcls"]
    assert default["IsDefault"] is True
    association = default["Associations"][0]["NetworkAclAssociationId"]
    moved = ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=acl)["NewAssociationId"]
    (now,) = ec2.describe_network_acls(Filters=asked)["NetworkAcls"]
    assert now["Associations"] == [{"NetworkAclAssociationId": moved, "NetworkAclId": acl, "SubnetId": subnet}]
    with refused("InvalidAssociationID.NotFound"):
        ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=acl)
    with refused("DependencyViolation", acl):
        ec2.delete_network_acl(NetworkAclId=acl)
    with refused("InvalidParameterValue", default["NetworkAclId"]):
        ec2.delete_network_acl(NetworkAclId=default["NetworkAclId"])
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_network_acl(NetworkAclId=acl)
    with refused("InvalidNetworkAclID.NotFound"):
        ec2.describe_network_acls(NetworkAclIds=[acl])


def test_filters(ec2: Client, vpc: str, acl: str, account: str) -> None:
    ec2.create_network_acl_entry(**entry(acl, 77, CidrBlock="192.0.2.0/24", PortRange={"From": 5, "To": 6}))
    for name, value in {
        "network-acl-id": acl,
        "default": "false",
        "entry.cidr": "192.0.2.0/24",
        "entry.port-range.from": "5",
        "entry.port-range.to": "6",
        "entry.protocol": "6",
        "entry.rule-number": "77",
    }.items():
        asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]
        assert [a["NetworkAclId"] for a in ec2.describe_network_acls(Filters=asked)["NetworkAcls"]] == [acl], name
    for name, value in {"entry.egress": "true", "entry.rule-action": "deny", "owner-id": account}.items():
        asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]
        assert len(ec2.describe_network_acls(Filters=asked)["NetworkAcls"]) == 2, name
