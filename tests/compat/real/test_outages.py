"""libvirtd is away for a while: containers go on, callers are told, nobody asks in a hot loop, and what was wanted
meanwhile is done when it is back."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from backends.compute.drivers import container_process
from tests.compat.real.containers import Container, containers
from tests.compat.real.owners import until
from tests.compat.waiting import wait

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ARGUMENTS = ("--compute", "lxc", "--network", "linux")
LIMITED = "volumes"
TRIED = re.compile("guests cannot be looked at|starting i-|stopping i-|ending i-")
"""What the log says of each attempt."""
MOST = 5.0
"""Seconds between two looks whether it is back, once it is away for long; see `backends/pause.py`."""


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[Container]:
    with containers(request) as made:
        yield made


def checks(world: Container) -> tuple[str, str]:
    """The system's check and the instance's."""
    status = world.status()
    return status["SystemStatus"]["Status"], status["InstanceStatus"]["Status"]


def test_an_outage_is_told_and_made_good(world: Container) -> None:
    stays, stops, ends = (world.launch() for _ in range(3))
    for id in (stops, ends, stays):
        world.at(id).become("running")
        world.say("ready at")
    until(lambda: checks(world) == ("ok", "ok"), lambda: str(world.status()))
    first, daemon = world.first(), world.daemon()
    program = shutil.which("libvirtd", path=os.environ["PATH"] + ":/usr/sbin")
    assert program is not None

    world.sandbox.run("mount", "--bind", "/bin/false", program)
    began = time.monotonic()
    os.kill(daemon, signal.SIGKILL)
    world.ec2.stop_instances(InstanceIds=[stops])
    world.ec2.terminate_instances(InstanceIds=[ends])
    late = world.launch()
    until(lambda: checks(world.at(stays)) == ("impaired", "ok"), lambda: str(world.status()))
    failed = world.status()["SystemStatus"]["Details"][0]
    assert (failed["Name"], failed["Status"]) == ("reachability", "failed") and failed["ImpairedSince"]
    assert world.instance()["State"]["Name"] == "running" and container_process.began(first)
    assert world.at(stops).instance()["State"]["Name"] == "stopping"
    assert world.at(ends).instance()["State"]["Name"] == "shutting-down"
    waiting = world.at(late).instance()
    assert waiting["State"]["Name"] == "pending" and "libvirt" in waiting["StateReason"]["Message"]
    tries = len(TRIED.findall(world.cloud.log.read_text()))
    assert tries <= 12 + 2 * (time.monotonic() - began) / MOST, "nobody asks in a hot loop"

    world.sandbox.run("umount", program)
    world.at(stops).become("stopped")
    world.at(ends).become("terminated")
    world.at(late).become("running")
    until(lambda: checks(world.at(stays)) == ("ok", "ok"), lambda: str(world.status()))
    assert world.first() == first
    assert set(world.controllers()) == {stays, late}


def test_a_disk_without_room_is_told_until_there_is_some(world: Container) -> None:
    world.at(sorted(world.controllers())[0])
    volume = world.instance()["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    filler = f"{world.cloud.data}/volumes/filler"

    def told() -> tuple[str, str]:
        found = world.ec2.describe_volume_status(VolumeIds=[volume])["VolumeStatuses"][0]["VolumeStatus"]["Status"]
        return checks(world)[0], found

    left = world.sandbox.run("df", "-B1", "--output=avail", str(world.cloud.data / "volumes")).stdout.split()[-1]
    world.sandbox.run("fallocate", "-l", left, filler)
    until(lambda: told() == ("impaired", "impaired"), lambda: f"{world.status()} {told()}")
    assert world.instance()["State"]["Name"] == "running"
    world.sandbox.run("rm", filler)
    until(lambda: told() == ("ok", "ok"), lambda: f"{world.status()} {told()}")


def test_a_daemon_that_hangs_for_a_while_loses_nothing_and_holds_up_nobody(world: Container) -> None:
    """Calls for it are told, and carried out when it goes on; what is none of its business goes on meanwhile."""
    daemon, running = world.daemon(), sorted(world.controllers())
    zone = world.at(running[0]).instance()["Placement"]["AvailabilityZone"]
    os.kill(daemon, signal.SIGSTOP)
    try:
        world.ec2.terminate_instances(InstanceIds=running[1:])
        late = world.launch()
        volume = world.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
        wait(world.ec2, "volume_available", VolumeIds=[volume])
        world.ec2.delete_volume(VolumeId=volume)
        wait(world.ec2, "volume_deleted", VolumeIds=[volume])
        until(lambda: checks(world.at(running[0])) == ("impaired", "ok"), lambda: str(world.status()))
        waiting = world.at(late).instance()
        assert waiting["State"]["Name"] == "pending" and "libvirt" in waiting["StateReason"]["Message"]
        assert world.at(running[1]).instance()["State"]["Name"] == "shutting-down"
    finally:
        os.kill(daemon, signal.SIGCONT)
    world.at(late).become("running")
    world.at(running[1]).become("terminated")
    until(lambda: checks(world.at(running[0])) == ("ok", "ok"), lambda: str(world.status()))
    world.ec2.terminate_instances(InstanceIds=[running[0], late])
    for id in (running[0], late):
        world.at(id).become("terminated")
    assert not world.controllers() and not world.left()
    assert world.daemon() == daemon
