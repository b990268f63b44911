"""Keys of KMS that encrypt volumes and snapshots: which one is meant, what is inherited, and what will not do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.waiting import wait

Client = Any
ZONE = "us-east-1a"


@pytest.fixture
def kms(client: Callable[..., Client]) -> Client:
    return client("kms")


def volume(ec2: Client, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = ec2.create_volume(AvailabilityZone=ZONE, **({"Size": 1} | more))
    return made


def settled(ec2: Client, id: str) -> str:
    """The state of a volume that is not being made any more."""
    from time import monotonic, sleep

    until = monotonic() + 60
    while True:
        state: str = ec2.describe_volumes(VolumeIds=[id])["Volumes"][0]["State"]
        if state != "creating":
            return state
        assert monotonic() < until
        sleep(0.1)


def snapshot(ec2: Client, **more: Any) -> str:
    id = volume(ec2, **more)["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[id])
    made: str = ec2.create_snapshot(VolumeId=id)["SnapshotId"]
    wait(ec2, "snapshot_completed", SnapshotIds=[made])
    return made


def test_the_accounts_own_key_is_a_real_one(ec2: Client, kms: Client) -> None:
    made = volume(ec2, Encrypted=True)
    about = kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]
    assert made["KmsKeyId"] == about["Arn"] and about["KeyManager"] == "AWS"
    assert volume(ec2, Encrypted=True, KmsKeyId="alias/aws/ebs")["KmsKeyId"] == about["Arn"]
    assert settled(ec2, made["VolumeId"]) == "available"


def test_a_key_is_named_in_four_ways(ec2: Client, kms: Client, account: str) -> None:
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/disks", TargetKeyId=key["KeyId"])
    alias = f"arn:aws:kms:us-east-1:{account}:alias/disks"
    for named in (key["KeyId"], key["Arn"], "alias/disks", alias):
        made = volume(ec2, Encrypted=True, KmsKeyId=named)
        assert made["KmsKeyId"] == key["Arn"] and settled(ec2, made["VolumeId"]) == "available"


def bad_key(case: str, kms: Client, west: Client) -> str:
    if case == "missing":
        return "11111111-2222-3333-4444-555555555555"
    if case == "alias":
        return "alias/nobody"
    if case == "signs":
        return str(kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"])
    made = (west if case == "elsewhere" else kms).create_key()["KeyMetadata"]
    if case == "disabled":
        kms.disable_key(KeyId=made["KeyId"])
    if case == "doomed":
        kms.schedule_key_deletion(KeyId=made["KeyId"])
    return str(made["Arn"])


@pytest.mark.parametrize("case", ["missing", "alias", "signs", "elsewhere", "disabled", "doomed"])
def test_a_key_that_will_not_do(ec2: Client, kms: Client, client: Callable[..., Client], case: str) -> None:
    key = bad_key(case, kms, client("kms", region="us-west-2"))
    made = volume(ec2, Encrypted=True, KmsKeyId=key)
    assert made["State"] == "creating" and settled(ec2, made["VolumeId"]) == "error"
    plain = snapshot(ec2)
    copy = ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=plain, Encrypted=True, KmsKeyId=key)
    (one,) = ec2.describe_snapshots(SnapshotIds=[copy["SnapshotId"]])["Snapshots"]
    assert one["State"] == "error" and one["StateMessage"].startswith("Given key ID is not accessible."), one
    with refused("InvalidParameterValue", "not accessible"):
        ec2.modify_ebs_default_kms_key_id(KmsKeyId=key)
    ec2.delete_volume(VolumeId=made["VolumeId"])


def test_a_user_without_the_key(ec2: Client, kms: Client, client: Callable[..., Client]) -> None:
    """Permissions of EC2 alone do for the account's own key, whose policy says so, and not for another one."""
    iam = client("iam")
    iam.create_user(UserName="u")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=json.dumps(policy))
    access = iam.create_access_key(UserName="u")["AccessKey"]
    mine = client("ec2", key=access["AccessKeyId"], secret=access["SecretAccessKey"])
    key = kms.create_key()["KeyMetadata"]["Arn"]
    assert settled(ec2, volume(mine, Encrypted=True)["VolumeId"]) == "available"
    assert settled(ec2, volume(mine, Encrypted=True, KmsKeyId=key)["VolumeId"]) == "error"


def test_what_is_inherited(ec2: Client, kms: Client) -> None:
    key, other = (kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    first = snapshot(ec2, Encrypted=True, KmsKeyId=key)
    (one,) = ec2.describe_snapshots(SnapshotIds=[first])["Snapshots"]
    assert (one["Encrypted"], one["KmsKeyId"]) == (True, key)
    made = volume(ec2, SnapshotId=first)
    assert (made["Encrypted"], made["KmsKeyId"]) == (True, key)
    assert volume(ec2, SnapshotId=first, KmsKeyId=other)["KmsKeyId"] == other
    with refused("InvalidRequest", "Creating unencrypted copy"):
        ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=first, Encrypted=False)
    copy = ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=first, KmsKeyId=other)["SnapshotId"]
    (one,) = ec2.describe_snapshots(SnapshotIds=[copy])["Snapshots"]
    assert (one["Encrypted"], one["KmsKeyId"]) == (True, other)
    image = ec2.register_image(
        Name="sealed",
        RootDeviceName="/dev/sda1",
        VirtualizationType="hvm",
        Architecture="x86_64",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": first}}],
    )["ImageId"]
    with refused("InvalidRequest", "Creating unencrypted copy"):
        ec2.copy_image(SourceRegion="us-east-1", SourceImageId=image, Name="open", Encrypted=False)
    run = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    wait(ec2, "instance_running", InstanceIds=[run["InstanceId"]])
    held = [{"Name": "attachment.instance-id", "Values": [run["InstanceId"]]}]
    (disk,) = ec2.describe_volumes(Filters=held)["Volumes"]
    assert (disk["Encrypted"], disk["KmsKeyId"]) == (True, key)


def test_the_default_key_of_the_account(ec2: Client, kms: Client) -> None:
    key = kms.create_key()["KeyMetadata"]["Arn"]
    assert ec2.modify_ebs_default_kms_key_id(KmsKeyId=key.rpartition("/")[2])["KmsKeyId"] == key
    assert ec2.get_ebs_default_kms_key_id()["KmsKeyId"] == key
    assert ec2.get_ebs_encryption_by_default()["SseType"] == "none"
    ec2.enable_ebs_encryption_by_default()
    assert ec2.get_ebs_encryption_by_default()["SseType"] == "sse-kms"
    made = volume(ec2)
    assert (made["Encrypted"], made["KmsKeyId"]) == (True, key)
    assert ec2.reset_ebs_default_kms_key_id()["KmsKeyId"] == "alias/aws/ebs"
    assert volume(ec2)["KmsKeyId"] == kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]["Arn"]
    ec2.disable_ebs_encryption_by_default()
