"""The instance types: what AWS publishes about each, from one line a family and one a size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Family:
    """What all sizes of a family share. `clock` in GHz; `memory` in MiB a processor where a size does not say."""

    name: str
    maker: str
    clock: float | None
    architectures: tuple[str, ...] = ("x86_64",)
    nitro: bool = True
    current: bool = True
    burstable: bool = False
    threads: int = 2
    memory: int = 4096
    encrypts_in_transit: bool = False
    hibernates: bool = False
    enclaves: bool = False


@dataclass(frozen=True, slots=True)
class Flavor:
    """One instance type. `memory` in MiB, `disks` as (count, size in GB, kind), `gpu` as (count, name, maker, MiB)."""

    name: str
    family: Family
    vcpus: int
    memory: int
    network: str
    cards: int
    addresses: int
    disks: tuple[int, int, str] | None = None
    gpu: tuple[int, str, str, int] | None = None

    @property
    def size(self) -> str:
        """What stands after the point."""
        return self.name.partition(".")[2]

    @property
    def metal(self) -> bool:
        """Whether the guest has the machine to itself."""
        return self.size.startswith("metal")

    @property
    def threads(self) -> int:
        """Threads a core; small burstable and old types have one."""
        return 1 if self.vcpus == 1 else self.family.threads

    @property
    def cores(self) -> int:
        """Cores by default."""
        return max(1, self.vcpus // self.threads)

    @property
    def architecture(self) -> str:
        """The architecture that images are matched with."""
        return "arm64" if "arm64" in self.family.architectures else "x86_64"


INTEL, AMD, AWS = "Intel", "AMD", "AWS"
_XEN_32 = ("i386", "x86_64")

_FAMILIES = [
    Family("t1", INTEL, None, _XEN_32, nitro=False, current=False, threads=1),
    Family("m1", INTEL, None, _XEN_32, nitro=False, current=False, threads=1),
    Family("m3", INTEL, 2.5, nitro=False, current=False),
    Family("t2", INTEL, 2.4, _XEN_32, nitro=False, burstable=True, threads=1, hibernates=True),
    Family("t3", INTEL, 2.5, burstable=True, hibernates=True),
    Family("t3a", AMD, 2.2, burstable=True, hibernates=True),
    Family("t4g", AWS, 2.5, ("arm64",), burstable=True, threads=1, hibernates=True, encrypts_in_transit=False),
    Family("m4", INTEL, 2.4, nitro=False, hibernates=True),
    Family("c4", INTEL, 2.9, nitro=False, hibernates=True, memory=1920),
    Family("r4", INTEL, 2.3, nitro=False, hibernates=True, memory=7808),
    Family("m5", INTEL, 3.1, hibernates=True, enclaves=True),
    Family("m5a", AMD, 2.5, hibernates=True, enclaves=True),
    Family("m5d", INTEL, 3.1, hibernates=True, enclaves=True),
    Family("c5", INTEL, 3.4, hibernates=True, enclaves=True, memory=2048),
    Family("c5d", INTEL, 3.4, hibernates=True, enclaves=True, memory=2048),
    Family("c5n", INTEL, 3.4, enclaves=True, memory=2688, encrypts_in_transit=True),
    Family("r5", INTEL, 3.1, hibernates=True, enclaves=True, memory=8192),
    Family("m6g", AWS, 2.5, ("arm64",), threads=1, enclaves=True),
    Family("c6g", AWS, 2.5, ("arm64",), threads=1, enclaves=True, memory=2048),
    Family("r6g", AWS, 2.5, ("arm64",), threads=1, enclaves=True, memory=8192),
    Family("m6i", INTEL, 3.5, hibernates=True, enclaves=True, encrypts_in_transit=True),
    Family("c6i", INTEL, 3.5, hibernates=True, enclaves=True, memory=2048, encrypts_in_transit=True),
    Family("r6i", INTEL, 3.5, hibernates=True, enclaves=True, memory=8192, encrypts_in_transit=True),
    Family("m6a", AMD, 3.6, hibernates=True, enclaves=True, encrypts_in_transit=True),
    Family("c6a", AMD, 3.6, hibernates=True, enclaves=True, memory=2048, encrypts_in_transit=True),
    Family("r6a", AMD, 3.6, hibernates=True, enclaves=True, memory=8192, encrypts_in_transit=True),
    Family("m7a", AMD, 3.7, threads=1, hibernates=True, enclaves=True, encrypts_in_transit=True),
    Family("c7a", AMD, 3.7, threads=1, hibernates=True, enclaves=True, memory=2048, encrypts_in_transit=True),
    Family("r7a", AMD, 3.7, threads=1, hibernates=True, enclaves=True, memory=8192, encrypts_in_transit=True),
    Family("c7i", INTEL, 3.2, hibernates=True, enclaves=True, memory=2048, encrypts_in_transit=True),
    Family("r7i", INTEL, 3.2, hibernates=True, enclaves=True, memory=8192, encrypts_in_transit=True),
    Family("m7i", INTEL, 3.2, hibernates=True, enclaves=True, encrypts_in_transit=True),
    Family("m7g", AWS, 2.6, ("arm64",), threads=1, enclaves=True, encrypts_in_transit=True),
    Family("c7g", AWS, 2.6, ("arm64",), threads=1, enclaves=True, memory=2048, encrypts_in_transit=True),
    Family("r7g", AWS, 2.6, ("arm64",), threads=1, enclaves=True, memory=8192, encrypts_in_transit=True),
    Family("m8g", AWS, 2.8, ("arm64",), threads=1, enclaves=True, encrypts_in_transit=True),
    Family("c8g", AWS, 2.8, ("arm64",), threads=1, enclaves=True, memory=2048, encrypts_in_transit=True),
    Family("r8g", AWS, 2.8, ("arm64",), threads=1, enclaves=True, memory=8192, encrypts_in_transit=True),
    Family("i3", INTEL, 2.3, nitro=False, memory=7808, hibernates=True),
    Family("i3en", INTEL, 3.1, memory=8192, encrypts_in_transit=True),
    Family("g4dn", INTEL, 2.5, encrypts_in_transit=True),
    Family("p3", INTEL, 2.7, nitro=False, memory=7808),
]

_LOW, _MODERATE, _HIGH = "Low to Moderate", "Moderate", "High"

# Network cards and addresses a card, by processors, where a family follows the common pattern.
_CARDS = {1: (2, 4), 2: (3, 10), 4: (4, 15), 8: (4, 15), 16: (8, 30), 32: (8, 30), 36: (8, 30), 48: (8, 30)}


def _bandwidth(family: str, vcpus: int) -> str:
    """The published network performance of families since m5, by processors."""
    gigabits: dict[int, str]
    if family in ("m5", "m5a", "m5d", "r5"):
        gigabits = {32: "10", 48: "12", 64: "20", 96: "25"}
        least = "Up to 10 Gigabit"
    elif family in ("c5", "c5d"):
        gigabits = {36: "12", 48: "12", 72: "25", 96: "25"}
        least = "Up to 10 Gigabit"
    elif family == "c5n":
        gigabits = {36: "50", 72: "100"}
        least = "Up to 25 Gigabit"
    elif family in ("m6g", "c6g", "r6g"):
        gigabits = {32: "12", 48: "20", 64: "25"}
        least = "Up to 10 Gigabit"
    elif family in ("m7g", "c7g", "r7g", "m8g", "c8g", "r8g"):
        gigabits = {32: "15", 48: "22.5", 64: "30", 96: "40", 192: "50"}
        least = "Up to 15 Gigabit" if vcpus == 16 else "Up to 12.5 Gigabit"
    else:
        gigabits = {32: "12.5", 48: "18.75", 64: "25", 96: "37.5", 128: "50", 192: "50"}
        least = "Up to 12.5 Gigabit"
    return f"{gigabits[vcpus]} Gigabit" if vcpus in gigabits else least


# Types that follow no pattern: (vcpus, MiB, network, cards, addresses a card).
_SINGLE: dict[str, tuple[int, int, str, int, int]] = {
    "t1.micro": (1, 627, "Very Low", 2, 2),
    "m1.small": (1, 1740, "Low", 2, 4),
    "m1.medium": (1, 3788, _MODERATE, 2, 6),
    "m1.large": (2, 7680, _MODERATE, 3, 10),
    "m3.medium": (1, 3840, _MODERATE, 2, 6),
    "m3.large": (2, 7680, _MODERATE, 3, 10),
    "t2.nano": (1, 512, _LOW, 2, 2),
    "t2.micro": (1, 1024, _LOW, 2, 2),
    "t2.small": (1, 2048, _LOW, 3, 4),
    "t2.medium": (2, 4096, _LOW, 3, 6),
    "t2.large": (2, 8192, _LOW, 3, 12),
    "t2.xlarge": (4, 16384, _MODERATE, 3, 15),
    "t2.2xlarge": (8, 32768, _MODERATE, 3, 15),
    "m4.large": (2, 8192, _MODERATE, 2, 10),
    "m4.xlarge": (4, 16384, _HIGH, 4, 15),
    "m4.2xlarge": (8, 32768, _HIGH, 4, 15),
    "m4.4xlarge": (16, 65536, _HIGH, 8, 30),
    "m4.10xlarge": (40, 163840, "10 Gigabit", 8, 30),
    "c4.large": (2, 3840, _MODERATE, 3, 10),
    "c4.xlarge": (4, 7680, _HIGH, 4, 15),
    "c4.2xlarge": (8, 15360, _HIGH, 4, 15),
    "c4.4xlarge": (16, 30720, _HIGH, 8, 30),
    "c4.8xlarge": (36, 61440, "10 Gigabit", 8, 30),
    "r4.large": (2, 15616, "Up to 10 Gigabit", 3, 10),
    "r4.xlarge": (4, 31232, "Up to 10 Gigabit", 4, 15),
    "i3.large": (2, 15616, "Up to 10 Gigabit", 3, 10),
    "i3.xlarge": (4, 31232, "Up to 10 Gigabit", 4, 15),
    "i3.2xlarge": (8, 62464, "Up to 10 Gigabit", 4, 15),
    "i3en.large": (2, 16384, "Up to 25 Gigabit", 3, 10),
    "i3en.xlarge": (4, 32768, "Up to 25 Gigabit", 4, 15),
    "i3en.24xlarge": (96, 786432, "100 Gigabit", 15, 50),
    "i3en.metal": (96, 786432, "100 Gigabit", 15, 50),
    "g4dn.xlarge": (4, 16384, "Up to 25 Gigabit", 3, 10),
    "g4dn.2xlarge": (8, 32768, "Up to 25 Gigabit", 3, 10),
    "p3.2xlarge": (8, 62464, "Up to 10 Gigabit", 4, 15),
}

_BURSTABLE = {  # size: vcpus, MiB, cards, addresses
    "nano": (2, 512, 2, 2),
    "micro": (2, 1024, 2, 2),
    "small": (2, 2048, 3, 4),
    "medium": (2, 4096, 3, 6),
    "large": (2, 8192, 3, 12),
    "xlarge": (4, 16384, 4, 15),
    "2xlarge": (8, 32768, 4, 15),
}

_SIZES = {
    "medium": 1, "large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "9xlarge": 36, "12xlarge": 48,
    "16xlarge": 64, "18xlarge": 72, "24xlarge": 96, "32xlarge": 128, "48xlarge": 192, "metal": 96,
}  # fmt: skip

_COMMON = ["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"]
_SIZED: dict[str, list[str]] = {
    "m5": [*_COMMON, "metal"],
    "m5a": _COMMON,
    "m5d": _COMMON,
    "c5": ["large", "xlarge", "2xlarge", "4xlarge", "9xlarge", "12xlarge", "18xlarge", "24xlarge", "metal"],
    "c5d": ["large", "xlarge", "2xlarge", "4xlarge", "9xlarge"],
    "c5n": ["large", "xlarge", "2xlarge", "4xlarge", "9xlarge", "18xlarge"],
    "r5": [*_COMMON, "metal"],
    "m6g": ["medium", *_COMMON[:-1]],
    "c6g": ["medium", *_COMMON[:-1]],
    "r6g": ["medium", *_COMMON[:-1]],
    "m6i": [*_COMMON, "32xlarge"],
    "c6i": [*_COMMON, "32xlarge"],
    "r6i": [*_COMMON, "32xlarge"],
    "m6a": [*_COMMON, "32xlarge", "48xlarge"],
    "c6a": [*_COMMON, "32xlarge", "48xlarge"],
    "r6a": [*_COMMON, "32xlarge", "48xlarge"],
    "m7a": ["medium", *_COMMON, "32xlarge", "48xlarge"],
    "c7a": ["medium", *_COMMON, "32xlarge", "48xlarge"],
    "r7a": ["medium", *_COMMON, "32xlarge", "48xlarge"],
    "m7i": [*_COMMON, "48xlarge"],
    "c7i": [*_COMMON, "48xlarge"],
    "r7i": [*_COMMON, "48xlarge"],
    "r7g": ["medium", *_COMMON[:-1]],
    "m8g": ["medium", *_COMMON, "48xlarge"],
    "c8g": ["medium", *_COMMON, "48xlarge"],
    "r8g": ["medium", *_COMMON, "48xlarge"],
    "m7g": ["medium", *_COMMON[:-1]],
    "c7g": ["medium", *_COMMON[:-1]],
}

_MEMORY = {"c5n.9xlarge": 98304, "c5n.18xlarge": 196608}
"""Sizes whose memory does not follow their family's."""

