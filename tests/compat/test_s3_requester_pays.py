"""Requester pays: whoever is not the owner says that they pay, and hears that they do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import error_of, make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
OWNER, OTHER = "430000000000", "440000000000"


@pytest.fixture
def bucket(server: Server) -> str:
    owner = new_client(server.endpoint, "s3", OWNER)
    bucket = make_bucket(owner)
    owner.delete_public_access_block(Bucket=bucket)
    arn = f"arn:aws:s3:::{bucket}"
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    owner.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    owner.put_object(Bucket=bucket, Key="k", Body=b"x")
    owner.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    return bucket


def shut(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer whose body nobody wants to read."""
    for value in answer.values():
        if hasattr(value, "close"):
            value.close()
    return answer


def test_the_requester_says_so(server: Server, bucket: str) -> None:
    other = new_client(server.endpoint, "s3", OTHER)
    mine = make_bucket(other)
    calls: list[tuple[Any, dict[str, Any]]] = [
        (other.get_object, {"Key": "k"}),
        (other.head_object, {"Key": "k"}),
        (other.list_objects_v2, {}),
        (other.list_object_versions, {}),
        (other.put_object, {"Key": "new", "Body": b"x"}),
        (other.delete_object, {"Key": "new"}),
    ]
    for call, more in calls:
        assert error_of(call, Bucket=bucket, **more)["Status"] == 403
        assert shut(call(Bucket=bucket, **more, RequestPayer="requester"))["RequestCharged"] == "requester"
    source = {"Bucket": bucket, "Key": "k"}
    with refused("AccessDenied"):
        other.copy_object(Bucket=mine, Key="copy", CopySource=source)
    other.copy_object(Bucket=mine, Key="copy", CopySource=source, RequestPayer="requester")
    # What cannot be charged is as it was.
    assert other.get_bucket_versioning(Bucket=bucket).get("Status") is None


def test_every_answer_that_can_says_so(server: Server, bucket: str) -> None:
    other = new_client(server.endpoint, "s3", OTHER)
    about: dict[str, Any] = {"Bucket": bucket, "RequestPayer": "requester"}

    def charged(call: Any, **more: Any) -> dict[str, Any]:
        with refused("AccessDenied"):
            call(Bucket=bucket, **more)
        answer = shut(call(**about, **more))
        assert answer["RequestCharged"] == "requester", call
        return answer

    upload = other.create_multipart_upload(**about, Key="big")
    assert upload["RequestCharged"] == "requester"
    part: dict[str, Any] = {"Key": "big", "UploadId": upload["UploadId"]}
    sent = charged(other.upload_part, **part, PartNumber=1, Body=b"x")
    source = {"Bucket": bucket, "Key": "k"}
    charged(other.upload_part_copy, **part, PartNumber=2, CopySource=source)
    charged(other.list_parts, **part)
    charged(other.list_multipart_uploads)
    finished = {"Parts": [{"PartNumber": 1, "ETag": sent["ETag"]}]}
    charged(other.complete_multipart_upload, **part, MultipartUpload=finished)
    upload = other.create_multipart_upload(**about, Key="other")
    charged(other.abort_multipart_upload, Key="other", UploadId=upload["UploadId"])
    charged(other.copy_object, Key="copy", CopySource=source)
    charged(other.get_object_attributes, Key="k", ObjectAttributes=["ETag"])
    charged(other.get_object_acl, Key="k")
    charged(other.put_object_annotation, Key="k", AnnotationName="a", AnnotationPayload=b"x")
    charged(other.list_object_annotations, Key="k")
    charged(other.get_object_annotation, Key="k", AnnotationName="a")
    charged(other.delete_object_annotation, Key="k", AnnotationName="a")
    charged(other.delete_objects, Delete={"Objects": [{"Key": "copy"}, {"Key": "big"}]})
    # Tags are paid for, too; their answers have no place to say so.
    with refused("AccessDenied"):
        other.get_object_tagging(Bucket=bucket, Key="k")
    other.put_object_tagging(**about, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert other.get_object_tagging(**about, Key="k")["TagSet"] == [{"Key": "a", "Value": "b"}]
    # A source in such a bucket is paid for by whoever copies from it.
    mine = make_bucket(other)
    copied = other.copy_object(Bucket=mine, Key="k", CopySource=source, RequestPayer="requester")
    assert copied["RequestCharged"] == "requester"


def test_the_owner_need_not_and_nobody_cannot(server: Server, bucket: str) -> None:
    owner = new_client(server.endpoint, "s3", OWNER)
    assert "RequestCharged" not in shut(owner.get_object(Bucket=bucket, Key="k"))
    url = f"{server.endpoint}/{bucket}/k"
    assert requests.get(url, timeout=60).status_code == 403
    assert requests.get(url, headers={"x-amz-request-payer": "requester"}, timeout=60).status_code == 403
    owner.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "BucketOwner"})
    assert requests.get(url, timeout=60).status_code == 200
