"""Reachability analyses: would a packet pass, and if not, what stops it?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.compat.conftest import Client
from tests.server import ROOT, Server

pytestmark = pytest.mark.embedded


class Scene:
    """A VPC with a public and a private subnet, and a card in each."""

    def __init__(self, ec2: Client) -> None:
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.subnets = [
            ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
            for number in (1, 2)
        ]
        self.table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.associate_route_table(RouteTableId=self.table, SubnetId=self.subnets[0])
        ec2.create_route(RouteTableId=self.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=self.gateway)
        self.groups = [
            ec2.create_security_group(VpcId=self.vpc, GroupName=name, Description=name)["GroupId"]
            for name in ("web", "db")
        ]
        self.web, self.db = (
            ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
            for subnet, group in zip(self.subnets, self.groups, strict=True)
        )

    def allow(self, group: str, port: int, cidr: str) -> None:
        self.ec2.authorize_security_group_ingress(
            GroupId=group, IpProtocol="tcp", FromPort=port, ToPort=port, CidrIp=cidr
        )

    def analyse(self, source: str, port: int = 5432, **where: Any) -> dict[str, Any]:
        path = self.ec2.create_network_insights_path(Source=source, Protocol="tcp", DestinationPort=port, **where)
        id = path["NetworkInsightsPath"]["NetworkInsightsPathId"]
        started = self.ec2.start_network_insights_analysis(NetworkInsightsPathId=id)["NetworkInsightsAnalysis"]
        assert started["Status"] == "running"
        (found,) = self.ec2.describe_network_insights_analyses(NetworkInsightsPathId=id)["NetworkInsightsAnalyses"]
        assert (found["Status"], found["NetworkInsightsPathId"]) == ("succeeded", id)
        return dict(found)


@pytest.fixture
def scene(client: Callable[..., Client]) -> Scene:
    return Scene(client("ec2"))


def why(found: dict[str, Any]) -> tuple[str, str | None]:
    assert found["NetworkPathFound"] is False
    (reason,) = found["Explanations"]
    return reason["ExplanationCode"], reason.get("Direction")


def test_what_stops_a_packet_is_named(scene: Scene) -> None:
    ec2 = scene.ec2
    found = scene.analyse(scene.web, Destination=scene.db)
    assert why(found) == ("ENI_SG_RULES_MISMATCH", "ingress")
    assert found["Explanations"][0]["NetworkInterface"]["Id"] == scene.db
    scene.allow(scene.groups[1], 5432, "10.0.1.0/24")
    found = scene.analyse(scene.web, Destination=scene.db)
    assert found["NetworkPathFound"] is True
    ids = [component["Component"]["Id"] for component in found["ForwardPathComponents"]]
    assert (ids[0], ids[-1]) == (scene.web, scene.db)
    assert set(scene.groups) <= set(ids)
    (rule,) = [one["SecurityGroupRule"] for one in found["ForwardPathComponents"] if "SecurityGroupRule" in one]
    assert (rule["Cidr"], rule["PortRange"], rule["SecurityGroupId"]) == (
        "10.0.1.0/24",
        {"From": 5432, "To": 5432},
        scene.groups[1],
    )
    # Network ACLs have no memory: the answer is stopped, too.
    acl = ec2.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [scene.vpc]}])["NetworkAcls"][0]
    rule = {"NetworkAclId": acl["NetworkAclId"], "RuleNumber": 5, "Protocol": "6", "CidrBlock": "10.0.2.0/24"}
    ports = {"From": 1024, "To": 65535}
    ec2.create_network_acl_entry(**rule, RuleAction="deny", Egress=False, PortRange=ports)
    found = scene.analyse(scene.web, Destination=scene.db)
    assert why(found) == ("SUBNET_ACL_RESTRICTION", "ingress")
    assert found["Explanations"][0]["AclRule"]["RuleNumber"] == 5


def test_the_way_outside(scene: Scene) -> None:
    ec2 = scene.ec2
    assert why(scene.analyse(scene.web, 443, Destination=scene.gateway))[0] == "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS"
    assert why(scene.analyse(scene.db, 443, DestinationIp="8.8.8.8"))[0] == "NO_ROUTE_TO_DESTINATION"
    allocation = ec2.allocate_address()
    ec2.associate_address(AllocationId=allocation["AllocationId"], NetworkInterfaceId=scene.web)
    assert scene.analyse(scene.web, 443, Destination=scene.gateway)["NetworkPathFound"] is True
    assert why(scene.analyse(scene.gateway, 443, Destination=scene.web)) == ("ENI_SG_RULES_MISMATCH", "ingress")
    scene.allow(scene.groups[0], 443, "0.0.0.0/0")
    assert scene.analyse(scene.gateway, 443, Destination=scene.web)["NetworkPathFound"] is True
    ec2.replace_route(RouteTableId=scene.table, DestinationCidrBlock="0.0.0.0/0", NetworkInterfaceId=scene.db)
    ec2.delete_network_interface(NetworkInterfaceId=scene.db)
    assert why(scene.analyse(scene.web, 443, DestinationIp="8.8.8.8"))[0] == "BAD_STATE_ROUTE"


def test_paths_are_kept_filtered_and_deleted(scene: Scene) -> None:
    ec2 = scene.ec2
    found = scene.analyse(scene.web, Destination=scene.db)
    path = found["NetworkInsightsPathId"]
    (kept,) = ec2.describe_network_insights_paths(Filters=[{"Name": "source", "Values": [scene.web]}])[
        "NetworkInsightsPaths"
    ]
    assert (kept["NetworkInsightsPathId"], kept["Destination"], kept["DestinationPort"]) == (path, scene.db, 5432)
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_network_insights_path(NetworkInsightsPathId=path)
    ec2.delete_network_insights_analysis(NetworkInsightsAnalysisId=found["NetworkInsightsAnalysisId"])
    ec2.delete_network_insights_path(NetworkInsightsPathId=path)
    with pytest.raises(ClientError, match="InvalidNetworkInsightsPathId.NotFound"):
        ec2.describe_network_insights_paths(NetworkInsightsPathIds=[path])
    for asked, code in (
        ({"Source": "vol-0123456789abcdef0", "Destination": scene.db}, "InvalidParameterValue"),
        ({"Source": "eni-0123456789abcdef0", "Destination": scene.db}, "InvalidNetworkInterfaceID.NotFound"),
        ({"Source": scene.web}, "MissingParameter"),
        ({"Source": scene.web, "DestinationIp": "10.0.0.999"}, "InvalidParameterValue"),
    ):
        with pytest.raises(ClientError, match=code):
            ec2.create_network_insights_path(Protocol="tcp", **asked)


def test_the_command_tells_the_verdict(scene: Scene, server: Server, account: str) -> None:
    def reach(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "reach", *arguments, "--endpoint", server.endpoint, "--account", account],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    status, text = reach(scene.web, scene.db, "tcp/5432")
    assert (status, "ENI_SG_RULES_MISMATCH ingress" in text, scene.groups[1] in text) == (1, True, True), text
    scene.allow(scene.groups[1], 5432, "10.0.1.0/24")
    status, text = reach(scene.web, scene.db, "tcp/5432")
    assert (status, "allowed by ingress tcp 5432-5432 from 10.0.1.0/24" in text) == (0, True), text
    assert reach(scene.web, scene.db, "sctp/1")[0] == 2
    assert scene.ec2.describe_network_insights_paths()["NetworkInsightsPaths"] == []
