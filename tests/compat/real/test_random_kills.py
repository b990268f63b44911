"""Server, daemon and containers are killed at random moments while owners do this and that with instances, volumes,
snapshots and images: in the end the machine is what the API says, and nothing else is on it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator

import pytest

from backends.compute.drivers import container_root
from tests.compat.real.containers import Container, containers
from tests.compat.real.random_kills import SEED, Owner, disturbed, every_instance, give_back, settle, unsettled

pytestmark = [pytest.mark.real, pytest.mark.on_demand, pytest.mark.timeout(900)]
ARGUMENTS = ("--compute", "lxc", "--network", "linux")


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[Container]:
    with containers(request) as made:
        yield made


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
    ec2, told = world.ec2, unsettled(world.ec2)
    instances, volumes = every_instance(ec2), ec2.describe_volumes()["Volumes"]
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    held = [attachment for one in volumes for attachment in one["Attachments"]]
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


def test_whatever_is_killed_all_comes_true_and_nothing_is_left(world: Container) -> None:
    world.launch()
    world.become("running")
    dice, owners = random.Random(SEED), [Owner(world, world.image, SEED + number) for number in (1, 2)]
    disturbed(owners, lambda: kill_something(world, dice))
    settle(lambda: differences(world))
    give_back(world.ec2, lambda: differences(world))
    assert not world.controllers() and not world.left()
    assert [os.listdir(world.cloud.data / "volumes" / place) for place in ("disks", "snapshots")] == [[], []]
