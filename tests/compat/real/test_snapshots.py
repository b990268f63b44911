"""Snapshots and images of what a guest writes while it runs, as its owner sees them: over SSH and through boto3."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.compute.drivers import libvirt
from backends.network.drivers import linux
from tests.compat.conftest import new_client
from tests.compat.real.owners import ACCOUNT, PATIENCE, World, until
from tests.compat.waiting import wait
from tests.sandbox import Sandbox, unable

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
ARGUMENTS = ("--compute", "libvirt", "--volume", "qcow2", "--network", "linux")
LIMITED = "volumes-qcow2"
SSH = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}
BLOCK = 512 * 1024
COUNT = "n=0; while n=$((n+1)); do for to in %s; do printf %%08d $n | dd of=$to conv=fsync 2>/dev/null; done; done"
"""Counts on one disk and then, when that has it, on the other."""


class Machine(World):
    """The world of one instance at a time, with its owner's key."""

    key: Path
    group = ""
    volumes: tuple[str, ...] = ()
    snapshots: tuple[str, ...] = ()
    made = ""

    def start(self, image: str) -> None:
        """Run an instance of the image that lets the owner of the key in."""
        run = self.ec2.run_instances(ImageId=image, InstanceType="t2.nano", KeyName="owner", MinCount=1, MaxCount=1)
        self.id = run["Instances"][0]["InstanceId"]
        self.become("running")
        self.say("SSH server at")

    def run(self, command: str) -> str:
        """What a command says that is run over SSH; waits until somebody lets us in."""
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=30"]
        options += ["-o", "BatchMode=yes", "-i", str(self.key)]
        words = [*self.sandbox.prefix, "ssh", "-q", *options, f"root@{self.instance()['PublicIpAddress']}", command]
        done: subprocess.CompletedProcess[str] | None = None

        def let_in() -> bool:
            nonlocal done
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
            return done.returncode != 255  # ssh's own failures

        until(let_in, lambda: f"{done}\n{self.output()[-2000:]}")
        assert done is not None and done.returncode == 0, done
        return done.stdout

    def knocks(self) -> bool:
        """Whether a connection from outside reaches its SSH server."""
        try:
            socket.create_connection((self.instance()["PublicIpAddress"], 22), timeout=5).close()
        except OSError:
            return False
        return True

    def attach(self, device: str, **about: Any) -> str:
        """A new volume that the guest has seen."""
        zone = self.instance()["Placement"]["AvailabilityZone"]
        volume: str = self.ec2.create_volume(AvailabilityZone=zone, VolumeType="gp3", **about)["VolumeId"]
        wait(self.ec2, "volume_available", VolumeIds=[volume])
        self.ec2.attach_volume(VolumeId=volume, InstanceId=self.id, Device=device)
        self.say(f"is {volume.replace('-', '')}")
        return volume

    def fill(self, left: int) -> None:
        """Leave so many MiB of room for volumes."""
        folder = self.cloud.data / "volumes-qcow2"
        script = f"""set -- $(df -k --output=avail {folder} | tail -1)
            [ "$1" -le {left << 10} ] || fallocate -l $(($1 - {left << 10}))K {folder}/filler-$$"""
        self.sandbox.run("sh", "-c", script)

    def make_room(self) -> None:
        self.sandbox.run("sh", "-c", f"rm {self.cloud.data}/volumes-qcow2/filler-*")

    def lying(self) -> set[str]:
        """The ids of what lies on the medium, complete or not."""
        folder = self.cloud.data / "volumes-qcow2"
        names = self.sandbox.run("ls", "-A", f"{folder}/disks", f"{folder}/snapshots").stdout.split()
        return {name.lstrip(".") for name in names}

    def volume_status(self, volume: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ec2.describe_volume_status(VolumeIds=[volume])["VolumeStatuses"][0]
        return found

    def detach(self, volume: str) -> None:
        self.ec2.detach_volume(VolumeId=volume)
        wait(self.ec2, "volume_available", VolumeIds=[volume])
        self.ec2.delete_volume(VolumeId=volume)

    def write(self, volume: str, block: int, text: str) -> None:
        self.run(f"printf {text} | dd of={place(volume)} bs={BLOCK} seek={block} conv=notrunc,fsync")

    def read(self, volume: str, block: int, length: int) -> str:
        return self.run(f"dd if={place(volume)} bs={BLOCK} skip={block} count=1 2>/dev/null | head -c {length}")

    def snapshot(self, volume: str) -> str:
        snapshot: str = self.ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        wait(self.ec2, "snapshot_completed", SnapshotIds=[snapshot])
        return snapshot


def place(volume: str) -> str:
    """Where a guest has the volume."""
    return f"/dev/disk/by-id/virtio-{volume.replace('-', '')}"


@pytest.fixture(scope="module")
def world(
    image: Path, sandbox: Sandbox, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """`image` is asked for before the sandbox, out of which nothing can be downloaded."""
    if missing := [f"{one.what} ({one.remedy})" for one in libvirt.lacks()] + list(linux.lacks()):
        unable("lacks " + "; ".join(missing))
    made = Machine(request.getfixturevalue("cloud"), sandbox)
    made.group = made.ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"][0]["GroupId"]
    made.key = tmp_path_factory.mktemp("key") / "key"
    made.key.touch(0o600)
    made.key.write_text(made.ec2.create_key_pair(KeyName="owner", KeyType="ed25519")["KeyMaterial"])
    yield made
    made.ec2.terminate_instances(InstanceIds=[made.id])
    made.become("terminated")
    os.kill(made.daemon(), signal.SIGTERM)


def content(ebs: Any, snapshot: str) -> dict[int, bytes]:
    """The blocks that a snapshot has, without the zeros at their ends."""
    listed = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    about = {"SnapshotId": snapshot}
    return {
        one["BlockIndex"]: ebs.get_snapshot_block(**about, **one)["BlockData"].read().rstrip(b"\0") for one in listed
    }


def test_its_group_lets_its_owner_in_and_shuts_others_out(world: Machine) -> None:
    world.start(world.nephele("image", "build", "micro", "--account", ACCOUNT).split()[-1])
    assert not world.knocks()
    world.ec2.authorize_security_group_ingress(GroupId=world.group, **SSH)
    until(world.knocks, lambda: "the rule never opens its port")
    assert world.run("id -un") == "root\n"
    world.ec2.revoke_security_group_ingress(GroupId=world.group, **SSH)
    until(lambda: not world.knocks(), lambda: "the port stays open")
    world.ec2.authorize_security_group_ingress(GroupId=world.group, **SSH)
    assert world.run("imds meta-data/instance-id") == world.id


def test_snapshots_of_an_open_disk_hold_what_it_had_at_their_time(world: Machine) -> None:
    volume = world.attach("/dev/sdf", Size=1)
    world.write(volume, 3, "first")
    first = world.snapshot(volume)
    world.write(volume, 5, "second")
    second = world.snapshot(volume)
    world.volumes, world.snapshots = (volume,), (first, second)
    ebs = new_client(world.cloud.endpoint, "ebs", ACCOUNT)
    assert content(ebs, first) == {3: b"first"}
    assert content(ebs, second) == {3: b"first", 5: b"second"}
    changed = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)["ChangedBlocks"]
    assert [one["BlockIndex"] for one in changed] == [5]


def test_volumes_made_of_them_have_the_bytes_of_their_time(world: Machine) -> None:
    first, second = world.snapshots
    old = world.attach("/dev/sdg", SnapshotId=first)
    world.ec2.delete_snapshot(SnapshotId=first)
    new = world.attach("/dev/sdh", SnapshotId=second)
    assert (world.read(old, 3, 5), world.read(old, 5, 6)) == ("first", "\0" * 6)
    assert (world.read(new, 3, 5), world.read(new, 5, 6)) == ("first", "second")
    world.write(old, 3, "other")
    assert world.read(new, 3, 5) == world.read(world.volumes[0], 3, 5) == "first"
    for volume in (old, new):
        world.detach(volume)


def test_all_disks_of_an_instance_are_held_at_one_point(world: Machine) -> None:
    """A counter that goes to one disk before the other is never seen to have done otherwise."""
    one, two = world.volumes[0], world.attach("/dev/sdg", Size=1)
    world.run(f"({COUNT % f'{place(one)} {place(two)}'}) </dev/null >/dev/null 2>&1 & echo $! >/run/counter")
    ebs = new_client(world.cloud.endpoint, "ebs", ACCOUNT)
    seen = []
    for _ in range(3):
        until(lambda: world.read(two, 0, 8).isdecimal(), lambda: "it never counts")
        made = world.ec2.create_snapshots(InstanceSpecification={"InstanceId": world.id})["Snapshots"]
        wait(world.ec2, "snapshot_completed", SnapshotIds=[snapshot["SnapshotId"] for snapshot in made])
        of = {snapshot["VolumeId"]: snapshot["SnapshotId"] for snapshot in made}
        assert len(of) == 3
        before, after = (int(content(ebs, of[volume])[0][:8]) for volume in (one, two))
        assert after <= before <= after + 1
        seen.append(before)
    assert seen == sorted(set(seen))
    world.run("kill $(cat /run/counter)")
    world.detach(two)


def test_without_room_nothing_half_made_stays_and_the_reason_is_told(world: Machine) -> None:
    zone, made = world.instance()["Placement"]["AvailabilityZone"], []

    def broken() -> bool:
        """What is dropped and tidied up meanwhile may be room for one more."""
        world.fill(0)
        made.append(world.ec2.create_volume(AvailabilityZone=zone, Size=1, VolumeType="gp3")["VolumeId"])
        state = "creating"
        while state == "creating":
            state = world.ec2.describe_volumes(VolumeIds=made[-1:])["Volumes"][0]["State"]
        return state == "error"

    until(broken, lambda: str(world.volume_status(made[-1])))
    status = world.volume_status(made[-1])
    assert status["VolumeStatus"]["Status"] == "impaired"
    assert "No space left" in status["Events"][0]["Description"]
    world.make_room()
    world.write(world.volumes[0], 20, "much")
    world.run(f"dd if=/dev/urandom of={place(world.volumes[0])} bs=1M seek=64 count=16 conv=fsync 2>/dev/null")
    world.fill(3)
    snapshot = world.ec2.create_snapshot(VolumeId=world.volumes[0])["SnapshotId"]

    def failed() -> dict[str, Any] | None:
        found: dict[str, Any] = world.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        return found if found["State"] == "error" else None

    told = until(failed, lambda: world.cloud.log.read_text()[-3000:])
    assert "space" in told["StateMessage"].lower()
    assert world.instance()["State"]["Name"] == "running"
    world.make_room()
    for volume in made:
        world.ec2.delete_volume(VolumeId=volume)
    world.ec2.delete_snapshot(SnapshotId=snapshot)
    until(lambda: not world.lying() & {*made, snapshot}, lambda: f"{world.lying()}: {made} or {snapshot} was left")


def test_a_guest_without_room_is_held_told_and_goes_on_when_there_is(world: Machine) -> None:
    volume, boot = world.volumes[0], world.run("cat /proc/sys/kernel/random/boot_id")
    write = f"dd if=/dev/urandom of={place(volume)} bs=1M seek=128 count=64 conv=fsync"
    world.fill(8)
    world.run(f"({write}; echo $? >/run/written) </dev/null >/dev/null 2>&1 &")
    until(
        lambda: world.volume_status(volume)["VolumeStatus"]["Status"] == "impaired",
        lambda: f"{world.volume_status(volume)} {world.status()}\n{world.cloud.log.read_text()[-3000:]}",
    )
    told, status = world.volume_status(volume), world.status()
    assert told["Events"][0]["EventType"] == "io-performance:stalled"
    assert told["AttachmentStatuses"] == [{"InstanceId": world.id, "IoPerformance": "stalled"}]
    checks = ("SystemStatus", "InstanceStatus", "AttachedEbsStatus")
    assert {status[check]["Status"] for check in checks} == {"impaired"}
    assert world.instance()["State"]["Name"] == "running"
    world.make_room()
    until(
        lambda: world.volume_status(volume)["VolumeStatus"]["Status"] == "ok",
        lambda: f"{world.volume_status(volume)}\n{world.cloud.log.read_text()[-3000:]}",
    )
    assert world.status()["SystemStatus"]["Status"] == "ok" and not world.volume_status(volume)["Events"]
    until(lambda: world.run("cat /run/written || true") == "0\n", lambda: "it never wrote all")
    assert world.run("cat /proc/sys/kernel/random/boot_id") == boot
    held = world.cloud.log.read_text().count(f"{world.id} is held")
    assert held == 1, "it is told once"


AGENT = r"""
port=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name); port=/dev/$(basename $(dirname $port))
say() { echo "$1" >&3; }
exec 3<>$port
while sleep 0.1; do while read -r line <&3; do
    case "$line" in
        *guest-sync*) id=${line##*id}; say "{\"return\": $(echo "$id" | tr -cd 0-9)}" ;;
        *guest-ping*) : >/run/pinged; say '{"return": {}}' ;;
        *guest-fsfreeze-freeze*) printf frozen | dd of=DISK bs=512k seek=9 conv=notrunc,fsync; echo freeze >>/run/agent
            while [ -e /run/wait ]; do sleep 0.1; done; [ -e /run/mute ] || say '{"return": 1}' ;;
        *guest-fsfreeze-thaw*) printf thawed | dd of=DISK bs=512k seek=9 conv=notrunc,fsync; echo thaw >>/run/agent
            say '{"return": 1}' ;;
        *) say '{"error": {"class": "CommandNotFound", "desc": "a stand-in"}}' ;;
    esac
done; done
"""
"""A stand-in for QEMU's guest agent. What it is told it does not do, but writes on a disk and into a file: a copy that
has `frozen` began after the one, and before the other. It reads on where nobody is at the other end of its port."""


def heard(world: Machine) -> list[str]:
    """What the agent was told to do."""
    return world.run("cat /run/agent 2>/dev/null; true").split()


def test_an_agent_holds_its_file_systems_still_while_a_copy_begins(world: Machine) -> None:
    volume, ebs = world.volumes[0], new_client(world.cloud.endpoint, "ebs", ACCOUNT)
    text = AGENT.replace("DISK", place(volume)).replace("'", "'\\''")
    world.run(f"printf %s '{text}' >/run/agent.sh; setsid sh /run/agent.sh </dev/null >/dev/null 2>&1 &")
    # No copy is begun before it is known: libvirt drops the news of an agent that comes during one.
    until(lambda: world.run("ls /run/pinged || true"), lambda: world.run("cat /run/agent.sh; ls /dev"))
    snapshot = world.snapshot(volume)
    assert content(ebs, snapshot)[9] == b"frozen"
    assert heard(world) == ["freeze", "thaw"]
    assert world.read(volume, 9, 6) == "thawed"


def test_an_agent_that_does_not_freeze_in_time_is_not_waited_for(world: Machine) -> None:
    before = heard(world)
    world.run("touch /run/mute")
    world.snapshot(world.volumes[0])
    assert heard(world) == [*before, "freeze", "thaw"]
    world.run("rm /run/mute")


def test_a_guest_that_a_killed_server_left_frozen_goes_on(world: Machine) -> None:
    before = heard(world)
    world.run("touch /run/wait")
    snapshot = world.ec2.create_snapshot(VolumeId=world.volumes[0])["SnapshotId"]
    until(lambda: heard(world) == [*before, "freeze"], lambda: str(heard(world)))
    world.cloud.kill()
    world.cloud.start_again()
    world.ec2 = new_client(world.cloud.endpoint, "ec2", ACCOUNT)
    world.run("rm /run/wait")
    wait(world.ec2, "snapshot_completed", SnapshotIds=[snapshot])
    until(lambda: heard(world)[-1] == "thaw", lambda: str(heard(world)))
    until(lambda: world.read(world.volumes[0], 9, 6) == "thawed", lambda: "it stays frozen")


def test_an_image_is_made_while_it_is_off_and_then_it_runs_again(world: Machine) -> None:
    world.run("echo from the first > /var/mark")
    boot = world.run("cat /proc/sys/kernel/random/boot_id")
    length = len(world.output())
    world.made = world.ec2.create_image(InstanceId=world.id, Name="with a mark")["ImageId"]
    until(
        lambda: world.ec2.describe_images(ImageIds=[world.made])["Images"][0]["State"] == "available",
        lambda: world.cloud.log.read_text()[-3000:],
    )
    world.say("SSH server at", length)
    assert "power button" in world.output()[length:]
    assert world.instance()["State"]["Name"] == "running"
    assert world.run("cat /proc/sys/kernel/random/boot_id") != boot
    assert world.run("cat /var/mark") == "from the first\n"


def test_an_instance_of_the_image_has_what_the_first_wrote(world: Machine) -> None:
    first = world.id
    world.ec2.terminate_instances(InstanceIds=[first])
    world.become("terminated")
    world.start(world.made)
    assert world.run("cat /var/mark; imds meta-data/instance-id") == f"from the first\n{world.id}"
    assert world.id != first
    mapped = {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in world.instance()["BlockDeviceMappings"]}
    assert world.read(mapped["/dev/sdf"], 3, 5) == "first"
