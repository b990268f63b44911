"""What is measured of instances and volumes, as metrics of AWS/EC2 and AWS/EBS.

Every minute each running instance is looked at. With basic monitoring what it used counts for the five minutes that the
look lies in, which so get five samples; with detailed monitoring, for the minute. Status checks and volumes are always
told by the minute, packets by five minutes, as AWS documents. What no driver counts is no metric here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from backends.compute.host import ComputeHost
from backends.compute.usage import Usage
from backends.db import Database, Scope
from backends.metrics.service import Measured, MetricService, value
from compat.ec2.instance_status import FAILED, INITIALIZING, verdicts

BATCH = 100
"""Instances whose samples one unit of work keeps: some milliseconds."""
Pairs = tuple[tuple[str, str], ...]
Gathered = dict[Pairs, list[Measured]]


def keep(database: Database, host: ComputeHost, usages: Sequence[Usage], minute: int) -> None:
    """Keep what instances used in the minute that began at `minute` (in seconds since 1970)."""
    scopes: dict[Scope, list[Usage]] = defaultdict(list)
    for usage in usages:
        scopes[Scope(usage.guest.tenant, usage.guest.region)].append(usage)
    for scope, found in scopes.items():
        together: Gathered = {}
        for begin in range(0, len(found), BATCH):
            instances: Gathered = {}
            volumes: Gathered = {}
            for usage in found[begin : begin + BATCH]:
                of_it = [*_used(usage, minute), *_checked(usage, host, minute)]
                if of_it:
                    instances[("InstanceId", usage.guest.id),] = of_it
                if usage.guest.monitored:
                    _join(together, usage, of_it)
                volumes |= _volumes(usage, minute)
            with database.unit(scope, write=True) as unit:
                service = MetricService(unit)
                service.record("AWS/EC2", instances)
                service.record("AWS/EBS", volumes)
        if together:
            with database.unit(scope, write=True) as unit:
                MetricService(unit).record("AWS/EC2", together)


def _used(usage: Usage, minute: int) -> Iterator[Measured]:
    five = datetime.fromtimestamp(minute - minute % 300, UTC)
    at = datetime.fromtimestamp(minute, UTC) if usage.guest.monitored else five
    if usage.processor is not None:
        share = usage.processor / (usage.span * usage.guest.vcpus) * 100
        # What runs a guest works for it beside its own processors; AWS never tells more than all of them.
        yield value("CPUUtilization", "Percent", at, min(share, 100.0))
    if (traffic := usage.traffic) is not None:
        yield value("NetworkIn", "Bytes", at, traffic.bytes_in)
        yield value("NetworkOut", "Bytes", at, traffic.bytes_out)
        yield value("NetworkPacketsIn", "Count", five, traffic.packets_in)
        yield value("NetworkPacketsOut", "Count", five, traffic.packets_out)
    if disks := usage.disks.values():
        yield value("EBSReadBytes", "Bytes", at, sum(one.bytes_read for one in disks))
        yield value("EBSWriteBytes", "Bytes", at, sum(one.bytes_written for one in disks))
        yield value("EBSReadOps", "Count", at, sum(one.reads for one in disks))
        yield value("EBSWriteOps", "Count", at, sum(one.writes for one in disks))


def _checked(usage: Usage, host: ComputeHost, minute: int) -> Iterator[Measured]:
    """What status checks came to; nothing while they are under way."""
    at = datetime.fromtimestamp(minute, UTC)
    system, instance = verdicts(
        usage.guest,
        usage.health,
        checked=host.driver.capabilities.runs,
        connected=host.network.driver.applies,
        now=usage.at,
    )
    if INITIALIZING in (system[0], instance[0]):
        return
    fails = [int(verdict[0] == FAILED) for verdict in (system, instance)]
    yield value("StatusCheckFailed", "Count", at, max(fails))
    yield value("StatusCheckFailed_System", "Count", at, fails[0])
    yield value("StatusCheckFailed_Instance", "Count", at, fails[1])
    yield value("StatusCheckFailed_AttachedEBS", "Count", at, fails[0])


def _volumes(usage: Usage, minute: int) -> Gathered:
    at = datetime.fromtimestamp(minute, UTC)
    return {
        (("VolumeId", disk),): [
            value("VolumeReadBytes", "Bytes", at, used.bytes_read),
            value("VolumeWriteBytes", "Bytes", at, used.bytes_written),
            value("VolumeReadOps", "Count", at, used.reads),
            value("VolumeWriteOps", "Count", at, used.writes),
        ]
        for disk, used in usage.disks.items()
    }


def _join(together: Gathered, usage: Usage, found: Sequence[Measured]) -> None:
    """Count an instance with detailed monitoring among all, among those of its image, and of its type."""
    guest = usage.guest
    for pairs in ((), (("ImageId", guest.image),), (("InstanceType", guest.flavor),)):
        before = {(one.name, one.at): one for one in together.get(pairs, ())}
        for one in found:
            known = before.get((one.name, one.at))
            before[one.name, one.at] = one if known is None else _sum(known, one)
        together[pairs] = list(before.values())


def _sum(one: Measured, other: Measured) -> Measured:
    return Measured(
        one.name,
        one.unit,
        one.at,
        one.count + other.count,
        one.total + other.total,
        min(one.least, other.least),
        max(one.most, other.most),
    )
