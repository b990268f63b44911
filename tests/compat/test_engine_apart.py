"""The engine in a process of its own: what servers want comes true there, and only while it runs."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.compat.conftest import Client, new_client
from tests.compat.waiting import wait
from tests.server import ROOT, Server

ACCOUNT = "123456789012"


class Engine:
    """`nephele engine` on a data folder, ready when made."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "gateway", "engine", "--data-dir", str(data)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert "Ready.\n" in iter(self.process.stdout.readline, "")

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        status = self.process.wait(90)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data", "--no-engine") as started:
        yield started


def launch(ec2: Client) -> str:
    image = next(one for one in ec2.describe_images(Owners=["amazon"])["Images"] if one["Architecture"] == "x86_64")
    answer = ec2.run_instances(ImageId=image["ImageId"], InstanceType="t3.micro", MinCount=1, MaxCount=1)
    id: str = answer["Instances"][0]["InstanceId"]
    return id


def test_servers_want_and_the_engine_does(apart: Server) -> None:
    ec2, ebs = (new_client(apart.endpoint, service, ACCOUNT) for service in ("ec2", "ebs"))
    waiting = launch(ec2)
    with pytest.raises(ec2.exceptions.ClientError, match="The engine does not answer"):
        ec2.get_console_output(InstanceId=waiting)
    engine = Engine(apart.data)
    wait(ec2, "instance_running", InstanceIds=[waiting])
    assert "boot 1" in ec2.get_console_output(InstanceId=waiting)["Output"]
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[volume])
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    data = b"byte" * 131072
    ebs.put_snapshot_block(
        SnapshotId=snapshot,
        BlockIndex=3,
        BlockData=data,
        DataLength=524288,
        Checksum=base64.b64encode(hashlib.sha256(data).digest()).decode(),
        ChecksumAlgorithm="SHA256",
    )
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)
    wait(ec2, "snapshot_completed", SnapshotIds=[snapshot])
    (block,) = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    read = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=3, BlockToken=block["BlockToken"])
    assert read["BlockData"].read() == data

    engine.end(signal.SIGKILL)
    orphan = launch(ec2)
    (shown,) = ec2.describe_instances(InstanceIds=[orphan])["Reservations"][0]["Instances"]
    assert shown["State"]["Name"] == "pending"
    engine = Engine(apart.data)
    wait(ec2, "instance_running", InstanceIds=[orphan, waiting])
    # A reset throws the rows away at the server, and what they stood for at the engine.
    assert list((apart.data / "volumes").rglob(f"*{volume}*"))
    assert requests.post(f"{apart.endpoint}/_nephele/reset", auth=("test", "test"), timeout=60).status_code == 200
    deadline = time.monotonic() + 60
    while list((apart.data / "volumes").rglob(f"*{volume}*")):
        assert time.monotonic() < deadline, "the engine keeps a volume that nobody has"
    assert engine.end(signal.SIGTERM) == 0


def test_two_engines_keep_out_of_each_others_way(apart: Server) -> None:
    engine = Engine(apart.data)
    command = [sys.executable, "-m", "gateway", "engine", "--data-dir", str(apart.data)]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (second.returncode, "another Nephele" in second.stderr) == (1, True)
    assert engine.end(signal.SIGTERM) == 0


def test_servers_need_nothing_that_only_the_engine_needs(tmp_path: Path) -> None:
    """They start before the engine, and on machines that could not carry its drivers."""
    with Server(tmp_path / "data", "--no-engine", "--network", "linux", "--compute", "libvirt") as server:
        ec2 = new_client(server.endpoint, "ec2", ACCOUNT)
        assert ec2.describe_vpcs()["Vpcs"]
