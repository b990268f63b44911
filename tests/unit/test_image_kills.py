"""`kill -9` between any two commits and calls of a driver, while images and snapshots are made, brought in, taken
out and forgotten: what was wanted is whole in the end, or was never asked for, and nothing is left beside it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from backends import schema
from backends.compute import lifecycle as guests
from backends.compute.drivers.simulated import SimulatedGuests
from backends.db import Unit
from backends.object.versions import Description
from backends.volume import lifecycle as disks
from backends.volume.capture import capture, tidy
from backends.volume.drivers.base import DiskDriver
from compat.context import Call
from compat.dispatch import invoke
from compat.ec2.transfers import Transfers
from compat.iam.principal import root
from gateway import settings
from gateway.compose import compose
from tests.unit.disk_contents import write
from tests.unit.fresh import unsynced

pytestmark = [
    pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed"),
    pytest.mark.timeout(900),
    pytest.mark.slow,
]
ACCOUNT, BUCKET = "111111111111", "images"
DEVICES = ("/dev/xvda", "/dev/sdf", "/dev/sdg")
VERBS = {
    "disks": (
        "ensure_disk",
        "flush",
        "drop_disk",
        "ensure_snapshots",
        "ensure_copy",
        "drop_snapshot",
        "import_file",
        "export_file",
    ),
    "guests": ("ensure_running", "ensure_stopped", "drop"),
}


class World:
    """A cloud whose background is moved by hand."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        made = settings.load({"data_dir": folder, "auth": "off", "volume": "qcow2"})
        self.parts = compose(made)
        event.listen(self.parts.cloud.database.engine, "connect", unsynced)
        schema.prepare(self.parts.cloud.database)
        self.transfers = Transfers(self.parts.cloud, folder / "transfers")
        self.driver: DiskDriver = self.parts.volumes.driver
        self.volumes, self.on_the_way = folder / "volumes-qcow2", folder / "transfers"

    def close(self) -> None:
        self.parts.close()

    def call(self, name: str, service: str = "ec2", **p: Any) -> dict[str, Any]:
        call = Call(service, name, p, root(ACCOUNT), "us-east-1", secrets.token_hex(4))
        return invoke(self.parts.dispatcher, call).result or {}

    def settle(self) -> None:
        """As the background does, until nothing is left to do."""
        database = self.parts.cloud.database
        for _ in range(60):
            if not any(
                [
                    disks.converge_disks(database, self.parts.volumes),
                    capture(database, self.parts.volumes),
                    guests.converge(database, self.parts.compute),
                    self.transfers.step(),
                ]
            ) and not capture(database, self.parts.volumes):
                return
        raise AssertionError("it never settles")

    def restart(self) -> None:
        """What a new process does first."""
        self.parts.survey()
        self.settle()

    def put(self, key: str, data: bytes) -> None:
        objects = self.parts.cloud.hosts["objects"]
        container = self.parts.cloud.hosts["containers"].find(BUCKET).number
        about = Description(modified=1, etag="0" * 32, size=len(data))
        objects.publish(container, key, about, objects.receive([data]))

    def instance(self) -> dict[str, Any]:
        (reservation,) = self.call("DescribeInstances")["Reservations"]
        return dict(reservation["Instances"][0])

    def images(self) -> list[dict[str, Any]]:
        return list(self.call("DescribeImages", Owners=["self"])["Images"])

    def snapshots(self) -> list[dict[str, Any]]:
        return list(self.call("DescribeSnapshots", OwnerIds=["self"])["Snapshots"])

    def lies(self) -> set[str]:
        """The names of everything on the medium, whole or not."""
        return {path.name for place in ("disks", "snapshots") for path in (self.volumes / place).iterdir()}

    def wanted(self) -> set[str]:
        """The names of everything that the API tells of."""
        volumes = self.call("DescribeVolumes")["Volumes"]
        return {one["VolumeId"] for one in volumes} | {one["SnapshotId"] for one in self.snapshots()}

    def check_nothing_is_left(self) -> None:
        tidy(self.parts.volumes)
        assert self.lies() == self.wanted()
        assert not self.on_the_way.exists() or list(self.on_the_way.iterdir()) == []

    def check_images(self, count: int) -> None:
        """There are so many images, all whole, and made of every disk."""
        images = self.images()
        assert [image["State"] for image in images] == ["available"] * count
        for image in images:
            mappings = {one["DeviceName"]: one["Ebs"]["SnapshotId"] for one in image["BlockDeviceMappings"]}
            assert tuple(sorted(mappings)) == tuple(sorted(DEVICES))
            for device, snapshot in mappings.items():
                assert self.driver.read(snapshot, 0, len(device)) == device.encode()

    def trace(self) -> list[str]:
        """The ids of all that a caller may have asked for."""
        tasks = self.call("DescribeImportImageTasks")["ImportImageTasks"]
        tasks += self.call("DescribeImportSnapshotTasks")["ImportSnapshotTasks"]
        ids = [task["ImportTaskId"] for task in tasks]
        ids += [task["ExportImageTaskId"] for task in self.call("DescribeExportImageTasks")["ExportImageTasks"]]
        return sorted(ids + [one["ImageId"] for one in self.images()] + [one["SnapshotId"] for one in self.snapshots()])

    def forget_all(self) -> None:
        for image in self.images():
            self.call("DeregisterImage", ImageId=image["ImageId"])
        for snapshot in self.snapshots():
            self.call("DeleteSnapshot", SnapshotId=snapshot["SnapshotId"])