_DISKS: dict[str, tuple[int, int, str]] = {
    "m1.small": (1, 160, "hdd"),
    "m1.medium": (1, 410, "hdd"),
    "m1.large": (2, 420, "hdd"),
    "m3.medium": (1, 4, "ssd"),
    "m3.large": (1, 32, "ssd"),
    "m5d.large": (1, 75, "ssd"),
    "m5d.xlarge": (1, 150, "ssd"),
    "m5d.2xlarge": (1, 300, "ssd"),
    "m5d.4xlarge": (2, 300, "ssd"),
    "m5d.8xlarge": (2, 600, "ssd"),
    "m5d.12xlarge": (2, 900, "ssd"),
    "m5d.16xlarge": (4, 600, "ssd"),
    "m5d.24xlarge": (4, 900, "ssd"),
    "c5d.large": (1, 50, "ssd"),
    "c5d.xlarge": (1, 100, "ssd"),
    "c5d.2xlarge": (1, 200, "ssd"),
    "c5d.4xlarge": (1, 400, "ssd"),
    "c5d.9xlarge": (1, 900, "ssd"),
    "i3.large": (1, 475, "ssd"),
    "i3.xlarge": (1, 950, "ssd"),
    "i3.2xlarge": (1, 1900, "ssd"),
    "i3en.large": (1, 1250, "ssd"),
    "i3en.xlarge": (1, 2500, "ssd"),
    "i3en.24xlarge": (8, 7500, "ssd"),
    "i3en.metal": (8, 7500, "ssd"),
    "g4dn.xlarge": (1, 125, "ssd"),
    "g4dn.2xlarge": (1, 225, "ssd"),
}

