"""The catalogue of images, images of one's own, and the public parameters that name images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any


def look_up(ec2: Client, owner: str, name: str, **filters: str) -> list[dict[str, Any]]:
    asked = [{"Name": "name", "Values": [name]}]
    asked += [{"Name": key.replace("_", "-"), "Values": [value]} for key, value in filters.items()]
    found: list[dict[str, Any]] = ec2.describe_images(Owners=[owner], Filters=asked)["Images"]
    return found


@pytest.mark.parametrize(
    ("owner", "name", "device"),
    [
        ("amazon", "amzn2-ami-minimal-hvm-*", "/dev/xvda"),
        ("137112412989", "amzn2-ami-hvm-*-x86_64-gp2", "/dev/xvda"),
        ("amazon", "amzn-ami-hvm-*-x86_64-gp2", "/dev/xvda"),
        ("amazon", "al2023-ami-2023.*-x86_64", "/dev/xvda"),
        ("amazon", "amzn-ami-vpc-nat*", "/dev/xvda"),
        ("amazon", "amzn-ami-hvm-2018.03.0.20221018.0-x86_64-gp2", "/dev/xvda"),
        ("amazon", "Windows_Server-2016-English-Core-Base-*", "/dev/sda1"),
        ("amazon", "Windows_Server-2022-English-Full-Base-*", "/dev/sda1"),
        ("amazon", "amazon-eks-node-al2023-x86_64-standard-*", "/dev/xvda"),
        ("amazon", "bottlerocket-aws-k8s-*", "/dev/xvda"),
        ("099720109477", "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-amd64-server-*", "/dev/sda1"),
        ("099720109477", "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-*", "/dev/sda1"),
        ("099720109477", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*", "/dev/sda1"),
        ("136693071363", "debian-12-amd64-*", "/dev/xvda"),
        ("309956199498", "RHEL-9*", "/dev/sda1"),
    ],
)
def test_images_that_scripts_look_up(ec2: Client, owner: str, name: str, device: str) -> None:
    found = look_up(ec2, owner, name, virtualization_type="hvm", root_device_type="ebs", state="available")
    assert found
    for image in found:
        assert image["RootDeviceName"] == device and image["Public"] is True
        (mapping,) = image["BlockDeviceMappings"]
        assert mapping["DeviceName"] == device
        assert mapping["Ebs"]["SnapshotId"].startswith("snap-") and mapping["Ebs"]["VolumeSize"] >= 2
        assert image["EnaSupport"] is True and image["Hypervisor"] == "xen" and image["PlatformDetails"]


def test_the_catalogue_is_honest_about_architecture_platform_and_owner(ec2: Client) -> None:
    for architecture in ("x86_64", "arm64"):
        (image, *_) = look_up(
            ec2, "amazon", "amzn2-ami-minimal-hvm-*", architecture=architecture, root_device_type="ebs"
        )
        assert image["Architecture"] == architecture
        assert (image["ImageOwnerAlias"], image["OwnerId"]) == ("amazon", "137112412989")
    windows = ec2.describe_images(Owners=["amazon"], Filters=[{"Name": "platform", "Values": ["windows"]}])["Images"]
    assert windows and all(
        one["Platform"] == "windows" and one["UsageOperation"] == "RunInstances:0002" for one in windows
    )
    store = ec2.describe_images(Filters=[{"Name": "root-device-type", "Values": ["instance-store"]}])["Images"]
    assert [one["Name"].startswith("ubuntu/images/hvm-instance/") for one in store] == [True]
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_ids_differ_by_region_and_stay(ec2: Client, client: Callable[..., Client]) -> None:
    west = client("ec2", region="us-west-2")
    other = client("ec2", account="210987650002")
    name = "al2023-ami-2023*-kernel-6.1-arm64"
    ids = [sorted(one["ImageId"] for one in look_up(place, "amazon", name)) for place in (ec2, other, west)]
    assert ids[0] == ids[1] != ids[2]


def test_ids_that_scripts_know_by_heart(client: Callable[..., Client]) -> None:
    known = ["ami-12c6146b", "ami-03cf127a", "ami-fa7cdd89", "ami-f4cf1d8d"]
    for region in ("us-east-1", "eu-central-1"):
        ec2 = client("ec2", region=region)
        assert {one["ImageId"] for one in ec2.describe_images(ImageIds=known)["Images"]} == set(known)
        with refused("InvalidAMIID.NotFound", "The image ids '[ami-0badbadbadbadbad0, ami-1234abcd]' do not exist"):
            ec2.describe_images(ImageIds=["ami-0badbadbadbadbad0", "ami-1234abcd"])
        with refused("InvalidAMIID.NotFound", "ami-0badbadbadbadbad0"):
            ec2.describe_images(ImageIds=["ami-0badbadbadbadbad0"])


def test_an_image_of_an_instance(ec2: Client) -> None:
    made = ec2.run_instances(ImageId="ami-12c6146b", InstanceType="t3.micro", MinCount=1, MaxCount=1)
    instance = made["Instances"][0]["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[instance])
    tags = [{"ResourceType": kind, "Tags": [{"Key": "of", "Value": kind}]} for kind in ("image", "snapshot")]
    id = ec2.create_image(InstanceId=instance, Name="mine", Description="my own", TagSpecifications=tags)["ImageId"]
    wait(ec2, "image_available", ImageIds=[id])
    (image,) = ec2.describe_images(Owners=["self"])["Images"]
    assert (image["Name"], image["Description"], image["Public"]) == ("mine", "my own", False)
    assert image["SourceInstanceId"] == instance and image["Tags"] == [{"Key": "of", "Value": "image"}]
    snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    (one,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    assert one["Tags"] == [{"Key": "of", "Value": "snapshot"}]
    with refused("InvalidAMIName.Duplicate", id):
        ec2.create_image(InstanceId=instance, Name="mine")
    with refused("InvalidSnapshot.InUse", id):
        ec2.delete_snapshot(SnapshotId=snapshot)
    again = ec2.run_instances(ImageId=id, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    wait(ec2, "instance_running", InstanceIds=[again["InstanceId"]])
    ec2.deregister_image(ImageId=id)
    with refused("InvalidAMIID.NotFound"):
        ec2.describe_images(ImageIds=[id])
    ec2.delete_snapshot(SnapshotId=snapshot)


def test_register_share_and_copy(ec2: Client, client: Callable[..., Client]) -> None:
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[volume])
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[snapshot])
    id = ec2.register_image(
        Name="registered",
        Architecture="x86_64",
        VirtualizationType="hvm",
        RootDeviceName="/dev/sda1",
        EnaSupport=True,
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3"}}],
    )["ImageId"]
    friend = client("ec2", account="210987650003")
    with refused("InvalidAMIID.NotFound"):
        friend.describe_images(ImageIds=[id])
    ec2.modify_image_attribute(ImageId=id, LaunchPermission={"Add": [{"UserId": "210987650003"}]})
    permissions = ec2.describe_image_attribute(ImageId=id, Attribute="launchPermission")["LaunchPermissions"]
    assert permissions == [{"UserId": "210987650003"}]
    assert [one["ImageId"] for one in friend.describe_images(ExecutableUsers=["self"])["Images"]] == [id]
    friend.run_instances(ImageId=id, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    with refused("AuthFailure"):
        friend.deregister_image(ImageId=id)
    with refused("OperationNotPermitted", "public"):
        ec2.modify_image_attribute(ImageId=id, LaunchPermission={"Add": [{"Group": "all"}]})
    ec2.disable_image_block_public_access()
    ec2.modify_image_attribute(ImageId=id, LaunchPermission={"Add": [{"Group": "all"}]})
    stranger = client("ec2", account="210987650004")
    assert [one["ImageId"] for one in stranger.describe_images(ImageIds=[id])["Images"]] == [id]
    ec2.modify_image_attribute(ImageId=id, LaunchPermission={"Remove": [{"Group": "all"}, {"UserId": "210987650003"}]})
    for one in (friend, stranger):
        with refused("InvalidAMIID.NotFound"):
            one.describe_images(ImageIds=[id])
    west = client("ec2", region="us-west-2")
    copy = west.copy_image(SourceRegion="us-east-1", SourceImageId=id, Name="copied", Description="c")["ImageId"]
    wait(west, "image_available", ImageIds=[copy])
    (image,) = west.describe_images(ImageIds=[copy])["Images"]
    assert (image["Name"], image["SourceImageId"], image["SourceImageRegion"]) == ("copied", id, "us-east-1")
    assert image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] != snapshot
    ec2.modify_image_attribute(ImageId=id, Description={"Value": "changed"})
    assert ec2.describe_image_attribute(ImageId=id, Attribute="description")["Description"] == {"Value": "changed"}


def test_protection_against_deregistration(ec2: Client) -> None:
    id = ec2.copy_image(SourceRegion="us-east-1", SourceImageId="ami-12c6146b", Name="kept")["ImageId"]
    ec2.enable_image_deregistration_protection(ImageId=id)
    with refused("OperationNotPermitted"):
        ec2.deregister_image(ImageId=id)
    ec2.disable_image_deregistration_protection(ImageId=id)
    ec2.deregister_image(ImageId=id)


def test_uefi_data(ec2: Client) -> None:
    modern = look_up(ec2, "amazon", "al2023-ami-2023*-kernel-6.1-x86_64")[0]["ImageId"]
    made = [
        ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        for image in (modern, "ami-12c6146b")
    ]
    assert ec2.get_instance_uefi_data(InstanceId=made[0])["InstanceId"] == made[0]
    with refused("UnsupportedOperation"):
        ec2.get_instance_uefi_data(InstanceId=made[1])


def test_public_parameters_name_images(ec2: Client, client: Callable[..., Client]) -> None:
    ssm = client("ssm")
    ubuntu = "/aws/service/canonical/ubuntu/server"
    kubernetes = "/aws/service/eks/optimized-ami/1.33/amazon-linux-2023"
    for name, start in {
        "/aws/service/ami-amazon-linux-latest/amzn2-ami-hvm-x86_64-gp2": "amzn2-ami-hvm-",
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64": "al2023-ami-2023",
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64": "al2023-ami-2023",
        f"{ubuntu}/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id": "ubuntu/images/hvm-ssd/ubuntu-jammy",
        f"{ubuntu}/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id": "ubuntu/images/hvm-ssd-gp3/ubuntu-noble",
        "/aws/service/ecs/optimized-ami/amazon-linux-2/recommended/image_id": "amzn2-ami-ecs-hvm-",
        f"{kubernetes}/x86_64/standard/recommended/image_id": "amazon-eks-node-al2023",
        "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base": "Windows_Server-2022",
    }.items():
        parameter = ssm.get_parameter(Name=name)["Parameter"]
        (image,) = ec2.describe_images(ImageIds=[parameter["Value"]])["Images"]
        assert image["Name"].startswith(start)
        assert parameter["ARN"] == f"arn:aws:ssm:us-east-1::parameter{name}"
    below = ssm.get_paginator("get_parameters_by_path").paginate(Path="/aws/service/ami-amazon-linux-latest")
    assert len([one for page in below for one in page["Parameters"]]) > 10
    launched = ec2.run_instances(
        ImageId="resolve:ssm:/aws/service/ami-amazon-linux-latest/amzn2-ami-hvm-x86_64-gp2",
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
    )
    assert launched["Instances"][0]["ImageId"].startswith("ami-")
    with refused("ParameterNotFound"):
        ssm.get_parameter(Name="/aws/service/nothing")