# --- what is done, and what is to be true of its end ------------------------------------------------------------------


def launch(world: World) -> None:
    """An instance with a disk under each name, which holds that name."""
    held = [{"Name": "architecture", "Values": ["x86_64"]}, {"Name": "root-device-name", "Values": [DEVICES[0]]}]
    catalogue = world.call("DescribeImages", Owners=["amazon"], Filters=held)["Images"]
    world.call(
        "RunInstances",
        ImageId=catalogue[0]["ImageId"],
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        BlockDeviceMappings=[{"DeviceName": device, "Ebs": {"VolumeSize": 8}} for device in DEVICES],
    )
    world.settle()
    for mapping in world.instance()["BlockDeviceMappings"]:
        write(world.driver, mapping["Ebs"]["VolumeId"], 0, mapping["DeviceName"].encode())


def stopped(world: World) -> None:
    launch(world)
    world.call("StopInstances", InstanceIds=[world.instance()["InstanceId"]])
    world.settle()


def imaged(world: World) -> None:
    stopped(world)
    world.call("CreateImage", InstanceId=world.instance()["InstanceId"], Name="first")
    world.settle()


def filled(world: World) -> None:
    world.call("CreateBucket", "s3", Bucket=BUCKET)
    for device in DEVICES:
        world.put(device, device.encode() * 16384)
    world.settle()


def filled_and_imaged(world: World) -> None:
    imaged(world)
    filled(world)


def create_image(world: World, **more: Any) -> None:
    world.call("CreateImage", InstanceId=world.instance()["InstanceId"], Name="made", **more)


def create_snapshots(world: World) -> None:
    world.call("CreateSnapshots", InstanceSpecification={"InstanceId": world.instance()["InstanceId"]})


def copy_image(world: World) -> None:
    (image,) = world.images()
    world.call("CopyImage", Name="copied", SourceImageId=image["ImageId"], SourceRegion="us-east-1")


def import_image(world: World) -> None:
    world.call("ImportImage", DiskContainers=[container(device) for device in DEVICES])


def import_snapshot(world: World) -> None:
    world.call("ImportSnapshot", DiskContainer=container(DEVICES[0]))


