"""What S3 really answers where its documentation is silent or differs; from recordings of AWS."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.header import Header
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

Client = Any


@pytest.fixture
def s3(client: Callable[..., Client]) -> Client:
    return client("s3")


@pytest.fixture
def bucket(s3: Client) -> str:
    name = f"recorded-{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=name)
    return name


def refused(call: Callable[..., Any], **params: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error: dict[str, Any] = caught.value.response["Error"]
    return error


def test_an_empty_tag_set_takes_the_tags_away(s3: Client, bucket: str) -> None:
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": []})
    assert refused(s3.get_bucket_tagging, Bucket=bucket)["Code"] == "NoSuchTagSet"


@pytest.mark.parametrize(("key", "value"), [("a,b", "c"), ("a", "b,c")])
def test_what_tags_may_not_contain(s3: Client, bucket: str, key: str, value: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    tagging = {"TagSet": [{"Key": key, "Value": value}]}
    assert refused(s3.put_bucket_tagging, Bucket=bucket, Tagging=tagging)["Code"] == "InvalidTag"
    assert refused(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=tagging)["Code"] == "InvalidTag"
    fine = {"TagSet": [{"Key": "Größe: a+b=c", "Value": "x@y_z/1.2-3"}]}
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=fine)


def test_a_bucket_made_twice(s3: Client, bucket: str) -> None:
    assert s3.create_bucket(Bucket=bucket)["BucketArn"] == f"arn:aws:s3:::{bucket}"
    tagged = {"Tags": [{"Key": "a", "Value": "b"}]}
    told = refused(s3.create_bucket, Bucket=bucket, CreateBucketConfiguration=tagged)
    assert told["Code"] == "BucketAlreadyOwnedByYou"


@pytest.mark.parametrize("rule", ["", "Everybody"])
def test_ownership_that_there_is_not(s3: Client, rule: str) -> None:
    told = refused(s3.create_bucket, Bucket=f"recorded-{secrets.token_hex(8)}", ObjectOwnership=rule)
    assert (told["Code"], told["Message"]) == ("InvalidArgument", f"Invalid x-amz-object-ownership header: {rule}")


def test_location_constraints_of_another_region(client: Callable[..., Client]) -> None:
    west = client("s3", region="us-west-2")
    for constraint in ("EU", "nowhere"):
        told = refused(
            west.create_bucket,
            Bucket=f"recorded-{secrets.token_hex(8)}",
            CreateBucketConfiguration={"LocationConstraint": constraint},
        )
        assert told["Code"] == "IllegalLocationConstraintException"
        assert told["Message"].startswith(f"The {constraint} location constraint is incompatible")


def test_copies_ignore_times_that_are_yet_to_come(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"some")
    source = f"{bucket}/k"
    ahead = datetime.now(UTC) + timedelta(days=1)
    s3.copy_object(Bucket=bucket, Key="l", CopySource=source, CopySourceIfModifiedSince=ahead)
    later = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    told = refused(s3.copy_object, Bucket=bucket, Key="l", CopySource=source, CopySourceIfModifiedSince=later)
    assert told["Code"] == "PreconditionFailed"


def test_a_condition_is_reason_enough_to_copy_in_place(s3: Client, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"some")["ETag"]
    source = f"{bucket}/k"
    told = refused(s3.copy_object, Bucket=bucket, Key="k", CopySource=source, IfNoneMatch="*")
    assert (told["Code"], told["Condition"]) == ("PreconditionFailed", "If-None-Match")
    assert s3.copy_object(Bucket=bucket, Key="k", CopySource=source, IfMatch=etag)["CopyObjectResult"]["ETag"] == etag
    told = refused(s3.put_object, Bucket=bucket, Key="k", IfMatch=etag, IfNoneMatch="*")
    assert (told["Code"], told["Header"]) == ("NotImplemented", "If-Match,If-None-Match")


def test_a_write_during_an_upload_is_a_conflict(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    part = s3.upload_part(**named, PartNumber=1, Body=b"part")["ETag"]
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"between")["ETag"]
    given = named | {"MultipartUpload": {"Parts": [{"ETag": part, "PartNumber": 1}]}}
    told = refused(s3.complete_multipart_upload, **given, IfMatch=etag)
    assert (told["Code"], told["Condition"]) == ("ConditionalRequestConflict", "If-Match")
    assert refused(s3.complete_multipart_upload, **given, IfMatch='"other"')["Code"] == "PreconditionFailed"
    s3.complete_multipart_upload(**given)


def test_a_delete_during_an_upload_is_a_conflict(s3: Client, bucket: str) -> None:
    def begin() -> dict[str, Any]:
        named = {"Bucket": bucket, "Key": "k"}
        named["UploadId"] = s3.create_multipart_upload(**named)["UploadId"]
        part = s3.upload_part(**named, PartNumber=1, Body=b"part")["ETag"]
        return named | {"MultipartUpload": {"Parts": [{"ETag": part, "PartNumber": 1}]}}

    s3.delete_object(Bucket=bucket, Key="k")  # nothing is there to be deleted, and nothing begun
    given = begin()
    s3.delete_object(Bucket=bucket, Key="k")
    s3.complete_multipart_upload(**given, IfNoneMatch="*")

    for doomed in ({"Key": "k"}, {"Key": "k", "VersionId": "null"}):
        given = begin()
        other = s3.create_multipart_upload(Bucket=bucket, Key="l")["UploadId"]
        assert refused(s3.complete_multipart_upload, **given, IfNoneMatch="*")["Code"] == "PreconditionFailed"
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [doomed]})
        told = refused(s3.complete_multipart_upload, **given, IfNoneMatch="*")
        assert (told["Code"], told["Condition"], told["Key"]) == ("ConditionalRequestConflict", "If-None-Match", "k")
        assert refused(s3.complete_multipart_upload, **given, IfMatch='"other"')["Code"] == "NoSuchKey"
        s3.complete_multipart_upload(**begin(), IfNoneMatch="*")  # begun after the delete
        s3.abort_multipart_upload(Bucket=bucket, Key="l", UploadId=other)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.complete_multipart_upload(**given)  # without a condition, whatever was in between


def test_a_delete_marker_during_an_upload_is_a_conflict(s3: Client, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    named = {"Bucket": bucket, "Key": "k"}
    old = s3.put_object(**named, Body=b"old")["VersionId"]
    s3.put_object(**named, Body=b"new")
    given = named | {"UploadId": s3.create_multipart_upload(**named)["UploadId"]}
    given["MultipartUpload"] = {"Parts": [{"ETag": s3.upload_part(**given, PartNumber=1)["ETag"], "PartNumber": 1}]}
    s3.delete_object(**named, VersionId=old)  # nobody's business: it is not the current one
    s3.delete_object(**named)
    assert refused(s3.complete_multipart_upload, **given, IfNoneMatch="*")["Code"] == "ConditionalRequestConflict"


def test_completing_what_is_not_there(s3: Client, bucket: str) -> None:
    told = refused(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId="none")
    assert told["Code"] == "NoSuchUpload"


def test_ranges_of_copied_parts(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="l")["UploadId"]
    told = refused(
        s3.upload_part_copy,
        Bucket=bucket,
        Key="l",
        UploadId=upload,
        PartNumber=1,
        CopySource=f"{bucket}/k",
        CopySourceRange="bytes=100-200",
    )
    assert told["Code"] == "InvalidRequest"
    assert told["Message"] == "The specified copy range is invalid for the source object size"


def test_listings_of_uploads_tell_where_they_end(s3: Client, bucket: str) -> None:
    empty = s3.list_multipart_uploads(Bucket=bucket)
    assert (empty["NextKeyMarker"], empty["NextUploadIdMarker"], "Prefix" in empty) == ("", "", False)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    one = s3.list_multipart_uploads(Bucket=bucket, Prefix="k")
    assert (one["NextKeyMarker"], one["NextUploadIdMarker"], one["Prefix"]) == ("k", upload, "k")


def test_locations_are_urls(s3: Client, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a/— b")["UploadId"]
    named = {"Bucket": bucket, "Key": "a/— b", "UploadId": upload}
    part = s3.upload_part(**named, PartNumber=1, Body=b"part")["ETag"]
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [{"ETag": part, "PartNumber": 1}]})
    assert done["Location"].endswith(f"/{bucket}/a/%E2%80%94%20b")


def test_encoded_words_in_metadata(s3: Client, bucket: str) -> None:
    given = {"plain": "=?UTF-8?Q?ascii?=", "more": "=?UTF-8?B?w6Q=?=", "none": "a=?b"}
    s3.put_object(Bucket=bucket, Key="k", Metadata=given)
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {
        "plain": "ascii",
        "more": "=?UTF-8?B?w6Q=?=",
        "none": "a=?b",
    }


def test_expected_owners_that_are_no_accounts(s3: Client, bucket: str) -> None:
    told = refused(s3.get_bucket_policy, Bucket=bucket, ExpectedBucketOwner="abcd")
    assert told["Code"] == "InvalidBucketOwnerAWSAccountID"
    assert told["Message"].endswith("must be an AWS Account ID... [abcd]")


def test_times_that_are_yet_to_come_are_no_conditions(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"some")
    ahead = datetime.now(UTC) + timedelta(days=1)
    assert s3.get_object(Bucket=bucket, Key="k", IfModifiedSince=ahead)["Body"].read() == b"some"
    s3.head_object(Bucket=bucket, Key="k", IfModifiedSince=ahead)
    same = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert refused(s3.get_object, Bucket=bucket, Key="k", IfModifiedSince=same)["Code"] == "304"


def test_lists_are_read_before_they_are_refused(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"some")
    owner = s3.list_buckets()["Owner"]
    group = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/s3/FakeGroup"}
    grant = {"Grantee": group, "Permission": "READ"}
    for put in (
        lambda **list: refused(s3.put_bucket_acl, Bucket=bucket, **list),
        lambda **list: refused(s3.put_object_acl, Bucket=bucket, Key="k", **list),
    ):
        assert put()["Code"] == "MissingSecurityHeader"
        for policy in ({}, {"Grants": [grant]}, {"Owner": owner, "Grants": [grant | {"Permission": "ALL"}]}):
            assert put(AccessControlPolicy=policy)["Code"] == "MalformedACLError"
        told = put(AccessControlPolicy={"Owner": {"ID": "none"}, "Grants": [grant]})
        assert (told["ArgumentName"], told["Message"]) == ("CanonicalUser/ID", "Invalid id")
        assert put(AccessControlPolicy={"Owner": owner, "Grants": [grant]})["ArgumentName"] == "Group/URI"
        assert put(GrantRead='id="none"')["ArgumentName"] == "id"
        assert put(GrantReadACP='name="none"')["ArgumentName"] == "x-amz-grant-read-acp"
        assert put(ACL="public-read")["Code"] == "AccessControlListNotSupported"
    assert refused(s3.put_object, Bucket=bucket, Key="k", ACL="none")["ArgumentName"] == "x-amz-acl"


def test_tag_sets_that_are_not_there(client: Callable[..., Client], s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Tagging="a=b")
    body = s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert body["ResponseMetadata"]["HTTPStatusCode"] == 204
    s3 = client("s3", config=Config(parameter_validation=False))
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": None})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    for tag in ({"Key": "a"}, {"Value": "b"}):
        told = refused(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": [tag]})
        assert told["Code"] == "MalformedXML"
    assert refused(s3.get_object_tagging, Bucket=bucket, Key="none")["Key"] == f"{bucket}/none"
    assert refused(s3.put_object, Bucket=bucket, Key="k", Tagging="a=b,c=d")["ArgumentName"] == "x-amz-tagging"


def test_configurations_come_by_the_hundred(s3: Client, bucket: str) -> None:
    for number in range(102):
        done = s3.put_bucket_metrics_configuration(
            Bucket=bucket, Id=f"{number:03}", MetricsConfiguration={"Id": f"{number:03}"}
        )
        assert done["ResponseMetadata"]["HTTPStatusCode"] == 204
    first = s3.list_bucket_metrics_configurations(Bucket=bucket)
    assert (len(first["MetricsConfigurationList"]), first["IsTruncated"]) == (100, True)
    token = first["NextContinuationToken"]
    rest = s3.list_bucket_metrics_configurations(Bucket=bucket, ContinuationToken=token)
    assert [one["Id"] for one in rest["MetricsConfigurationList"]] == ["100", "101"]
    assert (rest["IsTruncated"], rest["ContinuationToken"], "NextContinuationToken" in rest) == (False, token, False)
    gone = s3.delete_bucket_metrics_configuration(Bucket=bucket, Id="100")
    assert gone["ResponseMetadata"]["HTTPStatusCode"] == 204
    told = refused(s3.delete_bucket_metrics_configuration, Bucket=bucket, Id="100")
    assert (told["Code"], "BucketName" in told) == ("NoSuchConfiguration", False)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Id": "other"}, "IdMismatch"),
        ({"Destination": {"S3BucketDestination": {"Bucket": "b", "Format": "CSV"}}}, "InvalidS3DestinationBucket"),
        ({"Destination": {"S3BucketDestination": {"Bucket": "arn:aws:s3:::b", "Format": "TXT"}}}, "MalformedXML"),
        ({"Schedule": {"Frequency": "Hourly"}}, "MalformedXML"),
        ({"IncludedObjectVersions": "Some"}, "MalformedXML"),
        ({"OptionalFields": ["Colour"]}, "MalformedXML"),
        ({"OptionalFields": ["Size"]}, ""),
    ],
)
def test_inventories(s3: Client, bucket: str, change: dict[str, Any], code: str) -> None:
    document = {
        "Id": "i",
        "Destination": {"S3BucketDestination": {"Bucket": f"arn:aws:s3:::{bucket}", "Format": "CSV"}},
        "IsEnabled": True,
        "IncludedObjectVersions": "All",
        "Schedule": {"Frequency": "Daily"},
        **change,
    }
    put = {"Bucket": bucket, "Id": "i", "InventoryConfiguration": document}
    if code:
        assert refused(s3.put_bucket_inventory_configuration, **put)["Code"] == code
    else:
        s3.put_bucket_inventory_configuration(**put)


def test_where_buckets_are(client: Callable[..., Client], s3: Client, bucket: str) -> None:
    old = f"recorded-{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=old, CreateBucketConfiguration={"LocationConstraint": "EU"})
    assert s3.get_bucket_location(Bucket=old)["LocationConstraint"] == "EU"
    assert s3.list_buckets(BucketRegion="eu-west-1")["Buckets"][0]["Name"] == old
    for listing in (s3.list_objects, s3.list_objects_v2):
        assert listing(Bucket=old)["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == "eu-west-1"
    told = refused(s3.list_buckets, BucketRegion="eu-east-1")
    assert (told["ArgumentName"], told["Message"]) == (
        "bucket-region",
        "Argument value eu-east-1 is not a valid AWS Region",
    )


def test_metadata_as_mail_writes_it(s3: Client, bucket: str) -> None:
    stored = {"most": "ÄMÄZÕÑ S3", "few": "��", "none": "=?UTF-8?B?AAEC?="}
    words = {name: Header(value, "utf-8").encode() if not value.isascii() else value for name, value in stored.items()}
    s3.put_object(Bucket=bucket, Key="k", Metadata=words)
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {
        "most": "=?UTF-8?Q?=C3=84M=C3=84Z=C3=95=C3=91_S3?=",
        "few": "=?UTF-8?B?77+977+9?=",
        "none": "=?UTF-8?B?AAEC?=",
    }
