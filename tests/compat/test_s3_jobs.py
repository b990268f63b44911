"""Batch jobs and metadata tables as records, and operations that are refused as AWS refuses them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.compat.test_s3_access_points import OWNER, control
from tests.server import Server

pytestmark = pytest.mark.embedded

JOB: dict[str, Any] = {
    "AccountId": OWNER,
    "Operation": {"S3PutObjectTagging": {"TagSet": [{"Key": "a", "Value": "b"}]}},
    "Report": {"Enabled": False},
    "Manifest": {
        "Spec": {"Format": "S3BatchOperations_CSV_20180820", "Fields": ["Bucket", "Key"]},
        "Location": {"ObjectArn": "arn:aws:s3:::b/manifest.csv", "ETag": "60e460c9d1046e73f7dde5043ac3ae85"},
    },
    "Priority": 3,
    "RoleArn": f"arn:aws:iam::{OWNER}:role/batch",
}


def test_jobs_are_kept_and_move_between_states(server: Server) -> None:
    s3control = control(server, OWNER)
    job = s3control.create_job(
        **JOB, ConfirmationRequired=True, ClientRequestToken="t1", Tags=[{"Key": "k", "Value": "v"}]
    )
    assert (
        s3control.create_job(
            **JOB, ConfirmationRequired=True, ClientRequestToken="t1", Tags=[{"Key": "k", "Value": "v"}]
        )["JobId"]
        == job["JobId"]
    )
    about = s3control.describe_job(AccountId=OWNER, JobId=job["JobId"])["Job"]
    assert about["Status"] == "Suspended"
    assert about["Operation"] == JOB["Operation"]
    assert about["Manifest"] == JOB["Manifest"]
    assert s3control.get_job_tagging(AccountId=OWNER, JobId=job["JobId"])["Tags"] == [{"Key": "k", "Value": "v"}]
    s3control.update_job_priority(AccountId=OWNER, JobId=job["JobId"], Priority=9)
    done = s3control.update_job_status(AccountId=OWNER, JobId=job["JobId"], RequestedJobStatus="Ready")
    assert done["Status"] == "Ready"
    with refused("JobStatusException"):
        s3control.update_job_status(AccountId=OWNER, JobId=job["JobId"], RequestedJobStatus="Ready")
    s3control.update_job_status(AccountId=OWNER, JobId=job["JobId"], RequestedJobStatus="Cancelled")
    listed = s3control.list_jobs(AccountId=OWNER, JobStatuses=["Cancelled"])["Jobs"]
    assert [(one["JobId"], one["Priority"], one["Operation"]) for one in listed] == [
        (job["JobId"], 9, "S3PutObjectTagging")
    ]
    with refused("NoSuchJob"):
        s3control.describe_job(AccountId=OWNER, JobId="00000000-0000-0000-0000-000000000000")


def test_metadata_configuration(server: Server) -> None:
    s3 = new_client(server.endpoint, "s3", OWNER)
    bucket = make_bucket(s3)
    with refused("MetadataConfigurationNotFound"):
        s3.get_bucket_metadata_configuration(Bucket=bucket)
    s3.create_bucket_metadata_configuration(
        Bucket=bucket,
        MetadataConfiguration={
            "JournalTableConfiguration": {"RecordExpiration": {"Expiration": "ENABLED", "Days": 7}},
            "InventoryTableConfiguration": {"ConfigurationState": "DISABLED"},
        },
    )
    s3.update_bucket_metadata_inventory_table_configuration(
        Bucket=bucket, InventoryTableConfiguration={"ConfigurationState": "ENABLED"}
    )
    s3.update_bucket_metadata_journal_table_configuration(
        Bucket=bucket, JournalTableConfiguration={"RecordExpiration": {"Expiration": "DISABLED"}}
    )
    found = s3.get_bucket_metadata_configuration(Bucket=bucket)["GetBucketMetadataConfigurationResult"]
    result = found["MetadataConfigurationResult"]
    assert result["DestinationResult"]["TableNamespace"] == f"b_{bucket}"
    assert result["JournalTableConfigurationResult"]["RecordExpiration"] == {"Expiration": "DISABLED"}
    assert result["InventoryTableConfigurationResult"]["ConfigurationState"] == "ENABLED"
    assert result["InventoryTableConfigurationResult"]["TableName"] == "inventory"
    s3.delete_bucket_metadata_configuration(Bucket=bucket)
    with refused("MetadataConfigurationNotFound"):
        s3.get_bucket_metadata_configuration(Bucket=bucket)


def test_what_only_directory_buckets_have(server: Server) -> None:
    s3 = new_client(server.endpoint, "s3", OWNER)
    bucket = make_bucket(s3)
    assert s3.get_bucket_abac(Bucket=bucket)["AbacStatus"]["Status"] == "Disabled"
    s3.put_bucket_abac(Bucket=bucket, AbacStatus={"Status": "Enabled"})
    assert s3.get_bucket_abac(Bucket=bucket)["AbacStatus"]["Status"] == "Enabled"
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused("NoSuchKey"):
        s3.get_object_torrent(Bucket=bucket, Key="k")
    with refused("NotImplemented", "directory buckets"):
        s3.rename_object(Bucket=bucket, Key="k", RenameSource="other")
    with refused("InvalidRequest", "directory buckets"):
        s3.create_session(Bucket=bucket)


@pytest.mark.parametrize(
    "changed",
    [
        {"Manifest": {**JOB["Manifest"], "Spec": {"Format": "S3BatchOperations_CSV_20180820", "Fields": ["Bucket"]}}},
        {"Manifest": {**JOB["Manifest"], "Spec": {"Format": "S3BatchOperations_CSV_20180820"}}},
        {"Manifest": {**JOB["Manifest"], "Location": {"ObjectArn": "manifest.csv", "ETag": "60e460c9"}}},
        {"Report": {"Enabled": True}},
        {"RoleArn": "batch"},
    ],
)
def test_jobs_that_could_not_run_are_refused(server: Server, changed: dict[str, Any]) -> None:
    with refused("InvalidRequest"):
        control(server, OWNER).create_job(**JOB | changed, ConfirmationRequired=True, ClientRequestToken="t2")


@pytest.mark.parametrize("listing", ["list_jobs", "list_access_points", "list_access_points_for_directory_buckets"])
def test_pages_have_no_fewer_entries_than_none(server: Server, listing: str) -> None:
    s3control = control(server, OWNER, parameter_validation=False)
    with refused("InvalidRequest"):
        getattr(s3control, listing)(AccountId=OWNER, MaxResults=-1)


def test_policies_may_ask_what_a_job_does(server: Server) -> None:
    root, iam = control(server, OWNER), new_client(server.endpoint, "iam", OWNER)
    iam.create_user(UserName="jobber")
    key = iam.create_access_key(UserName="jobber")["AccessKey"]
    user = control(server, OWNER, key["AccessKeyId"], key["SecretAccessKey"])

    def allow(action: str, **condition: Any) -> None:
        statement = {"Effect": "Allow", "Action": [action, "iam:PassRole"], "Resource": "*", "Condition": condition}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="jobber", PolicyName="p", PolicyDocument=document)

    tagging = {"StringEquals": {"s3:RequestJobOperation": "S3PutObjectTagging"}}
    allow("s3:CreateJob", **tagging, NumericLessThan={"s3:RequestJobPriority": "5"})
    made = user.create_job(**JOB, ConfirmationRequired=True, ClientRequestToken="j1")["JobId"]
    with refused("AccessDenied"):
        user.create_job(**JOB | {"Priority": 5}, ConfirmationRequired=True, ClientRequestToken="j2")
    with refused("AccessDenied"):
        other = {"Operation": {"S3DeleteObjectTagging": {}}}
        user.create_job(**JOB | other, ConfirmationRequired=True, ClientRequestToken="j3")

    condition = {"s3:ExistingJobOperation": "S3PutObjectTagging", "s3:JobSuspendedCause": "AWAITING_CONFIRMATION"}
    allow("s3:UpdateJobStatus", StringEquals=condition, NumericEquals={"s3:ExistingJobPriority": "3"})
    root.update_job_priority(AccountId=OWNER, JobId=made, Priority=4)
    with refused("AccessDenied"):
        user.update_job_status(AccountId=OWNER, JobId=made, RequestedJobStatus="Ready")
    root.update_job_priority(AccountId=OWNER, JobId=made, Priority=3)
    user.update_job_status(AccountId=OWNER, JobId=made, RequestedJobStatus="Ready")
    with refused("AccessDenied"):
        user.update_job_status(AccountId=OWNER, JobId=made, RequestedJobStatus="Cancelled")


def test_policies_may_limit_the_fields_of_inventories(server: Server) -> None:
    s3, iam = new_client(server.endpoint, "s3", OWNER), new_client(server.endpoint, "iam", OWNER)
    bucket = make_bucket(s3)
    iam.create_user(UserName="counter")
    key = iam.create_access_key(UserName="counter")["AccessKey"]
    statement = {
        "Effect": "Allow",
        "Action": "s3:PutInventoryConfiguration",
        "Resource": "*",
        "Condition": {"ForAllValues:StringEquals": {"s3:InventoryAccessibleOptionalFields": ["Size", "ETag"]}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="counter", PolicyName="p", PolicyDocument=document)
    user = new_client(server.endpoint, "s3", key["AccessKeyId"], secret=key["SecretAccessKey"])
    inventory: dict[str, Any] = {
        "Id": "i",
        "IsEnabled": True,
        "IncludedObjectVersions": "All",
        "Schedule": {"Frequency": "Daily"},
        "Destination": {"S3BucketDestination": {"Bucket": f"arn:aws:s3:::{bucket}", "Format": "CSV"}},
        "OptionalFields": ["Size"],
    }
    user.put_bucket_inventory_configuration(Bucket=bucket, Id="i", InventoryConfiguration=inventory)
    inventory["OptionalFields"] = ["Size", "ObjectOwner"]
    with refused("AccessDenied"):
        user.put_bucket_inventory_configuration(Bucket=bucket, Id="i", InventoryConfiguration=inventory)
