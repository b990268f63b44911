"""Spot Instances: requests that are fulfilled at once, and end with their instances."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.test_ec2_capacity import ec2, image
from tests.compat.waiting import wait

Client = Any
__all__ = ["ec2"]


def request(ec2: Client, **more: Any) -> str:
    spec = {"ImageId": image(ec2), "InstanceType": "t3.micro"}
    (made,) = ec2.request_spot_instances(LaunchSpecification=spec, **more)["SpotInstanceRequests"]
    assert (made["State"], "InstanceId" in made) == ("open", False)
    id: str = made["SpotInstanceRequestId"]
    return id


def described(ec2: Client, id: str) -> dict[str, Any]:
    (one,) = ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[id])["SpotInstanceRequests"]
    return dict(one)


def fate(ec2: Client, id: str) -> tuple[str, str]:
    one = described(ec2, id)
    return one["State"], one["Status"]["Code"]


def test_a_request_is_fulfilled_and_ends_with_its_instance(ec2: Client) -> None:
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "a", "Value": "b"}]}]
    id = request(ec2, SpotPrice="0.05", TagSpecifications=tags)
    wait(ec2, "spot_instance_request_fulfilled", SpotInstanceRequestIds=[id])
    one = described(ec2, id)
    assert (one["Type"], one["SpotPrice"], one["Tags"]) == ("one-time", "0.05", tags[0]["Tags"])
    assert one["LaunchSpecification"]["InstanceType"] == "t3.micro"
    named = [{"Name": "spot-instance-request-id", "Values": [id]}, {"Name": "instance-lifecycle", "Values": ["spot"]}]
    (held,) = ec2.describe_instances(Filters=named)["Reservations"]
    instance = held["Instances"][0]["InstanceId"]
    assert one["InstanceId"] == instance
    wait(ec2, "instance_running", InstanceIds=[instance])
    with refused("UnsupportedOperation", "one-time"):
        ec2.stop_instances(InstanceIds=[instance])
    (cancelled,) = ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[id])["CancelledSpotInstanceRequests"]
    assert cancelled["State"] == "cancelled"
    assert fate(ec2, id) == ("cancelled", "request-canceled-and-instance-running")
    ec2.terminate_instances(InstanceIds=[instance])
    assert fate(ec2, id) == ("cancelled", "instance-terminated-by-user")


def test_a_persistent_request_is_fulfilled_again(ec2: Client) -> None:
    id = request(ec2, Type="persistent", InstanceInterruptionBehavior="stop", SpotPrice="")
    first = described(ec2, id)["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[first])
    ec2.stop_instances(InstanceIds=[first])
    assert fate(ec2, id) == ("disabled", "instance-stopped-by-user")
    ec2.terminate_instances(InstanceIds=[first])
    second = described(ec2, id)["InstanceId"]
    assert second != first
    assert fate(ec2, id) == ("active", "fulfilled")
    ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[id])
    ec2.terminate_instances(InstanceIds=[second])
    assert described(ec2, id)["InstanceId"] == second


def test_run_instances_in_the_spot_market(ec2: Client) -> None:
    given = {"ImageId": image(ec2), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    made = ec2.run_instances(**given, InstanceMarketOptions={"MarketType": "spot"})["Instances"][0]
    assert made["InstanceLifecycle"] == "spot"
    assert described(ec2, made["SpotInstanceRequestId"])["InstanceId"] == made["InstanceId"]
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    assert fate(ec2, made["SpotInstanceRequestId"]) == ("closed", "instance-terminated-by-user")


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("InvalidParameterValue", {"SpotPrice": "cheap"}),
        ("InvalidParameterCombination", {"InstanceInterruptionBehavior": "stop"}),
        ("InvalidParameterValue", {"InstanceCount": 0}),
        ("InvalidParameterValue", {"TagSpecifications": [{"ResourceType": "instance", "Tags": []}]}),
    ],
)
def test_what_cannot_be_asked_for(ec2: Client, code: str, more: dict[str, Any]) -> None:
    with refused(code):
        request(ec2, **more)


def test_requests_that_are_not_there(ec2: Client) -> None:
    with refused("InvalidSpotInstanceRequestID.NotFound"):
        ec2.describe_spot_instance_requests(SpotInstanceRequestIds=["sir-abcdefgh"])