def export_image(world: World) -> None:
    (image,) = world.images()
    snapshot = image["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    lone = [{"DeviceName": DEVICES[0], "Ebs": {"SnapshotId": snapshot}}]
    made = world.call("RegisterImage", Name="lone", RootDeviceName=DEVICES[0], BlockDeviceMappings=lone)
    world.call("ExportImage", ImageId=made["ImageId"], DiskImageFormat="VMDK", S3ExportLocation={"S3Bucket": BUCKET})


def container(key: str) -> dict[str, Any]:
    return {"Format": "RAW", "DeviceName": key, "UserBucket": {"S3Bucket": BUCKET, "S3Key": key}}


def came_true(power: str, count: int) -> Callable[[World, bool], None]:
    def check(world: World, asked: bool) -> None:
        world.check_images(count + asked)
        assert len(world.snapshots()) == len(DEVICES) * (count + asked)
        assert world.instance()["State"]["Name"] == power
        assert {one["Ebs"]["Status"] for one in world.instance()["BlockDeviceMappings"]} == {"attached"}

    return check


def set_is_whole(world: World, asked: bool) -> None:
    made = world.snapshots()
    assert [one["State"] for one in made] == ["completed"] * len(DEVICES) * asked
    held = {one["Ebs"]["VolumeId"]: one["DeviceName"] for one in world.instance()["BlockDeviceMappings"]}
    for one in made:
        device = held[one["VolumeId"]]
        assert world.driver.read(one["SnapshotId"], 0, len(device)) == device.encode()


def image_came(world: World, asked: bool) -> None:
    tasks = world.call("DescribeImportImageTasks")["ImportImageTasks"]
    assert [task["Status"] for task in tasks] == ["completed"] * asked
    assert [image["State"] for image in world.images()] == ["available"] * asked
    check_contents(world, asked * len(DEVICES))


def snapshot_came(world: World, asked: bool) -> None:
    tasks = world.call("DescribeImportSnapshotTasks")["ImportSnapshotTasks"]
    assert [task["SnapshotTaskDetail"]["Status"] for task in tasks] == ["completed"] * asked
    check_contents(world, int(asked))


def check_contents(world: World, count: int) -> None:
    made = [one["SnapshotId"] for one in world.snapshots()]
    length = len(DEVICES[1])
    found = sorted(world.driver.read(id, 16384 * length - length, length) for id in made)
    assert len(found) == count
    assert count < len(DEVICES) or len(set(found)) == count


def image_went(world: World, asked: bool) -> None:
    tasks = world.call("DescribeExportImageTasks")["ExportImageTasks"]
    assert all(task["Status"] == "completed" for task in tasks)
    keys = [one["Key"] for one in world.call("ListObjectsV2", "s3", Bucket=BUCKET).get("Contents", ())]
    assert sorted(keys) == sorted([*DEVICES, *(f"{task['ExportImageTaskId']}.vmdk" for task in tasks)])


def all_gone(world: World, asked: bool) -> None:
    world.forget_all()  # what was not asked for yet
    world.settle()
    assert (world.images(), world.snapshots()) == ([], [])


@dataclass(frozen=True, slots=True)
class Part:
    """What it begins from; what is asked for; what is true then, when it was asked for and when it was not."""

    begin: Callable[[World], None]
    ask: Callable[[World], None]
    check: Callable[[World, bool], None]
    steps: int
    """How many there are at least."""


PARTS = {
    "image of a stopped instance": Part(stopped, create_image, came_true("stopped", 0), 4),
    "image of an instance that is switched off for it": Part(launch, create_image, came_true("running", 0), 6),
    "image of a running instance": Part(
        launch, lambda world: create_image(world, NoReboot=True), came_true("running", 0), 4
    ),
    "snapshots of a stopped instance": Part(stopped, create_snapshots, set_is_whole, 3),
    "copy of an image": Part(imaged, copy_image, came_true("stopped", 1), 8),
    "import of an image": Part(filled, import_image, image_came, 12),
    "import of a snapshot": Part(filled, import_snapshot, snapshot_came, 6),
    "export of an image": Part(filled_and_imaged, export_image, image_went, 6),
    "an image is forgotten": Part(imaged, World.forget_all, all_gone, 8),
}


# --- the kills --------------------------------------------------------------------------------------------------------


class Killer:
    """Ends this process before the n-th step. What follows the one before is the same to those who come after."""

    def __init__(self, at: int) -> None:
        self.left = at

    def watch(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def step(*given: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        setattr(owner, name, step)


def killed(folder: Path, part: Part, at: int) -> tuple[bool, bool]:
    """Do the part in a process of its own, which is killed at a step. Whether what was asked for was acknowledged, and
    whether the kill came: there may be fewer steps."""
    here, there = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests do nothing in the child
        child = os.fork()
    if not child:
        status = 1
        try:
            world = World(folder)
            world.restart()
            killer = Killer(at)
            killer.watch(Unit, "_commit")
            for verb in VERBS["disks"]:
                killer.watch(type(world.driver), verb)
            for verb in VERBS["guests"]:
                killer.watch(SimulatedGuests, verb)
            part.ask(world)
            os.write(there, b".")
            world.settle()
            status = 0
        finally:
            os._exit(status)
    os.close(there)
    with open(here, "rb") as ear:
        acknowledged = bool(ear.read())
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return acknowledged, os.WIFSIGNALED(status)


@pytest.fixture(scope="module")
def beginnings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Part], Path]]:
    """The data folder from which a part begins; parts that begin alike share it."""
    made: dict[Callable[[World], None], Path] = {}

    def begin(part: Part) -> Path:
        if part.begin not in made:
            folder = made[part.begin] = tmp_path_factory.mktemp("beginning") / "data"
            world = World(folder)
            world.parts.survey()
            part.begin(world)
            world.close()
        return made[part.begin]

    yield begin


@pytest.mark.parametrize("name", PARTS)
def test_a_kill_at_every_step(
    beginnings: Callable[[Part], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nobody pulls the plug
    part, at, asked = PARTS[name], 0, set()
    beginning = beginnings(part)
    world = World(beginning)
    before = world.trace()
    world.close()
    gone_on = True
    while gone_on:
        at += 1
        folder = tmp_path / str(at)
        subprocess.run(["cp", "-a", str(beginning), str(folder)], check=True)
        acknowledged, gone_on = killed(folder, part, at)
        world = World(folder)
        world.restart()
        came = acknowledged or world.trace() != before
        part.check(world, came)
        if not came:  # it can be asked for once more
            part.ask(world)
            world.settle()
            part.check(world, True)
        world.check_nothing_is_left()
        world.close()
        shutil.rmtree(folder)
        asked.add(came)
    assert asked == {False, True} and at > part.steps
