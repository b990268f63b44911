"""The public images that scripts look up: the same names everywhere, ids of their own in each region."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import insert, select

from backends.db import Database
from backends.image.models import Image, ImageState
from compat.regions import partition_of

AMAZON, ECS, EKS, BOTTLEROCKET = "137112412989", "591542846629", "602401143452", "651937483462"
WINDOWS, CANONICAL, DEBIAN = "801119661308", "099720109477", "136693071363"
RED_HAT, MARKETPLACE = "309956199498", "679593333241"

OWNERS_BY_ALIAS = {
    "amazon": (AMAZON, ECS, EKS, BOTTLEROCKET, WINDOWS),
    "aws-marketplace": (MARKETPLACE,),
}

_UBUNTU = {  # version: (code name, folder, serial)
    "14.04": ("trusty", "hvm-ssd", "20190605"),
    "16.04": ("xenial", "hvm-ssd", "20210928"),
    "18.04": ("bionic", "hvm-ssd", "20230607"),
    "20.04": ("focal", "hvm-ssd", "20250603"),
    "22.04": ("jammy", "hvm-ssd", "20250822"),
    "24.04": ("noble", "hvm-ssd-gp3", "20250821"),
}

KUBERNETES = ("1.29", "1.30", "1.31", "1.32", "1.33", "1.34")


@dataclass(frozen=True, slots=True)
class Entry:
    """A public image. `size` in GiB; `id` only where scripts know one that is the same in every region."""

    owner: str
    name: str
    description: str
    day: str
    architecture: str = "x86_64"
    device: str = "/dev/xvda"
    size: int = 8
    kind: str = "gp2"
    windows: bool = False
    details: str = "Linux/UNIX"
    usage: str = "RunInstances"
    boot: str | None = None
    imds: str | None = None
    ebs: bool = True
    paravirtual: bool = False
    id: str | None = None

    def image_id(self, region: str) -> str:
        """The image's id in a region: always the same."""
        return self.id or "ami-0" + _digest(region, self.owner, self.name)[:16]

    def snapshot_id(self, region: str) -> str:
        """The id of the snapshot behind its root device."""
        return "snap-0" + _digest("snapshot", region, self.owner, self.name)[:16]


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def _amazon_linux() -> list[Entry]:
    found = []
    for stamp, day in (("2.0.20241217.0", "2024-12-17"), ("2.0.20250929.2", "2025-10-02")):
        for arch in ("x86_64", "arm64"):
            found += [
                Entry(
                    AMAZON, f"amzn2-ami-hvm-{stamp}-{arch}-gp2", f"Amazon Linux 2 AMI {stamp} {arch} HVM gp2", day, arch
                ),
                Entry(
                    AMAZON,
                    f"amzn2-ami-kernel-5.10-hvm-{stamp}-{arch}-gp2",
                    f"Amazon Linux 2 Kernel 5.10 AMI {stamp} {arch} HVM gp2",
                    day,
                    arch,
                ),
                Entry(
                    AMAZON,
                    f"amzn2-ami-minimal-hvm-{stamp}-{arch}-ebs",
                    f"Amazon Linux 2 AMI {stamp} {arch} Minimal HVM ebs",
                    day,
                    arch,
                    size=2,
                    kind="standard",
                ),
            ]
        found.append(
            Entry(
                AMAZON,
                f"amzn2-ami-hvm-{stamp}-x86_64-ebs",
                f"Amazon Linux 2 AMI {stamp} x86_64 HVM ebs",
                day,
                kind="standard",
            )
        )
    for stamp, kernel, day in (
        ("2023.6.20241212.0", "6.1", "2024-12-13"),
        ("2023.9.20251014.0", "6.1", "2025-10-15"),
        ("2023.9.20251014.0", "6.12", "2025-10-15"),
    ):
        for arch in ("x86_64", "arm64"):
            modern = {"kind": "gp3", "boot": "uefi-preferred" if arch == "x86_64" else "uefi", "imds": "v2.0"}
            words = f"Amazon Linux 2023 AMI {stamp} {arch} HVM kernel-{kernel}"
            found += [
                Entry(AMAZON, f"al2023-ami-{stamp}-kernel-{kernel}-{arch}", words, day, arch, **modern),  # type: ignore[arg-type]
                Entry(
                    AMAZON,
                    f"al2023-ami-minimal-{stamp}-kernel-{kernel}-{arch}",
                    words.replace("AMI", "Minimal AMI"),
                    day,
                    arch,
                    size=2,
                    **modern,  # type: ignore[arg-type]
                ),
            ]
    for stamp, day in (("2018.03.0.20221018.0", "2022-10-19"), ("2018.03.0.20221209.1", "2022-12-10")):
        words = f"Amazon Linux AMI {stamp} x86_64"
        found += [
            Entry(AMAZON, f"amzn-ami-hvm-{stamp}-x86_64-gp2", f"{words} HVM gp2", day),
            Entry(AMAZON, f"amzn-ami-hvm-{stamp}-x86_64-ebs", f"{words} HVM ebs", day, kind="standard"),
            Entry(
                AMAZON,
                f"amzn-ami-minimal-hvm-{stamp}-x86_64-ebs",
                f"{words} Minimal HVM ebs",
                day,
                size=2,
                kind="standard",
            ),
            Entry(AMAZON, f"amzn-ami-vpc-nat-{stamp}-x86_64-ebs", f"{words} VPC NAT HVM EBS", day, kind="standard"),
        ]
    return found


