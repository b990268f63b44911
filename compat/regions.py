"""Where there is a cloud: partitions and regions as botocore's endpoint data names them, and their zones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.loaders import Loader

_DIRECTIONS = {
    "north": "n", "south": "s", "east": "e", "west": "w", "central": "c",
    "northeast": "ne", "northwest": "nw", "southeast": "se", "southwest": "sw",
}  # fmt: skip

# Zone letters with the number of their zone id, where the letters do not simply count a=1, b=2, c=3.
_ZONES: dict[str, dict[str, int]] = {
    "us-east-1": {"a": 6, "b": 1, "c": 2, "d": 4, "e": 3, "f": 5},
    "us-west-1": {"a": 3, "b": 1},
    "us-west-2": {"a": 2, "b": 1, "c": 3, "d": 4},
    "ca-central-1": {"a": 1, "b": 2, "d": 4},
    "eu-west-1": {"a": 3, "b": 1, "c": 2},
    "eu-west-2": {"a": 2, "b": 3, "c": 1},
    "eu-central-1": {"a": 2, "b": 3, "c": 1},
    "ap-northeast-1": {"a": 4, "c": 1, "d": 2},
    "ap-northeast-2": {"a": 1, "b": 2, "c": 3, "d": 4},
    "ap-south-1": {"a": 1, "b": 3, "c": 2},
    "ap-southeast-2": {"a": 1, "b": 3, "c": 2},
}

# Regions that an account has from birth; every region that opened since 2019 has to be opted into.
_FROM_BIRTH = frozenset(
    [
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
        "ca-central-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "eu-central-1",
        "eu-north-1",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-southeast-1",
        "ap-southeast-2",
        "sa-east-1",
    ]
)


@dataclass(frozen=True, slots=True)
class Region:
    """One region. `opt_in` tells whether an account has to ask for it."""

    name: str
    description: str
    partition: str
    dns_suffix: str
    opt_in: bool

    @property
    def endpoint(self) -> str:
        """The host at which AWS serves EC2 there."""
        return f"ec2.{self.name}.{self.dns_suffix}"


@dataclass(frozen=True, slots=True)
class Zone:
    """One availability zone: `us-east-1a`, whose id is `use1-az6`."""

    name: str
    id: str
    region: str


@cache
def regions() -> dict[str, Region]:
    """Every region of every partition, by name."""
    data: dict[str, Any] = Loader().load_data("endpoints")
    return {
        name: Region(
            name,
            facts.get("description", name),
            partition["partition"],
            partition["dnsSuffix"],
            opt_in=partition["partition"] == "aws" and name not in _FROM_BIRTH,
        )
        for partition in data["partitions"]
        for name, facts in partition["regions"].items()
    }


def partition_of(region: str) -> str:
    """The partition of a region; `aws` for a region that nobody has heard of and whose name tells nothing."""
    known = regions().get(region)
    if known is not None:
        return known.partition
    for prefix, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc")):
        if region.startswith(prefix):
            return partition
    return "aws"


@cache
def zones(region: str) -> tuple[Zone, ...]:
    """The zones of a region in order of their names; three for a region without known facts."""
    letters = _ZONES.get(region) or {"a": 1, "b": 2, "c": 3}
    code = _short(region)
    return tuple(Zone(region + letter, f"{code}-az{number}", region) for letter, number in sorted(letters.items()))


def _short(region: str) -> str:
    """`use1` for us-east-1, `apse2` for ap-southeast-2, `usgw1` for us-gov-west-1."""
    match = re.fullmatch(r"([a-z]+)-(?:(gov|isoe|isof|isob|iso|de)-)?([a-z]+)-(\d+)", region)
    if match is None:
        return region
    area, sovereign, direction, number = match.groups()
    middle = {"gov": "g", None: ""}.get(sovereign, sovereign or "")
    return f"{area}{middle}{_DIRECTIONS.get(direction, direction[:1])}{number}"
