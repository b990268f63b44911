"""What is set for later: CPU credits by default, processors and bandwidth of stopped instances, disabled images."""

from __future__ import annotations

from typing import Any

from tests.compat.refused import refused
from tests.compat.test_ec2_capacity import ec2, image, launch
from tests.compat.waiting import wait

Client = Any
__all__ = ["ec2"]


def stopped(ec2: Client, type: str) -> str:
    id: str = launch(ec2, InstanceType=type)["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[id])
    ec2.stop_instances(InstanceIds=[id])
    wait(ec2, "instance_stopped", InstanceIds=[id])
    return id


def test_credits_by_default(ec2: Client) -> None:
    def default(family: str) -> str:
        found = ec2.get_default_credit_specification(InstanceFamily=family)["InstanceFamilyCreditSpecification"]
        assert found["InstanceFamily"] == family
        return str(found["CpuCredits"])

    assert (default("t2"), default("t3")) == ("standard", "unlimited")
    ec2.modify_default_credit_specification(InstanceFamily="t3", CpuCredits="standard")
    assert (default("t2"), default("t3"), default("t3a")) == ("standard", "standard", "unlimited")
    id = launch(ec2)["InstanceId"]
    (one,) = ec2.describe_instance_credit_specifications(InstanceIds=[id])["InstanceCreditSpecifications"]
    assert one["CpuCredits"] == "standard"
    with refused("InvalidParameterValue"):
        ec2.modify_default_credit_specification(InstanceFamily="t3", CpuCredits="boundless")


def test_processors_and_bandwidth(ec2: Client) -> None:
    id = stopped(ec2, "m5.xlarge")
    changed = ec2.modify_instance_cpu_options(InstanceId=id, CoreCount=1, ThreadsPerCore=1)
    assert (changed["CoreCount"], changed["ThreadsPerCore"]) == (1, 1)
    (held,) = ec2.describe_instances(InstanceIds=[id])["Reservations"]
    assert held["Instances"][0]["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 1}
    with refused("InvalidParameterValue"):
        ec2.modify_instance_cpu_options(InstanceId=id, CoreCount=3, ThreadsPerCore=1)
    with refused("InvalidParameterCombination"):
        ec2.modify_instance_network_performance_options(InstanceId=id, BandwidthWeighting="vpc-1")
    ec2.start_instances(InstanceIds=[id])
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_cpu_options(InstanceId=id, CoreCount=2, ThreadsPerCore=1)


def test_a_disabled_image(ec2: Client) -> None:
    made = ec2.copy_image(Name="mine", SourceImageId=image(ec2), SourceRegion="us-east-1")["ImageId"]
    wait(ec2, "image_available", ImageIds=[made])
    with refused("IncorrectState"):
        ec2.enable_image(ImageId=made)
    ec2.modify_image_attribute(ImageId=made, LaunchPermission={"Add": [{"UserId": "123456789012"}]})
    ec2.disable_image(ImageId=made)
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    (shown,) = ec2.describe_images(Owners=["self"], IncludeDisabled=True)["Images"]
    assert (shown["ImageId"], shown["State"]) == (made, "disabled")
    with refused("InvalidAMIID.Unavailable", made):
        launch(ec2, ImageId=made)
    with refused("IncorrectState"):
        ec2.modify_image_attribute(ImageId=made, LaunchPermission={"Add": [{"UserId": "123456789012"}]})
    ec2.enable_image(ImageId=made)
    assert ec2.describe_image_attribute(ImageId=made, Attribute="launchPermission")["LaunchPermissions"] == []
    assert launch(ec2, ImageId=made)["ImageId"] == made