def _containers() -> list[Entry]:
    found = []
    for arch in ("x86_64", "arm64"):
        kernel = {"boot": "uefi-preferred" if arch == "x86_64" else "uefi", "imds": "v2.0", "kind": "gp3"}
        found += [
            Entry(
                ECS,
                f"amzn2-ami-ecs-hvm-2.0.20251015-{arch}-ebs",
                "Amazon Linux AMI 2.0.20251015 ECS HVM",
                "2025-10-16",
                arch,
                size=30,
            ),
            Entry(
                ECS,
                f"al2023-ami-ecs-hvm-2023.0.20251015-kernel-6.1-{arch}",
                "Amazon Linux AMI 2023.0.20251015 ECS HVM EBS",
                "2025-10-16",
                arch,
                size=30,
                **kernel,  # type: ignore[arg-type]
            ),
        ]
        for version in KUBERNETES:
            found.append(
                Entry(
                    EKS,
                    f"amazon-eks-node-al2023-{arch}-standard-{version}-v20251016",
                    f"EKS-optimized Kubernetes node based on Amazon Linux 2023, (k8s: {version})",
                    "2025-10-17",
                    arch,
                    size=20,
                    **kernel,  # type: ignore[arg-type]
                )
            )
        flask = "aarch64" if arch == "arm64" else arch
        for variant in (*(f"k8s-{version}" for version in KUBERNETES), "ecs-2"):
            found.append(
                Entry(
                    BOTTLEROCKET,
                    f"bottlerocket-aws-{variant}-{flask}-v1.49.0-713f44ce",
                    f"bottlerocket-aws-{variant} v1.49.0",
                    "2025-10-08",
                    arch,
                    size=2,
                    kind="gp3",
                    boot="uefi-preferred" if arch == "x86_64" else "uefi",
                )
            )
    return found


def _windows() -> list[Entry]:
    kinds = {
        "2012-R2": ("Windows_Server-2012-R2_RTM-English-64Bit-Base-2023.10.11", "2023-10-12"),
        "2016": ("Windows_Server-2016-English-Full-Base-2025.10.15", "2025-10-16"),
        "2016 Core": ("Windows_Server-2016-English-Core-Base-2025.10.15", "2025-10-16"),
        "2019": ("Windows_Server-2019-English-Full-Base-2025.10.15", "2025-10-16"),
        "2019 Core": ("Windows_Server-2019-English-Core-Base-2025.10.15", "2025-10-16"),
        "2022": ("Windows_Server-2022-English-Full-Base-2025.10.15", "2025-10-16"),
        "2022 Core": ("Windows_Server-2022-English-Core-Base-2025.10.15", "2025-10-16"),
        "2025": ("Windows_Server-2025-English-Full-Base-2025.10.15", "2025-10-16"),
    }
    return [
        _windows_entry(name, f"Microsoft Windows Server {title} English AMI provided by Amazon", day)
        for title, (name, day) in kinds.items()
    ]


