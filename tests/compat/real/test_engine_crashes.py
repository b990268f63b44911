"""The server is killed before each commit of an instance's life under QEMU: what was asked for comes true, once,
whoever carries it out; what was not, can be asked for again; and nothing else is on the machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.compat.conftest import new_client
from tests.compat.real.machines import Machines, able, differences
from tests.compat.real.owners import ACCOUNT, PATIENCE
from tests.compat.real.random_kills import every_instance, give_back, settle, unsettled
from tests.sandbox import Sandbox
from tests.server import Server

pytestmark = [pytest.mark.real, pytest.mark.on_demand, pytest.mark.timeout(3000)]
ARGUMENTS = ("--compute", "libvirt", "--volume", "qcow2", "--network", "linux")
MOST = 40
"""Steps that a part has at most: beyond, it is the background that commits."""


class Mortal(Server):
    """A server that can be told when to kill itself."""

    module = "tests.compat.real.mortal"


class Life(Machines):
    """An instance, and a volume that comes and goes."""

    image = volume = ""

    def die_at(self, step: int) -> None:
        self.mortal.write_text(str(step))

    @property
    def mortal(self) -> Any:
        return self.cloud.data.with_name("mortal")

    def try_(self, verb: Callable[[], Any]) -> None:
        """Ask for something once; whether the answer comes is no matter."""
        once = new_client(self.cloud.endpoint, "ec2", ACCOUNT)
        before, self.ec2 = self.ec2, once
        try:
            verb()
        except (BotoCoreError, ClientError):
            assert self.dead(), self.cloud.log.read_text()[-3000:]
        finally:
            self.ec2 = before

    def dead(self) -> bool:
        """Whether it killed itself, or is about to be found so."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not self.mortal.exists():
            if self.cloud.process.poll() is not None:
                return True
            time.sleep(0.05)
        return self.cloud.process.poll() is not None

    def went(self) -> bool:
        """Wait until nothing is under way, or the server killed itself; whether it did."""
        deadline = time.monotonic() + PATIENCE
        while self.cloud.process.poll() is None:
            try:
                if not unsettled(self.ec2):
                    return not self.mortal.exists() and self.dead()
            except BotoCoreError:
                continue
            assert time.monotonic() < deadline, unsettled(self.ec2)
            time.sleep(0.1)
        return True

    def state(self) -> str:
        return str(self.instance()["State"]["Name"])

    def attached(self) -> bool:
        return bool(self.ec2.describe_volumes(VolumeIds=[self.volume])["Volumes"][0]["Attachments"])

    def living(self) -> list[str]:
        found = [one for one in every_instance(self.ec2) if one["State"]["Name"] != "terminated"]
        return [str(one["InstanceId"]) for one in found]


def run(life: Life) -> None:
    hibernates = {"Configured": True}
    life.ec2.run_instances(
        ImageId=life.image, InstanceType="t2.nano", MinCount=1, MaxCount=1, HibernationOptions=hibernates
    )


def stop(life: Life, **how: Any) -> None:
    life.ec2.stop_instances(InstanceIds=[life.id], **how)


def start(life: Life) -> None:
    life.ec2.start_instances(InstanceIds=[life.id])


def attach(life: Life) -> None:
    life.ec2.attach_volume(VolumeId=life.volume, InstanceId=life.id, Device="/dev/sdf")


def detach(life: Life) -> None:
    life.ec2.detach_volume(VolumeId=life.volume)


def picture(life: Life) -> None:
    life.ec2.create_image(InstanceId=life.id, Name="made", NoReboot=True)


def forget(life: Life) -> None:
    for image in life.ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["made"]}])["Images"]:
        life.ec2.deregister_image(ImageId=image["ImageId"])
        for one in image["BlockDeviceMappings"]:
            life.ec2.delete_snapshot(SnapshotId=one["Ebs"]["SnapshotId"])


def made(life: Life) -> bool:
    return bool(life.ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": ["made"]}])["Images"])


def end(life: Life) -> None:
    if others := [id for id in life.living() if id != life.id]:
        life.ec2.terminate_instances(InstanceIds=others)


@dataclass(frozen=True, slots=True)
class Part:
    """What is asked for, whether it is so, and what undoes it."""

    ask: Callable[[Life], None]
    done: Callable[[Life], bool]
    undo: Callable[[Life], None]
    steps: int
    """How many there are at least."""


PARTS = {
    "run": Part(run, lambda life: len(life.living()) == 2, end, 4),
    "terminate": Part(end, lambda life: len(life.living()) == 1, run, 2),
    "attach": Part(attach, Life.attached, detach, 2),
    "detach": Part(detach, lambda life: not life.attached(), attach, 2),
    "image": Part(picture, made, forget, 2),
    "hibernate": Part(lambda life: stop(life, Hibernate=True), lambda life: life.state() == "stopped", start, 2),
    "start": Part(start, lambda life: life.state() == "running", lambda life: stop(life, Force=True), 2),
    "stop": Part(lambda life: stop(life, Force=True), lambda life: life.state() == "stopped", start, 2),
}


@pytest.fixture(scope="module")
def cloud(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("cloud") / "data"
    environment = {"MORTAL": str(folder.with_name("mortal"))}
    with Mortal(folder, *ARGUMENTS, environment=environment, prefix=sandbox.prefix) as started:
        yield started


@pytest.fixture(scope="module")
def life(request: pytest.FixtureRequest) -> Iterator[Life]:
    able()
    request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    life = Life(request.getfixturevalue("cloud"), request.getfixturevalue("sandbox"))
    life.image = life.nephele("image", "build", "micro", "--account", ACCOUNT).split()[-1]
    run(life)
    life.id = life.living()[0]
    zone = life.become("running")["Placement"]["AvailabilityZone"]
    life.volume = life.ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    life.say("ready at")
    yield life
    life.sandbox.end()


@pytest.mark.parametrize("name", PARTS)
def test_what_is_asked_for_comes_true_whatever_commit_was_the_last(life: Life, name: str) -> None:
    part, step, asked = PARTS[name], 0, set[bool]()
    if part.done(life):
        part.undo(life)
        settle(lambda: differences(life))
    died = True
    while died and step < MOST:
        step += 1
        life.die_at(step)
        life.try_(lambda: part.ask(life))
        if died := life.went():
            life.come_back()
        life.mortal.unlink(missing_ok=True)
        settle(lambda: unsettled(life.ec2))
        asked.add(done := part.done(life))
        if not done:
            part.ask(life)
        settle(lambda: differences(life))
        assert part.done(life), f"step {step}"
        part.undo(life)
        settle(lambda: differences(life))
        assert not part.done(life), f"step {step}"
    assert asked == {False, True} and step > part.steps, (asked, step)
    os.write(2, f"{name}: {step} steps\n".encode())


def test_nothing_is_left_in_the_end(life: Life) -> None:
    give_back(life.ec2, lambda: differences(life))
    assert life.processes() == {} and life.domains() == set() and life.left() == []