_GPUS: dict[str, tuple[int, str, str, int]] = {
    "g4dn.xlarge": (1, "T4", "NVIDIA", 16384),
    "g4dn.2xlarge": (1, "T4", "NVIDIA", 16384),
    "p3.2xlarge": (1, "V100", "NVIDIA", 16384),
}


@cache
def flavors() -> dict[str, Flavor]:
    """Every instance type, by name."""
    families = {family.name: family for family in _FAMILIES}
    found: dict[str, Flavor] = {}

    def add(name: str, vcpus: int, memory: int, network: str, cards: int, addresses: int) -> None:
        family = families[name.partition(".")[0]]
        disks, gpu = _DISKS.get(name), _GPUS.get(name)
        found[name] = Flavor(name, family, vcpus, memory, network, cards, addresses, disks, gpu)

    for name, (vcpus, memory, network, cards, addresses) in _SINGLE.items():
        add(name, vcpus, memory, network, cards, addresses)
    for family in ("t3", "t3a", "t4g"):
        for size, (vcpus, memory, cards, addresses) in _BURSTABLE.items():
            few = 2 if (family, size) == ("t3a", "small") else cards
            add(f"{family}.{size}", vcpus, memory, "Up to 5 Gigabit", few, addresses)
    for family, sizes in _SIZED.items():
        for size in sizes:
            vcpus = _SIZES[size]
            cards, addresses = _CARDS.get(vcpus, (15, 50))
            memory = _MEMORY.get(f"{family}.{size}") or vcpus * families[family].memory
            add(f"{family}.{size}", vcpus, memory, _bandwidth(family, vcpus), cards, addresses)
    return dict(sorted(found.items()))


