"""A real cloud of an ordinary user: the engine in a user and network namespace of its own, servers outside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.compute.drivers import libvirt
from backends.network.drivers import linux
from tests.compat.real import ordinary
from tests.compat.real.owners import ACCOUNT, PATIENCE, World, until
from tests.sandbox import Sandbox, unable
from tests.server import ROOT, Server

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
REAL = ("--compute", "libvirt", "--volume", "qcow2", "--network", "linux")


class Engine:
    """`nephele engine --rootless`, and what it leaves running when it ends."""

    def __init__(self, prefix: list[str], data: Path) -> None:
        self.log = data.with_name("engine.log")
        command = [*prefix, sys.executable, "-m", "gateway", "engine", "--rootless", "--data-dir", str(data), *REAL]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while "Ready." not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        self._space = os.readlink(f"/proc/{self.process.pid}/ns/user")

    def all(self) -> list[int]:
        """Every process in the engine's user namespace."""
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and os.readlink(f"/proc/{name}/ns/user") == self._space:
                    found.append(int(name))
            except OSError:
                continue
        return found

    def stop(self) -> None:
        """End the engine alone."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)

    def end(self) -> None:
        """End the engine, and then everything in its namespace."""
        self.stop()
        for pid in self.all():
            with contextlib.suppress(ProcessLookupError):  # it goes with another one of them
                os.kill(pid, signal.SIGKILL)


def command(pid: int) -> bytes:
    """What a process was started with; nothing when it is gone: libvirt has many that live for a moment."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class Rootless(World):
    """A server of an ordinary user's, and one instance of its."""

    image = ""
    prefix: list[str]
    engine: Engine

    def guest(self) -> str:
        """The process of the instance."""
        found = [pid for pid in self.engine.all() if self.id.encode() in command(pid)]
        return " ".join(map(str, found))


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that an ordinary user gets to."""
    made = Path(tempfile.mkdtemp(prefix="nephele-rootless-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, folder: Path) -> Iterator[Rootless]:
    lacking = [f"{one.what} ({one.remedy})" for one in libvirt.lacks()] + list(linux.lacks())
    if reason := ordinary.missing() or "; ".join(lacking):
        unable(reason)
    if reason := ordinary.refused(folder):
        pytest.skip(reason)  # this machine's policy, which no package mends
    disk: Path = request.getfixturevalue("image")
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    prefix = [*sandbox.prefix, *ordinary.prefix(folder)]
    data = folder / "home" / "data"
    with Server(data, "--no-engine", *REAL, prefix=prefix) as cloud:
        made = Rootless(cloud, sandbox)
        made.prefix, made.engine = prefix, Engine(prefix, data)
        try:
            made.image = made.nephele("image", "import", str(disk), "--name", "micro", "--account", ACCOUNT).split()[-1]
            yield made
        finally:
            made.engine.end()


def test_its_processes_are_nobody_elses(world: Rootless) -> None:
    """What the machine sees of it: an ordinary user's server."""
    assert Path(f"/proc/{world.cloud.pid}").stat().st_uid == ordinary.ID


def test_the_doctor_says_that_it_can_run(world: Rootless, folder: Path) -> None:
    words = [*ordinary.prefix(folder), "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "gateway", "doctor", "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    told = json.loads(done.stdout)
    found = {one["name"]: one for one in told["findings"]}
    assert told["real"], told
    assert "namespace of yours" in found["root"]["said"]
    assert not found["LXC"]["well"] and "root of the machine" in found["LXC"]["said"]


def test_an_instance_boots_and_finds_who_it_is(world: Rootless) -> None:
    told = "#!/bin/sh\necho user data runs as $(id -u)\n"
    run = world.ec2.run_instances(ImageId=world.image, InstanceType="t2.nano", MinCount=1, MaxCount=1, UserData=told)
    world.id = run["Instances"][0]["InstanceId"]
    world.become("running")
    world.say(f"instance {world.id}")
    world.say("user data runs as 0")


def test_the_machine_sees_nothing_of_its_networks(world: Rootless) -> None:
    assert world.sandbox.run("ls", "/run/netns").stdout == ""
    assert world.sandbox.run("ip", "-o", "link").stdout.count("\n") == 1


def test_the_next_engine_goes_back_to_its_guests(world: Rootless) -> None:
    before = world.guest()
    assert before
    world.engine.stop()
    world.engine = Engine(world.prefix, world.cloud.data)
    assert world.guest() == before
    subnet = world.instance()["SubnetId"]
    card = world.ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    held = world.ec2.attach_network_interface(NetworkInterfaceId=card, InstanceId=world.id, DeviceIndex=1)

    def state(wanted: str) -> bool:
        shown = world.ec2.describe_network_interfaces(NetworkInterfaceIds=[card])["NetworkInterfaces"][0]
        return shown.get("Attachment", {}).get("Status", "detached") == wanted

    until(lambda: state("attached"), lambda: "its network is not reached")
    world.ec2.detach_network_interface(AttachmentId=held["AttachmentId"], Force=True)
    until(lambda: state("detached"), lambda: "it is never unplugged")
    assert world.instance()["State"]["Name"] == "running"


def test_it_ends_and_nothing_is_left(world: Rootless) -> None:
    world.ec2.terminate_instances(InstanceIds=[world.id])
    world.become("terminated")
    until(lambda: not list((world.cloud.data / "volumes-qcow2" / "disks").iterdir()), lambda: "its disk is left")
