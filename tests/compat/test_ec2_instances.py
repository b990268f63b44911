"""RunInstances, DescribeInstances, Start/Stop/Reboot/TerminateInstances and what surrounds them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any


@pytest.fixture
def image(ec2: Client) -> str:
    """The newest Amazon Linux 2023, found as scripts find it."""
    names = [{"Name": "name", "Values": ["al2023-ami-2023*-kernel-6.1-x86_64"]}]
    found = ec2.describe_images(Owners=["amazon"], Filters=names)["Images"]
    newest: str = max(found, key=lambda one: one["CreationDate"])["ImageId"]
    return newest


@pytest.fixture
def run(ec2: Client, image: str) -> Callable[..., list[dict[str, Any]]]:
    """Run instances; `wait=True` waits until they run."""

    def start(count: int = 1, *, ready: bool = True, **options: Any) -> list[dict[str, Any]]:
        options = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": count, "MaxCount": count} | options
        made: list[dict[str, Any]] = ec2.run_instances(**options)["Instances"]
        if ready:
            wait(ec2, "instance_running", InstanceIds=[one["InstanceId"] for one in made])
        return made

    return start


Run = Callable[..., list[dict[str, Any]]]


def shown(ec2: Client, id: str) -> dict[str, Any]:
    (reservation,) = ec2.describe_instances(InstanceIds=[id])["Reservations"]
    (instance,) = reservation["Instances"]
    found: dict[str, Any] = instance
    return found


def ids_with(ec2: Client, name: str, *values: str) -> set[str]:
    answer = ec2.describe_instances(Filters=[{"Name": name, "Values": list(values)}])
    return {one["InstanceId"] for reservation in answer["Reservations"] for one in reservation["Instances"]}


def test_the_whole_life_of_an_instance(ec2: Client, run: Run) -> None:
    (made,) = run(ready=False)
    id = made["InstanceId"]
    assert made["State"] == {"Code": 0, "Name": "pending"}
    wait(ec2, "instance_running", InstanceIds=[id])
    wait(ec2, "instance_status_ok", InstanceIds=[id])
    running = shown(ec2, id)
    assert running["PublicIpAddress"] and running["PrivateIpAddress"].startswith("172.31.")
    (change,) = ec2.stop_instances(InstanceIds=[id])["StoppingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "stopping")
    wait(ec2, "instance_stopped", InstanceIds=[id])
    stopped = shown(ec2, id)
    assert "PublicIpAddress" not in stopped
    assert stopped["PrivateIpAddress"] == running["PrivateIpAddress"]
    assert stopped["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    (change,) = ec2.start_instances(InstanceIds=[id])["StartingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("stopped", "pending")
    wait(ec2, "instance_running", InstanceIds=[id])
    again = shown(ec2, id)
    assert again["PublicIpAddress"] and "StateReason" not in again
    assert again["LaunchTime"] > running["LaunchTime"]
    (change,) = ec2.terminate_instances(InstanceIds=[id])["TerminatingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("running", "shutting-down")
    wait(ec2, "instance_terminated", InstanceIds=[id])
    gone = shown(ec2, id)
    assert gone["NetworkInterfaces"] == gone["BlockDeviceMappings"] == gone["SecurityGroups"] == []
    assert "VpcId" not in gone
    volume = running["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    wait(ec2, "volume_deleted", VolumeIds=[volume])
    interface = running["NetworkInterfaces"][0]["NetworkInterfaceId"]
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])


def test_an_instance_shows_all_that_scripts_and_terraform_read(ec2: Client, run: Run, image: str, account: str) -> None:
    (made,) = run()
    one = shown(ec2, made["InstanceId"])
    (mapping,) = one["BlockDeviceMappings"]
    assert mapping["DeviceName"] == one["RootDeviceName"] == "/dev/xvda"
    assert mapping["Ebs"]["Status"] == "attached" and mapping["Ebs"]["DeleteOnTermination"] is True
    (interface,) = one["NetworkInterfaces"]
    assert interface["Attachment"]["DeviceIndex"] == 0 and interface["Attachment"]["Status"] == "attached"
    assert interface["SubnetId"] == one["SubnetId"] and interface["VpcId"] == one["VpcId"]
    assert [group["GroupName"] for group in one["SecurityGroups"]] == ["default"]
    assert one["SourceDestCheck"] is True
    assert one["Placement"] == {
        "AvailabilityZone": "us-east-1a",
        "AvailabilityZoneId": "use1-az6",
        "GroupName": "",
        "Tenancy": "default",
    }
    assert one["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 2}
    assert one["MetadataOptions"] == {
        "State": "applied",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 2,
        "HttpEndpoint": "enabled",
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "disabled",
    }
    assert one["MaintenanceOptions"]["AutoRecovery"] == "default"
    assert one["CapacityReservationSpecification"] == {"CapacityReservationPreference": "open"}
    assert one["HibernationOptions"] == {"Configured": False}
    assert one["EnclaveOptions"] == {"Enabled": False}
    assert one["PrivateDnsNameOptions"]["HostnameType"] == "ip-name"
    assert one["Monitoring"] == {"State": "disabled"}
    assert one["PrivateDnsName"] == f"ip-{one['PrivateIpAddress'].replace('.', '-')}.ec2.internal"
    assert one["PublicDnsName"].endswith(".compute-1.amazonaws.com")
    assert (one["ImageId"], one["InstanceType"], one["Architecture"]) == (image, "t3.micro", "x86_64")
    (reservation,) = ec2.describe_instances(InstanceIds=[one["InstanceId"]])["Reservations"]
    assert reservation["OwnerId"] == account and reservation["Groups"] == []


def test_one_call_is_one_reservation(ec2: Client, run: Run) -> None:
    made = run(3)
    assert [one["AmiLaunchIndex"] for one in made] == [0, 1, 2]
    assert len({one["PrivateIpAddress"] for one in made}) == 3
    run(1)
    sizes = sorted(len(one["Instances"]) for one in ec2.describe_instances()["Reservations"])
    assert sizes == [1, 3]


def test_pages(ec2: Client, run: Run) -> None:
    made = {one["InstanceId"] for one in run(7)}
    pages = list(ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
    seen = [
        one["InstanceId"] for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]
    ]
    assert len(pages) == 2 and len(seen) == 7 and set(seen) == made


def test_filters(ec2: Client, run: Run, image: str) -> None:
    tags = [
        {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web-1"}, {"Key": "tier", "Value": "front"}]}
    ]
    (web,) = run(TagSpecifications=tags)
    (other,) = run(InstanceType="t4g.nano", ImageId=_arm_image(ec2))
    web_id, other_id = web["InstanceId"], other["InstanceId"]
    volume = shown(ec2, web_id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    for name, value in {
        "instance-id": web_id,
        "image-id": image,
        "instance-type": "t3.*",
        "architecture": "x86_64",
        "tag:Name": "web-?",
        "tag-key": "tier",
        "private-ip-address": web["PrivateIpAddress"],
        "block-device-mapping.volume-id": volume,
        "network-interface.network-interface-id": web["NetworkInterfaces"][0]["NetworkInterfaceId"],
        "reservation-id": ec2.describe_instances(InstanceIds=[web_id])["Reservations"][0]["ReservationId"],
    }.items():
        assert ids_with(ec2, name, value) == {web_id}, name
    both = {web_id, other_id}
    assert ids_with(ec2, "instance-state-name", "running", "pending") == both
    assert ids_with(ec2, "instance-state-code", "16") == both
    assert ids_with(ec2, "vpc-id", web["VpcId"]) == ids_with(ec2, "instance.group-name", "default") == both
    assert ids_with(ec2, "instance-state-name", "stopped") == set()
    with refused("InvalidParameterValue", "'no-such-filter'"):
        ids_with(ec2, "no-such-filter", "x")


def _arm_image(ec2: Client) -> str:
    names = [{"Name": "name", "Values": ["al2023-ami-2023*-arm64"]}]
    found: str = ec2.describe_images(Owners=["amazon"], Filters=names)["Images"][0]["ImageId"]
    return found


def test_tags_go_to_what_they_are_meant_for(ec2: Client, run: Run) -> None:
    def tags(kind: str) -> dict[str, Any]:
        return {"ResourceType": kind, "Tags": [{"Key": "for", "Value": kind}]}

    kinds = ("instance", "volume", "network-interface")
    (made,) = run(TagSpecifications=[tags(kind) for kind in kinds])
    one = shown(ec2, made["InstanceId"])
    found = {tag["ResourceType"]: tag["ResourceId"] for tag in ec2.describe_tags()["Tags"] if tag["Value"] in kinds}
    assert found == {
        "instance": one["InstanceId"],
        "volume": one["BlockDeviceMappings"][0]["Ebs"]["VolumeId"],
        "network-interface": one["NetworkInterfaces"][0]["NetworkInterfaceId"],
    }
    ec2.create_tags(Resources=[one["InstanceId"]], Tags=[{"Key": "later", "Value": "1"}])
    ec2.delete_tags(Resources=[one["InstanceId"]], Tags=[{"Key": "for"}])
    assert shown(ec2, one["InstanceId"])["Tags"] == [{"Key": "later", "Value": "1"}]


def test_dry_run(ec2: Client, image: str) -> None:
    with refused("DryRunOperation"):
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, DryRun=True)
    assert ec2.describe_instances()["Reservations"] == []


def test_the_same_token_twice_is_one_launch(ec2: Client, image: str) -> None:
    call = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "ClientToken": "once"}
    first, second = ec2.run_instances(**call), ec2.run_instances(**call)
    assert first["Instances"][0]["InstanceId"] == second["Instances"][0]["InstanceId"]
    assert first["Instances"][0]["ClientToken"] == "once"
    with refused("IdempotentParameterMismatch"):
        ec2.run_instances(**call | {"InstanceType": "t3.small"})
    assert len(ids_with(ec2, "client-token", "once")) == 1


def test_refusals_of_a_launch(ec2: Client, image: str) -> None:
    def launch(**options: Any) -> None:
        ec2.run_instances(**{"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1} | options)

    for code, words, options in (
        ("InvalidAMIID.NotFound", "ami-00000000", {"ImageId": "ami-00000000"}),
        ("InvalidAMIID.Malformed", "ami-x", {"ImageId": "ami-x"}),
        ("InvalidParameterValue", "t99.huge", {"InstanceType": "t99.huge"}),
        ("InvalidParameterValue", "arm64", {"InstanceType": "t4g.nano"}),
        ("InvalidKeyPair.NotFound", "nobody", {"KeyName": "nobody"}),
        ("InvalidSubnetID.NotFound", "subnet-00000000", {"SubnetId": "subnet-00000000"}),
        ("InvalidGroup.NotFound", "sg-00000000", {"SecurityGroupIds": ["sg-00000000"]}),
        ("InvalidGroup.NotFound", "nothing", {"SecurityGroups": ["nothing"]}),
        ("InvalidParameterValue", "Invalid IAM Instance Profile", {"IamInstanceProfile": {"Name": "nothing"}}),
        ("InvalidParameterValue", "limited", {"UserData": "x" * 20000}),
        ("InvalidParameterValue", "us-east-1z", {"Placement": {"AvailabilityZone": "us-east-1z"}}),
        ("InvalidPlacementGroup.Unknown", "nowhere", {"Placement": {"GroupName": "nowhere"}}),
        (
            "InvalidBlockDeviceMapping",
            "smaller",
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 1}}]},
        ),
        (
            "InvalidParameterValue",
            "subnet",
            {"TagSpecifications": [{"ResourceType": "subnet", "Tags": [{"Key": "a"}]}]},
        ),
        ("Unsupported", "capacity-block", {"InstanceMarketOptions": {"MarketType": "capacity-block"}}),
    ):
        with refused(code, words):
            launch(**options)
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_volumes()["Volumes"] == []
    assert ec2.describe_network_interfaces()["NetworkInterfaces"] == []


def test_ids_that_are_nobody_s(ec2: Client) -> None:
    with refused("InvalidInstanceID.NotFound", "i-0123456789abcdef0"):
        ec2.describe_instances(InstanceIds=["i-0123456789abcdef0"])
    with refused("InvalidInstanceID.Malformed"):
        ec2.stop_instances(InstanceIds=["i-nonsense"])


def test_other_accounts_and_regions_see_nothing(ec2: Client, run: Run, client: Callable[..., Client]) -> None:
    (made,) = run(ready=False)
    for other in (client("ec2", account="210987654321"), client("ec2", region="eu-west-1")):
        assert other.describe_instances()["Reservations"] == []
        with refused("InvalidInstanceID.NotFound"):
            other.terminate_instances(InstanceIds=[made["InstanceId"]])


def test_protection(ec2: Client, run: Run) -> None:
    (made,) = run(DisableApiTermination=True, DisableApiStop=True)
    id = made["InstanceId"]
    with refused("OperationNotPermitted", "disableApiTermination"):
        ec2.terminate_instances(InstanceIds=[id])
    with refused("OperationNotPermitted", "disableApiStop"):
        ec2.stop_instances(InstanceIds=[id])
    ec2.modify_instance_attribute(InstanceId=id, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[id])
    wait(ec2, "instance_terminated", InstanceIds=[id])


def test_steps_that_a_state_does_not_allow(ec2: Client, run: Run) -> None:
    (made,) = run()
    id = made["InstanceId"]
    ec2.reboot_instances(InstanceIds=[id])
    ec2.terminate_instances(InstanceIds=[id])
    wait(ec2, "instance_terminated", InstanceIds=[id])
    for step in (ec2.start_instances, ec2.stop_instances, ec2.reboot_instances):
        with refused("IncorrectInstanceState", id):
            step(InstanceIds=[id])
    (change,) = ec2.terminate_instances(InstanceIds=[id])["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "terminated"


def test_attributes(ec2: Client, run: Run) -> None:
    (made,) = run(UserData="#!/bin/sh\necho hello\n", InstanceInitiatedShutdownBehavior="terminate")
    id = made["InstanceId"]

    def attribute(name: str) -> Any:
        answer = ec2.describe_instance_attribute(InstanceId=id, Attribute=name)
        return answer[name[0].upper() + name[1:]]

    assert base64.b64decode(attribute("userData")["Value"]) == b"#!/bin/sh\necho hello\n"
    assert attribute("instanceInitiatedShutdownBehavior") == {"Value": "terminate"}
    assert attribute("disableApiTermination") == attribute("disableApiStop") == {"Value": False}
    assert attribute("rootDeviceName") == {"Value": "/dev/xvda"}
    with refused("IncorrectInstanceState"):
        ec2.modify_instance_attribute(InstanceId=id, InstanceType={"Value": "t3.small"})
    ec2.stop_instances(InstanceIds=[id])
    wait(ec2, "instance_stopped", InstanceIds=[id])
    ec2.modify_instance_attribute(InstanceId=id, InstanceType={"Value": "m5.large"})
    ec2.modify_instance_attribute(InstanceId=id, UserData={"Value": b"other"})
    ec2.modify_instance_attribute(InstanceId=id, InstanceInitiatedShutdownBehavior={"Value": "stop"})
    ec2.modify_instance_attribute(InstanceId=id, SourceDestCheck={"Value": False})
    assert attribute("instanceType") == {"Value": "m5.large"}
    assert base64.b64decode(attribute("userData")["Value"]) == b"other"
    assert attribute("instanceInitiatedShutdownBehavior") == {"Value": "stop"}
    assert attribute("sourceDestCheck") == {"Value": False}
    assert shown(ec2, id)["NetworkInterfaces"][0]["SourceDestCheck"] is False
    keep = [{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}}]
    ec2.modify_instance_attribute(InstanceId=id, BlockDeviceMappings=keep)
    volume = shown(ec2, id)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    ec2.terminate_instances(InstanceIds=[id])
    wait(ec2, "instance_terminated", InstanceIds=[id])
    wait(ec2, "volume_available", VolumeIds=[volume])


def test_options_that_are_changed(ec2: Client, run: Run) -> None:
    (made,) = run(
        MetadataOptions={"HttpTokens": "optional", "HttpPutResponseHopLimit": 3},
        CreditSpecification={"CpuCredits": "standard"},
    )
    id = made["InstanceId"]
    assert shown(ec2, id)["MetadataOptions"]["HttpTokens"] == "optional"
    ec2.modify_instance_metadata_options(InstanceId=id, HttpTokens="required", InstanceMetadataTags="enabled")
    options = shown(ec2, id)["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"], options["InstanceMetadataTags"]) == (
        "required",
        3,
        "enabled",
    )
    specifications = ec2.describe_instance_credit_specifications(InstanceIds=[id])["InstanceCreditSpecifications"]
    assert specifications == [{"InstanceId": id, "CpuCredits": "standard"}]
    ec2.modify_instance_credit_specification(
        InstanceCreditSpecifications=[{"InstanceId": id, "CpuCredits": "unlimited"}]
    )
    specifications = ec2.describe_instance_credit_specifications(InstanceIds=[id])["InstanceCreditSpecifications"]
    assert specifications == [{"InstanceId": id, "CpuCredits": "unlimited"}]
    ec2.monitor_instances(InstanceIds=[id])
    assert shown(ec2, id)["Monitoring"] == {"State": "enabled"}
    assert id in ec2.get_console_output(InstanceId=id)["Output"]


def test_volumes_of_a_launch(ec2: Client, run: Run) -> None:
    (made,) = run(
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Iops": 4000}},
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 5, "DeleteOnTermination": False, "Encrypted": True}},
            {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
        ]
    )
    held = {one["DeviceName"]: one["Ebs"] for one in shown(ec2, made["InstanceId"])["BlockDeviceMappings"]}
    assert set(held) == {"/dev/xvda", "/dev/sdf"}
    volumes = {
        one["VolumeId"]: one
        for one in ec2.describe_volumes(VolumeIds=[ebs["VolumeId"] for ebs in held.values()])["Volumes"]
    }
    root, data = volumes[held["/dev/xvda"]["VolumeId"]], volumes[held["/dev/sdf"]["VolumeId"]]
    assert (root["Size"], root["VolumeType"], root["Iops"], root["Throughput"]) == (20, "gp3", 4000, 125)
    assert (data["Size"], data["VolumeType"], data["Iops"], data["Encrypted"]) == (5, "gp2", 100, True)
    assert data["State"] == "in-use" and data["Attachments"][0]["DeleteOnTermination"] is False
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    wait(ec2, "volume_available", VolumeIds=[data["VolumeId"]])
    wait(ec2, "volume_deleted", VolumeIds=[root["VolumeId"]])


def test_network_interfaces_of_a_launch(ec2: Client, run: Run) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    second = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    (made,) = run(
        NetworkInterfaces=[
            {
                "DeviceIndex": 0,
                "SubnetId": subnet,
                "Groups": [group],
                "PrivateIpAddress": "10.1.1.10",
                "AssociatePublicIpAddress": True,
            },
            {"DeviceIndex": 1, "NetworkInterfaceId": second},
        ]
    )
    first, other = made["NetworkInterfaces"]
    assert first["PrivateIpAddress"] == made["PrivateIpAddress"] == "10.1.1.10"
    assert [one["GroupId"] for one in first["Groups"]] == [group]
    assert made["PublicIpAddress"] == first["Association"]["PublicIp"]
    assert other["NetworkInterfaceId"] == second and other["Attachment"]["DeleteOnTermination"] is False
    with refused("InvalidParameterCombination"):
        run(SubnetId=subnet, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet}])
    with refused("InvalidParameterValue", "unique device index"):
        run(NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet}] * 2)
    with refused("InvalidIPAddress.InUse", "10.1.1.10"):
        run(SubnetId=subnet, PrivateIpAddress="10.1.1.10")
    with refused("InvalidNetworkInterface.InUse", second):
        run(NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": second}])
    ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    wait(ec2, "instance_terminated", InstanceIds=[made["InstanceId"]])
    (left,) = ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkInterfaces"]
    assert left["NetworkInterfaceId"] == second and left["Status"] == "available"


def test_an_instance_profile(ec2: Client, run: Run, client: Callable[..., Client], account: str) -> None:
    iam = client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
    iam.create_role(RoleName="server", AssumeRolePolicyDocument=json.dumps(trust))
    profile = iam.create_instance_profile(InstanceProfileName="server")["InstanceProfile"]
    with refused("InvalidParameterValue", "has no associated IAM Roles"):
        run(IamInstanceProfile={"Name": "server"})
    iam.add_role_to_instance_profile(InstanceProfileName="server", RoleName="server")
    (made,) = run(IamInstanceProfile={"Arn": profile["Arn"]})
    carried = {"Arn": f"arn:aws:iam::{account}:instance-profile/server", "Id": profile["InstanceProfileId"]}
    assert made["IamInstanceProfile"] == carried
    (association,) = ec2.describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    assert (association["InstanceId"], association["IamInstanceProfile"]) == (made["InstanceId"], carried)
    ec2.disassociate_iam_instance_profile(AssociationId=association["AssociationId"])
    assert "IamInstanceProfile" not in shown(ec2, made["InstanceId"])
    ec2.associate_iam_instance_profile(InstanceId=made["InstanceId"], IamInstanceProfile={"Name": "server"})
    assert ids_with(ec2, "iam-instance-profile.arn", profile["Arn"]) == {made["InstanceId"]}


def test_status_of_those_that_do_not_run(ec2: Client, run: Run) -> None:
    (made,) = run()
    ec2.stop_instances(InstanceIds=[made["InstanceId"]])
    wait(ec2, "instance_stopped", InstanceIds=[made["InstanceId"]])
    assert ec2.describe_instance_status()["InstanceStatuses"] == []
    (status,) = ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    assert status["InstanceState"]["Name"] == "stopped"
    assert status["InstanceStatus"]["Status"] == status["SystemStatus"]["Status"] == "not-applicable"
