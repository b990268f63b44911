"""Server, daemon and guests are killed at random moments while an owner does this and that with instances, volumes,
snapshots and images: in the end the machine is what the API says, and nothing else is on it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from backends.compute.drivers import container_root
from tests.compat.conftest import new_client
from tests.compat.real.containers import Container, able
from tests.compat.real.owners import ACCOUNT, until

pytestmark = [pytest.mark.real, pytest.mark.on_demand, pytest.mark.timeout(600)]
ARGUMENTS = ("--compute", "lxc", "--network", "linux")
SEED = int(os.environ.get("SEED", "4"))
KILLS = int(os.environ.get("KILLS", "4"))
MOST = 3
"""Instances at a time."""
PASSING = {"pending", "stopping", "shutting-down", "creating", "deleting", "attaching", "detaching", "modifying"}


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[Container]:
    able()
    request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    made = Container(request.getfixturevalue("cloud"), request.getfixturevalue("sandbox"))
    yield made
    made.end()


class Owner:
    """Does one thing after another, whatever may come of it. Nothing of it may be a fault of the server's."""

    def __init__(self, world: Container, seed: int) -> None:
        self.world, self.dice = world, random.Random(seed)
        self.ec2 = new_client(world.cloud.endpoint, "ec2", ACCOUNT)
        self.stopping, self.faults, self.done = threading.Event(), list[str](), list[str]()

    def work(self) -> None:
        with self.world.sandbox.entered():
            verbs = [getattr(self, name) for name in VERBS]
            while not self.stopping.is_set():
                verb = self.dice.choice(verbs)
                try:
                    verb()
                    self.done.append(verb.__name__)
                except ClientError as error:
                    if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                        self.faults.append(f"{verb.__name__}: {error}")
                except (BotoCoreError, OSError, IndexError):
                    self.stopping.wait(0.05)  # the server is away, or there is nothing to choose from

    def instances(self, *states: str) -> list[dict[str, Any]]:
        found = self.ec2.describe_instances()["Reservations"]
        every = [one for reservation in found for one in reservation["Instances"]]
        return [one for one in every if not states or one["State"]["Name"] in states]

    def instance(self, *states: str) -> str:
        return str(self.dice.choice(self.instances(*states))["InstanceId"])

    def volume(self, *states: str) -> str:
        found = self.ec2.describe_volumes(Filters=[{"Name": "status", "Values": list(states)}])["Volumes"]
        return str(self.dice.choice(found)["VolumeId"])

    def run(self) -> None:
        if len(self.instances("pending", "running", "stopping", "stopped")) < MOST:
            self.ec2.run_instances(ImageId=self.world.image, InstanceType="t2.nano", MinCount=1, MaxCount=1)

    def stop(self) -> None:
        self.ec2.stop_instances(InstanceIds=[self.instance("running")], Force=self.dice.random() < 0.7)

    def start(self) -> None:
        self.ec2.start_instances(InstanceIds=[self.instance("stopped")])

    def reboot(self) -> None:
        self.ec2.reboot_instances(InstanceIds=[self.instance("running")])

    def terminate(self) -> None:
        if len(self.instances("pending", "running", "stopping", "stopped")) == MOST:
            self.ec2.terminate_instances(InstanceIds=[self.instance("running", "stopped", "pending")])

    def create(self) -> None:
        if len(self.ec2.describe_volumes()["Volumes"]) < 2 * MOST:
            self.ec2.create_volume(
                Size=1, AvailabilityZone=self.instances("running")[0]["Placement"]["AvailabilityZone"]
            )

    def delete(self) -> None:
        if len(self.ec2.describe_volumes()["Volumes"]) == 2 * MOST:
            self.ec2.delete_volume(VolumeId=self.volume("available"))

    def attach(self) -> None:
        device = f"/dev/sd{self.dice.choice('fgh')}"
        self.ec2.attach_volume(
            VolumeId=self.volume("available"), InstanceId=self.instance("running", "stopped"), Device=device
        )

    def detach(self) -> None:
        self.ec2.detach_volume(VolumeId=self.volume("in-use"))

    def grow(self) -> None:
        self.ec2.modify_volume(VolumeId=self.volume("available", "in-use"), Size=self.dice.randint(2, 3))

    def snapshot(self) -> None:
        if len(self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]) < 12:
            self.ec2.create_snapshots(InstanceSpecification={"InstanceId": self.instance("running", "stopped")})

    def picture(self) -> None:
        if len(self.ec2.describe_images(Owners=["self"])["Images"]) < 6:
            quickly = self.dice.random() < 0.5
            name = f"made-{self.dice.getrandbits(40)}"
            self.ec2.create_image(InstanceId=self.instance("running", "stopped"), Name=name, NoReboot=quickly)

    def forget(self) -> None:
        images = self.ec2.describe_images(Owners=["self"])["Images"]
        image = self.dice.choice([one for one in images if one["ImageId"] != self.world.image])
        self.ec2.deregister_image(ImageId=image["ImageId"])

    def drop(self) -> None:
        self.ec2.delete_snapshot(
            SnapshotId=self.dice.choice(self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])["SnapshotId"]
        )


VERBS = (
    *("run", "run", "run", "stop", "start", "start", "reboot", "terminate", "create", "create", "delete"),
    *("attach", "attach", "detach", "grow", "snapshot", "picture", "forget", "drop"),
)


