"""An owner who does this and that at random with instances, volumes, snapshots and images, whoever is killed meanwhile;
and what is true of every cloud when that has an end."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.compat.conftest import Client, new_client
from tests.compat.real.owners import ACCOUNT, World, until

SEED = int(os.environ.get("SEED", "4"))
KILLS = int(os.environ.get("KILLS", "4"))
PASSING = {"pending", "stopping", "shutting-down", "creating", "deleting", "attaching", "detaching", "modifying"}
SETTLING = 420.0
"""Seconds within which all has come true: a guest that does not hear its power button is waited for, too."""
SET = "set"
"""The tag that snapshots of one moment share."""


class Owner:
    """Does one thing after another, whatever may come of it. Nothing of it may be a fault of the server's."""

    most = 3
    """Instances at a time."""
    pace = 0.0
    """Seconds between two things, at most."""
    verbs: tuple[str, ...] = (
        *("run", "run", "run", "stop", "start", "start", "reboot", "terminate", "create", "create", "delete"),
        *("attach", "attach", "detach", "grow", "snapshot", "picture", "forget", "drop"),
    )

    def __init__(self, world: World, image: str, seed: int) -> None:
        self.world, self.image, self.dice = world, image, random.Random(seed)
        self.ec2 = new_client(world.cloud.endpoint, "ec2", ACCOUNT)
        self.stopping, self.faults, self.done = threading.Event(), list[str](), list[str]()

    def work(self) -> None:
        with self.world.sandbox.entered():
            verbs = [getattr(self, name) for name in self.verbs]
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
                    continue
                self.stopping.wait(self.dice.uniform(0, self.pace))

    def instances(self, *states: str) -> list[dict[str, Any]]:
        return [one for one in every_instance(self.ec2) if not states or one["State"]["Name"] in states]

    def living(self) -> int:
        return len(self.instances("pending", "running", "stopping", "stopped"))

    def instance(self, *states: str) -> str:
        return str(self.dice.choice(self.instances(*states))["InstanceId"])

    def volume(self, *states: str) -> str:
        found = self.ec2.describe_volumes(Filters=[{"Name": "status", "Values": list(states)}])["Volumes"]
        return str(self.dice.choice(found)["VolumeId"])

    def made(self) -> list[dict[str, Any]]:
        """Images that were made here."""
        images = self.ec2.describe_images(Owners=["self"])["Images"]
        return [one for one in images if one["ImageId"] != self.image]

    def snapshots(self) -> list[dict[str, Any]]:
        return list(self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])

    def launch(self, image: str) -> None:
        """Run an instance of an image."""
        self.ec2.run_instances(ImageId=image, InstanceType="t2.nano", MinCount=1, MaxCount=1)

    def run(self) -> None:
        if self.living() < self.most:
            self.launch(self.image)

    def stop(self) -> None:
        self.ec2.stop_instances(InstanceIds=[self.instance("running")], Force=self.dice.random() < 0.7)

    def start(self) -> None:
        self.ec2.start_instances(InstanceIds=[self.instance("stopped")])

    def reboot(self) -> None:
        self.ec2.reboot_instances(InstanceIds=[self.instance("running")])

    def terminate(self) -> None:
        if self.living() == self.most:
            self.ec2.terminate_instances(InstanceIds=[self.instance("running", "stopped", "pending")])

    def create(self) -> None:
        if len(self.ec2.describe_volumes()["Volumes"]) < 2 * self.most:
            zone = self.instances("running")[0]["Placement"]["AvailabilityZone"]
            self.ec2.create_volume(Size=1, AvailabilityZone=zone)

    def delete(self) -> None:
        if len(self.ec2.describe_volumes()["Volumes"]) == 2 * self.most:
            self.ec2.delete_volume(VolumeId=self.volume("available"))

    def attach(self) -> None:
        device = f"/dev/sd{self.dice.choice('fgh')}"
        instance = self.instance("running", "stopped")
        self.ec2.attach_volume(VolumeId=self.volume("available"), InstanceId=instance, Device=device)

    def detach(self) -> None:
        self.ec2.detach_volume(VolumeId=self.volume("in-use"))

    def grow(self) -> None:
        self.ec2.modify_volume(VolumeId=self.volume("available", "in-use"), Size=self.dice.randint(2, 3))

    def take(self, instance: str) -> None:
        """Take snapshots of all disks of an instance."""
        self.ec2.create_snapshots(InstanceSpecification={"InstanceId": instance})

    def snapshot(self) -> None:
        if len(self.snapshots()) < 12:
            self.take(self.instance("running", "stopped"))

    def picture(self) -> None:
        if len(self.made()) < 5:
            quickly = self.dice.random() < 0.5
            name = f"made-{self.dice.getrandbits(40)}"
            self.ec2.create_image(InstanceId=self.instance("running", "stopped"), Name=name, NoReboot=quickly)

    def forget(self) -> None:
        self.ec2.deregister_image(ImageId=self.dice.choice(self.made())["ImageId"])

    def drop(self) -> None:
        self.ec2.delete_snapshot(SnapshotId=self.dice.choice(self.snapshots())["SnapshotId"])


