"""Placement: groups on one machine, partitions, and hardware of one's own, which nobody has here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(ec2: Any) -> Run:
    names = [{"Name": "name", "Values": ["al2023-ami-2023*-kernel-6.1-x86_64"]}]
    image = ec2.describe_images(Owners=["amazon"], Filters=names)["Images"][0]["ImageId"]

    def launch(least: int = 1, most: int | None = None, **options: Any) -> list[dict[str, Any]]:
        about = {"ImageId": image, "InstanceType": "c5.large", "MinCount": least, "MaxCount": most or least}
        found: list[dict[str, Any]] = ec2.run_instances(**about | options)["Instances"]
        return found

    return launch


def test_a_spread_group_has_seven_instances_in_a_zone(ec2: Any, run: Run) -> None:
    ec2.create_placement_group(GroupName="far", Strategy="spread")
    far = {"GroupName": "far", "AvailabilityZone": "us-east-1a"}
    with refused("InsufficientInstanceCapacity"):
        run(8, Placement=far, TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "k", "Value": "v"}]}])
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_tags()["Tags"] == []
    seven = run(1, 9, Placement=far)  # as many as there is room for, and at least the least
    assert len(seven) == 7
    with refused("InsufficientInstanceCapacity"):
        run(Placement=far)
    assert len(run(Placement=far | {"AvailabilityZone": "us-east-1b"})) == 1
    assert len(run(2, Placement={"AvailabilityZone": "us-east-1a"})) == 2, "others are not kept away"
    ids = [seven[0]["InstanceId"]]
    wait(ec2, "instance_running", InstanceIds=ids)
    ec2.stop_instances(InstanceIds=ids)
    wait(ec2, "instance_stopped", InstanceIds=ids)
    [other] = run(Placement=far)
    with refused("InsufficientInstanceCapacity"):
        ec2.start_instances(InstanceIds=ids)
    ec2.terminate_instances(InstanceIds=[other["InstanceId"]])
    wait(ec2, "instance_terminated", InstanceIds=[other["InstanceId"]])
    ec2.start_instances(InstanceIds=ids)


def test_a_cluster_is_together(ec2: Any, run: Run) -> None:
    ec2.create_placement_group(GroupName="near", Strategy="cluster")
    assert [one["Placement"]["GroupName"] for one in run(3, Placement={"GroupName": "near"})] == ["near"] * 3


def test_partitions_are_apart(ec2: Any, run: Run) -> None:
    group = ec2.create_placement_group(GroupName="parts", Strategy="partition", PartitionCount=3)["PlacementGroup"]
    parts = {"GroupId": group["GroupId"]}
    [two] = run(Placement=parts | {"PartitionNumber": 2})
    assert two["Placement"]["PartitionNumber"] == 2
    # Whoever leaves the choice comes where the fewest are.
    assert [one["Placement"]["PartitionNumber"] for one in run(2, Placement=parts)] == [1, 3]
    found = ec2.describe_instances(Filters=[{"Name": "placement-partition-number", "Values": ["2"]}])
    assert sum(len(one["Instances"]) for one in found["Reservations"]) == 1
    with refused("InvalidParameterValue"):
        run(Placement=parts | {"PartitionNumber": 4})
    with refused("InvalidParameterCombination"):
        run(Placement={"PartitionNumber": 1})


def test_an_instance_moves_between_groups_while_it_is_stopped(ec2: Any, run: Run) -> None:
    ec2.create_placement_group(GroupName="far", Strategy="spread")
    [one, *_] = run(7, Placement={"GroupName": "far", "AvailabilityZone": "us-east-1a"})
    [other] = run(Placement={"AvailabilityZone": "us-east-1a"})
    ids = [other["InstanceId"]]
    wait(ec2, "instance_running", InstanceIds=ids)
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_placement(InstanceId=ids[0], GroupName="far")
    ec2.stop_instances(InstanceIds=ids)
    wait(ec2, "instance_stopped", InstanceIds=ids)
    ec2.modify_instance_placement(InstanceId=ids[0], GroupName="far")
    with refused("InsufficientInstanceCapacity"):
        ec2.start_instances(InstanceIds=ids)
    ec2.modify_instance_placement(InstanceId=ids[0], GroupName="")
    ec2.start_instances(InstanceIds=ids)
    shown = ec2.describe_instances(InstanceIds=ids)["Reservations"][0]["Instances"][0]["Placement"]
    assert (shown["GroupName"], "GroupId" in shown) == ("", False)
    assert one["Placement"]["GroupName"] == "far"


@pytest.mark.parametrize(
    ("placement", "word"),
    [
        ({"Tenancy": "dedicated"}, "Dedicated Instances"),
        ({"Tenancy": "host"}, "Dedicated Hosts"),
        ({"HostId": "h-0123456789abcdef0"}, "HostId"),
        ({"Affinity": "host"}, "Dedicated Hosts"),
        (
            {"HostResourceGroupArn": "arn:aws:resource-groups:us-east-1:123456789012:group/mine"},
            "HostResourceGroupArn",
        ),
    ],
)
def test_hardware_of_ones_own_is_refused_by_name(run: Run, placement: dict[str, str], word: str) -> None:
    with refused("Unsupported", word):
        run(Placement=placement)


def test_a_network_for_dedicated_hardware_takes_no_instances(ec2: Any, run: Run) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16", InstanceTenancy="dedicated")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    with refused("Unsupported", vpc):
        run(SubnetId=subnet)
    ec2.modify_vpc_tenancy(VpcId=vpc, InstanceTenancy="default")
    assert len(run(SubnetId=subnet)) == 1


def test_a_zone_that_is_not_the_subnets_is_refused(ec2: Any, run: Run) -> None:
    subnet = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1a"]}])["Subnets"][0]
    with refused("InvalidParameterCombination"):
        run(SubnetId=subnet["SubnetId"], Placement={"AvailabilityZone": "us-east-1b"})
    [one] = run(Placement={"AvailabilityZone": "us-east-1b"})
    assert one["Placement"]["AvailabilityZone"] == "us-east-1b"