def kill_something(world: Container, dice: random.Random) -> str:
    """Kill the server, the daemon, or a container; one that is gone already is no matter."""
    what = dice.choice(("server", "server", "daemon", "guest"))
    with contextlib.suppress(ProcessLookupError, OSError):
        if what == "server":
            world.cloud.kill()
            time.sleep(dice.choice((0.0, 0.5)))
            world.come_back()
        elif what == "daemon":
            os.kill(world.daemon(), signal.SIGKILL)
        elif controllers := sorted(world.controllers().values()):
            os.kill(dice.choice(controllers), signal.SIGKILL)
    return what


def differences(world: Container) -> list[str]:
    """What is not as the API says, or not settled."""
    ec2 = world.ec2
    instances = [one for r in ec2.describe_instances()["Reservations"] for one in r["Instances"]]
    volumes = ec2.describe_volumes()["Volumes"]
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    images = ec2.describe_images(Owners=["self"])["Images"]
    changes = ec2.describe_volumes_modifications()["VolumesModifications"]
    told = [f"{one['InstanceId']} {one['State']['Name']}" for one in instances if one["State"]["Name"] in PASSING]
    told += [f"{one['VolumeId']} {one['State']}" for one in volumes if one["State"] in {*PASSING, "error"}]
    held = [attachment for one in volumes for attachment in one["Attachments"]]
    told += [f"{one['VolumeId']} {one['State']}" for one in held if one["State"] != "attached"]
    told += [f"{one['SnapshotId']} {one['State']}" for one in snapshots if one["State"] != "completed"]
    told += [f"{one['ImageId']} {one['State']}" for one in images if one["State"] != "available"]
    told += [f"{one['VolumeId']} {one['ModificationState']}" for one in changes if one["ModificationState"] in PASSING]
    running = {one["InstanceId"] for one in instances if one["State"]["Name"] == "running"}
    if set(world.controllers()) != running:
        told.append(f"containers: {sorted(world.controllers())} and not {sorted(running)}")
    folder = world.cloud.data / "volumes"
    lies = {place: sorted(os.listdir(folder / place)) for place in ("disks", "snapshots")}
    wanted = {
        "disks": sorted(f"{one['VolumeId']}.raw" for one in volumes),
        "snapshots": sorted(f"{one['SnapshotId']}.raw" for one in snapshots),
    }
    if lies != wanted:
        told.append(f"files: {lies} and not {wanted}")
    sizes = {f"{one['VolumeId']}.raw": one["Size"] << 30 for one in volumes}
    with contextlib.suppress(FileNotFoundError):  # that it is not there is told above
        found = {name: (folder / "disks" / name).stat().st_size for name in sizes}
        told += [f"{name} has {size} bytes" for name, size in found.items() if size != sizes[name]]
    used = sorted(one["VolumeId"] for one in held if one["InstanceId"] in running)
    devices = sorted((container_root.backing(one) or "").split("/")[-1].removesuffix(".raw") for one in world.left())
    if devices != used:
        told.append(f"block devices over {devices} and not {used}")
    roots = {path.name.split(".")[0] for path in (world.cloud.data / "guests" / "roots").iterdir()}
    if gone := roots - {one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"}:
        told.append(f"roots of {gone}")
    return told


def settled(world: Container) -> None:
    until(lambda: not differences(world), lambda: "\n".join(differences(world)))


def each(what: list[dict[str, Any]], key: str) -> list[str]:
    return [str(one[key]) for one in what]


def try_each(ids: list[str], verb: Callable[[str], Any]) -> None:
    for id in ids:
        with contextlib.suppress(ClientError):
            verb(id)


def test_whatever_is_killed_all_comes_true_and_nothing_is_left(world: Container) -> None:
    world.launch()
    world.become("running")
    dice, owners = random.Random(SEED), [Owner(world, SEED + number) for number in (1, 2)]
    threads = [threading.Thread(target=owner.work) for owner in owners]
    for thread in threads:
        thread.start()
    killed = []

    def done() -> int:
        return sum(len(owner.done) for owner in owners)

    try:
        for _ in range(KILLS):
            enough = done() + dice.randint(2, 8)
            until(lambda: done() >= enough, lambda: f"nothing is done any more: {world.cloud.log.read_text()[-2000:]}")  # noqa: B023
            killed.append(kill_something(world, dice))
    finally:
        for owner in owners:
            owner.stopping.set()
        for thread in threads:
            thread.join()
    assert [owner.faults for owner in owners] == [[], []], killed
    assert len({verb for owner in owners for verb in owner.done}) >= 5, [owner.done for owner in owners]
    settled(world)
    ec2 = world.ec2
    instances = [one["InstanceId"] for r in ec2.describe_instances()["Reservations"] for one in r["Instances"]]
    ec2.terminate_instances(InstanceIds=instances)
    settled(world)
    try_each(each(ec2.describe_volumes()["Volumes"], "VolumeId"), lambda id: ec2.delete_volume(VolumeId=id))
    try_each(
        each(ec2.describe_images(Owners=["self"])["Images"], "ImageId"), lambda id: ec2.deregister_image(ImageId=id)
    )
    try_each(
        each(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"], "SnapshotId"),
        lambda id: ec2.delete_snapshot(SnapshotId=id),
    )
    settled(world)
    assert not world.controllers() and not world.left()
    assert [os.listdir(world.cloud.data / "volumes" / place) for place in ("disks", "snapshots")] == [[], []]
