"""Where instances may be placed: groups, partitions, and what of AWS's placement is not offered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from backends.compute.scheduler import Wanted
from backends.errors import Exhausted
from backends.network.models import Network
from backends.statement import Statement
from compat.context import Context
from compat.ec2.flavors import Flavor
from compat.ec2.placement_groups import placement_group
from compat.errors import AWSError
from compat.records import Record

_NOTES = Statement(select(Network.notes).where(Network.id == bindparam("n", "")), "n")
CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a new instance goes: on which host, and into which part of a group that is kept apart from its others."""

    host: str | None
    apart: str | None = None
    part: str | None = None

    @property
    def partition(self) -> int | None:
        """The number of the partition, in a group that has such."""
        return int(self.part) if self.part is not None and self.part.isdigit() else None


def refuse_hosts(placement: Mapping[str, Any]) -> None:
    """Refuse what asks for hardware of one's own."""
    tenancy = placement.get("Tenancy")
    if tenancy == "dedicated":
        raise AWSError("Unsupported", "Dedicated Instances (Tenancy 'dedicated') are not offered by Nephele.")
    if tenancy == "host" or placement.get("Affinity") == "host":
        raise AWSError("Unsupported", "Dedicated Hosts (Tenancy or Affinity 'host') are not offered by Nephele.")
    for member in ("HostId", "HostResourceGroupArn"):
        if placement.get(member):
            raise AWSError("Unsupported", f"Dedicated Hosts ({member}) are not offered by Nephele.")


def refuse_dedicated_network(ctx: Context, network: str) -> None:
    """Refuse a VPC whose instances are to have hardware of their own."""
    ctx.unit.flush()
    row = ctx.unit.one(_NOTES, network)
    notes = row[0] if row is not None else {}
    if (json.loads(notes) if isinstance(notes, str) else notes).get("tenancy") == "dedicated":
        raise AWSError(
            "Unsupported",
            f"Dedicated Instances are not offered by Nephele, and '{network}' has the instance tenancy 'dedicated'.",
        )


def group_of(ctx: Context, placement: Mapping[str, Any]) -> Record | None:
    """The placement group that a placement names; checked against what else it says."""
    group, number = None, placement.get("PartitionNumber")
    if placement.get("GroupName") or placement.get("GroupId"):
        group = placement_group(ctx, placement.get("GroupName"), placement.get("GroupId"))
    if number is not None:
        if group is None or group.document["Strategy"] != "partition":
            raise AWSError(
                "InvalidParameterCombination",
                "PartitionNumber is only for placement groups with the strategy 'partition'.",
            )
        if not 1 <= number <= group.document["PartitionCount"]:
            raise AWSError(
                "InvalidParameterValue",
                f"PartitionNumber ({number}) must be between 1 and {group.document['PartitionCount']}.",
            )
    return group


def parts_of(ctx: Context, group: Record, number: int | None) -> Iterator[str | None]:
    """The parts of a group that an instance may come into, the best first: none shares a host with another part.

    An instance of a spread group is a part of its own (None); a cluster is one part; of partitions it is the one asked
    for, or else any, that with the fewest instances first.
    """
    strategy = group.document["Strategy"]
    if strategy == "spread":
        yield None
    elif strategy != "partition":
        yield CLUSTER
    elif number is not None:
        yield str(number)
    else:
        held: Counter[str] = Counter()
        for parts in ctx.compute.parts(group.id).values():
            held.update(parts)
        every = range(1, group.document["PartitionCount"] + 1)
        yield from (str(part) for part in sorted(every, key=lambda part: (held[str(part)], part)))


def find_site(ctx: Context, flavor: Flavor, zone: str, group: Record | None, number: int | None) -> Site:
    """Where an instance of that type can go. Raises `Exhausted` when no host can take it."""
    if group is None:
        return Site(ctx.compute.place(Wanted(flavor.vcpus, flavor.memory, zone)))
    full: Exhausted | None = None
    for part in parts_of(ctx, group, number):
        try:
            host = ctx.compute.place(Wanted(flavor.vcpus, flavor.memory, zone, group.id, part))
        except Exhausted as fact:
            full = fact
        else:
            return Site(host, group.id, part)
    assert full is not None, "a group has parts"
    raise full