@cache
def render_flavor(name: str) -> dict[str, Any]:
    """An instance type in AWS's form."""
    flavor = flavors()[name]
    family = flavor.family
    nitro = family.nitro
    answer: dict[str, Any] = {
        "InstanceType": name,
        "CurrentGeneration": family.current,
        "FreeTierEligible": name in ("t2.micro", "t3.micro"),
        "SupportedUsageClasses": ["on-demand", "spot"] if family.name != "t1" else ["on-demand"],
        "SupportedRootDeviceTypes": ["ebs", "instance-store"] if flavor.disks and not nitro else ["ebs"],
        "SupportedVirtualizationTypes": ["hvm", "paravirtual"] if not family.current and not nitro else ["hvm"],
        "BareMetal": flavor.metal,
        "ProcessorInfo": _processor(family),
        "VCpuInfo": _vcpus(flavor),
        "MemoryInfo": {"SizeInMiB": flavor.memory},
        "InstanceStorageSupported": flavor.disks is not None,
        "EbsInfo": {
            "EbsOptimizedSupport": "default"
            if nitro or family.name in ("m4", "c4", "r4", "i3", "p3")
            else "unsupported",
            "EncryptionSupport": "supported",
            "NvmeSupport": "required" if nitro else "unsupported",
        },
        "NetworkInfo": _network(flavor),
        "PlacementGroupInfo": {
            "SupportedStrategies": ["partition", "spread"] if family.burstable else ["cluster", "partition", "spread"]
        },
        "HibernationSupported": family.hibernates,
        "BurstablePerformanceSupported": family.burstable,
        "DedicatedHostsSupported": not family.burstable and family.name not in ("t1", "m1"),
        "AutoRecoverySupported": flavor.disks is None and not flavor.metal,
        "SupportedBootModes": ["uefi"]
        if family.maker == AWS
        else ["legacy-bios", "uefi"]
        if nitro
        else ["legacy-bios"],
        "NitroEnclavesSupport": "supported" if family.enclaves and flavor.vcpus >= 4 else "unsupported",
        "NitroTpmSupport": "supported" if nitro and not flavor.metal and family.maker != AWS else "unsupported",
        "PhcSupport": "unsupported",
        "RebootMigrationSupport": "unsupported",
    }
    if not flavor.metal:
        answer["Hypervisor"] = "nitro" if nitro else "xen"
    if nitro and not flavor.metal and family.maker != AWS:
        answer["NitroTpmInfo"] = {"SupportedVersions": ["2.0"]}
    if flavor.disks is not None:
        count, size, kind = flavor.disks
        answer["InstanceStorageInfo"] = {
            "TotalSizeInGB": count * size,
            "Disks": [{"SizeInGB": size, "Count": count, "Type": kind}],
            "NvmeSupport": "required" if nitro or family.name == "i3" else "unsupported",
            "EncryptionSupport": "required" if nitro or family.name == "i3" else "unsupported",
        }
    if flavor.gpu is not None:
        count, gpu, maker, memory = flavor.gpu
        answer["GpuInfo"] = {
            "Gpus": [{"Name": gpu, "Manufacturer": maker, "Count": count, "MemoryInfo": {"SizeInMiB": memory}}],
            "TotalGpuMemoryInMiB": count * memory,
        }
    return answer


