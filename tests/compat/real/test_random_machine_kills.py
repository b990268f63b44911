"""Server, daemon and guests under QEMU are killed at random moments while owners do this and that with instances,
cards, volumes, snapshots and images: in the end the machine is what the API says, nothing else is on it, and whatever
was copied is of one moment, at which all was there that had been written before."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.real.machines import WRITER, Machines, able, differences, untrue
from tests.compat.real.owners import ACCOUNT
from tests.compat.real.random_kills import (
    SEED,
    SET,
    Owner,
    disturbed,
    every_instance,
    give_back,
    settle,
)

pytestmark = [pytest.mark.real, pytest.mark.on_demand, pytest.mark.timeout(1800)]
ARGUMENTS = ("--compute", "libvirt", "--volume", "qcow2", "--network", "linux")
LEAST = "least"
"""The tag of snapshots that says which round was told to be over when they were asked for, and of which root."""


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[Machines]:
    able()
    request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    made = Machines(request.getfixturevalue("cloud"), request.getfixturevalue("sandbox"))
    yield made
    made.sandbox.end()


class MachineOwner(Owner):
    """Sleep, cards and copies of one's own copies come to it; guests take their time."""

    world: Machines
    most, pace = 2, 1.5
    verbs = (*Owner.verbs, "hibernate", "card", "card", "pull", "copies", "take_one", "snapshot", "start")

    def launch(self, image: str) -> None:
        self.ec2.run_instances(
            ImageId=image,
            InstanceType="t2.nano",
            MinCount=1,
            MaxCount=1,
            UserData=WRITER,
            HibernationOptions={"Configured": True},
            InstanceInitiatedShutdownBehavior=self.dice.choice(("stop", "terminate")),
        )

    def hibernate(self) -> None:
        self.ec2.stop_instances(InstanceIds=[self.instance("running")], Hibernate=True)

    def copies(self) -> None:
        """An instance of an image that was made here."""
        if self.living() < self.most:
            ready = [one for one in self.made() if one["State"] == "available"]
            self.launch(self.dice.choice(ready)["ImageId"])

    def take(self, instance: str) -> None:
        least = f"{self.world.root(instance)} {self.world.round(instance)}"
        tags = {SET: f"{self.dice.getrandbits(40)}", LEAST: least}
        about = {"ResourceType": "snapshot", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        self.ec2.create_snapshots(InstanceSpecification={"InstanceId": instance}, TagSpecifications=[about])

    def take_one(self) -> None:
        if len(self.snapshots()) < 12:
            self.ec2.create_snapshot(VolumeId=self.volume("in-use", "available"))

    def cards(self, state: str) -> list[dict[str, Any]]:
        filters = [{"Name": "status", "Values": [state]}]
        return list(self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"])

    def card(self) -> None:
        """Give a guest another card."""
        instance = self.dice.choice(self.instances("running", "stopped"))
        if not (free := self.cards("available")):
            free = [self.ec2.create_network_interface(SubnetId=instance["SubnetId"])["NetworkInterface"]]
        card = self.dice.choice(free)["NetworkInterfaceId"]
        index = self.dice.choice((1, 2))
        self.ec2.attach_network_interface(NetworkInterfaceId=card, InstanceId=instance["InstanceId"], DeviceIndex=index)

    def pull(self) -> None:
        """Take a card out, or delete one that is free."""
        attached = [one["Attachment"] for one in self.cards("in-use")]
        extra = [one for one in attached if one["DeviceIndex"]]
        if free := self.cards("available"):
            self.ec2.delete_network_interface(NetworkInterfaceId=self.dice.choice(free)["NetworkInterfaceId"])
        else:
            self.ec2.detach_network_interface(AttachmentId=self.dice.choice(extra)["AttachmentId"])


def kill_something(world: Machines, dice: random.Random) -> str:
    """Kill the server, the daemon, or a guest, sometimes both; often while a copy is made."""
    if dice.random() < 0.6:
        deadline, of = time.monotonic() + 8, [{"Name": "status", "Values": ["pending"]}]
        while time.monotonic() < deadline and not world.ec2.describe_snapshots(Filters=of)["Snapshots"]:
            time.sleep(0.02)
        time.sleep(dice.uniform(0, 0.6))
    else:
        time.sleep(dice.uniform(0, 6))
    whats = dice.choice((("server",), ("server",), ("daemon",), ("guest",), ("daemon", "server"), ("guest", "server")))
    for what in whats:
        with contextlib.suppress(ProcessLookupError, ValueError):
            if what == "server":
                world.cloud.kill()
            elif what == "daemon":
                os.kill(world.daemon(), signal.SIGKILL)
            elif processes := sorted(world.processes().values()):
                os.kill(dice.choice(processes), signal.SIGKILL)
    if "server" in whats:
        time.sleep(dice.choice((0.0, 0.5)))
        world.come_back()
    return " and ".join(whats)


def sets(world: Machines) -> dict[str, tuple[dict[str, str], tuple[str, int]]]:
    """What was taken at one moment each: the snapshots by volume, and of which root which round had been told then."""
    found: dict[str, tuple[dict[str, str], tuple[str, int]]] = {}
    snapshots = {one["SnapshotId"]: one for one in world.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    for id, one in snapshots.items():
        tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
        if SET in tags:
            root, least = tags[LEAST].split()
            found.setdefault(tags[SET], ({}, (root, int(least))))[0][one["VolumeId"]] = id
    for image in world.ec2.describe_images(Owners=["self"])["Images"]:
        ids = [one["Ebs"]["SnapshotId"] for one in image["BlockDeviceMappings"] if "Ebs" in one]
        if all(id in snapshots for id in ids):
            found[image["ImageId"]] = ({snapshots[id]["VolumeId"]: id for id in ids}, ("", 0))
    return found


def check_bytes(world: Machines) -> int:
    """Look into all that was copied; how many were of more than one disk."""
    ebs, told, several = new_client(world.cloud.endpoint, "ebs", ACCOUNT), list[str](), 0
    for name, (members, least) in sets(world).items():
        several += len(members) > 1
        told += [f"{name}: {what}" for what in untrue(ebs, members, least)]
    assert not told, "\n".join(told)
    return several


def test_whatever_is_killed_all_comes_true_and_nothing_is_left(world: Machines) -> None:
    image = world.nephele("image", "build", "micro", "--account", ACCOUNT).split()[-1]
    dice, owners = random.Random(SEED), [MachineOwner(world, image, SEED + number) for number in (1, 2)]
    owners[0].launch(image)
    world.id = every_instance(world.ec2)[0]["InstanceId"]
    world.become("running")
    world.say("nephele-round")
    killed = disturbed(owners, lambda: kill_something(world, dice))
    settle(lambda: differences(world))
    check_bytes(world)
    for one in every_instance(world.ec2):
        if one["State"]["Name"] in ("running", "stopped"):
            owners[0].take(one["InstanceId"])
    settle(lambda: differences(world))
    print(killed, check_bytes(world), [owner.done for owner in owners])  # noqa: T201 - for whoever looks on
    give_back(world.ec2, lambda: differences(world))
    assert world.processes() == {} and world.domains() == set() and world.left() == []
    assert [os.listdir(world.volumes / place) for place in ("disks", "snapshots", "layers")] == [[], [], []]