def _windows_entry(name: str, description: str, day: str, id: str | None = None) -> Entry:
    return Entry(
        WINDOWS,
        name,
        description,
        day,
        device="/dev/sda1",
        size=30,
        windows=True,
        details="Windows",
        usage="RunInstances:0002",
        id=id,
    )


def _others() -> list[Entry]:
    found = []
    for version, (code, folder, serial) in _UBUNTU.items():
        day = f"{serial[:4]}-{serial[4:6]}-{serial[6:]}"
        for arch in ("amd64", "arm64"):
            if arch == "arm64" and version == "14.04":
                continue
            modern = {"boot": "uefi-preferred" if arch == "amd64" else "uefi"} if version >= "22.04" else {}
            found.append(
                Entry(
                    CANONICAL,
                    f"ubuntu/images/{folder}/ubuntu-{code}-{version}-{arch}-server-{serial}",
                    f"Canonical, Ubuntu, {version}, {arch} {code} image",
                    day,
                    "x86_64" if arch == "amd64" else "arm64",
                    "/dev/sda1",
                    kind="gp3" if folder.endswith("gp3") else "gp2",
                    **modern,  # type: ignore[arg-type]
                )
            )
    found.append(
        Entry(
            CANONICAL,
            "ubuntu/images/hvm-instance/ubuntu-bionic-18.04-amd64-server-20230607",
            "Canonical, Ubuntu, 18.04, amd64 bionic image",
            "2023-06-07",
            device="/dev/sda1",
            ebs=False,
        )
    )
    for release, serial in (("11", "20250912-2234"), ("12", "20251006-2257"), ("13", "20251006-2257")):
        for arch in ("amd64", "arm64"):
            found.append(
                Entry(
                    DEBIAN,
                    f"debian-{release}-{arch}-{serial}",
                    f"Debian {release} ({serial})",
                    f"{serial[:4]}-{serial[4:6]}-{serial[6:8]}",
                    "x86_64" if arch == "amd64" else "arm64",
                    kind="gp3",
                    boot="uefi-preferred" if arch == "amd64" else "uefi",
                )
            )
    red_hat = {"details": "Red Hat Enterprise Linux", "usage": "RunInstances:0010", "device": "/dev/sda1", "size": 10}
    for name, day in (
        ("RHEL-8.10.0_HVM-20240923-x86_64-0-Hourly2-GP2", "2024-09-23"),
        ("RHEL-9.6.0_HVM-20250910-x86_64-0-Hourly2-GP3", "2025-09-10"),
    ):
        kind = name[-3:].lower()
        found.append(Entry(RED_HAT, name, "Provided by Red Hat, Inc.", day, kind=kind, **red_hat))  # type: ignore[arg-type]
    found.append(
        Entry(
            MARKETPLACE,
            "CentOS Linux 7 x86_64 HVM EBS ENA 2002_01-b7ee8a69-ee97-4a49-9e68-afaee216db2e-ami-0042af67f8e4dcc20.4",
            "CentOS Linux 7 x86_64 HVM EBS ENA 2002_01",
            "2020-03-09",
            device="/dev/sda1",
        )
    )
    return found


def _known_by_scripts() -> list[Entry]:
    """Images whose ids scripts written for another emulator launch in any region."""
    return [
        Entry(
            AMAZON,
            "amzn-ami-hvm-2017.09.1.20171120-x86_64-gp2",
            "Amazon Linux AMI 2017.09.1 HVM",
            "2017-11-20",
            id="ami-12c6146b",
        ),
        Entry(
            AMAZON,
            "amzn-ami-hvm-2017.09.1.20171103-x86_64-gp2",
            "Amazon Linux AMI 2017.09.1 HVM",
            "2017-11-03",
            id="ami-03cf127a",
        ),
        Entry(
            AMAZON,
            "amzn-ami-pv-2017.09.1.20171103-x86_64-ebs",
            "Amazon Linux AMI 2017.09.1 PV EBS",
            "2017-11-03",
            device="/dev/sda1",
            kind="standard",
            paravirtual=True,
            id="ami-fa7cdd89",
        ),
        _windows_entry(
            "Windows_Server-2016-English-Full-Base-2017.10.13",
            "Microsoft Windows Server 2016 English AMI provided by Amazon",
            "2017-10-13",
            "ami-f4cf1d8d",
        ),
    ]


