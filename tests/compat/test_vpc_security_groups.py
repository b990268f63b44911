"""Security groups and their rules."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.fixture
def group(ec2: Client, vpc: str) -> str:
    made: str = ec2.create_security_group(GroupName="web", Description="for the web", VpcId=vpc)["GroupId"]
    return made


def shown(ec2: Client, group: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    return found


def tcp(port: int, cidr: str = "0.0.0.0/0", **more: Any) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr, **more}]}


def test_a_new_group_lets_everything_out(ec2: Client, vpc: str, account: str) -> None:
    made = ec2.create_security_group(
        GroupName="db",
        Description="d",
        VpcId=vpc,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": "k", "Value": "v"}]}],
    )
    id = made["GroupId"]
    assert made["SecurityGroupArn"] == f"arn:aws:ec2:us-east-1:{account}:security-group/{id}"
    assert made["Tags"] == [{"Key": "k", "Value": "v"}]
    assert shown(ec2, id) == {
        "GroupId": id,
        "GroupName": "db",
        "Description": "d",
        "VpcId": vpc,
        "OwnerId": account,
        "SecurityGroupArn": made["SecurityGroupArn"],
        "IpPermissions": [],
        "IpPermissionsEgress": [
            {
                "IpProtocol": "-1",
                "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
                "Ipv6Ranges": [],
                "PrefixListIds": [],
                "UserIdGroupPairs": [],
            }
        ],
        "Tags": [{"Key": "k", "Value": "v"}],
    }


def test_names_are_unique_in_a_vpc(ec2: Client, vpc: str, group: str) -> None:
    with refused("InvalidGroup.Duplicate", "web", vpc):
        ec2.create_security_group(GroupName="web", Description="d", VpcId=vpc)
    other = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    ec2.create_security_group(GroupName="web", Description="d", VpcId=other)
    with refused("MissingParameter", "GroupDescription"):
        ec2.create_security_group(GroupName="other", Description="", VpcId=vpc)
    with refused("InvalidParameterValue", "default"):
        ec2.create_security_group(GroupName="default", Description="d", VpcId=vpc)
    with refused("InvalidParameterValue", "sg-"):
        ec2.create_security_group(GroupName="sg-mine", Description="d", VpcId=vpc)
    with refused("InvalidVpcID.NotFound"):
        ec2.create_security_group(GroupName="x", Description="d", VpcId="vpc-0123456789abcdef0")


def test_the_default_vpc_is_used_when_none_is_named(ec2: Client) -> None:
    id = ec2.create_security_group(GroupName="here", Description="d")["GroupId"]
    assert [g["GroupId"] for g in ec2.describe_security_groups(GroupNames=["here"])["SecurityGroups"]] == [id]
    ec2.authorize_security_group_ingress(
        GroupName="here", IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="10.0.0.0/8"
    )
    assert shown(ec2, id)["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}]
    ec2.delete_security_group(GroupName="here")
    with refused("InvalidGroup.NotFound", "here"):
        ec2.describe_security_groups(GroupNames=["here"])


def test_rules_come_and_go(ec2: Client, group: str, account: str) -> None:
    made = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[tcp(80, Description="web"), tcp(443, "10.1.2.3/8")],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": [{"Key": "a", "Value": "b"}]}],
    )
    assert made["Return"] is True
    first, second = made["SecurityGroupRules"]
    assert first == {
        "SecurityGroupRuleId": first["SecurityGroupRuleId"],
        "SecurityGroupRuleArn": f"arn:aws:ec2:us-east-1:{account}:security-group-rule/{first['SecurityGroupRuleId']}",
        "GroupId": group,
        "GroupOwnerId": account,
        "IsEgress": False,
        "IpProtocol": "tcp",
        "FromPort": 80,
        "ToPort": 80,
        "CidrIpv4": "0.0.0.0/0",
        "Description": "web",
        "Tags": [{"Key": "a", "Value": "b"}],
    }
    assert second["CidrIpv4"] == "10.0.0.0/8"
    listed = ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroupRules"]
    assert len(listed) == 3
    assert first in listed
    with refused(
        "InvalidPermission.Duplicate", "peer: 0.0.0.0/0, TCP, from port: 80, to port: 80, ALLOW", "already exists"
    ):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80)])
    gone = ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[tcp(80)])
    assert [one["SecurityGroupRuleId"] for one in gone["RevokedSecurityGroupRules"]] == [first["SecurityGroupRuleId"]]
    with refused("InvalidPermission.NotFound"):
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[tcp(80)])
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[second["SecurityGroupRuleId"]])
    assert shown(ec2, group)["IpPermissions"] == []
    with refused("InvalidSecurityGroupRuleId.NotFound"):
        ec2.describe_security_group_rules(SecurityGroupRuleIds=[second["SecurityGroupRuleId"]])


def test_all_or_nothing(ec2: Client, group: str) -> None:
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80)])
    with refused("InvalidPermission.Duplicate"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(81), tcp(80)])
    assert [one["FromPort"] for one in shown(ec2, group)["IpPermissions"]] == [80]
    with refused("InvalidParameterValue", "multiple times"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(90), tcp(90)])


def test_terraform_revokes_the_default_egress_rule(ec2: Client, group: str) -> None:
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[everything])
    assert shown(ec2, group)["IpPermissionsEgress"] == []
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[{**everything, "FromPort": 0, "ToPort": 0}])
    assert shown(ec2, group)["IpPermissionsEgress"][0]["IpProtocol"] == "-1"


def test_protocols_have_one_spelling(ec2: Client, group: str) -> None:
    def rule(protocol: str, low: int = -1, high: int = -1) -> dict[str, Any]:
        (made,) = ec2.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[
                {"IpProtocol": protocol, "FromPort": low, "ToPort": high, "IpRanges": [{"CidrIp": "192.0.2.0/24"}]}
            ],
        )["SecurityGroupRules"]
        found: dict[str, Any] = made
        return found

    assert rule("6", 1, 2)["IpProtocol"] == "tcp"
    assert rule("17", 1, 2)["IpProtocol"] == "udp"
    assert rule("icmp", 8, -1)["FromPort"] == 8
    assert rule("50", 0, 0)["IpProtocol"] == "50"
    with refused("InvalidPermission.Duplicate"):
        rule("tcp", 1, 2)
    with refused("InvalidPermission.Malformed"):
        rule("carrier-pigeon")
    with refused("InvalidParameterValue"):
        rule("tcp", 20, 10)
    with refused("InvalidParameterValue"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/33")])


def test_groups_and_lists_as_peers(ec2: Client, vpc: str, group: str, account: str) -> None:
    other = ec2.create_security_group(GroupName="lb", Description="d", VpcId=vpc)["GroupId"]
    lists = ec2.create_managed_prefix_list(PrefixListName="l", MaxEntries=1, AddressFamily="IPv4")["PrefixList"][
        "PrefixListId"
    ]
    made = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 80,
                "ToPort": 80,
                "UserIdGroupPairs": [{"GroupId": other, "Description": "from lb"}],
                "PrefixListIds": [{"PrefixListId": lists}],
                "Ipv6Ranges": [{"CidrIpv6": "2001:DB8::/32"}],
            }
        ],
    )["SecurityGroupRules"]
    assert {one.get("CidrIpv6") for one in made} == {None, "2001:db8::/32"}
    assert {"GroupId": other, "UserId": account} in [one.get("ReferencedGroupInfo") for one in made]
    (permission,) = shown(ec2, group)["IpPermissions"]
    assert permission["UserIdGroupPairs"] == [{"GroupId": other, "UserId": account, "Description": "from lb"}]
    assert permission["PrefixListIds"] == [{"PrefixListId": lists}]
    with refused("DependencyViolation", other):
        ec2.delete_security_group(GroupId=other)
    with refused("DependencyViolation"):
        ec2.delete_managed_prefix_list(PrefixListId=lists)
    with refused("InvalidGroup.NotFound"):
        ec2.authorize_security_group_ingress(
            GroupId=group,
            IpPermissions=[{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-0123456789abcdef0"}]}],
        )
    ec2.delete_security_group(GroupId=group)
    ec2.delete_security_group(GroupId=other)


def test_what_cannot_be_deleted(ec2: Client, vpc: str, group: str) -> None:
    (default,) = ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"]
    with refused("CannotDelete", default["GroupId"]):
        ec2.delete_security_group(GroupId=default["GroupId"])
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    port = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
    with refused("DependencyViolation", group):
        ec2.delete_security_group(GroupId=group)
    ec2.delete_network_interface(NetworkInterfaceId=port)
    assert ec2.delete_security_group(GroupId=group)["GroupId"] == group
    with refused("InvalidGroup.NotFound", group):
        ec2.delete_security_group(GroupId=group)
    with refused("InvalidGroupId.Malformed"):
        ec2.delete_security_group(GroupId="sg-x")


def test_modify_rules_and_descriptions(ec2: Client, group: str) -> None:
    one, two = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80), tcp(81)])[
        "SecurityGroupRules"
    ]
    ec2.modify_security_group_rules(
        GroupId=group,
        SecurityGroupRules=[
            {
                "SecurityGroupRuleId": one["SecurityGroupRuleId"],
                "SecurityGroupRule": {
                    "IpProtocol": "udp",
                    "FromPort": 53,
                    "ToPort": 53,
                    "CidrIpv4": "10.0.0.0/8",
                    "Description": "dns",
                },
            }
        ],
    )
    (changed,) = ec2.describe_security_group_rules(SecurityGroupRuleIds=[one["SecurityGroupRuleId"]])[
        "SecurityGroupRules"
    ]
    assert (changed["IpProtocol"], changed["FromPort"], changed["CidrIpv4"]) == ("udp", 53, "10.0.0.0/8")
    assert changed["Description"] == "dns"
    with refused("InvalidPermission.Duplicate"):
        ec2.modify_security_group_rules(
            GroupId=group,
            SecurityGroupRules=[
                {
                    "SecurityGroupRuleId": two["SecurityGroupRuleId"],
                    "SecurityGroupRule": {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.0.0.0/8"},
                }
            ],
        )
    ec2.update_security_group_rule_descriptions_ingress(GroupId=group, IpPermissions=[tcp(81, Description="second")])
    (told,) = ec2.describe_security_group_rules(SecurityGroupRuleIds=[two["SecurityGroupRuleId"]])["SecurityGroupRules"]
    assert told["Description"] == "second"
    ec2.update_security_group_rule_descriptions_ingress(
        GroupId=group,
        SecurityGroupRuleDescriptions=[{"SecurityGroupRuleId": two["SecurityGroupRuleId"], "Description": "third"}],
    )
    (told,) = ec2.describe_security_group_rules(SecurityGroupRuleIds=[two["SecurityGroupRuleId"]])["SecurityGroupRules"]
    assert told["Description"] == "third"


def test_a_group_holds_sixty_rules(ec2: Client, group: str) -> None:
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(1000 + n) for n in range(60)])
    with refused("RulesPerSecurityGroupLimitExceeded"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(2000)])


def test_filters(ec2: Client, vpc: str, group: str, account: str) -> None:
    other = ec2.create_security_group(GroupName="other", Description="another", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            tcp(8080, "192.0.2.0/24"),
            {"IpProtocol": "udp", "FromPort": 1, "ToPort": 9, "UserIdGroupPairs": [{"GroupId": other}]},
        ],
    )
    for name, value in {
        "description": "for the web",
        "group-id": group,
        "group-name": "web",
        "ip-permission.cidr": "192.0.2.0/24",
        "ip-permission.from-port": "8080",
        "ip-permission.to-port": "9",
        "ip-permission.protocol": "udp",
        "ip-permission.group-id": other,
        "ip-permission.group-name": "other",
        "ip-permission.user-id": account,
    }.items():
        asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]
        found = {one["GroupId"] for one in ec2.describe_security_groups(Filters=asked)["SecurityGroups"]}
        assert group in found, name
        assert other not in found, name
    for name, value in {
        "egress.ip-permission.cidr": "0.0.0.0/0",
        "egress.ip-permission.protocol": "-1",
        "owner-id": account,
    }.items():
        asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]
        assert len(ec2.describe_security_groups(Filters=asked)["SecurityGroups"]) == 3, name


def test_the_groups_that_a_vpc_can_use(ec2: Client, vpc: str, group: str) -> None:
    found = ec2.get_security_groups_for_vpc(VpcId=vpc)["SecurityGroupForVpcs"]
    assert {one["GroupName"] for one in found} == {"default", "web"}
    assert ec2.describe_stale_security_groups(VpcId=vpc)["StaleSecurityGroupSet"] == []
    assert ec2.describe_security_group_references(GroupId=[group])["SecurityGroupReferenceSet"] == []


def test_a_changed_rule_is_said_whole(ec2: Client, group: str) -> None:
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(22)])["SecurityGroupRules"][0]
    whole = {"IpProtocol": "udp", "FromPort": 1, "ToPort": 2, "CidrIpv4": "10.0.0.0/8"}
    for missing, code, words in (
        ("IpProtocol", "InvalidParameterValue", "must specify protocols explicitly"),
        ("FromPort", "InvalidParameterValue", "both from and to ports"),
        ("CidrIpv4", "MissingParameter", "exactly one of: cidrIp, cidrIpv6"),
    ):
        rule = {name: value for name, value in whole.items() if name != missing}
        change = {"SecurityGroupRuleId": made["SecurityGroupRuleId"], "SecurityGroupRule": rule}
        with refused(code, words):
            ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[change])


def test_rules_of_what_is_no_group(ec2: Client) -> None:
    with refused("InvalidGroupId.Malformed", "The security group ID 'foobar' is malformed"):
        ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": ["foobar"]}])
