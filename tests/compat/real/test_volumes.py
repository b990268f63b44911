"""Volumes and snapshots over qcow2 chains, through boto3: what a guest wrote is what is found again.

No guest runs here: qemu-io writes where one would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.real.owners import until
from tests.compat.refused import refused
from tests.compat.waiting import wait
from tests.sandbox import unable
from tests.server import Server

pytestmark = pytest.mark.real
Client = Any
BLOCK = 512 * 1024
ZONE = "us-east-1a"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("qemu-img") is None:
        unable("qemu-img is not installed: apt-get install qemu-utils")
    with Server(tmp_path_factory.mktemp("cloud") / "data", "--volume", "qcow2") as started:
        yield started


@pytest.fixture
def ebs(client: Callable[..., Client]) -> Client:
    return client("ebs")


def disk_of(cloud: Server, volume: str) -> Path:
    return cloud.data / "volumes-qcow2" / "disks" / volume / "disk.qcow2"


def io(cloud: Server, volume: str, *commands: str) -> None:
    """Do as a guest would; a pattern that is read and not found fails."""
    wanted = [part for command in commands for part in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", "qcow2", *wanted, str(disk_of(cloud, volume))], capture_output=True, text=True
    )
    assert done.returncode == 0 and "failed" not in done.stdout, done


def new_volume(ec2: Client, **about: Any) -> str:
    volume: str = ec2.create_volume(AvailabilityZone=ZONE, VolumeType="gp3", **about)["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[volume])
    return volume


def new_snapshot(ec2: Client, volume: str) -> str:
    snapshot: str = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[snapshot])
    return snapshot


def indexes(listed: dict[str, Any], member: str) -> list[int]:
    return [one["BlockIndex"] for one in listed[member]]


def test_bytes_go_from_volume_to_snapshot_to_volume(ec2: Client, ebs: Client, cloud: Server) -> None:
    volume = new_volume(ec2, Size=10)
    io(cloud, volume, "write -P 17 0 4k", "write -P 18 5G 1M")
    first = new_snapshot(ec2, volume)
    io(cloud, volume, "write -P 19 1G 64k")
    second = new_snapshot(ec2, volume)
    gib = 1024 * 1024 * 1024 // BLOCK
    assert indexes(ebs.list_snapshot_blocks(SnapshotId=first), "Blocks") == [0, 5 * gib, 5 * gib + 1]
    changed = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)
    assert indexes(changed, "ChangedBlocks") == [gib]
    assert "FirstBlockToken" not in changed["ChangedBlocks"][0]
    token = changed["ChangedBlocks"][0]["SecondBlockToken"]
    data = ebs.get_snapshot_block(SnapshotId=second, BlockIndex=gib, BlockToken=token)["BlockData"].read()
    assert data == bytes([19]) * 65536 + bytes(BLOCK - 65536)
    # Nothing that is dropped takes bytes from what was made of it.
    clone = new_volume(ec2, SnapshotId=second, Size=12)
    ec2.delete_volume(VolumeId=volume)
    ec2.delete_snapshot(SnapshotId=first)
    ec2.delete_snapshot(SnapshotId=second)
    wait(ec2, "volume_deleted", VolumeIds=[volume])
    io(cloud, clone, "read -P 17 0 4k", "read -P 18 5G 1M", "read -P 19 1G 64k", "read -P 0 11G 1M")


def test_a_volume_grows_and_keeps_its_bytes(ec2: Client, cloud: Server) -> None:
    volume = new_volume(ec2, Size=1)
    io(cloud, volume, "write -P 3 0 64k")
    ec2.modify_volume(VolumeId=volume, Size=3)

    for _ in range(300):
        state = ec2.describe_volumes_modifications(VolumeIds=[volume])["VolumesModifications"][0]["ModificationState"]
        if state == "completed":
            break
        time.sleep(0.1)
    told = subprocess.run(
        ["qemu-img", "info", "-f", "qcow2", "--output=json", str(disk_of(cloud, volume))],
        capture_output=True,
        check=True,
    )
    assert json.loads(told.stdout)["virtual-size"] == 3 << 30
    io(cloud, volume, "read -P 3 0 64k", "read -P 0 2G 64k")


def test_a_snapshot_is_written_on_top_of_another(ec2: Client, ebs: Client, cloud: Server) -> None:
    volume = new_volume(ec2, Size=1)
    io(cloud, volume, "write -P 5 0 1M")
    parent = new_snapshot(ec2, volume)
    snapshot = ebs.start_snapshot(VolumeSize=2, ParentSnapshotId=parent)["SnapshotId"]
    data = b"\6" * BLOCK
    ebs.put_snapshot_block(
        SnapshotId=snapshot,
        BlockIndex=1,
        BlockData=data,
        DataLength=BLOCK,
        Checksum=base64.b64encode(hashlib.sha256(data).digest()).decode(),
        ChecksumAlgorithm="SHA256",
    )
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)
    wait(ec2, "snapshot_completed", SnapshotIds=[snapshot])
    clone = new_volume(ec2, SnapshotId=snapshot)
    io(cloud, clone, "read -P 5 0 512k", "read -P 6 512k 512k", "read -P 0 1M 64k")
    assert indexes(ebs.list_changed_blocks(FirstSnapshotId=parent, SecondSnapshotId=snapshot), "ChangedBlocks") == [1]


def test_an_image_of_an_instance_holds_its_disks(ec2: Client, cloud: Server) -> None:
    volume = new_volume(ec2, Size=1)
    io(cloud, volume, "write -P 9 0 64k")
    root = new_snapshot(ec2, volume)
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": root}}]
    image = ec2.register_image(
        Name="first", RootDeviceName="/dev/xvda", BlockDeviceMappings=mapping, Architecture="x86_64"
    )["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro")["Instances"][0]
    wait(ec2, "instance_running", InstanceIds=[instance["InstanceId"]])
    here = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [instance["InstanceId"]]}])
    io(cloud, here["Volumes"][0]["VolumeId"], "read -P 9 0 64k", "write -P 10 64k 64k")
    made = ec2.create_image(InstanceId=instance["InstanceId"], Name="second", NoReboot=True)["ImageId"]
    wait(ec2, "image_available", ImageIds=[made])
    again = ec2.run_instances(ImageId=made, MinCount=1, MaxCount=1, InstanceType="t3.micro")["Instances"][0]
    wait(ec2, "instance_running", InstanceIds=[again["InstanceId"]])
    there = ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [again["InstanceId"]]}])
    io(cloud, there["Volumes"][0]["VolumeId"], "read -P 9 0 64k", "read -P 10 64k 64k")


def test_a_vanished_file_is_told_until_it_is_back(ec2: Client, cloud: Server) -> None:
    def status() -> Any:
        return ec2.describe_volume_status(VolumeIds=[volume])["VolumeStatuses"][0]

    volume = new_volume(ec2, Size=1)
    io(cloud, volume, "write -P 12 0 64k")
    path = disk_of(cloud, volume)
    path.rename(path.with_suffix(".away"))
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    for _ in range(300):
        found = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        if found["State"] != "pending":
            break
        time.sleep(0.1)
    assert found["State"] == "error"
    assert "is not there" in found["StateMessage"]
    with refused("IncorrectState"):
        ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=snapshot)
    until(lambda: status()["VolumeStatus"]["Status"] == "impaired", lambda: str(status()))
    (event,) = status()["Events"]
    assert event["EventType"] == "potential-data-inconsistency" and str(path) in event["Description"]
    found = ec2.describe_volume_status(Filters=[{"Name": "event.event-type", "Values": [event["EventType"]]}])
    assert [one["VolumeId"] for one in found["VolumeStatuses"]] == [volume]
    path.with_suffix(".away").rename(path)
    until(lambda: status()["VolumeStatus"]["Status"] == "ok", lambda: str(status()))
    assert status()["Events"] == []
    io(cloud, new_volume(ec2, SnapshotId=new_snapshot(ec2, volume)), "read -P 12 0 64k")


def test_everything_is_there_after_a_kill(ec2: Client, cloud: Server) -> None:
    volume = new_volume(ec2, Size=1)
    io(cloud, volume, "write -P 21 0 64k")
    snapshots = [ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(5)]
    cloud.kill()
    cloud.start_again()
    wait(ec2, "snapshot_completed", SnapshotIds=snapshots)
    clone = new_volume(ec2, SnapshotId=snapshots[-1])
    io(cloud, clone, "read -P 21 0 64k")
