"""Sizes and performance of volumes, and block device mappings laid over each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat.ec2.volume_types import TYPES, merge_mappings, performance, render_mapping
from compat.errors import AWSError


@pytest.mark.parametrize(
    ("kind", "size", "iops", "throughput", "expected"),
    [
        ("gp3", 1, None, None, (3000, 125)),
        ("gp3", 10, 5000, 500, (5000, 500)),
        ("gp2", 33, None, None, (100, None)),
        ("gp2", 34, None, None, (102, None)),
        ("gp2", 16384, None, None, (16000, None)),
        ("io1", 20, 1000, None, (1000, None)),
        ("io2", 4, 4000, None, (4000, None)),
        ("sc1", 125, None, None, (None, None)),
        ("standard", 1, None, None, (None, None)),
    ],
)
def test_what_volumes_get(
    kind: str, size: int, iops: int | None, throughput: int | None, expected: tuple[int | None, int | None]
) -> None:
    assert performance(kind, size, iops, throughput) == expected


@pytest.mark.parametrize(
    ("code", "kind", "size", "iops", "throughput"),
    [
        ("UnknownVolumeType", "gp9", 1, None, None),
        ("InvalidParameterValue", "gp3", 1, 2999, None),
        ("InvalidParameterValue", "gp3", 1, 3001, None),
        ("InvalidParameterValue", "gp3", 10, 3000, 751),
        ("InvalidParameterValue", "gp3", 10, 3000, 124),
        ("InvalidParameterValue", "io1", 10, 501, None),
        ("InvalidParameterValue", "io1", 3, 100, None),
        ("MissingParameter", "io2", 10, None, None),
        ("InvalidParameterCombination", "standard", 10, 100, None),
        ("InvalidParameterCombination", "io1", 10, 100, 125),
    ],
)
def test_what_volumes_do_not_get(code: str, kind: str, size: int, iops: int | None, throughput: int | None) -> None:
    with pytest.raises(AWSError) as caught:
        performance(kind, size, iops, throughput)
    assert caught.value.code == code


@given(kind=st.sampled_from(sorted(TYPES)), size=st.integers(-5, 70000), iops=st.none() | st.integers(-5, 300000))
def test_the_answer_is_within_the_limits_or_a_refusal(kind: str, size: int, iops: int | None) -> None:
    about = TYPES[kind]
    try:
        got, throughput = performance(kind, size, iops, None)
    except AWSError:
        return
    assert size in about.sizes
    assert (throughput is not None) == (kind == "gp3")
    if about.iops is not None:
        assert got is not None and got in about.iops
        assert iops is None or got == iops


ROOT = {
    "device": "/dev/xvda",
    "snapshot": "snap-1",
    "size": 8,
    "kind": "gp2",
    "iops": None,
    "throughput": None,
    "encrypted": False,
    "keep": False,
}


def merged(*asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["device"]: one for one in merge_mappings([ROOT], asked)}


def test_a_call_changes_only_what_it_says() -> None:
    found = merged({"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}})["/dev/xvda"]
    assert (found["size"], found["snapshot"], found["kind"], found["keep"]) == (30, "snap-1", "gp2", False)
    found = merged({"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False, "VolumeType": "gp3"}})["/dev/xvda"]
    assert (found["size"], found["kind"], found["keep"]) == (8, "gp3", True)


def test_devices_are_added_and_left_out() -> None:
    found = merged(
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 1}}, {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}
    )
    assert set(found) == {"/dev/xvda", "/dev/sdf", "/dev/sdb"}
    assert render_mapping(found["/dev/sdb"]) == {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"}
    assert merged({"DeviceName": "/dev/xvda", "NoDevice": ""}) == {}


@pytest.mark.parametrize(
    "asked", [{"DeviceName": "/dev/sdf", "Ebs": {}}, {"Ebs": {"VolumeSize": 1}}, {"DeviceName": "/dev/sdf"}]
)
def test_mappings_that_say_too_little(asked: dict[str, Any]) -> None:
    with pytest.raises(AWSError):
        merged(asked)


def test_the_image_s_mappings_are_not_changed() -> None:
    before = dict(ROOT)
    merged({"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}})
    assert before == ROOT
