"""Volumes, attachments, modifications and snapshots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.passing import until
from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any
ZONE = "us-east-1a"


@pytest.fixture
def instance(ec2: Client) -> str:
    """A running instance in us-east-1a."""
    made = ec2.run_instances(
        ImageId="ami-12c6146b", InstanceType="t3.micro", MinCount=1, MaxCount=1, Placement={"AvailabilityZone": ZONE}
    )
    id: str = made["Instances"][0]["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[id])
    return id


def volume(ec2: Client, **options: Any) -> str:
    id: str = ec2.create_volume(**{"AvailabilityZone": ZONE, "Size": 1, "VolumeType": "gp3"} | options)["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[id])
    return id


def shown(ec2: Client, id: str) -> dict[str, Any]:
    (one,) = ec2.describe_volumes(VolumeIds=[id])["Volumes"]
    found: dict[str, Any] = one
    return found


def snapshot(ec2: Client, volume: str, **options: Any) -> str:
    id: str = ec2.create_snapshot(VolumeId=volume, **options)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[id])
    return id


def test_a_new_volume(ec2: Client) -> None:
    made = ec2.create_volume(AvailabilityZone=ZONE, Size=10, VolumeType="gp3")
    assert made["State"] == "creating"
    wait(ec2, "volume_available", VolumeIds=[made["VolumeId"]])
    one = shown(ec2, made["VolumeId"])
    expected = {
        "Size": 10,
        "VolumeType": "gp3",
        "Iops": 3000,
        "Throughput": 125,
        "AvailabilityZone": ZONE,
        "State": "available",
        "SnapshotId": "",
        "Encrypted": False,
        "MultiAttachEnabled": False,
        "Attachments": [],
        "Tags": [],
    }
    assert {member: one[member] for member in expected} == expected


@pytest.mark.parametrize(
    ("options", "iops"),
    [
        ({"VolumeType": "gp2", "Size": 1}, 100),
        ({"VolumeType": "gp2", "Size": 100}, 300),
        ({"VolumeType": "gp2", "Size": 16000}, 16000),
        ({"VolumeType": "io1", "Size": 10, "Iops": 500}, 500),
        ({"VolumeType": "st1", "Size": 125}, None),
        ({"VolumeType": "standard", "Size": 1}, None),
        ({"Size": 50}, 150),
    ],
)
def test_iops_by_type(ec2: Client, options: dict[str, Any], iops: int | None) -> None:
    made = ec2.create_volume(AvailabilityZone=ZONE, **options)
    assert made.get("Iops") == iops
    assert made["VolumeType"] == options.get("VolumeType", "gp2")
    assert "Throughput" not in made


@pytest.mark.parametrize(
    ("code", "words", "options"),
    [
        ("InvalidParameterValue", "us-east-1z", {"Size": 1, "AvailabilityZone": "us-east-1z"}),
        ("MissingParameter", "size", {}),
        ("InvalidParameterValue", "too small", {"Size": 100, "VolumeType": "st1"}),
        ("InvalidParameterValue", "too large", {"Size": 20000, "VolumeType": "gp2"}),
        ("MissingParameter", "iops", {"Size": 10, "VolumeType": "io1"}),
        ("InvalidParameterValue", "ratio", {"Size": 4, "VolumeType": "io1", "Iops": 1000}),
        ("InvalidParameterCombination", "iops", {"Size": 4, "VolumeType": "gp2", "Iops": 1000}),
        ("InvalidParameterCombination", "throughput", {"Size": 4, "VolumeType": "gp2", "Throughput": 200}),
        ("InvalidSnapshot.NotFound", "snap-00000000", {"SnapshotId": "snap-00000000"}),
        ("InvalidParameterDependency", "KmsKeyId", {"Size": 1, "KmsKeyId": "alias/mine"}),
        ("InvalidParameterCombination", "Multi-Attach", {"Size": 1, "MultiAttachEnabled": True}),
    ],
)
def test_refusals(ec2: Client, code: str, words: str, options: dict[str, Any]) -> None:
    with refused(code, words):
        ec2.create_volume(**{"AvailabilityZone": ZONE} | options)
    assert ec2.describe_volumes()["Volumes"] == []


def test_attach_and_detach(ec2: Client, instance: str) -> None:
    id = volume(ec2)
    attached = ec2.attach_volume(VolumeId=id, InstanceId=instance, Device="/dev/sdf")
    assert (attached["State"], attached["Device"], attached["InstanceId"]) == ("attaching", "/dev/sdf", instance)
    wait(ec2, "volume_in_use", VolumeIds=[id])
    (attachment,) = shown(ec2, id)["Attachments"]
    assert attachment["DeleteOnTermination"] is False
    with refused("VolumeInUse", instance):
        ec2.delete_volume(VolumeId=id)
    with refused("VolumeInUse"):
        ec2.attach_volume(VolumeId=id, InstanceId=instance, Device="/dev/sdg")
    other = volume(ec2)
    with refused("InvalidParameterValue", "/dev/sdf"):
        ec2.attach_volume(VolumeId=other, InstanceId=instance, Device="/dev/sdf")
    with refused("InvalidAttachment.NotFound"):
        ec2.detach_volume(VolumeId=id, InstanceId=instance, Device="/dev/sdz")
    assert ec2.detach_volume(VolumeId=id, InstanceId=instance, Device="/dev/sdf")["State"] == "detaching"
    wait(ec2, "volume_available", VolumeIds=[id])
    with refused("IncorrectState"):
        ec2.detach_volume(VolumeId=id)
    ec2.delete_volume(VolumeId=id)
    wait(ec2, "volume_deleted", VolumeIds=[id])
    with refused("InvalidVolume.NotFound", id):
        ec2.describe_volumes(VolumeIds=[id])


def test_what_may_not_be_attached_or_detached(ec2: Client, instance: str) -> None:
    elsewhere = volume(ec2, AvailabilityZone="us-east-1b")
    with refused("InvalidVolume.ZoneMismatch"):
        ec2.attach_volume(VolumeId=elsewhere, InstanceId=instance, Device="/dev/sdf")
    filters = [{"Name": "attachment.instance-id", "Values": [instance]}]
    (root,) = ec2.describe_volumes(Filters=filters)["Volumes"]
    with refused("OperationNotPermitted", root["VolumeId"]):
        ec2.detach_volume(VolumeId=root["VolumeId"])
    ec2.stop_instances(InstanceIds=[instance])
    wait(ec2, "instance_stopped", InstanceIds=[instance])
    ec2.detach_volume(VolumeId=root["VolumeId"])
    wait(ec2, "volume_available", VolumeIds=[root["VolumeId"]])
    ec2.attach_volume(VolumeId=root["VolumeId"], InstanceId=instance, Device="/dev/xvda")
    ec2.start_instances(InstanceIds=[instance])
    wait(ec2, "instance_running", InstanceIds=[instance])


def test_one_volume_in_two_instances(ec2: Client, instance: str) -> None:
    shared = volume(ec2, VolumeType="io2", Size=10, Iops=100, MultiAttachEnabled=True)
    again = ec2.run_instances(
        ImageId="ami-12c6146b", InstanceType="t3.micro", MinCount=1, MaxCount=1, Placement={"AvailabilityZone": ZONE}
    )["Instances"][0]["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[again])
    for one in (instance, again):
        ec2.attach_volume(VolumeId=shared, InstanceId=one, Device="/dev/sdf")
    assert {one["InstanceId"] for one in shown(ec2, shared)["Attachments"]} == {instance, again}
    ec2.detach_volume(VolumeId=shared, InstanceId=again)
    ec2.terminate_instances(InstanceIds=[instance, again])
    wait(ec2, "volume_available", VolumeIds=[shared])


def test_modify(ec2: Client) -> None:
    id = volume(ec2, Size=10, VolumeType="gp2")
    change = ec2.modify_volume(VolumeId=id, Size=20, VolumeType="gp3", Throughput=250)["VolumeModification"]
    assert (change["OriginalSize"], change["TargetSize"]) == (10, 20)
    assert (change["OriginalVolumeType"], change["TargetVolumeType"]) == ("gp2", "gp3")
    assert (change["OriginalIops"], change["TargetIops"], change["TargetThroughput"]) == (100, 3000, 250)
    (change,) = until(
        lambda: ec2.describe_volumes_modifications(VolumeIds=[id])["VolumesModifications"],
        lambda found: found[0]["ModificationState"] == "completed",
    )
    assert change["Progress"] == 100
    one = shown(ec2, id)
    assert (one["Size"], one["VolumeType"], one["Iops"], one["Throughput"]) == (20, "gp3", 3000, 250)
    with refused("InvalidParameterValue", "smaller"):
        ec2.modify_volume(VolumeId=id, Size=5)
    with refused("InvalidVolumeModification.NotFound"):
        ec2.describe_volumes_modifications(VolumeIds=[volume(ec2)])


def test_snapshot_and_volume_from_it(ec2: Client, account: str) -> None:
    id = volume(ec2, Size=2)
    made = ec2.create_snapshot(
        VolumeId=id,
        Description="before",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}],
    )
    assert (made["State"], made["VolumeSize"], made["OwnerId"]) == ("pending", 2, account)
    wait(ec2, "snapshot_completed", SnapshotIds=[made["SnapshotId"]])
    (one,) = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert (one["Progress"], one["StorageTier"], one["VolumeId"]) == ("100%", "standard", id)
    assert one["Tags"] == [{"Key": "a", "Value": "b"}]
    child = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=one["SnapshotId"])
    assert (child["Size"], child["SnapshotId"]) == (2, one["SnapshotId"])
    with refused("InvalidParameterValue", "2"):
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=one["SnapshotId"], Size=1)
    ec2.delete_snapshot(SnapshotId=one["SnapshotId"])
    with refused("InvalidSnapshot.NotFound"):
        ec2.describe_snapshots(SnapshotIds=[one["SnapshotId"]])
    wait(ec2, "volume_available", VolumeIds=[child["VolumeId"]])


def test_snapshots_are_shared_and_copied(ec2: Client, client: Callable[..., Client], account: str) -> None:
    id = snapshot(ec2, volume(ec2))
    friend = client("ec2", account="210987650001")
    with refused("InvalidSnapshot.NotFound"):
        friend.create_volume(AvailabilityZone=ZONE, SnapshotId=id)
    ec2.modify_snapshot_attribute(
        SnapshotId=id, Attribute="createVolumePermission", OperationType="add", UserIds=["210987650001"]
    )
    permissions = ec2.describe_snapshot_attribute(SnapshotId=id, Attribute="createVolumePermission")
    assert permissions["CreateVolumePermissions"] == [{"UserId": "210987650001"}]
    (seen,) = friend.describe_snapshots(RestorableByUserIds=["self"])["Snapshots"]
    assert (seen["SnapshotId"], seen["OwnerId"]) == (id, account)
    assert friend.create_volume(AvailabilityZone=ZONE, SnapshotId=id)["SnapshotId"] == id
    with refused("AuthFailure"):
        friend.delete_snapshot(SnapshotId=id)
    ec2.modify_snapshot_attribute(
        SnapshotId=id, Attribute="createVolumePermission", OperationType="remove", UserIds=["210987650001"]
    )
    with refused("InvalidSnapshot.NotFound"):
        friend.describe_snapshots(SnapshotIds=[id])
    west = client("ec2", region="us-west-2")
    copy = west.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=id, Description="copy")["SnapshotId"]
    wait(west, "snapshot_completed", SnapshotIds=[copy])
    (one,) = west.describe_snapshots(SnapshotIds=[copy])["Snapshots"]
    assert (one["VolumeSize"], one["VolumeId"], one["Description"]) == (1, "vol-ffffffff", "copy")


def test_snapshots_of_an_instance(ec2: Client, instance: str) -> None:
    data = volume(ec2)
    ec2.attach_volume(VolumeId=data, InstanceId=instance, Device="/dev/sdf")
    wait(ec2, "volume_in_use", VolumeIds=[data])
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance})["Snapshots"]
    assert len(made) == 2
    made = ec2.create_snapshots(InstanceSpecification={"InstanceId": instance, "ExcludeBootVolume": True})["Snapshots"]
    assert [one["VolumeId"] for one in made] == [data]


def test_encryption_by_default(ec2: Client) -> None:
    assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is False
    assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"] == "alias/aws/ebs"
    ec2.enable_ebs_encryption_by_default()
    made = ec2.create_volume(AvailabilityZone=ZONE, Size=1)
    assert made["Encrypted"] is True and made["KmsKeyId"].startswith("arn:aws:kms:us-east-1:")
    ec2.disable_ebs_encryption_by_default()
    assert ec2.create_volume(AvailabilityZone=ZONE, Size=1)["Encrypted"] is False


def test_filters_and_pages(ec2: Client) -> None:
    small = ec2.create_volume(AvailabilityZone=ZONE, Size=1, VolumeType="gp3")["VolumeId"]
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": "large"}]}]
    large = ec2.create_volume(AvailabilityZone="us-east-1b", Size=9, VolumeType="gp2", TagSpecifications=tags)[
        "VolumeId"
    ]

    def found(name: str, value: str) -> list[str]:
        answer = ec2.describe_volumes(Filters=[{"Name": name, "Values": [value]}])
        return [one["VolumeId"] for one in answer["Volumes"]]

    assert found("size", "1") == found("volume-type", "gp3") == found("availability-zone", ZONE) == [small]
    assert found("tag:Name", "l*") == found("volume-id", large) == [large]
    assert found("status", "in-use") == found("attachment.instance-id", "i-0") == []
    with refused("InvalidParameterValue"):
        found("colour", "blue")
    pages = list(ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))
    assert {one["VolumeId"] for page in pages for one in page["Volumes"]} == {small, large}
    (status, _) = ec2.describe_volume_status(VolumeIds=sorted([small, large]))["VolumeStatuses"]
    assert status["VolumeStatus"]["Status"] in ("ok", "insufficient-data")
