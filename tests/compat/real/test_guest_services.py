"""DHCP, metadata, names and the AWS endpoint inside a real network, with a namespace as the guest."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.waiting import wait
from tests.sandbox import Sandbox
from tests.server import ROOT, Server

pytestmark = pytest.mark.real
ARGUMENTS = ("--network", "linux")
ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def found(cloud: Server, sandbox: Sandbox) -> dict[str, Any]:
    """What a guest finds, and about which instance."""
    ec2, iam = (new_client(cloud.endpoint, service, ACCOUNT) for service in ("ec2", "iam"))
    allowed = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam.create_role(
        RoleName="guest", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": allowed})
    )
    iam.create_instance_profile(InstanceProfileName="guest")
    iam.add_role_to_instance_profile(InstanceProfileName="guest", RoleName="guest")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24")["Subnet"]["SubnetId"]
    image = next(one for one in ec2.describe_images(Owners=["amazon"])["Images"] if one["Architecture"] == "x86_64")
    (instance,) = ec2.run_instances(
        ImageId=image["ImageId"],
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet,
        PrivateIpAddress="10.7.1.9",
        UserData="hello",
        IamInstanceProfile={"Name": "guest"},
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 3},
    )["Instances"]
    id, (card,) = instance["InstanceId"], instance["NetworkInterfaces"]
    wait(ec2, "instance_running", InstanceIds=[id])
    (mark,) = {name.split("-")[1] for name in sandbox.run("ls", "/run/netns").stdout.split() if name.startswith("nph-")}
    arguments = (str(cloud.data), mark, card["NetworkInterfaceId"])
    done = sandbox.run(
        "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.compat.real.attended", *arguments, timeout=110
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told | {"instance": id}


def test_a_card_is_given_its_address(found: dict[str, Any]) -> None:
    assert found["lease"] == {
        "kind": 5,
        "address": "10.7.1.9",
        "router": "10.7.1.1",
        "resolvers": "10.7.0.2",
        "domain": "ec2.internal",
        "host_name": "ip-10-7-1-9",
    }


def test_metadata_is_told_to_the_address_that_asks(found: dict[str, Any]) -> None:
    told = found["metadata"]
    assert told["without"] == 401
    assert told["instance"] == [200, found["instance"]]
    assert told["user_data"] == "hello"
    assert told["hops"] == 3


def test_names_are_resolved(found: dict[str, Any]) -> None:
    told = found["names"]
    assert len(told) == 16
    for question, answers in told.items():
        if "ip-10-7-1-9" in question:
            assert answers == ["10.7.1.9"], question
        elif "arpa" in question:
            assert answers == ["ip-10-7-1-9.ec2.internal."], question
        elif "nephele" in question:
            assert answers == ["169.254.169.254"], question
        else:
            assert answers == ["REFUSED"], question


def test_guests_call_the_endpoint_as_themselves_only(found: dict[str, Any]) -> None:
    told = found["api"]
    assert told["who"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/guest/{found['instance']}"
    assert told["test"] == told[ACCOUNT] == "InvalidClientTokenId"
    assert told["own"] in (403, 404)
