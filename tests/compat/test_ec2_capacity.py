"""Capacity Reservations: which instances count on them, and what becomes of those that find no room."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any
ZONE = "us-east-1a"


@pytest.fixture
def ec2(client: Callable[..., Client]) -> Client:
    return client("ec2")


def image(ec2: Client) -> str:
    name = [{"Name": "name", "Values": ["al2023-ami-2*-x86_64"]}]
    found: str = ec2.describe_images(Owners=["amazon"], Filters=name)["Images"][0]["ImageId"]
    return found


def reserve(ec2: Client, count: int = 1, **more: Any) -> str:
    given = {"InstanceType": "t3.micro", "InstancePlatform": "Linux/UNIX", "AvailabilityZone": ZONE}
    made = ec2.create_capacity_reservation(**given | {"InstanceCount": count} | more)["CapacityReservation"]
    id: str = made["CapacityReservationId"]
    return id


def launch(ec2: Client, **more: Any) -> dict[str, Any]:
    given = {"ImageId": image(ec2), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    made = ec2.run_instances(**given | {"Placement": {"AvailabilityZone": ZONE}} | more)["Instances"][0]
    return dict(made)


def left(ec2: Client, id: str) -> tuple[str, int]:
    (one,) = ec2.describe_capacity_reservations(CapacityReservationIds=[id])["CapacityReservations"]
    return one["State"], one["AvailableInstanceCount"]


def targeting(id: str) -> dict[str, Any]:
    return {"CapacityReservationSpecification": {"CapacityReservationTarget": {"CapacityReservationId": id}}}


def test_instances_that_fit_count_on_an_open_reservation(ec2: Client) -> None:
    before = launch(ec2)
    assert "CapacityReservationId" not in before
    id = reserve(ec2, 2)
    (shown,) = ec2.describe_instances(Filters=[{"Name": "capacity-reservation-id", "Values": [id]}])["Reservations"]
    assert [one["InstanceId"] for one in shown["Instances"]] == [before["InstanceId"]]
    assert left(ec2, id) == ("active", 1)
    assert "CapacityReservationId" not in launch(ec2, InstanceType="t3.small")
    none = {"CapacityReservationSpecification": {"CapacityReservationPreference": "none"}}
    assert "CapacityReservationId" not in launch(ec2, **none)
    assert launch(ec2)["CapacityReservationId"] == id
    assert "CapacityReservationId" not in launch(ec2)
    only = {"CapacityReservationSpecification": {"CapacityReservationPreference": "capacity-reservations-only"}}
    with refused("InsufficientInstanceCapacity"):
        launch(ec2, **only)
    usage = ec2.get_capacity_reservation_usage(CapacityReservationId=id)
    assert [one["UsedInstanceCount"] for one in usage["InstanceUsages"]] == [2]
    ec2.terminate_instances(InstanceIds=[before["InstanceId"]])
    assert left(ec2, id) == ("active", 1)


def test_a_targeted_reservation_is_for_those_that_name_it(ec2: Client) -> None:
    id = reserve(ec2, InstanceMatchCriteria="targeted")
    assert "CapacityReservationId" not in launch(ec2)
    with refused("InvalidParameterCombination", id):
        launch(ec2, InstanceType="t3.small", **targeting(id))
    with refused("InvalidCapacityReservationId.NotFound"):
        launch(ec2, **targeting("cr-0123456789abcdef0"))
    made = launch(ec2, **targeting(id))
    assert made["CapacityReservationId"] == id
    with refused("ReservationCapacityExceeded"):
        launch(ec2, **targeting(id))
    with refused("InvalidParameterValue"):
        ec2.modify_capacity_reservation(CapacityReservationId=id, InstanceCount=0)
    ec2.modify_capacity_reservation(CapacityReservationId=id, InstanceCount=3)
    assert left(ec2, id) == ("active", 2)
    ec2.cancel_capacity_reservation(CapacityReservationId=id)
    assert left(ec2, id) == ("cancelled", 0)
    with refused("InvalidCapacityReservationState"):
        ec2.cancel_capacity_reservation(CapacityReservationId=id)
    with refused("InvalidCapacityReservationState"):
        launch(ec2, **targeting(id))


def test_a_stopped_instance_gives_its_place_back(ec2: Client) -> None:
    id = reserve(ec2)
    made = launch(ec2)["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[made])
    ec2.stop_instances(InstanceIds=[made])
    wait(ec2, "instance_stopped", InstanceIds=[made])
    assert left(ec2, id) == ("active", 1)
    ec2.start_instances(InstanceIds=[made])
    assert left(ec2, id) == ("active", 0)


def test_what_a_reservation_says_and_cannot_be(ec2: Client) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    id = reserve(ec2, EndDate=ends, EndDateType="limited")
    named = [{"Name": name, "Values": [value]} for name, value in (("state", "active"), ("end-date-type", "limited"))]
    (one,) = ec2.describe_capacity_reservations(Filters=named)["CapacityReservations"]
    assert (one["CapacityReservationId"], one["EndDate"], one["TotalInstanceCount"]) == (id, ends, 1)
    with refused("InvalidParameterCombination"):
        reserve(ec2, EndDateType="limited")
    with refused("InvalidParameterValue"):
        reserve(ec2, EndDate=datetime(2020, 1, 1, tzinfo=UTC))
    with refused("InvalidParameterValue"):
        reserve(ec2, InstanceType="t3.gigantic")
    with refused("InvalidCapacityReservationId.Malformed"):
        ec2.cancel_capacity_reservation(CapacityReservationId="cr-1")
