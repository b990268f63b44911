"""The catalogues of images and instance types agree with AWS's model and with themselves."""

from __future__ import annotations

import re

import pytest
from botocore.validate import ParamValidator

from compat.ec2.catalogue import OWNERS_BY_ALIAS, entries, parameters
from compat.ec2.flavors import flavors, render_flavor, valid_cores
from compat.model import service_model
from compat.regions import regions

TYPE = service_model("ec2").operation_model("DescribeInstanceTypes").output_shape


@pytest.mark.parametrize("name", sorted(flavors()))
def test_a_type_is_what_the_model_says(name: str) -> None:
    assert TYPE is not None
    shape = TYPE.members["InstanceTypes"].member  # type: ignore[attr-defined]  # a list of structures
    shown = render_flavor(name)
    report = ParamValidator().validate(shown, shape)
    assert not report.has_errors(), report.generate_report()
    assert set(shown) <= set(shape.members)
    processors = shown["VCpuInfo"]
    assert processors["DefaultVCpus"] == processors["DefaultCores"] * processors["DefaultThreadsPerCore"]
    assert flavors()[name].cores in valid_cores(flavors()[name])
    for member in ("SupportedBootModes", "SupportedRootDeviceTypes", "SupportedVirtualizationTypes"):
        assert set(shown[member]) <= set(shape.members[member].member.enum)


def test_image_ids_are_unique_in_a_region_and_names_in_an_owner() -> None:
    for region in ("us-east-1", "cn-north-1"):
        ids = [entry.image_id(region) for entry in entries()]
        assert len(ids) == len(set(ids))
        assert all(re.fullmatch(r"ami-(?:[0-9a-f]{8}|[0-9a-f]{17})", id) for id in ids)
    names = [(entry.owner, entry.name) for entry in entries()]
    assert len(names) == len(set(names))
    assert all(len(entry.name) <= 128 for entry in entries())


def test_image_ids_never_change() -> None:
    """Scripts keep ids; a change of the catalogue must not move those that are there."""
    known = {entry.name: entry.image_id("us-east-1") for entry in entries()}
    assert known["amzn2-ami-hvm-2.0.20250929.2-x86_64-gp2"] == "ami-04a65b9a8e8146c52"
    assert known["al2023-ami-2023.9.20251014.0-kernel-6.1-x86_64"] == "ami-0c95097e3c882bbcd"


def test_owners_have_one_alias() -> None:
    owners = [owner for group in OWNERS_BY_ALIAS.values() for owner in group]
    assert len(owners) == len(set(owners))


@pytest.mark.parametrize("region", sorted(regions()))
def test_public_parameters_name_images_of_their_region(region: str) -> None:
    ids = {entry.image_id(region) for entry in entries()}
    assert set(parameters(region).values()) <= ids


def test_the_newest_image_is_named() -> None:
    names = {entry.image_id("us-east-1"): entry.name for entry in entries()}
    found = parameters("us-east-1")
    start = "/aws/service/ami-amazon-linux-latest/"
    assert names[found[start + "al2023-ami-kernel-default-x86_64"]] == "al2023-ami-2023.9.20251014.0-kernel-6.1-x86_64"
    assert names[found[start + "amzn2-ami-hvm-x86_64-gp2"]] == "amzn2-ami-hvm-2.0.20250929.2-x86_64-gp2"
