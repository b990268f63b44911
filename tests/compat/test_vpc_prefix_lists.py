"""Prefix lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.compat.refused import refused

Client = Any


def new_list(ec2: Client, **options: Any) -> dict[str, Any]:
    wanted = {"PrefixListName": "offices", "MaxEntries": 3, "AddressFamily": "IPv4"} | options
    made: dict[str, Any] = ec2.create_managed_prefix_list(**wanted)["PrefixList"]
    return made


def entries(ec2: Client, id: str, **options: Any) -> list[str]:
    return [one["Cidr"] for one in ec2.get_managed_prefix_list_entries(PrefixListId=id, **options)["Entries"]]


def test_aws_has_lists_of_its_services(ec2: Client) -> None:
    asked = [{"Name": "prefix-list-name", "Values": ["com.amazonaws.us-east-1.s3"]}]
    (listed,) = ec2.describe_prefix_lists(Filters=asked)["PrefixLists"]
    assert listed["PrefixListId"] == "pl-63a5400a"
    assert listed["Cidrs"]
    (managed,) = ec2.describe_managed_prefix_lists(Filters=asked)["PrefixLists"]
    assert managed["OwnerId"] == "AWS"
    assert entries(ec2, "pl-63a5400a") == listed["Cidrs"]
    with refused("OperationNotPermitted"):
        ec2.delete_managed_prefix_list(PrefixListId="pl-63a5400a")


def test_every_account_sees_them(client: Callable[..., Client]) -> None:
    for account in ("333333333333", "444444444444"):
        assert client("ec2", account=account).describe_prefix_lists(PrefixListIds=["pl-63a5400a"])["PrefixLists"]


def test_versions(ec2: Client, account: str) -> None:
    made = new_list(ec2, Entries=[{"Cidr": "192.0.2.0/24", "Description": "one"}])
    id = made["PrefixListId"]
    assert made["State"] == "create-in-progress"
    (shown,) = ec2.describe_managed_prefix_lists(PrefixListIds=[id])["PrefixLists"]
    assert shown == {
        "PrefixListId": id,
        "PrefixListArn": f"arn:aws:ec2:us-east-1:{account}:prefix-list/{id}",
        "PrefixListName": "offices",
        "AddressFamily": "IPv4",
        "MaxEntries": 3,
        "Version": 1,
        "State": "create-complete",
        "OwnerId": account,
        "Tags": [],
    }
    changed = ec2.modify_managed_prefix_list(
        PrefixListId=id,
        CurrentVersion=1,
        AddEntries=[{"Cidr": "198.51.100.0/24"}],
        RemoveEntries=[{"Cidr": "192.0.2.0/24"}],
    )["PrefixList"]
    assert changed["Version"] == 2
    assert entries(ec2, id) == ["198.51.100.0/24"]
    assert entries(ec2, id, TargetVersion=1) == ["192.0.2.0/24"]
    with refused("PrefixListVersionMismatch"):
        ec2.modify_managed_prefix_list(PrefixListId=id, CurrentVersion=1, AddEntries=[{"Cidr": "10.0.0.0/8"}])
    ec2.restore_managed_prefix_list_version(PrefixListId=id, PreviousVersion=1, CurrentVersion=2)
    assert entries(ec2, id) == ["192.0.2.0/24"]
    ec2.modify_managed_prefix_list(PrefixListId=id, PrefixListName="houses", MaxEntries=9)
    (shown,) = ec2.describe_managed_prefix_lists(Filters=[{"Name": "prefix-list-name", "Values": ["houses"]}])[
        "PrefixLists"
    ]
    assert (shown["MaxEntries"], shown["Version"]) == (9, 3)
    ec2.delete_managed_prefix_list(PrefixListId=id)
    with refused("InvalidPrefixListID.NotFound", id):
        ec2.describe_managed_prefix_lists(PrefixListIds=[id])


def test_limits(ec2: Client) -> None:
    with refused("PrefixListMaxEntriesExceeded"):
        new_list(ec2, MaxEntries=1, Entries=[{"Cidr": "10.0.0.0/8"}, {"Cidr": "11.0.0.0/8"}])
    with refused("InvalidParameterValue"):
        new_list(ec2, Entries=[{"Cidr": "::/0"}])
    with refused("InvalidParameterValue"):
        new_list(ec2, PrefixListName="com.amazonaws.mine")


def test_pages_of_entries_and_associations(ec2: Client) -> None:
    made = [f"10.{n}.0.0/16" for n in range(7)]
    id = new_list(ec2, MaxEntries=9, Entries=[{"Cidr": cidr} for cidr in made])["PrefixListId"]
    pages = ec2.get_paginator("get_managed_prefix_list_entries").paginate(
        PrefixListId=id, PaginationConfig={"PageSize": 3}
    )
    assert [[one["Cidr"] for one in page["Entries"]] for page in pages] == [made[:3], made[3:6], made[6:]]
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": id}]}]
    )
    found = ec2.get_managed_prefix_list_associations(PrefixListId=id)["PrefixListAssociations"]
    assert [one["ResourceId"] for one in found] == [group]
