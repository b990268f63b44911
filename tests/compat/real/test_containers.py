"""Instances as containers, as their owners see them: one in a real network, through what may become of it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from backends.compute.drivers import container_process
from tests.compat.conftest import new_client
from tests.compat.passing import advance
from tests.compat.real.containers import Container, containers
from tests.compat.real.owners import ACCOUNT, until
from tests.compat.refused import refused
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ARGUMENTS = ("--compute", "lxc", "--network", "linux")


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[Container]:
    with containers(request) as made:
        yield made


def test_it_boots_takes_its_address_and_finds_who_it_is(world: Container) -> None:
    image = world.nephele("image", "build", "micro", "--account", ACCOUNT).split()[-1]
    told = "#!/bin/sh\necho user data runs as $(id -u)\n"
    run = world.ec2.run_instances(ImageId=image, InstanceType="t2.nano", MinCount=1, MaxCount=1, UserData=told)
    world.id = run["Instances"][0]["InstanceId"]
    world.become("running")
    world.say(f"instance {world.id}")
    world.say("user data runs as 0")
    world.say("ready at")
    until(lambda: world.status()["InstanceStatus"]["Status"] == "ok", lambda: str(world.status()))


def test_what_it_cannot_do_is_refused(world: Container) -> None:
    with refused("UnsupportedOperation"):
        world.ec2.get_console_screenshot(InstanceId=world.id)
    image = world.instance()["ImageId"]
    with refused("InsufficientInstanceCapacity"):  # a TiB, and 128 processors
        world.ec2.run_instances(ImageId=image, InstanceType="r6i.32xlarge", MinCount=1, MaxCount=1)


def test_its_owner_sits_at_its_console(world: Container) -> None:
    world.ask("echo =$((40+2))=", "=42=")


def test_it_reaches_nothing_of_the_machine(world: Container, sandbox: Sandbox) -> None:
    """What is served on the machine, and the endpoint where its people reach it: at every address that it has."""
    sandbox.run("ip", "addr", "replace", "192.0.2.1/32", "dev", "lo")
    with socket.create_server(("0.0.0.0", 0)) as listener:
        listener.settimeout(0)
        ports = (listener.getsockname()[1], world.cloud.endpoint.rpartition(":")[2])
        router = world.instance()["PrivateIpAddress"].rsplit(".", 1)[0] + ".1"
        places = ("198.18.0.0", "192.0.2.1", "127.0.0.1", router, "169.254.169.254")
        tries = " ".join(f"{place}:{port}" for place in places for port in ports)
        reach = "nc -w 1 ${one%:*} ${one#*:} </dev/null >/dev/null 2>&1 && echo rea''ched $one"
        world.ask(f"for one in 169.254.169.254:80 {tries}; do {reach}; done; echo tried a''ll", "tried all")
        with pytest.raises(BlockingIOError):
            listener.accept()
    found = {line.split()[1] for line in world.output().splitlines() if line.startswith("reached ")}
    assert found == {"169.254.169.254:80"}


def test_what_it_uses_is_kept(world: Container) -> None:
    cloudwatch = new_client(world.cloud.endpoint, "cloudwatch", ACCOUNT)
    world.ec2.monitor_instances(InstanceIds=[world.id])
    world.ask("dd if=/dev/zero of=/some bs=1M count=8 && sync && echo writ''ten", "written")
    advance(world.cloud.endpoint, 60)
    volume = world.instance()["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]

    def most(name: str, space: str = "AWS/EC2", of: tuple[str, str] = ("InstanceId", world.id)) -> float:
        now = datetime.now(UTC) + timedelta(minutes=2)
        told = cloudwatch.get_metric_statistics(
            Namespace=space,
            MetricName=name,
            Dimensions=[{"Name": of[0], "Value": of[1]}],
            StartTime=now - timedelta(minutes=30),
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )
        return max((one["Maximum"] for one in told["Datapoints"]), default=-1)

    until(lambda: most("CPUUtilization") >= 0, lambda: str(cloudwatch.list_metrics()["Metrics"]))
    assert 0 < most("CPUUtilization") <= 100
    for name in ("NetworkIn", "NetworkOut", "NetworkPacketsIn", "NetworkPacketsOut"):
        assert most(name) > 0, name
    assert most("EBSWriteBytes") >= 8 << 20
    assert most("VolumeWriteBytes", "AWS/EBS", ("VolumeId", volume)) >= 8 << 20
    assert most("StatusCheckFailed") == 0
    cloudwatch.close()


def test_a_volume_comes_and_goes_while_it_runs(world: Container) -> None:
    zone = world.instance()["Placement"]["AvailabilityZone"]
    volume = world.ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    world.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1})
    world.ec2.attach_volume(VolumeId=volume, InstanceId=world.id, Device="/dev/sdf")
    world.ask("echo =$(blockdev --getsize64 /dev/sdf)=", "=1073741824=")
    world.ec2.detach_volume(VolumeId=volume)
    world.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 1})
    world.ask("[ -e /dev/sdf ] || echo g''one", "gone")


def test_an_interface_comes_while_it_runs_and_takes_its_address(world: Container) -> None:
    made = world.ec2.create_network_interface(SubnetId=world.instance()["SubnetId"])["NetworkInterface"]
    attached = world.ec2.attach_network_interface(
        NetworkInterfaceId=made["NetworkInterfaceId"], InstanceId=world.id, DeviceIndex=1
    )
    world.ask("ip -4 -o addr show eth1", made["PrivateIpAddress"])
    world.ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
    world.say("eth1 is gone")


def test_a_server_and_a_libvirtd_that_were_killed_find_it_running(world: Container) -> None:
    before, daemon = world.first(), world.daemon()
    assert before
    world.cloud.kill()
    os.kill(daemon, signal.SIGKILL)
    world.come_back()
    until(lambda: world.daemon() != daemon, lambda: world.cloud.log.read_text()[-3000:])
    world.become("running")
    world.ask("echo al''ive", "alive")
    assert world.first() == before


def test_when_its_controller_is_killed_it_is_started_again_and_the_second_time_it_stays_down(world: Container) -> None:
    first, length = world.first(), len(world.output())
    os.kill(world.controller(), signal.SIGKILL)
    world.say("ready at", length)
    assert container_process.began(first) == ""
    world.become("running")
    world.cloud.kill()  # what happens while no engine looks is found out afterwards
    os.kill(world.controller(), signal.SIGKILL)
    world.come_back()
    reason = world.become("stopped")["StateReason"]
    assert reason["Code"] == "Server.InternalError"
    assert "libvirt_lxc" in reason["Message"]
    until(lambda: not world.left(), lambda: str(world.left()))


def test_what_it_does_to_itself_is_noticed(world: Container) -> None:
    world.start()
    world.nephele("console", world.id, stdin="poweroff -f\n")
    assert world.become("stopped")["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_it_shuts_down_when_it_is_asked_and_nothing_is_left(world: Container) -> None:
    world.start()
    world.ec2.stop_instances(InstanceIds=[world.id])
    world.become("stopped")
    world.ec2.terminate_instances(InstanceIds=[world.id])
    world.become("terminated")
    assert world.controller() == 0
    until(lambda: not world.left(), lambda: str(world.left()))
