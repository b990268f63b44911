"""Regions and availability zones."""

from __future__ import annotations

from typing import Any

from compat.context import Context
from compat.ec2.listing import named, pick
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.regions import Region, Zone, partition_of, regions, zones


def _opt_in(region: Region) -> str:
    return "opted-in" if region.opt_in else "opt-in-not-required"


REGION_FILTERS: Filters = {
    "endpoint": lambda ctx, region: region.endpoint,
    "region-name": lambda ctx, region: region.name,
    "opt-in-status": lambda ctx, region: _opt_in(region),
}


@operation("ec2:DescribeRegions")
def describe_regions(ctx: Context, p: Params) -> Result:
    """Every region of the caller's partition. Each can be used here, so those that AWS wants asked for are opted in."""
    known = {region.name: region for region in regions().values() if region.partition == partition_of(ctx.region)}
    names = p.get("RegionNames") or list(known)
    chosen = pick(
        ctx, p, named(names, known, "InvalidParameterValue", "Invalid region names found: {names}"), REGION_FILTERS
    )
    return {
        "Regions": [
            {"RegionName": region.name, "Endpoint": region.endpoint, "OptInStatus": _opt_in(region)}
            for region in chosen
        ]
    }


def _group(zone: Zone) -> str:
    return f"{zone.region}-zg-1"


ZONE_FILTERS: Filters = {
    "group-long-name": lambda ctx, zone: f"{_description(zone.region)} 1",
    "group-name": lambda ctx, zone: _group(zone),
    "message": lambda ctx, zone: None,
    "opt-in-status": lambda ctx, zone: "opt-in-not-required",
    "parent-zone-id": lambda ctx, zone: None,
    "parent-zone-name": lambda ctx, zone: None,
    "region-name": lambda ctx, zone: zone.region,
    "state": lambda ctx, zone: "available",
    "zone-id": lambda ctx, zone: zone.id,
    "zone-name": lambda ctx, zone: zone.name,
    "zone-type": lambda ctx, zone: "availability-zone",
}


def _description(region: str) -> str:
    about = regions().get(region)
    return region if about is None else about.description


def render_zone(zone: Zone) -> dict[str, Any]:
    """A zone in AWS's form."""
    return {
        "State": "available",
        "OptInStatus": "opt-in-not-required",
        "Messages": [],
        "RegionName": zone.region,
        "ZoneName": zone.name,
        "ZoneId": zone.id,
        "GroupName": _group(zone),
        "GroupLongName": f"{_description(zone.region)} 1",
        "NetworkBorderGroup": zone.region,
        "ZoneType": "availability-zone",
    }


@operation("ec2:DescribeAvailabilityZones")
def describe_availability_zones(ctx: Context, p: Params) -> Result:
    """The zones of the region."""
    known = zones(ctx.region)
    chosen: list[Zone] = list(known)
    if names := p.get("ZoneNames"):
        chosen = named(
            names, {z.name: z for z in known}, "InvalidParameterValue", "Invalid availability zone: [{names}]"
        )
    if ids := p.get("ZoneIds"):
        by_id = {zone.id: zone for zone in known}
        wanted = named(ids, by_id, "InvalidParameterValue", "Invalid availability zone-id: [{names}]")
        chosen = [zone for zone in chosen if zone in wanted]
    return {"AvailabilityZones": [render_zone(zone) for zone in pick(ctx, p, chosen, ZONE_FILTERS)]}


def zone_named(ctx: Context, name: str | None = None, id: str | None = None) -> Zone:
    """The zone that a call names by name or id. Raises InvalidParameterValue for one that this region has not."""
    for zone in zones(ctx.region):
        if zone.name == name or (name is None and zone.id == id):
            return zone
    raise AWSError(
        "InvalidParameterValue",
        f"Value ({name or id}) for parameter availabilityZone is invalid. Invalid availability zone",
    )