def _processor(family: Family) -> dict[str, Any]:
    answer: dict[str, Any] = {"SupportedArchitectures": list(family.architectures), "Manufacturer": family.maker}
    if family.clock is not None:
        answer["SustainedClockSpeedInGhz"] = family.clock
    return answer


def _vcpus(flavor: Flavor) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "DefaultVCpus": flavor.vcpus,
        "DefaultCores": flavor.cores,
        "DefaultThreadsPerCore": flavor.threads,
    }
    if not flavor.metal and flavor.family.nitro:
        answer["ValidCores"] = valid_cores(flavor)
        answer["ValidThreadsPerCore"] = list(range(1, flavor.threads + 1))
    return answer


def valid_cores(flavor: Flavor) -> list[int]:
    """How many cores a guest of this type may ask for."""
    if flavor.family.burstable or flavor.cores <= 2:
        return [flavor.cores] if flavor.family.burstable else list(range(1, flavor.cores + 1))
    return list(range(2, flavor.cores + 1, 2))


def _network(flavor: Flavor) -> dict[str, Any]:
    nitro = flavor.family.nitro
    modern = nitro or flavor.family.name in ("m4", "c4", "r4", "i3", "p3", "t2")
    return {
        "NetworkPerformance": flavor.network,
        "MaximumNetworkInterfaces": flavor.cards,
        "MaximumNetworkCards": 1,
        "DefaultNetworkCardIndex": 0,
        "NetworkCards": [
            {
                "NetworkCardIndex": 0,
                "NetworkPerformance": flavor.network,
                "MaximumNetworkInterfaces": flavor.cards,
            }
        ],
        "Ipv4AddressesPerInterface": flavor.addresses,
        "Ipv6AddressesPerInterface": flavor.addresses if modern else 0,
        "Ipv6Supported": modern,
        "EnaSupport": "required"
        if nitro
        else "supported"
        if flavor.family.name in ("r4", "i3", "p3")
        else "unsupported",
        "EfaSupported": flavor.name
        in (
            "c5n.9xlarge",
            "c5n.18xlarge",
            "i3en.24xlarge",
            "i3en.metal",
            "m6i.32xlarge",
            "c6i.32xlarge",
            "r6i.32xlarge",
        ),
        "EncryptionInTransitSupported": flavor.family.encrypts_in_transit,
        "EnaSrdSupported": False,
    }