@cache
def entries() -> tuple[Entry, ...]:
    """Every public image."""
    return (*_amazon_linux(), *_containers(), *_windows(), *_others(), *_known_by_scripts())


def _row(entry: Entry, region: str) -> dict[str, Any]:
    alias = next((alias for alias, owners in OWNERS_BY_ALIAS.items() if entry.owner in owners), None)
    notes: dict[str, Any] = {
        "Description": entry.description,
        "PlatformDetails": entry.details,
        "UsageOperation": entry.usage,
        "RootDeviceType": "ebs" if entry.ebs else "instance-store",
        "VirtualizationType": "paravirtual" if entry.paravirtual else "hvm",
        "Hypervisor": "xen",
        "EnaSupport": not entry.paravirtual,
        "ImageType": "machine",
        "ImageLocation": f"{alias or entry.owner}/{entry.name}",
        "DeregistrationProtection": "disabled",
    }
    if not entry.paravirtual:
        notes["SriovNetSupport"] = "simple"
    if alias is not None:
        notes["ImageOwnerAlias"] = alias
    if entry.windows:
        notes["Platform"] = "windows"
    if entry.boot is not None:
        notes["BootMode"] = entry.boot
    if entry.imds is not None:
        notes["ImdsSupport"] = entry.imds
    mapping: dict[str, Any] = {
        "device": entry.device,
        "snapshot": entry.snapshot_id(region),
        "size": entry.size,
        "kind": entry.kind,
        "iops": 3000 if entry.kind == "gp3" else None,
        "throughput": 125 if entry.kind == "gp3" else None,
        "encrypted": False,
        "keep": False,
    }
    return {
        "id": entry.image_id(region),
        "tenant": entry.owner,
        "region": region,
        "public": True,
        "name": entry.name,
        "state": ImageState.AVAILABLE,
        "architecture": entry.architecture,
        "root_device": entry.device if entry.ebs else None,
        "mappings": [mapping] if entry.ebs else [],
        "created": datetime.fromisoformat(entry.day).replace(hour=4, minute=11, second=7, tzinfo=UTC),
        "notes": notes,
    }


def ensure_catalogue(database: Database, region: str) -> None:
    """Put the public images of a region into the database, those that are not there yet. Cheap when all are."""
    rows = {row["id"]: row for row in (_row(entry, region) for entry in entries())}
    with database.unit(None, write=False) as unit:
        held = set(unit.session.scalars(select(Image.id).where(Image.region == region, Image.public)))
    lacking = [row for id, row in rows.items() if id not in held]
    if not lacking:
        return
    with database.unit(None, write=True) as unit:
        held = set(unit.session.scalars(select(Image.id).where(Image.region == region, Image.public)))
        lacking = [row for row in lacking if row["id"] not in held]
        if lacking:
            unit.session.execute(insert(Image), lacking)
            unit.touch("image")


