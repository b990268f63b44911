"""Partitions, regions and zones."""

from __future__ import annotations

import pytest

from compat.regions import partition_of, regions, zones


@pytest.mark.parametrize(
    ("zone", "zone_id"),
    [
        ("us-east-1a", "use1-az6"),
        ("us-west-2b", "usw2-az1"),
        ("eu-central-1c", "euc1-az1"),
        ("ap-southeast-1a", "apse1-az1"),
        ("us-gov-west-1b", "usgw1-az2"),
        ("cn-northwest-1a", "cnnw1-az1"),
        ("sa-east-1c", "sae1-az3"),
    ],
)
def test_zone_ids_are_those_of_aws(zone: str, zone_id: str) -> None:
    assert {z.name: z.id for z in zones(zone[:-1])}[zone] == zone_id


def test_every_region_has_zones_with_distinct_names_and_ids() -> None:
    for region in regions():
        found = zones(region)
        assert len(found) >= 2
        assert len({z.id for z in found}) == len({z.name for z in found}) == len(found)
    every = [z.id for region in regions() for z in zones(region)]
    assert len(every) == len(set(every))


def test_partitions() -> None:
    assert partition_of("eu-west-1") == "aws"
    assert partition_of("cn-north-1") == "aws-cn"
    assert partition_of("us-gov-east-1") == "aws-us-gov"
    assert partition_of("us-east-99") == "aws"
    assert not regions()["us-east-1"].opt_in
    assert regions()["af-south-1"].opt_in