def every_instance(ec2: Client) -> list[dict[str, Any]]:
    return [one for reservation in ec2.describe_instances()["Reservations"] for one in reservation["Instances"]]


def unsettled(ec2: Client) -> list[str]:
    """What the API says is still to come, or has failed."""
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    images = ec2.describe_images(Owners=["self"])["Images"]
    volumes = ec2.describe_volumes()["Volumes"]
    changes = ec2.describe_volumes_modifications()["VolumesModifications"]
    told = [f"{one['InstanceId']} {one['State']}" for one in every_instance(ec2) if one["State"]["Name"] in PASSING]
    told += [f"{one['VolumeId']} {one['State']}" for one in volumes if one["State"] in {*PASSING, "error"}]
    held = [attachment for one in volumes for attachment in one["Attachments"]]
    told += [f"{one['VolumeId']} {one['State']}" for one in held if one["State"] != "attached"]
    told += [
        f"{one['SnapshotId']} {one['State']} {one.get('StateMessage', '')}"
        for one in snapshots
        if one["State"] != "completed"
    ]
    told += [f"{one['ImageId']} {one['State']}" for one in images if one["State"] != "available"]
    told += [f"{one['VolumeId']} {one['ModificationState']}" for one in changes if one["ModificationState"] in PASSING]
    return told


def disturbed(owners: Sequence[Owner], kill: Callable[[], str], kills: int = KILLS) -> list[str]:
    """Let owners work, and kill something after every few things that they did. What was killed."""
    dice, killed = random.Random(SEED), list[str]()
    threads = [threading.Thread(target=owner.work) for owner in owners]
    for thread in threads:
        thread.start()

    def done() -> int:
        return sum(len(owner.done) for owner in owners)

    log = owners[0].world.cloud.log
    try:
        for _ in range(kills):
            enough = done() + dice.randint(2, 8)
            until(lambda: done() >= enough, lambda: f"nothing is done any more: {log.read_text()[-2000:]}")  # noqa: B023
            killed.append(kill())
    finally:
        for owner in owners:
            owner.stopping.set()
        for thread in threads:
            thread.join()
    assert [owner.faults for owner in owners] == [[] for _ in owners], killed
    assert len({verb for owner in owners for verb in owner.done}) >= 5, [owner.done for owner in owners]
    return killed


def settle(differences: Callable[[], list[str]]) -> None:
    """Wait until there are none."""
    deadline = time.monotonic() + SETTLING
    while told := differences():
        assert time.monotonic() < deadline, "\n".join(told)
        time.sleep(0.2)


def give_back(ec2: Client, differences: Callable[[], list[str]]) -> None:
    """Terminate and delete all there is, and see that it goes."""

    def try_each(ids: list[str], verb: Callable[[str], Any]) -> None:
        for id in ids:
            with contextlib.suppress(ClientError):
                verb(id)

    if instances := [one["InstanceId"] for one in every_instance(ec2)]:
        ec2.terminate_instances(InstanceIds=instances)
    settle(differences)
    volumes, images = ec2.describe_volumes()["Volumes"], ec2.describe_images(Owners=["self"])["Images"]
    try_each([one["VolumeId"] for one in volumes], lambda id: ec2.delete_volume(VolumeId=id))
    try_each([one["ImageId"] for one in images], lambda id: ec2.deregister_image(ImageId=id))
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    try_each([one["SnapshotId"] for one in snapshots], lambda id: ec2.delete_snapshot(SnapshotId=id))
    settle(differences)
