"""Buckets and the documents that they have."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from tests.compat.s3_worlds import bucket_name, code_of, error_of, make_bucket


@pytest.fixture
def s3(client: Callable[..., Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


@pytest.mark.parametrize(
    "name",
    ["ab", "Capital", "under_score", "-dash", "dash-", "two..dots", "192.168.1.1", "xn--x", "x" * 64, "a-s3alias"],
)
def test_names_that_are_none(s3: Any, name: str) -> None:
    assert code_of(s3.create_bucket, Bucket=name) == "InvalidBucketName"


def test_making_and_dropping(s3: Any, client: Callable[..., Any]) -> None:
    name = bucket_name()
    assert s3.create_bucket(Bucket=name)["Location"] == f"/{name}"
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.create_bucket(Bucket=name)  # once more is no error in this region
    other = client("s3", account="999988887777")
    assert code_of(other.create_bucket, Bucket=name) == "BucketAlreadyExists"
    assert code_of(other.create_bucket, Bucket=name, ObjectLockEnabledForBucket=True) == "BucketAlreadyExists"
    assert error_of(other.head_bucket, Bucket=name)["Status"] == 403
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    assert code_of(s3.delete_bucket, Bucket=name) == "BucketNotEmpty"
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    assert error_of(s3.head_bucket, Bucket=name)["Status"] == 404
    assert error_of(s3.delete_bucket, Bucket=name)["BucketName"] == name


def test_regions(s3: Any, client: Callable[..., Any]) -> None:
    name, west = bucket_name(), client("s3", region="eu-west-1")
    assert code_of(west.create_bucket, Bucket=name) == "IllegalLocationConstraintException"
    elsewhere = {"LocationConstraint": "us-west-2"}
    assert code_of(west.create_bucket, Bucket=name, CreateBucketConfiguration=elsewhere) == (
        "IllegalLocationConstraintException"
    )
    here = {"LocationConstraint": "eu-west-1"}
    west.create_bucket(Bucket=name, CreateBucketConfiguration=here)
    assert west.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == "eu-west-1"
    assert code_of(west.create_bucket, Bucket=name, CreateBucketConfiguration=here) == "BucketAlreadyOwnedByYou"
    nowhere = {"LocationConstraint": "mars-north-1"}
    assert code_of(s3.create_bucket, Bucket=bucket_name(), CreateBucketConfiguration=nowhere) == (
        "InvalidLocationConstraint"
    )


def test_listing_buckets(s3: Any, client: Callable[..., Any]) -> None:
    names = sorted(make_bucket(s3) for _ in range(3))
    client("s3", region="eu-west-1").create_bucket(
        Bucket="x" + names[0], CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    listed = s3.list_buckets()
    assert [one["Name"] for one in listed["Buckets"]] == [*names, "x" + names[0]]
    assert len(listed["Owner"]["ID"]) == 64
    pages = list(s3.get_paginator("list_buckets").paginate(PaginationConfig={"PageSize": 2}))
    assert [one["Name"] for page in pages for one in page["Buckets"]] == [*names, "x" + names[0]]
    assert [one["Name"] for one in s3.list_buckets(Prefix="x")["Buckets"]] == ["x" + names[0]]
    found = s3.list_buckets(BucketRegion="eu-west-1")["Buckets"]
    assert [(one["Name"], one["BucketRegion"]) for one in found] == [("x" + names[0], "eu-west-1")]


ABSENT = {
    "get_bucket_policy": "NoSuchBucketPolicy",
    "get_bucket_policy_status": "NoSuchBucketPolicy",
    "get_bucket_cors": "NoSuchCORSConfiguration",
    "get_bucket_website": "NoSuchWebsiteConfiguration",
    "get_bucket_lifecycle_configuration": "NoSuchLifecycleConfiguration",
    "get_bucket_replication": "ReplicationConfigurationNotFoundError",
    "get_object_lock_configuration": "ObjectLockConfigurationNotFoundError",
    "get_bucket_tagging": "NoSuchTagSet",
}


def test_a_new_bucket(s3: Any, bucket: str) -> None:
    for call, code in ABSENT.items():
        error = error_of(getattr(s3, call), Bucket=bucket)
        assert (error["Code"], error["Status"], error["BucketName"]) == (code, 404, bucket)
    for call in ("inventory", "analytics", "metrics", "intelligent_tiering"):
        assert code_of(getattr(s3, f"get_bucket_{call}_configuration"), Bucket=bucket, Id="x") == "NoSuchConfiguration"
    for call in ("accelerate_configuration", "logging", "versioning", "notification_configuration"):
        assert set(getattr(s3, f"get_bucket_{call}")(Bucket=bucket)) == {"ResponseMetadata"}
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    encryption = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encryption[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    owned = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert owned == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    acl = s3.get_bucket_acl(Bucket=bucket)
    assert acl["Grants"] == [
        {"Grantee": {"Type": "CanonicalUser", "ID": acl["Owner"]["ID"]}, "Permission": "FULL_CONTROL"}
    ]


RULES = [
    {
        "ID": "all",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "p/", "Tags": [{"Key": "a", "Value": "1"}], "ObjectSizeGreaterThan": 5}},
        "Expiration": {"Days": 120},
        "Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}, {"Days": 90, "StorageClass": "GLACIER"}],
        "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 2},
    },
    {
        "ID": "dated",
        "Status": "Enabled",
        "Filter": {"Prefix": "q/"},
        "Expiration": {"Date": datetime(2031, 1, 1, tzinfo=UTC)},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    },
    {"ID": "none", "Status": "Disabled", "Filter": {}, "Expiration": {"Days": 1}},
    {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
]
DOCUMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cors": (
        "CORSConfiguration",
        {
            "CORSRules": [
                {
                    "ID": "one",
                    "AllowedMethods": ["GET", "PUT"],
                    "AllowedOrigins": ["https://*.example.com"],
                    "AllowedHeaders": ["*"],
                    "ExposeHeaders": ["ETag"],
                    "MaxAgeSeconds": 60,
                }
            ]
        },
    ),
    "website": (
        "WebsiteConfiguration",
        {
            "IndexDocument": {"Suffix": "index.html"},
            "ErrorDocument": {"Key": "error.html"},
            "RoutingRules": [{"Condition": {"KeyPrefixEquals": "a/"}, "Redirect": {"ReplaceKeyPrefixWith": "b/"}}],
        },
    ),
    "request_payment": ("RequestPaymentConfiguration", {"Payer": "Requester"}),
    "accelerate_configuration": ("AccelerateConfiguration", {"Status": "Enabled"}),
    "lifecycle_configuration": ("LifecycleConfiguration", {"Rules": RULES}),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_comes_back_as_it_was_put(s3: Any, bucket: str, name: str) -> None:
    member, document = DOCUMENTS[name]
    getattr(s3, f"put_bucket_{name}")(Bucket=bucket, **{member: document})
    answer = getattr(s3, f"get_bucket_{name}")(Bucket=bucket)
    assert {key: answer[key] for key in document} == document
    drop = getattr(s3, f"delete_bucket_{name.removesuffix('_configuration')}", None)
    if drop is not None:
        drop(Bucket=bucket)
        drop(Bucket=bucket)
        assert code_of(getattr(s3, f"get_bucket_{name}"), Bucket=bucket) == ABSENT[f"get_bucket_{name}"]


def test_lifecycle_says_from_which_size_on(s3: Any, bucket: str) -> None:
    rules = {"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": "a"}, "Expiration": {"Days": 1}}]}
    put = s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    got = s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    for answer in (put, got):
        assert answer["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K"
    for wrong, code in (
        ({"Status": "On", "Filter": {}, "Expiration": {"Days": 1}}, "MalformedXML"),
        ({"Status": "Enabled", "Filter": {}}, "InvalidRequest"),
        ({"Status": "Enabled", "Filter": {}, "Expiration": {"Days": 0}}, "InvalidArgument"),
        ({"Status": "Enabled", "Expiration": {"Days": 1}}, "MalformedXML"),
    ):
        rules = {"Rules": [wrong]}
        assert code_of(s3.put_bucket_lifecycle_configuration, Bucket=bucket, LifecycleConfiguration=rules) == code


def test_encryption_tags_logging_and_the_rest(s3: Any, bucket: str) -> None:
    kms = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=kms)
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"] == kms
    s3.delete_bucket_encryption(Bucket=bucket)
    assert "KMS" not in str(s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"])
    tags = [{"Key": "b", "Value": "1"}, {"Key": "a", "Value": ""}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    assert code_of(s3.get_bucket_tagging, Bucket=bucket) == "NoSuchTagSet"
    logging = {"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": "log/"}}
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus=logging)
    assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"] == logging["LoggingEnabled"]
    nowhere = {"LoggingEnabled": {"TargetBucket": bucket + "x", "TargetPrefix": ""}}
    assert code_of(s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=nowhere) == "InvalidTargetBucketForLogging"
    for name in ("a", "b"):
        inventory = {
            "Id": name,
            "IsEnabled": True,
            "IncludedObjectVersions": "All",
            "Schedule": {"Frequency": "Daily"},
            "Destination": {"S3BucketDestination": {"Bucket": f"arn:aws:s3:::{bucket}", "Format": "CSV"}},
        }
        s3.put_bucket_inventory_configuration(Bucket=bucket, Id=name, InventoryConfiguration=inventory)
    assert s3.get_bucket_inventory_configuration(Bucket=bucket, Id="b")["InventoryConfiguration"] == inventory
    listed = s3.list_bucket_inventory_configurations(Bucket=bucket)["InventoryConfigurationList"]
    assert [one["Id"] for one in listed] == ["a", "b"]
    s3.delete_bucket_inventory_configuration(Bucket=bucket, Id="a")
    assert code_of(s3.get_bucket_inventory_configuration, Bucket=bucket, Id="a") == "NoSuchConfiguration"


def test_replication_and_lock_need_versions(s3: Any, bucket: str) -> None:
    other = make_bucket(s3, ObjectLockEnabledForBucket=True)
    assert s3.get_bucket_versioning(Bucket=other)["Status"] == "Enabled"
    assert s3.get_object_lock_configuration(Bucket=other)["ObjectLockConfiguration"] == {"ObjectLockEnabled": "Enabled"}
    suspend = {"VersioningConfiguration": {"Status": "Suspended"}}
    assert code_of(s3.put_bucket_versioning, Bucket=other, **suspend) == "InvalidBucketState"
    rules = [{"ID": "r", "Status": "Enabled", "Prefix": "", "Destination": {"Bucket": f"arn:aws:s3:::{other}"}}]
    wanted = {"ReplicationConfiguration": {"Role": "arn:aws:iam::000000000000:role/r", "Rules": rules}}
    assert code_of(s3.put_bucket_replication, Bucket=bucket, **wanted) == "InvalidRequest"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_replication(Bucket=bucket, **wanted)
    assert s3.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"] == wanted["ReplicationConfiguration"]


# --- who may ----------------------------------------------------------------------------------------------------------


def allow(bucket: str, principal: Any, *actions: str, effect: str = "Allow", path: str = "/*", **more: Any) -> str:
    statement = {
        "Effect": effect,
        "Principal": principal,
        "Action": list(actions),
        "Resource": f"arn:aws:s3:::{bucket}{path}",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement | more]})


def test_a_policy_lets_another_account_in_and_keeps_the_own_out(
    s3: Any, bucket: str, client: Callable[..., Any]
) -> None:
    other = client("s3", account="999988887777")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert code_of(other.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    written = allow(bucket, {"AWS": "arn:aws:iam::999988887777:root"}, "s3:GetObject")
    s3.put_bucket_policy(Bucket=bucket, Policy=written)
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == written
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": False}
    assert other.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert code_of(other.put_object, Bucket=bucket, Key="k", Body=b"y") == "AccessDenied"
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "*", "s3:*", effect="Deny"))
    assert code_of(s3.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})
    assert [one["Code"] for one in deleted["Errors"]] == ["AccessDenied"]
    s3.delete_bucket_policy(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


@pytest.mark.parametrize(
    "written",
    ["no json", "[]", '{"Version": "2012-10-17", "Statement": []}', allow("other-bucket", "*", "s3:GetObject")],
)
def test_policies_that_are_none(s3: Any, bucket: str, written: str) -> None:
    assert code_of(s3.put_bucket_policy, Bucket=bucket, Policy=written) == "MalformedPolicy"


def test_public_access_is_blocked_until_it_is_allowed(s3: Any, bucket: str, server: Any) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    public = allow(bucket, "*", "s3:GetObject")
    assert code_of(s3.put_bucket_policy, Bucket=bucket, Policy=public) == "AccessDenied"
    s3.delete_public_access_block(Bucket=bucket)
    assert code_of(s3.get_public_access_block, Bucket=bucket) == "NoSuchPublicAccessBlockConfiguration"
    s3.put_bucket_policy(Bucket=bucket, Policy=public)
    url = f"{server.endpoint}/{bucket}/k"
    assert requests.get(url, timeout=60).content == b"x"
    assert requests.put(url, data=b"y", timeout=60).status_code == 403
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={"RestrictPublicBuckets": True})
    assert requests.get(url, timeout=60).status_code == 403


def test_lists_are_off_until_they_are_on(s3: Any, bucket: str, server: Any) -> None:
    assert code_of(s3.put_bucket_acl, Bucket=bucket, ACL="public-read") == "AccessControlListNotSupported"
    assert (
        code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", ACL="public-read") == "AccessControlListNotSupported"
    )
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="bucket-owner-full-control")
    s3.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    )
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", ACL="public-read") == "AccessDenied"
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"open", ACL="public-read")
    s3.put_object(Bucket=bucket, Key="shut", Body=b"shut")
    assert requests.get(f"{server.endpoint}/{bucket}/k", timeout=60).content == b"open"
    assert requests.get(f"{server.endpoint}/{bucket}/shut", timeout=60).status_code == 403
    assert requests.get(f"{server.endpoint}/{bucket}", timeout=60).status_code == 403
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert "<Key>shut</Key>" in requests.get(f"{server.endpoint}/{bucket}", timeout=60).text
    grants = s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL", "READ"]
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    assert requests.get(f"{server.endpoint}/{bucket}/k", timeout=60).status_code == 403


def test_s3_control(client: Callable[..., Any], s3: Any, bucket: str, account: str, server: Any) -> None:
    control = client("s3control")

    def unprefixed(request: Any, **_: Any) -> None:
        request.url = request.url.replace(f"{account}.", "")  # no name server knows such a host

    control.meta.events.register("before-sign.s3-control", unprefixed)
    missing = code_of(control.get_public_access_block, AccountId=account)
    assert missing == "NoSuchPublicAccessBlockConfiguration"
    block = {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": False,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": False,
    }
    control.put_public_access_block(AccountId=account, PublicAccessBlockConfiguration=block)
    assert control.get_public_access_block(AccountId=account)["PublicAccessBlockConfiguration"] == block
    s3.delete_public_access_block(Bucket=bucket)
    assert code_of(s3.put_bucket_policy, Bucket=bucket, Policy=allow(bucket, "*", "s3:GetObject")) == "AccessDenied"
    control.delete_public_access_block(AccountId=account)
    s3.put_bucket_policy(Bucket=bucket, Policy=allow(bucket, "*", "s3:GetObject"))
    arn = f"arn:aws:s3:::{bucket}"
    control.tag_resource(
        AccountId=account, ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    )
    control.untag_resource(AccountId=account, ResourceArn=arn, TagKeys=["a"])
    assert control.list_tags_for_resource(AccountId=account, ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "b", "Value": "2"}]


def test_an_empty_constraint_is_none(client: Any) -> None:
    """minio-py and others send one."""
    name = bucket_name()
    client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": ""})
    assert client("s3").head_bucket(Bucket=name)["BucketRegion"] == "us-east-1"


def test_buckets_of_the_accounts_own_namespace(client: Any, account: str) -> None:
    s3, name = client("s3"), f"mine-{account}-us-east-1-an"
    assert code_of(s3.create_bucket, Bucket=name) == "MissingNamespaceHeader"
    assert code_of(s3.create_bucket, Bucket=name, BucketNamespace="global") == "InvalidBucketName"
    for other in (f"mine-{account}-us-west-2-an", "mine-999999999999-us-east-1-an", "xyz-an"):
        wrong = {"Bucket": other, "BucketNamespace": "account-regional"}
        assert code_of(s3.create_bucket, **wrong) == "InvalidBucketNamespace"
    outside = {"Bucket": bucket_name(), "BucketNamespace": "account-regional"}
    assert code_of(s3.create_bucket, **outside) == "InvalidNamespaceHeader"
    s3.create_bucket(Bucket=name, BucketNamespace="account-regional")
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == [name]
    s3.create_bucket(Bucket=bucket_name(), BucketNamespace="global")


def test_answers_that_clients_of_aws_expect(client: Any) -> None:
    """What moto's authors saw at AWS."""
    s3 = client("s3")
    bucket = make_bucket(s3)
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", WebsiteRedirectLocation="/there")
    copy = {"Bucket": bucket, "Key": "k", "CopySource": {"Bucket": bucket, "Key": "k"}}
    plain = copy | {"Key": "plain", "CopySource": {"Bucket": bucket, "Key": "plain"}}
    assert code_of(s3.copy_object, **plain) == "InvalidRequest"
    s3.copy_object(**plain, StorageClass="STANDARD")
    s3.copy_object(**copy, WebsiteRedirectLocation="/there")
    rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    s3.copy_object(**plain)
    assert code_of(s3.delete_object, Bucket=bucket, Key="absent", IfMatch="abc") == "NoSuchKey"
    tagged = s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert tagged["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert code_of(s3.put_object_lock_configuration, Bucket=bucket) == "MissingRequestBodyError"
