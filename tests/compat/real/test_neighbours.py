"""Two deployments on one machine, each with containers, networks and disks: whatever becomes of one, the other never
notices."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.real.containers import Container, able
from tests.compat.real.owners import until
from tests.compat.waiting import wait
from tests.sandbox import Sandbox
from tests.server import Server

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
ARGUMENTS = ("--compute", "lxc", "--network", "linux")
RULES = "import sys; from backends.network.drivers.linux.nftables import Nftables; print(Nftables().run(sys.argv[1]))"


class Deployment(Container):
    """A deployment with one container that has a volume."""

    volume = ""

    def settle(self) -> None:
        """Have the container, its volume and a network of its own."""
        vpc = self.ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24")["Subnet"]
        self.launch(SubnetId=subnet["SubnetId"])
        self.become("running")
        self.volume = self.ec2.create_volume(Size=1, AvailabilityZone=subnet["AvailabilityZone"])["VolumeId"]
        wait(self.ec2, "volume_available", VolumeIds=[self.volume])
        self.ec2.attach_volume(VolumeId=self.volume, InstanceId=self.id, Device="/dev/sdf")
        self.say("ready at")
        self.ask(f"printf {self.mark} | dd of=/dev/sdf; sync; echo wr''itten", "written")

    def seen(self) -> dict[str, Any]:
        """Everything that there is of it on the machine."""
        files = [str(path) for path in (self.cloud.data / "volumes").rglob("*") if path.is_file()]
        rules = self.sandbox.run(sys.executable, "-c", RULES, f"list table ip nephele_{self.mark}", check=False).stdout
        return {
            "daemon": self.daemon(),
            "containers": self.controllers(),
            "first": self.first(),
            "devices": sorted(self.left()),
            "networks": self.networks(),
            "files": sorted(files),
            "rules": rules,
        }

    def is_well(self, before: dict[str, Any]) -> None:
        """It is as it was, and its container finds its bytes."""
        assert "chain input" in before["rules"]
        assert self.seen() == before
        assert self.instance()["State"]["Name"] == "running"
        self.ask("echo =$(head -c 16 /dev/sdf | tr -d '\\0')=", f"={self.mark}=")


@pytest.fixture(scope="module")
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, Deployment]]:
    able()
    request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    with (
        Server(tmp_path_factory.mktemp("one") / "data", *ARGUMENTS, prefix=sandbox.prefix) as first,
        Server(tmp_path_factory.mktemp("two") / "data", *ARGUMENTS, prefix=sandbox.prefix) as second,
    ):
        one, two = Deployment(first, sandbox), Deployment(second, sandbox)
        assert one.mark != two.mark
        for each in (one, two):
            each.settle()
        yield one, two
        for each in (one, two):
            each.end()


def test_a_kill_and_a_start_of_one(both: tuple[Deployment, Deployment]) -> None:
    one, two = both
    mine, others = one.seen(), two.seen()
    assert mine["networks"] and mine["devices"] and mine["first"]
    one.cloud.kill()
    one.come_back()
    one.become("running")
    one.is_well(mine)
    two.is_well(others)


def test_leftovers_of_one_are_its_own_business(both: tuple[Deployment, Deployment]) -> None:
    """A container, a volume and a network that nobody wants any more, since their rows are gone."""
    one, two = both
    kept, others = one.seen(), two.seen()
    kept_id, kept_volume = one.id, one.volume
    one.settle()
    assert len(one.controllers()) == 2
    one.cloud.kill()
    with sqlite3.connect(one.cloud.data / "nephele.db") as rows:
        rows.execute("DELETE FROM attachment WHERE guest = ?", (one.id,))
        rows.execute("DELETE FROM disk WHERE id NOT IN (SELECT disk FROM attachment)")
        rows.execute("DELETE FROM guest WHERE id = ?", (one.id,))
        rows.execute("DELETE FROM port WHERE guest_id = ?", (one.id,))
    rows.close()
    one.come_back()
    one.id, one.volume = kept_id, kept_volume

    def only() -> bool:
        found = one.seen()
        return all(found[name] == kept[name] for name in ("containers", "first", "devices", "files"))

    until(only, lambda: f"{one.seen()} is not {kept}")
    assert one.instance()["State"]["Name"] == "running"
    two.is_well(others)


def test_a_reset_of_one(both: tuple[Deployment, Deployment]) -> None:
    one, two = both
    others, daemon = two.seen(), one.daemon()
    one.nephele("reset")

    def gone() -> bool:
        found = one.seen()
        left = {name: found[name] for name in ("containers", "devices", "files")}
        return not any(left.values()) and not [name for name in found["networks"] if name in networks]

    networks = one.networks()
    until(gone, lambda: str(one.seen()))
    assert one.daemon() == daemon
    two.is_well(others)
    two.cloud.kill()
    two.come_back()
    two.is_well(others)
    places = list(Path(one.cloud.data, "guests", "roots").iterdir())
    assert not places, "of containers that are gone nothing is left"