@cache
def parameters(region: str) -> dict[str, str]:
    """The public SSM parameters that name images, with their ids in `region`."""
    if partition_of(region) not in ("aws", "aws-cn", "aws-us-gov"):
        return {}
    by_name = {entry.name: entry.image_id(region) for entry in entries()}
    found: dict[str, str] = {}

    def add(path: str, start: str, end: str = "") -> None:
        """The parameter names the newest image whose name begins and ends so."""
        newest = max(
            (
                entry
                for entry in entries()
                if entry.name.startswith(start) and entry.name.endswith(end) and entry.id is None
            ),
            key=lambda entry: (entry.day, entry.name),
        )
        found[path] = by_name[newest.name]

    linux = "/aws/service/ami-amazon-linux-latest"
    for arch in ("x86_64", "arm64"):
        add(f"{linux}/amzn2-ami-hvm-{arch}-gp2", "amzn2-ami-hvm-", f"{arch}-gp2")
        add(f"{linux}/amzn2-ami-kernel-5.10-hvm-{arch}-gp2", "amzn2-ami-kernel-5.10-hvm-", f"{arch}-gp2")
        add(f"{linux}/amzn2-ami-minimal-hvm-{arch}-ebs", "amzn2-ami-minimal-hvm-", f"{arch}-ebs")
        for kernel, suffix in (("default", "kernel-6.1"), ("6.1", "kernel-6.1"), ("6.12", "kernel-6.12")):
            add(f"{linux}/al2023-ami-kernel-{kernel}-{arch}", "al2023-ami-2023", f"{suffix}-{arch}")
            add(f"{linux}/al2023-ami-minimal-kernel-{kernel}-{arch}", "al2023-ami-minimal-", f"{suffix}-{arch}")
    add(f"{linux}/amzn2-ami-hvm-x86_64-ebs", "amzn2-ami-hvm-", "x86_64-ebs")
    add(f"{linux}/amzn-ami-hvm-x86_64-gp2", "amzn-ami-hvm-2018", "x86_64-gp2")
    add(f"{linux}/amzn-ami-hvm-x86_64-ebs", "amzn-ami-hvm-2018", "x86_64-ebs")
    for version, (code, folder, serial) in _UBUNTU.items():
        for arch in ("amd64", "arm64"):
            if arch == "arm64" and version == "14.04":
                continue
            kind = "gp3" if folder.endswith("gp3") else "gp2"
            image = by_name[f"ubuntu/images/{folder}/ubuntu-{code}-{version}-{arch}-server-{serial}"]
            for word in (version, code):
                for stability in ("current", serial):
                    found[
                        f"/aws/service/canonical/ubuntu/server/{word}/stable/{stability}/{arch}/hvm/ebs-{kind}/ami-id"
                    ] = image
    for release, code in (("11", "bullseye"), ("12", "bookworm"), ("13", "trixie")):
        for arch in ("amd64", "arm64"):
            for word in (release, code):
                add(f"/aws/service/debian/release/{word}/latest/{arch}", f"debian-{release}-{arch}-")
    ecs = "/aws/service/ecs/optimized-ami"
    add(f"{ecs}/amazon-linux-2/recommended/image_id", "amzn2-ami-ecs-hvm-", "x86_64-ebs")
    add(f"{ecs}/amazon-linux-2/arm64/recommended/image_id", "amzn2-ami-ecs-hvm-", "arm64-ebs")
    add(f"{ecs}/amazon-linux-2023/recommended/image_id", "al2023-ami-ecs-hvm-", "x86_64")
    add(f"{ecs}/amazon-linux-2023/arm64/recommended/image_id", "al2023-ami-ecs-hvm-", "arm64")
    for version in KUBERNETES:
        for arch in ("x86_64", "arm64"):
            add(
                f"/aws/service/eks/optimized-ami/{version}/amazon-linux-2023/{arch}/standard/recommended/image_id",
                f"amazon-eks-node-al2023-{arch}-standard-{version}-",
            )
            flask = "aarch64" if arch == "arm64" else arch
            add(
                f"/aws/service/bottlerocket/aws-k8s-{version}/{arch}/latest/image_id",
                f"bottlerocket-aws-k8s-{version}-{flask}",
            )
    for arch, flask in (("x86_64", "x86_64"), ("arm64", "aarch64")):
        add(f"/aws/service/bottlerocket/aws-ecs-2/{arch}/latest/image_id", f"bottlerocket-aws-ecs-2-{flask}")
    for entry in _windows():
        found[f"/aws/service/ami-windows-latest/{entry.name.rpartition('-')[0]}"] = by_name[entry.name]
    return dict(sorted(found.items()))
