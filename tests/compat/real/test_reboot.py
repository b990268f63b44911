"""The machine is rebooted under containers: what was to run runs again, with its address and its bytes, and nothing
else does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat.real.containers import Container, containers
from tests.compat.real.owners import until
from tests.compat.waiting import wait

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ARGUMENTS = ("--compute", "lxc", "--network", "linux")
KEPT = ("PrivateIpAddress", "VpcId", "SubnetId", "PublicIpAddress")


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[Container]:
    with containers(request) as made:
        yield made


def about(instance: dict[str, Any]) -> dict[str, Any]:
    return {name: instance.get(name) for name in KEPT} | {
        "Interfaces": sorted(one["NetworkInterfaceId"] for one in instance["NetworkInterfaces"])
    }


def test_after_a_reboot_all_is_as_it_was_wanted(world: Container) -> None:
    runs, stopped, gone = (world.launch() for _ in range(3))
    zone = world.at(runs).become("running")["Placement"]["AvailabilityZone"]
    volume = world.ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    wait(world.ec2, "volume_available", VolumeIds=[volume])
    world.ec2.attach_volume(VolumeId=volume, InstanceId=runs, Device="/dev/sdf")
    elastic = world.ec2.allocate_address(Domain="vpc")
    world.ec2.associate_address(AllocationId=elastic["AllocationId"], InstanceId=runs)
    made = world.ec2.create_network_interface(SubnetId=world.instance()["SubnetId"])["NetworkInterface"]
    world.ec2.attach_network_interface(NetworkInterfaceId=made["NetworkInterfaceId"], InstanceId=runs, DeviceIndex=1)
    world.say("ready at")
    world.ask("ip -4 -o addr show eth1", made["PrivateIpAddress"])
    world.ask("echo from before > /var/mark; printf raw | dd of=/dev/sdf; sync; echo wr''itten", "written")
    world.at(stopped).become("running")
    world.say("ready at")
    world.ask("echo of the stopped > /var/mark; sync; echo wr''itten", "written")
    world.ec2.stop_instances(InstanceIds=[stopped])
    world.become("stopped")
    world.at(gone).become("running")
    world.ec2.terminate_instances(InstanceIds=[gone])
    world.become("terminated")
    before, length = about(world.at(runs).instance()), len(world.output())
    assert before["PublicIpAddress"] == elastic["PublicIp"]
    late = world.launch()  # asked for a moment before

    world.reboot_machine()

    assert world.at(stopped).instance()["State"]["Name"] == "stopped"
    assert world.at(runs).become("running") and about(world.instance()) == before
    world.say("ready at", length)
    world.ask("cat /var/mark; dd if=/dev/sdf bs=3 count=1", "from before")
    world.ask("echo =$(dd if=/dev/sdf bs=3 count=1 2>/dev/null)=", "=raw=")
    world.ask("ip -4 -o addr show eth0", before["PrivateIpAddress"])
    world.ask("ip -4 -o addr show eth1", made["PrivateIpAddress"])
    world.at(late).become("running")
    world.say("ready at")
    assert set(world.controllers()) == {runs, late}
    assert world.networks() == {before["VpcId"]}
    assert len(world.left()) == 3  # two root disks and a volume
    assert world.at(gone).instance()["State"]["Name"] == "terminated"

    world.ec2.start_instances(InstanceIds=[stopped])
    world.at(stopped).become("running")
    world.ask("cat /var/mark", "of the stopped")


def test_an_orderly_shutdown_of_the_machine_is_no_wish_of_an_owners(world: Container) -> None:
    """Everything is asked to end, guests first, as an init system does; after it, what was to run runs."""
    running = set(world.controllers())
    for process in world.controllers().values():
        os.kill(process, signal.SIGTERM)
    until(lambda: not running & world.controllers().keys(), lambda: str(world.controllers()))
    world.reboot_machine()
    for id in running:
        world.at(id).become("running")


def test_nothing_is_left_of_what_is_terminated(world: Container) -> None:
    world.ec2.terminate_instances(InstanceIds=(running := list(world.controllers())))
    for id in running:
        world.at(id).become("terminated")
    until(lambda: not world.left() and not world.controllers(), lambda: str((world.left(), world.controllers())))
