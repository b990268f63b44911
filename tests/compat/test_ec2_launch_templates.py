"""Launch templates, their versions, and launches with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.fixture
def image(ec2: Client) -> str:
    names = [{"Name": "name", "Values": ["amzn2-ami-hvm-*-x86_64-gp2"]}]
    found: str = ec2.describe_images(Owners=["amazon"], Filters=names)["Images"][0]["ImageId"]
    return found


def test_versions(ec2: Client, image: str) -> None:
    data = {"ImageId": image, "InstanceType": "t3.micro"}
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"]
    id = made["LaunchTemplateId"]
    assert (made["DefaultVersionNumber"], made["LatestVersionNumber"]) == (1, 1)
    with refused("InvalidLaunchTemplateName.AlreadyExistsException"):
        ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    second = ec2.create_launch_template_version(
        LaunchTemplateId=id, SourceVersion="1", LaunchTemplateData={"InstanceType": "t3.small"}
    )["LaunchTemplateVersion"]
    assert second["VersionNumber"] == 2 and second["DefaultVersion"] is False
    assert second["LaunchTemplateData"] == {"ImageId": image, "InstanceType": "t3.small"}
    ec2.modify_launch_template(LaunchTemplateName="web", DefaultVersion="2")
    versions = ec2.describe_launch_template_versions(LaunchTemplateId=id)["LaunchTemplateVersions"]
    assert [(one["VersionNumber"], one["DefaultVersion"]) for one in versions] == [(2, True), (1, False)]
    (latest,) = ec2.describe_launch_template_versions(LaunchTemplateId=id, Versions=["$Latest"])[
        "LaunchTemplateVersions"
    ]
    assert latest["VersionNumber"] == 2
    with refused("InvalidLaunchTemplateId.VersionNotFound", "The launch template version 9 is not found"):
        ec2.modify_launch_template(LaunchTemplateId=id, DefaultVersion="9")
    with refused("InvalidParameterCombination", "Either provide launch template ID"):
        ec2.modify_launch_template(LaunchTemplateId=id, LaunchTemplateName="web", DefaultVersion="1")
    with refused("InvalidParameterValue", "To describe the launch template data"):
        ec2.describe_launch_template_versions(Versions=["1"])
    with refused("MissingParameter", "To describe the launch template data"):
        ec2.describe_launch_template_versions()
    with refused("InvalidLaunchTemplateName.NotFoundException", "At least one of the launch templates"):
        ec2.describe_launch_templates(LaunchTemplateNames=["web", "none"])
    answer = ec2.delete_launch_template_versions(LaunchTemplateId=id, Versions=["1", "2", "9"])
    assert [one["VersionNumber"] for one in answer["SuccessfullyDeletedLaunchTemplateVersions"]] == [1]
    assert [one["VersionNumber"] for one in answer["UnsuccessfullyDeletedLaunchTemplateVersions"]] == [2, 9]
    ec2.delete_launch_template(LaunchTemplateId=id)
    with refused("InvalidLaunchTemplateId.NotFound"):
        ec2.describe_launch_templates(LaunchTemplateIds=[id])
    with refused("InvalidLaunchTemplateName.NotFoundException"):
        ec2.describe_launch_template_versions(LaunchTemplateName="web")


def test_a_launch_with_a_template(ec2: Client, image: str) -> None:
    data = {
        "ImageId": image,
        "InstanceType": "t3.nano",
        "DisableApiTermination": True,
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 4},
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "from", "Value": "template"}, {"Key": "both", "Value": "t"}]}
        ],
    }
    id = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"][
        "LaunchTemplateId"
    ]
    (made,) = ec2.run_instances(
        LaunchTemplate={"LaunchTemplateName": "web", "Version": "1"},
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "both", "Value": "call"}]}],
    )["Instances"]
    assert (made["ImageId"], made["InstanceType"]) == (image, "t3.micro")
    assert made["MetadataOptions"]["HttpPutResponseHopLimit"] == 4
    assert {tag["Key"]: tag["Value"] for tag in made["Tags"]} == {
        "aws:ec2launchtemplate:id": id,
        "aws:ec2launchtemplate:version": "1",
        "both": "call",
        "from": "template",
    }
    with refused("OperationNotPermitted"):
        ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    with refused("InvalidLaunchTemplateId.VersionNotFound"):
        ec2.run_instances(LaunchTemplate={"LaunchTemplateId": id, "Version": "7"}, MinCount=1, MaxCount=1)


def test_placement_groups(ec2: Client, image: str) -> None:
    group = ec2.create_placement_group(GroupName="near", Strategy="cluster")["PlacementGroup"]
    assert (group["GroupName"], group["State"], group["Strategy"]) == ("near", "available", "cluster")
    with refused("InvalidPlacementGroup.Duplicate"):
        ec2.create_placement_group(GroupName="near", Strategy="cluster")
    (made,) = ec2.run_instances(
        ImageId=image, InstanceType="c5.large", MinCount=1, MaxCount=1, Placement={"GroupName": "near"}
    )["Instances"]
    assert made["Placement"]["GroupName"] == "near"
    with refused("InvalidPlacementGroup.InUse"):
        ec2.delete_placement_group(GroupName="near")
    spread = ec2.create_placement_group(GroupName="far", Strategy="partition", PartitionCount=3)["PlacementGroup"]
    assert spread["PartitionCount"] == 3
    ec2.delete_placement_group(GroupName="far")
    with refused("InvalidPlacementGroup.Unknown"):
        ec2.describe_placement_groups(GroupNames=["far"])


def test_another_accounts_instances_hold_no_placement_group(
    ec2: Client, image: str, client: Callable[..., Any]
) -> None:
    other = client("ec2", account="111122223333")
    for one in (ec2, other):
        one.create_placement_group(GroupName="apart", Strategy="cluster")
    about = {"ImageId": image, "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1}
    ec2.run_instances(**about, Placement={"GroupName": "apart"})
    other.delete_placement_group(GroupName="apart")
    with refused("InvalidPlacementGroup.InUse"):
        ec2.delete_placement_group(GroupName="apart")
