"""Domains as they are written for libvirt: the whole text for one guest, and what must hold for all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from backends.compute.drivers.accelerator import WORD, boot_sector
from backends.compute.drivers.base import DiskBinding, GuestSpec, PortBinding
from backends.compute.drivers.libvirt_domain import OWN, SLOTS, Machine, domain_uuid, domain_xml, ordered, target
from backends.errors import Unsupported
from backends.volume.drivers.base import DiskAccess, Limits

GOLDEN = Path(__file__).parent / "golden" / "domain.xml"
MACHINE = Machine("mark", "qemu", Path("/data/console"), "Amazon EC2")


def disk(number: int, device: str, format: str = "qcow2") -> DiskBinding:
    id = f"vol-0123456789abcdef{number}"
    return DiskBinding(id, device, DiskAccess(f"/data/{id}", format, id.replace("-", "")), Limits(3000, 125))


SPEC = GuestSpec(
    id="i-0123456789abcdef0",
    vcpus=2,
    memory=512,
    architecture="x86_64",
    boot=3,
    disks=(disk(1, "/dev/sdf", "raw"), disk(0, "/dev/xvda")),
    ports=(PortBinding("eni-0", "02:00:00:00:00:01", 0, "vpc-0", "n0123456789ab"),),
    root="/dev/xvda",
    generation=7,
)


def test_the_whole_domain() -> None:
    assert domain_xml(MACHINE, SPEC) + "\n" == GOLDEN.read_text()


def test_a_domain_depends_on_nothing_but_what_is_wanted() -> None:
    shuffled = replace(SPEC, disks=SPEC.disks[::-1])
    assert domain_xml(MACHINE, shuffled) == domain_xml(MACHINE, SPEC)


def test_the_disk_to_boot_from_comes_first_whatever_its_name() -> None:
    assert [one.device for one in ordered(SPEC)] == ["/dev/xvda", "/dev/sdf"]
    assert [one.device for one in ordered(replace(SPEC, root="/dev/none"))] == ["/dev/sdf", "/dev/xvda"]
    root = ElementTree.fromstring(domain_xml(MACHINE, SPEC))
    boots = [one.findtext("serial") for one in root.iterfind("devices/disk") if one.find("boot") is not None]
    assert boots == ["vol0123456789abcdef0"]


def test_a_burst_is_what_a_disk_may_do_for_half_an_hour() -> None:
    bursting = replace(disk(0, "/dev/xvda"), limits=Limits(100, None, burst=3000))
    root = ElementTree.fromstring(domain_xml(MACHINE, replace(SPEC, disks=(bursting,))))
    tune = {one.tag: one.text for one in root.iterfind("devices/disk/iotune/*")}
    assert tune == {"total_iops_sec": "100", "total_iops_sec_max": "3000", "total_iops_sec_max_length": "1800"}


def test_deployments_share_no_name_and_no_uuid() -> None:
    mine, theirs = (ElementTree.fromstring(domain_xml(replace(MACHINE, deployment=d), SPEC)) for d in ("a", "b"))
    assert mine.findtext("name") != theirs.findtext("name")
    assert mine.findtext("uuid") != theirs.findtext("uuid")
    assert domain_uuid("a", "i-1").startswith("ec2")


def test_what_a_machine_cannot_be_is_refused() -> None:
    for impossible in (
        replace(SPEC, architecture="arm64"),
        replace(SPEC, firmware="uefi"),
        replace(SPEC, disks=tuple(disk(0, f"/dev/sd{n}") for n in range(SLOTS - OWN + 1))),
    ):
        with pytest.raises(Unsupported):
            domain_xml(MACHINE, impossible)


def test_names_of_disks_never_end() -> None:
    assert [target(number) for number in (0, 25, 26, 701, 702)] == ["vda", "vdz", "vdaa", "vdzz", "vdaaa"]


def test_the_guest_that_decides_on_the_accelerator_fits_a_sector_and_says_its_word() -> None:
    sector = boot_sector()
    assert len(sector) == 512
    assert sector.endswith(b"\x55\xaa")
    said = sector.index(b"\xba\xf8\x03") + 4
    assert bytes(sector[said : said + 3 * len(WORD) : 3]) == WORD
