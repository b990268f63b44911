"""Instances and what of VPC they touch: interfaces, elastic addresses, routes, groups; and who may touch it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any


@pytest.fixture
def instance(ec2: Client) -> dict[str, Any]:
    """A running instance in the default VPC."""
    asked = [{"Name": "name", "Values": ["al2023-ami-2023*"]}, {"Name": "architecture", "Values": ["x86_64"]}]
    image = ec2.describe_images(Owners=["amazon"], Filters=asked)["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    wait(ec2, "instance_running", InstanceIds=[made["InstanceId"]])
    return shown(ec2, made["InstanceId"])


def shown(ec2: Client, id: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]
    return found


def test_a_second_interface(ec2: Client, instance: dict[str, Any]) -> None:
    id = instance["InstanceId"]
    port = ec2.create_network_interface(SubnetId=instance["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    with refused("InvalidParameterValue", "device index '0'"):
        ec2.attach_network_interface(NetworkInterfaceId=port, InstanceId=id, DeviceIndex=0)
    attachment = ec2.attach_network_interface(NetworkInterfaceId=port, InstanceId=id, DeviceIndex=1)["AttachmentId"]
    (seen,) = ec2.describe_network_interfaces(Filters=[{"Name": "attachment.attachment-id", "Values": [attachment]}])[
        "NetworkInterfaces"
    ]
    assert (seen["Status"], seen["Attachment"]["InstanceId"], seen["Attachment"]["DeviceIndex"]) == ("in-use", id, 1)
    assert seen["Attachment"]["DeleteOnTermination"] is False
    assert len(shown(ec2, id)["NetworkInterfaces"]) == 2
    with refused("InvalidNetworkInterface.InUse", port):
        ec2.attach_network_interface(NetworkInterfaceId=port, InstanceId=id, DeviceIndex=2)
    with refused("InvalidParameterValue", port):
        ec2.delete_network_interface(NetworkInterfaceId=port)
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=port, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True}
    )
    first = instance["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
    with refused("OperationNotPermitted"):
        ec2.detach_network_interface(AttachmentId=first)
    ec2.detach_network_interface(AttachmentId=attachment)
    wait(ec2, "network_interface_available", NetworkInterfaceIds=[port])
    other = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    away = next(one["SubnetId"] for one in other if one["SubnetId"] != instance["SubnetId"])
    far = ec2.create_network_interface(SubnetId=away)["NetworkInterface"]["NetworkInterfaceId"]
    with refused("InvalidParameterCombination"):
        ec2.attach_network_interface(NetworkInterfaceId=far, InstanceId=id, DeviceIndex=1)


def test_an_elastic_address_replaces_the_lent_one(ec2: Client, instance: dict[str, Any]) -> None:
    id, lent = instance["InstanceId"], instance["PublicIpAddress"]
    address = ec2.allocate_address(Domain="vpc")
    bound = ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=id)["AssociationId"]
    assert shown(ec2, id)["PublicIpAddress"] == address["PublicIp"] != lent
    (seen,) = ec2.describe_addresses(Filters=[{"Name": "instance-id", "Values": [id]}])["Addresses"]
    assert (seen["InstanceId"], seen["AssociationId"]) == (id, bound)
    ec2.terminate_instances(InstanceIds=[id])
    wait(ec2, "instance_terminated", InstanceIds=[id])
    (seen,) = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"]
    assert "AssociationId" not in seen
    ec2.release_address(AllocationId=address["AllocationId"])


def test_a_route_to_an_instance(ec2: Client, instance: dict[str, Any]) -> None:
    table = ec2.create_route_table(VpcId=instance["VpcId"])["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.0.0/16", InstanceId=instance["InstanceId"])
    (seen,) = ec2.describe_route_tables(Filters=[{"Name": "route.instance-id", "Values": [instance["InstanceId"]]}])[
        "RouteTables"
    ]
    way = seen["Routes"][-1]
    assert way["InstanceId"] == instance["InstanceId"]
    assert way["NetworkInterfaceId"] == instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    assert way["State"] == "active"
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    wait(ec2, "instance_terminated", InstanceIds=[instance["InstanceId"]])
    (seen,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    assert seen["Routes"][-1]["State"] == "blackhole"


def test_a_group_of_an_instance_stays(ec2: Client, instance: dict[str, Any]) -> None:
    group = ec2.create_security_group(GroupName="g", Description="d")["GroupId"]
    port = instance["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=port, Groups=[group])
    assert shown(ec2, instance["InstanceId"])["SecurityGroups"] == [{"GroupId": group, "GroupName": "g"}]
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)


def test_a_denial_holds_however_the_resource_is_named(client: Callable[..., Client], ec2: Client, account: str) -> None:
    group = ec2.create_security_group(GroupName="kept", Description="d")["GroupId"]
    address = ec2.allocate_address(Domain="vpc")
    iam = client("iam")
    iam.create_user(UserName="u")
    arn = f"arn:aws:ec2:us-east-1:{account}"
    statements = [
        {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"},
        {
            "Effect": "Deny",
            "Action": "ec2:*",
            "Resource": [f"{arn}:security-group/{group}", f"{arn}:elastic-ip/{address['AllocationId']}"],
        },
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="u")["AccessKey"]
    user = client("ec2", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    for call in (
        lambda: user.delete_security_group(GroupId=group),
        lambda: user.delete_security_group(GroupName="kept"),
        lambda: user.authorize_security_group_ingress(GroupName="kept", IpProtocol="-1", CidrIp="0.0.0.0/0"),
        lambda: user.release_address(AllocationId=address["AllocationId"]),
        lambda: user.release_address(PublicIp=address["PublicIp"]),
    ):
        with refused("UnauthorizedOperation"):
            call()
    user.release_address(AllocationId=user.allocate_address(Domain="vpc")["AllocationId"])
