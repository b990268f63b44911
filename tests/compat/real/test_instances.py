"""Instances under QEMU, as their owners see them: one guest in a real network, through what may become of it."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.compute.drivers import libvirt
from backends.network.drivers import linux
from tests.compat.real.owners import ACCOUNT, World, until
from tests.sandbox import Sandbox, unable

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

ARGUMENTS = ("--compute", "libvirt", "--network", "linux")


@pytest.fixture(scope="module")
def world(image: Path, sandbox: Sandbox, request: pytest.FixtureRequest) -> Iterator[World]:
    """`image` is asked for before the sandbox, out of which nothing can be downloaded."""
    missing = [f"{one.what} ({one.remedy})" for one in libvirt.lacks()] + list(linux.lacks())
    if missing:
        unable("lacks " + "; ".join(missing))
    made = World(request.getfixturevalue("cloud"), sandbox)
    yield made
    for pid in [made.daemon()]:
        os.kill(pid, signal.SIGTERM)


def test_an_instance_boots_takes_its_address_and_finds_who_it_is(world: World) -> None:
    image = world.nephele("image", "build", "micro", "--account", ACCOUNT).split()[-1]
    told = "#!/bin/sh\necho user data runs as $(id -u)\n"
    run = world.ec2.run_instances(
        ImageId=image,
        InstanceType="t2.nano",
        MinCount=1,
        MaxCount=1,
        UserData=told,
        HibernationOptions={"Configured": True},
    )
    world.id = run["Instances"][0]["InstanceId"]
    world.become("running")
    world.say(f"instance {world.id}")
    world.say("user data runs as 0")
    world.say("ready at")


def test_its_checks_pass_when_it_has_its_address(world: World) -> None:
    until(lambda: world.status()["InstanceStatus"]["Status"] == "ok", lambda: str(world.status()))
    assert world.status()["SystemStatus"]["Status"] == "ok"


def test_its_screen_is_a_jpeg(world: World) -> None:
    shown = world.ec2.get_console_screenshot(InstanceId=world.id)["ImageData"]
    assert base64.b64decode(shown).startswith(b"\xff\xd8\xff")


def test_its_owner_sits_at_its_console(world: World) -> None:
    world.ask("echo =$((40+2))=", "=42=")


def test_a_volume_comes_and_goes_while_it_runs(world: World) -> None:
    zone = world.instance()["Placement"]["AvailabilityZone"]
    volume = world.ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    world.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1})
    world.ec2.attach_volume(VolumeId=volume, InstanceId=world.id, Device="/dev/sdf")
    world.say(f"is {volume.replace('-', '')}")
    world.ec2.detach_volume(VolumeId=volume)
    world.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1})
    world.say("is gone")


def test_an_interface_comes_while_it_runs_and_takes_its_address(world: World) -> None:
    made = world.ec2.create_network_interface(SubnetId=world.instance()["SubnetId"])["NetworkInterface"]
    attached = world.ec2.attach_network_interface(
        NetworkInterfaceId=made["NetworkInterfaceId"], InstanceId=world.id, DeviceIndex=1
    )
    address = made["PrivateIpAddress"]
    world.ask("ip -4 -o addr show eth1", address)
    world.ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
    world.say("eth1 is gone")


def test_it_sleeps_and_goes_on_even_when_the_machine_was_rebooted(world: World) -> None:
    before = world.instance()
    world.ask("echo ke''pt > /run/mark; echo wr''itten", "written")
    world.ec2.stop_instances(InstanceIds=[world.id], Hibernate=True)
    assert world.become("stopped")["StateReason"]["Code"] == "Client.UserInitiatedHibernate"
    world.reboot_machine()
    assert world.become("stopped")["PrivateIpAddress"] == before["PrivateIpAddress"]
    world.ec2.start_instances(InstanceIds=[world.id])
    world.become("running")
    world.ask("cat /run/mark", "kept")


def test_a_server_that_was_killed_finds_it_running(world: World) -> None:
    before = world.guest()
    world.cloud.kill()
    world.come_back()
    world.become("running")
    assert world.guest() == before


def test_a_libvirtd_that_was_killed_comes_back_and_it_never_noticed(world: World) -> None:
    before, guest = world.daemon(), world.guest()
    os.kill(before, signal.SIGKILL)
    until(lambda: world.daemon() != before, lambda: world.cloud.log.read_text()[-3000:])
    assert world.guest() == guest
    assert world.instance()["State"]["Name"] == "running"
    world.ask("echo al''ive", "alive")


def test_a_network_that_was_removed_under_it_comes_back_with_its_card(world: World) -> None:
    """The link goes with the namespace; the guest gets another, and its address on it, without being started anew."""
    before, address, length = world.guest(), world.instance()["PrivateIpAddress"], len(world.output())
    for name in world.sandbox.run("ip", "netns", "list").stdout.split():
        if world.instance()["VpcId"] in name:
            world.sandbox.run("ip", "netns", "delete", name)
    world.say("eth0 is gone", length)
    world.ask("ip -4 -o addr show eth0", address)
    world.ask("imds meta-data/instance-id", world.id)
    assert world.guest() == before


def test_when_it_is_ended_it_is_started_again_and_the_second_time_it_stays_down(world: World) -> None:
    """What is told to end, as at a shutdown of the machine, did not shut itself down."""
    before, length = world.guest(), len(world.output())
    os.kill(before, signal.SIGTERM)
    world.say("ready at", length)
    assert world.guest() != before
    assert world.become("running")
    os.kill(world.guest(), signal.SIGKILL)
    reason = world.become("stopped")["StateReason"]
    assert reason["Code"] == "Server.InternalError"
    assert "the process that ran the guest ended" in reason["Message"]


def test_what_it_does_to_itself_is_noticed(world: World) -> None:
    world.start()
    world.nephele("console", world.id, stdin="poweroff -f\n")
    assert world.become("stopped")["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_it_shuts_down_when_it_is_asked_and_nothing_is_left(world: World) -> None:
    world.start()
    world.ec2.stop_instances(InstanceIds=[world.id])
    world.become("stopped")
    assert "power button" in world.output()
    world.ec2.terminate_instances(InstanceIds=[world.id])
    world.become("terminated")
    assert world.sandbox.run("pgrep", "-f", f"guest={world.mark}-{world.id}", check=False).stdout == ""
