"""Guests under QEMU that write on their disks without an end, and what is to be seen of them on the machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from backends.compute.drivers import libvirt
from backends.network.drivers import linux
from backends.network.drivers.base import link_name
from backends.volume.drivers.qcow2_capture import LAST
from tests.compat.conftest import Client
from tests.compat.real.owners import World
from tests.compat.real.random_kills import every_instance, unsettled
from tests.sandbox import unable

WRITER = r"""#!/bin/sh
cat >/sbin/writer <<'END'
#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
until id=$(imds meta-data/instance-id) && [ -n "$id" ]; do sleep 1; done
put() { printf '%-900s\n' "$id $n $2 ." | dd of=$1 bs=512k seek=1 conv=notrunc,fsync 2>/dev/null; }
n=$(dd if=/dev/vda bs=512k skip=1 count=1 2>/dev/null | head -c 60 | cut -d' ' -f2 | tr -cd 0-9)
written=
while sleep 0.2; do
    n=$((n+1))
    put /dev/vda "root$written"
    written=
    for link in /dev/disk/by-id/virtio-vol*; do
        [ "$(readlink $link)" = /dev/vda ] && continue
        if [ -b $link ] && [ ! -e /run/${link##*/} ]; then
            dd if=/dev/urandom of=$link bs=1M seek=4 count=12 conv=notrunc 2>/dev/null; : >/run/${link##*/}
        fi
        [ -b $link ] && put $link data && written="$written ${link#*virtio-}"
    done
    [ $((n % 5)) = 0 ] && echo "nephele-round $n" >/dev/console
done
END
chmod 755 /sbin/writer
grep -q sbin/writer /etc/inittab || echo '::respawn:/sbin/writer' >>/etc/inittab
sync
kill -HUP 1
"""
"""User data. Round after round, the disk that was booted from is told the round, and which other disks were told the
one before; and then all others are. So of disks that were copied at one moment none is ahead of that one, and those
that it names are at most one round behind. The writer begins with the guest, also in copies of it."""
ROUND = re.compile(r"nephele-round (\d+)")
BLOCK = 1
"""Of half a MiB each: where the rounds stand; on a disk that is booted from nothing else does."""


def able() -> None:
    """Skip, or fail, where this machine cannot run guests under QEMU in real networks."""
    if missing := [f"{one.what} ({one.remedy})" for one in libvirt.lacks()] + list(linux.lacks()):
        unable("lacks " + "; ".join(missing))


class Machines(World):
    """A server, and guests of its under QEMU."""

    @property
    def volumes(self) -> Path:
        return self.cloud.data / "volumes-qcow2"

    def round(self, id: str) -> int:
        """The last round that a guest has told to be over."""
        told = self.ec2.get_console_output(InstanceId=id).get("Output", "")
        return max((int(one) for one in ROUND.findall(told)), default=0)

    def root(self, id: str) -> str:
        """The volume that an instance boots from."""
        found = self.ec2.describe_instances(InstanceIds=[id])["Reservations"][0]["Instances"][0]
        mapped = {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in found["BlockDeviceMappings"]}
        return str(mapped.get(found["RootDeviceName"], "none"))

    def processes(self) -> dict[str, int]:
        """What runs guests, by instance."""
        found, name = {}, re.compile(rf"guest={self.mark}-(i-[0-9a-f]+),")
        for pid in self.sandbox.processes():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "qemu-system" in words.split("\0")[0] and (match := name.search(words)):
                found[match[1]] = pid
        return found

    def domains(self) -> set[str]:
        """The guests that libvirt knows of, running or not."""
        uri = f"qemu+unix:///system?socket=/run/nephele-{self.mark}/libvirt-sock"
        listed = self.sandbox.run("virsh", "-c", uri, "list", "--all", "--name").stdout.split()
        return {name.removeprefix(f"{self.mark}-") for name in listed}

    def links(self) -> set[str]:
        """The names of all links, in all networks."""
        script = "ip -br link; for n in $(ip netns list | cut -d' ' -f1); do ip -n $n -br link; done"
        listed = self.sandbox.run("sh", "-c", script).stdout.splitlines()
        return {line.split()[0].split("@")[0] for line in listed if line}

    def link(self, card: str) -> str:
        return link_name(self.mark, card)

    def left(self) -> list[str]:
        """What there is of files that belong to guests."""
        found = list((self.cloud.data / "guests" / "console").iterdir())
        kept = self.cloud.data / "guests" / "libvirt" / "lib" / "qemu"
        found += [
            path for place in ("save", "checkpoint", "snapshot", "channel") for path in kept.glob(f"{place}/**/*")
        ]
        found += list(kept.glob("domain-*"))
        return sorted(str(path.relative_to(self.cloud.data)) for path in found if not path.is_dir())

    def bitmaps(self, disk: str) -> set[str]:
        """The names of all dirty bitmaps in a disk that nobody has open."""
        words = [
            "qemu-img",
            "info",
            "-U",
            "-f",
            "qcow2",
            "--output=json",
            str(self.volumes / "disks" / disk / "disk.qcow2"),
        ]
        about = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
        return {one["name"] for one in about["format-specific"]["data"].get("bitmaps", ())}

    def checkpoints(self, disk: str, guests: list[str]) -> set[str]:
        """The checkpoint from which the next copy of a disk may go on, and those that its guests' domains have: the
        next copy gives them up."""
        found = set()
        with contextlib.suppress(FileNotFoundError):
            found.add(json.loads((self.volumes / "disks" / disk / LAST).read_bytes())["checkpoint"])
        kept = self.cloud.data / "guests" / "libvirt" / "lib" / "qemu" / "checkpoint"
        return found | {path.stem for id in guests for path in kept.glob(f"*-{id}/*.xml")}

    def odd(self) -> list[str]:
        """Files beside disks and snapshots that none of these leans on."""
        told = [str(path.name) for path in (self.volumes / "layers").iterdir() if path.stat().st_nlink == 1]
        for place, top in (("disks", "disk.qcow2"), ("snapshots", "top.qcow2")):
            for folder in (self.volumes / place).iterdir():
                chain, name = {top, LAST}, top
                while name and (folder / name).exists():
                    chain |= {name, (folder / name).resolve().name}
                    words = ["qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(folder / name)]
                    about = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
                    name = Path(about.get("backing-filename", "")).name
                told += [f"{folder.name}/{name}" for name in set(os.listdir(folder)) - chain]
        return told


def differences(world: Machines) -> list[str]:
    """What is not as the API says, or not settled."""
    ec2, told = world.ec2, unsettled(world.ec2)
    if told:
        return told
    instances, volumes = every_instance(ec2), ec2.describe_volumes()["Volumes"]
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    cards = ec2.describe_network_interfaces()["NetworkInterfaces"]
    there = {one["InstanceId"] for one in instances if one["State"]["Name"] != "terminated"}
    running = {one["InstanceId"] for one in instances if one["State"]["Name"] == "running"}

    def differ(what: str, found: set[str], wanted: set[str]) -> None:
        if found != wanted:
            told.append(f"{what}: {sorted(found - wanted)} too many, {sorted(wanted - found)} missing")

    differ("guests", set(world.processes()), running)
    differ("domains", world.domains() - there, set())
    plugged = {
        world.link(card["NetworkInterfaceId"])
        for card in cards
        if card.get("Attachment", {}).get("InstanceId") in running
    }
    taps = {name for name in world.links() if name.startswith("n") and len(name) == 13}
    differ("links", taps, plugged)
    folder = world.volumes
    differ("disks", set(os.listdir(folder / "disks")), {one["VolumeId"] for one in volumes})
    differ("snapshots", set(os.listdir(folder / "snapshots")), {one["SnapshotId"] for one in snapshots})
    if told:
        return told
    holders = {one["VolumeId"]: [a["InstanceId"] for a in one["Attachments"]] for one in volumes}
    for volume, guests in holders.items():
        if not running & set(guests):
            differ(f"bitmaps of {volume}", world.bitmaps(volume) - world.checkpoints(volume, guests), set())
    differ("files beside", set(world.odd()), set())
    known = {id[:11] for id in there}  # libvirt shortens names
    differ("files of guests", {path for path in world.left() if not any(id in path for id in known)}, set())
    differ("frozen", {path for path in world.left() if path.endswith(".frozen")}, set())
    asleep = {one["InstanceId"] for one in instances if one["State"]["Name"] == "stopped"}
    differ(
        "memory of guests that run",
        {p for p in world.left() if ".save" in p and not any(i in p for i in asleep)},
        set(),
    )
    return told


def record(ebs: Client, snapshot: str) -> list[str]:
    """What a snapshot has of rounds: who wrote, the round, what kind of disk, and others; [] when nothing does."""
    listed = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    token = next((one["BlockToken"] for one in listed if one["BlockIndex"] == BLOCK), None)
    if token is None:
        return []
    data = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=BLOCK, BlockToken=token)["BlockData"].read()
    words: list[str] = data.split(b"\n")[0].decode(errors="replace").split()
    return words if len(words) > 2 and words[-1] == "." else ["torn", repr(data[:64])] if data.strip(b"\0") else []


def untrue(ebs: Client, members: dict[str, str], least: tuple[str, int]) -> list[str]:
    """What is wrong about snapshots (volume -> snapshot) of disks of an instance at one moment, at which its guest had
    told a round to be over (`least`: its root volume, the round). Some may have been deleted since."""
    found = {volume: record(ebs, snapshot) for volume, snapshot in members.items()}
    told: list[Any] = [(volume, words) for volume, words in found.items() if words[:1] == ["torn"]]
    roots = [words for words in found.values() if words[2:3] == ["root"]]
    if told or len(roots) > 1:
        return [str([*told, *roots])]
    if not roots:
        return [f"{least} and nothing is written"] if least[1] and least[0] in members else []
    writer, n, named = roots[0][0], int(roots[0][1]), roots[0][3:-1]
    if n < least[1]:
        told.append(f"{n} rounds were written and {least} was told")
    for volume, words in found.items():
        if words[2:3] == ["data"] and words[0] == writer and int(words[1]) > n:
            told.append(f"{volume} is ahead: {words[1]} and {n}")
        if volume.replace("-", "") in named and not (words[:1] != [writer] or n - 1 <= int(words[1])):
            told.append(f"{volume} is behind: {words[1]} and {n}")
        if volume.replace("-", "") in named and not words:
            told.append(f"{volume} is empty, and was written before {n}")
    return told
