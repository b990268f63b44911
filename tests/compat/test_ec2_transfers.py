"""Disk images between S3 and EC2: ImportSnapshot, ImportImage, ExportImage, and what is told of their tasks."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.test_ebs import content
from tests.compat.waiting import wait
from tests.server import Server

Client = Any
MIB, BLOCK = 1 << 20, 512 * 1024
BLOCKS = {0: bytes(range(256)) * 2048, 3: b"nephele!" * 65536, 9: b"\1" + bytes(BLOCK - 1)}
DISK = b"".join(BLOCKS.get(index, bytes(BLOCK)) for index in range(12))
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
TRUST = {
    "Effect": "Allow",
    "Principal": {"Service": "vmie.amazonaws.com"},
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}},
}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def add_role(iam: Client, bucket: str, name: str = "vmimport", trust: dict[str, Any] = TRUST) -> None:
    """The role of the VM Import/Export guide, with what it lists."""
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))
    actions = ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:GetBucketAcl"]
    places = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    policy = document({"Effect": "Allow", "Action": actions, "Resource": places})
    iam.put_role_policy(RoleName=name, PolicyName="vmimport", PolicyDocument=policy)


@pytest.fixture
def bucket(client: Callable[..., Client], account: str) -> str:
    """A bucket that the role may read and write, with a raw disk in it."""
    name = f"images-{account}"
    client("s3").create_bucket(Bucket=name)
    client("s3").put_object(Bucket=name, Key="disk.raw", Body=DISK)
    add_role(client("iam"), name)
    return name


def at(bucket: str, key: str, format: str | None = None, **more: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"UserBucket": {"S3Bucket": bucket, "S3Key": key}, **more}
    return container if format is None else container | {"Format": format}


def ended(describe: Callable[..., Any], member: str, ids: str, id: str) -> dict[str, Any]:
    """The task, once it is over."""
    from time import monotonic, sleep

    until = monotonic() + 60
    while True:
        (task,) = describe(**{ids: [id]})[member]
        state = task.get("Status") or task["SnapshotTaskDetail"]["Status"]
        if state in ("completed", "deleted"):
            return dict(task)
        assert monotonic() < until, task
        sleep(0.1)


def snapshot_task(ec2: Client, id: str) -> dict[str, Any]:
    return ended(ec2.describe_import_snapshot_tasks, "ImportSnapshotTasks", "ImportTaskIds", id)["SnapshotTaskDetail"]


def image_task(ec2: Client, id: str) -> dict[str, Any]:
    return ended(ec2.describe_import_image_tasks, "ImportImageTasks", "ImportTaskIds", id)


def export_task(ec2: Client, id: str) -> dict[str, Any]:
    return ended(ec2.describe_export_image_tasks, "ExportImageTasks", "ExportImageTaskIds", id)


def convert(data: bytes, format: str, folder: Path, *options: str) -> bytes:
    """Bytes of a raw disk as an image of another format, as qemu-img makes it."""
    (folder / "in.raw").write_bytes(data)
    command = ["qemu-img", "convert", "-f", "raw", "-O", format, *options, "in.raw", "out"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "out").read_bytes()


def ova(*disks: bytes) -> bytes:
    held = {f"disk{number}.vmdk": data for number, data in enumerate(disks)}
    references = "".join(f'<File ovf:id="{name}" ovf:href="{name}"/>' for name in held)
    sections = "".join(f'<Disk ovf:fileRef="{name}"/>' for name in held)
    text = (
        '<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">'
        f"<References>{references}</References><DiskSection>{sections}</DiskSection></Envelope>"
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in {"box.ovf": text.encode(), **held}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def test_a_raw_disk_becomes_a_snapshot_with_its_bytes(ec2: Client, client: Callable[..., Client], bucket: str) -> None:
    tags = [{"ResourceType": "import-snapshot-task", "Tags": [{"Key": "a", "Value": "b"}]}]
    asked = {"Description": "mine", "DiskContainer": at(bucket, "disk.raw", "RAW"), "TagSpecifications": tags}
    begun = ec2.import_snapshot(**asked, ClientToken="once")
    assert begun["ImportTaskId"].startswith("import-snap-") and begun["Description"] == "mine"
    assert begun["SnapshotTaskDetail"]["Status"] == "active" and begun["Tags"] == tags[0]["Tags"]
    assert begun["SnapshotTaskDetail"]["Progress"] == "0"
    assert ec2.import_snapshot(**asked, ClientToken="once")["ImportTaskId"] == begun["ImportTaskId"]
    task = snapshot_task(ec2, begun["ImportTaskId"])
    assert task["Status"] == "completed" and "StatusMessage" not in task and "Progress" not in task, task
    assert task["Format"] == "RAW" and task["DiskImageSize"] == len(DISK)
    assert task["UserBucket"] == {"S3Bucket": bucket, "S3Key": "disk.raw"}
    (snapshot,) = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert (snapshot["SnapshotId"], snapshot["State"]) == (task["SnapshotId"], "completed")
    assert (snapshot["Progress"], snapshot["VolumeSize"], snapshot["VolumeId"]) == ("100%", 1, "vol-ffffffff")
    assert begun["ImportTaskId"] in snapshot["Description"]
    assert content(client("ebs"), task["SnapshotId"]) == BLOCKS
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=task["SnapshotId"])["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[volume])
    again = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[again])
    assert content(client("ebs"), again) == BLOCKS


@needs_qemu_img
@pytest.mark.parametrize(
    ("named", "format"),
    [("VMDK", "vmdk"), ("vhd", "vpc"), ("VHDX", "vhdx"), ("qcow2", "qcow2"), ("VDI", "vdi")],
)
def test_every_format(
    ec2: Client, client: Callable[..., Client], bucket: str, tmp_path: Path, named: str, format: str
) -> None:
    options = ("-o", "subformat=streamOptimized") if format == "vmdk" else ()
    client("s3").put_object(Bucket=bucket, Key="image", Body=convert(DISK, format, tmp_path, *options))
    begun = ec2.import_snapshot(DiskContainer=at(bucket, "image", named))
    task = snapshot_task(ec2, begun["ImportTaskId"])
    assert (task["Status"], task["Format"]) == ("completed", named.upper()), task
    assert content(client("ebs"), task["SnapshotId"]) == BLOCKS


@needs_qemu_img
def test_an_ova_becomes_an_image_that_starts(
    ec2: Client, client: Callable[..., Client], bucket: str, tmp_path: Path
) -> None:
    disk = convert(DISK, "vmdk", tmp_path, "-o", "subformat=streamOptimized")
    client("s3").put_object(Bucket=bucket, Key="vms/box.ova", Body=ova(disk))
    begun = ec2.import_image(
        Description="a box",
        Architecture="x86_64",
        Platform="Linux",
        DiskContainers=[{"Description": "root", "Format": "ova", "Url": f"s3://{bucket}/vms/box.ova"}],
    )
    assert begun["ImportTaskId"].startswith("import-ami-") and begun["Status"] == "active"
    assert (begun["Progress"], begun["StatusMessage"]) == ("0", "pending")
    task = image_task(ec2, begun["ImportTaskId"])
    assert task["Status"] == "completed" and "StatusMessage" not in task, task
    (detail,) = task["SnapshotDetails"]
    assert (detail["Format"], detail["Status"], detail["DeviceName"]) == ("OVA", "completed", "/dev/sda1")
    (image,) = ec2.describe_images(Owners=["self"])["Images"]
    assert (image["ImageId"], image["Name"], image["State"]) == (task["ImageId"], begun["ImportTaskId"], "available")
    (mapping,) = image["BlockDeviceMappings"]
    assert mapping["Ebs"]["SnapshotId"] == detail["SnapshotId"] and image["Architecture"] == "x86_64"
    assert content(client("ebs"), detail["SnapshotId"]) == BLOCKS
    run = ec2.run_instances(ImageId=task["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1)
    wait(ec2, "instance_running", InstanceIds=[run["Instances"][0]["InstanceId"]])
    with refused("InvalidSnapshot.InUse", task["ImageId"]):
        ec2.delete_snapshot(SnapshotId=detail["SnapshotId"])


@needs_qemu_img
def test_every_disk_of_an_ova_comes_in(ec2: Client, client: Callable[..., Client], bucket: str, tmp_path: Path) -> None:
    other = DISK[3 * BLOCK :]
    one, two = (convert(data, "vmdk", tmp_path, "-o", "subformat=streamOptimized") for data in (DISK, other))
    client("s3").put_object(Bucket=bucket, Key="box.ova", Body=ova(one, two))
    task = image_task(ec2, ec2.import_image(DiskContainers=[at(bucket, "box.ova")])["ImportTaskId"])
    assert task["Status"] == "completed", task
    assert [one["DeviceName"] for one in task["SnapshotDetails"]] == ["/dev/sda1", "/dev/sdb"]
    (image,) = ec2.describe_images(ImageIds=[task["ImageId"]])["Images"]
    mapped = {one["DeviceName"]: one["Ebs"]["SnapshotId"] for one in image["BlockDeviceMappings"]}
    assert mapped == {one["DeviceName"]: one["SnapshotId"] for one in task["SnapshotDetails"]}
    assert content(client("ebs"), mapped["/dev/sda1"]) == BLOCKS
    assert content(client("ebs"), mapped["/dev/sdb"]) == {n - 3: data for n, data in BLOCKS.items() if n >= 3}


def test_two_disks_and_a_snapshot_in_one_image(ec2: Client, client: Callable[..., Client], bucket: str) -> None:
    first = snapshot_task(ec2, ec2.import_snapshot(DiskContainer=at(bucket, "disk.raw"))["ImportTaskId"])["SnapshotId"]
    containers = [at(bucket, "disk.raw"), {"SnapshotId": first}, at(bucket, "disk.raw", DeviceName="/dev/sdx")]
    begun = ec2.import_image(DiskContainers=containers, BootMode="uefi")
    task = image_task(ec2, begun["ImportTaskId"])
    assert task["Status"] == "completed" and task["BootMode"] == "uefi", task
    (image,) = ec2.describe_images(ImageIds=[task["ImageId"]])["Images"]
    devices = {one["DeviceName"]: one["Ebs"]["SnapshotId"] for one in image["BlockDeviceMappings"]}
    assert list(devices) == ["/dev/sda1", "/dev/sdb", "/dev/sdx"] and devices["/dev/sdb"] == first
    assert len(set(devices.values())) == 3 and image["BootMode"] == "uefi"
    assert content(client("ebs"), devices["/dev/sdx"]) == BLOCKS


@pytest.mark.parametrize(
    "format", ["RAW", pytest.param("VMDK", marks=needs_qemu_img), pytest.param("VHD", marks=needs_qemu_img)]
)
def test_an_image_goes_out_and_comes_in_again(
    ec2: Client, client: Callable[..., Client], bucket: str, tmp_path: Path, format: str
) -> None:
    begun = ec2.import_image(DiskContainers=[at(bucket, "disk.raw")])
    image = image_task(ec2, begun["ImportTaskId"])["ImageId"]
    location = {"S3Bucket": bucket, "S3Prefix": "out/"}
    tags = [{"ResourceType": "export-image-task", "Tags": [{"Key": "a", "Value": "b"}]}]
    asked = ec2.export_image(
        ImageId=image, DiskImageFormat=format, S3ExportLocation=location, Description="d", TagSpecifications=tags
    )
    assert asked["ExportImageTaskId"].startswith("export-ami-") and asked["RoleName"] == "vmimport"
    task = export_task(ec2, asked["ExportImageTaskId"])
    assert task["Status"] == "completed" and task["S3ExportLocation"] == location, task
    assert task["Tags"] == tags[0]["Tags"] and task["Description"] == "d"
    key = f"out/{asked['ExportImageTaskId']}.{format.lower()}"
    data = client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    if format == "RAW":
        assert data == DISK
    again = snapshot_task(ec2, ec2.import_snapshot(DiskContainer=at(bucket, key))["ImportTaskId"])
    assert again["Status"] == "completed", again
    assert content(client("ebs"), again["SnapshotId"]) == BLOCKS
    with refused("IncorrectState"):
        ec2.cancel_export_task(ExportTaskId=asked["ExportImageTaskId"])


def test_what_cannot_be_asked_for(ec2: Client, client: Callable[..., Client], bucket: str, account: str) -> None:
    with refused("InvalidParameter", "does not exist", "nothing"):
        ec2.import_snapshot(DiskContainer=at(bucket, "nothing.raw"))
    with refused("InvalidParameter", "bucket does not exist"):
        ec2.import_snapshot(DiskContainer=at(f"no-{account}", "disk.raw"))
    with refused("InvalidParameter", "format"):
        ec2.import_snapshot(DiskContainer=at(bucket, "disk.raw", "ISO"))
    with refused("InvalidParameter", "format"):
        ec2.import_snapshot(DiskContainer=at(bucket, "disk.img"))
    with refused("InvalidParameter", "format"):
        ec2.import_snapshot(DiskContainer=at(bucket, "disk.raw", "OVA"))
    with refused("InvalidParameter", "not local to the region"):
        client("ec2", region="eu-west-1").import_snapshot(DiskContainer=at(bucket, "disk.raw"))
    with refused("MissingParameter"):
        ec2.import_image(DiskContainers=[])
    with refused("InvalidParameter", "Platform"):
        ec2.import_image(DiskContainers=[at(bucket, "disk.raw")], Platform="Plan9")
    with refused("InvalidConversionTaskId"):
        ec2.describe_import_image_tasks(ImportTaskIds=["import-ami-0123456789abcdef0"])
    with refused("InvalidConversionTaskId.Malformed"):
        ec2.cancel_import_task(ImportTaskId="import-ami-what")
    with refused("DryRunOperation"):
        ec2.import_snapshot(DiskContainer=at(bucket, "disk.raw"), DryRun=True)
    assert ec2.describe_import_snapshot_tasks()["ImportSnapshotTasks"] == []
    public = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    with refused("AuthFailure"):
        ec2.export_image(ImageId=public, DiskImageFormat="RAW", S3ExportLocation={"S3Bucket": bucket})


NO_ROLE = ("InvalidParameter", "does not exist or does not have sufficient permissions")


def test_the_role_must_be_there_trust_the_service_and_be_allowed(
    ec2: Client, client: Callable[..., Client], bucket: str, account: str
) -> None:
    iam, other = client("iam"), f"other-{account}"
    client("s3").create_bucket(Bucket=other)
    client("s3").put_object(Bucket=other, Key="disk.raw", Body=DISK)
    with refused(*NO_ROLE):
        ec2.import_snapshot(DiskContainer=at(other, "disk.raw"))
    with refused(*NO_ROLE):
        ec2.import_snapshot(DiskContainer=at(bucket, "disk.raw"), RoleName="mine")
    without = {member: value for member, value in TRUST.items() if member != "Condition"}
    wrong = without | {"Condition": {"StringEquals": {"sts:ExternalId": "another"}}}
    for name, trust in (("mine", without), ("theirs", wrong)):
        add_role(iam, bucket, name, trust)
    with refused(*NO_ROLE):
        ec2.import_snapshot(DiskContainer=at(bucket, "disk.raw"), RoleName="theirs")
    begun = ec2.import_snapshot(DiskContainer=at(bucket, "disk.raw"), RoleName="mine")
    assert snapshot_task(ec2, begun["ImportTaskId"])["Status"] == "completed"
    image = image_task(ec2, ec2.import_image(DiskContainers=[at(bucket, "disk.raw")])["ImportTaskId"])["ImageId"]
    with refused(*NO_ROLE):
        ec2.export_image(ImageId=image, DiskImageFormat="RAW", S3ExportLocation={"S3Bucket": other})


def test_a_user_who_may_not_read_the_object(ec2: Client, client: Callable[..., Client], bucket: str) -> None:
    iam = client("iam")
    iam.create_user(UserName="u")
    policy = document({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"})
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=policy)
    key = iam.create_access_key(UserName="u")["AccessKey"]
    mine = client("ec2", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    with refused("InvalidParameter", "User does not have access to the S3 object"):
        mine.import_snapshot(DiskContainer=at(bucket, "disk.raw"))


@needs_qemu_img
def test_images_that_lie_or_lean_on_others(
    ec2: Client, client: Callable[..., Client], bucket: str, tmp_path: Path
) -> None:
    s3 = client("s3")
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/hostname", "-F", "raw", "leaning", "1M"]
    subprocess.run(command, cwd=tmp_path, check=True)
    s3.put_object(Bucket=bucket, Key="leaning.qcow2", Body=(tmp_path / "leaning").read_bytes())
    whole = convert(DISK, "qcow2", tmp_path)
    s3.put_object(Bucket=bucket, Key="cut.qcow2", Body=whole[: len(whole) // 2])
    for key, format, reason in (
        ("disk.raw", "VMDK", "no vmdk"),
        ("leaning.qcow2", "QCOW2", "backing file"),
        ("cut.qcow2", "QCOW2", "cut off"),
    ):
        begun = ec2.import_snapshot(DiskContainer=at(bucket, key, format))
        task = snapshot_task(ec2, begun["ImportTaskId"])
        assert task["Status"] == "deleted" and "SnapshotId" not in task, task
        assert (
            task["StatusMessage"].startswith("ClientError: Disk validation failed [")
            and reason in task["StatusMessage"]
        )
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_pages_filters_and_tags_of_tasks(ec2: Client, bucket: str) -> None:
    tags = [{"ResourceType": "import-image-task", "Tags": [{"Key": "n", "Value": "1"}]}]
    ids = [ec2.import_image(DiskContainers=[at(bucket, "disk.raw")])["ImportTaskId"] for _ in range(2)]
    ids.append(ec2.import_image(DiskContainers=[at(bucket, "disk.raw")], TagSpecifications=tags)["ImportTaskId"])
    for id in ids:
        assert image_task(ec2, id)["Status"] == "completed"
    pages = ec2.get_paginator("describe_import_image_tasks").paginate(PaginationConfig={"PageSize": 2})
    assert sorted(one["ImportTaskId"] for page in pages for one in page["ImportImageTasks"]) == sorted(ids)

    def found(name: str, value: str) -> list[str]:
        answer = ec2.describe_import_image_tasks(Filters=[{"Name": name, "Values": [value]}])
        return [one["ImportTaskId"] for one in answer["ImportImageTasks"]]

    assert sorted(found("task-state", "completed")) == sorted(ids) and found("task-state", "active") == []
    assert found("tag:n", "1") == [ids[2]]
    with refused("IncorrectState"):
        ec2.cancel_import_task(ImportTaskId=ids[0])


def test_the_command_line(aws: Callable[..., Any], bucket: str, ec2: Client) -> None:
    containers = json.dumps([at(bucket, "disk.raw", "raw")])
    done = aws("ec2", "import-image", "--description", "by hand", "--disk-containers", containers)
    task = image_task(ec2, json.loads(done.stdout)["ImportTaskId"])
    assert task["Status"] == "completed" and task["Description"] == "by hand"


@pytest.mark.embedded
def test_an_import_survives_a_kill(tmp_path: Path) -> None:
    data = DISK * 8
    with Server(tmp_path / "data") as server:
        account = "123456789012"
        s3, ec2, iam, ebs = (new_client(server.endpoint, name, account) for name in ("s3", "ec2", "iam", "ebs"))
        s3.create_bucket(Bucket="killed")
        s3.put_object(Bucket="killed", Key="disk.raw", Body=data)
        add_role(iam, "killed")
        ids = [ec2.import_snapshot(DiskContainer=at("killed", "disk.raw"))["ImportTaskId"] for _ in range(3)]
        server.kill()
        server.start_again()
        ebs = new_client(server.endpoint, "ebs", account)
        ec2 = new_client(server.endpoint, "ec2", account)
        for id in ids:
            task = snapshot_task(ec2, id)
            assert task["Status"] == "completed", task
            found = content(ebs, task["SnapshotId"])
            assert found == {index + 12 * n: block for n in range(8) for index, block in BLOCKS.items()}
        assert len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) == 3
        assert not list((tmp_path / "data" / "transfers").iterdir())
