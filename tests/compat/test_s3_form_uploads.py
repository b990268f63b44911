"""Form uploads as browsers send them: signed by boto3, held to their policy, answered as the form wishes."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

Client = Any


@pytest.fixture
def s3(client: Callable[..., Client], account: str) -> Client:
    made = client("s3", config=Config(signature_version="s3v4"))
    made.create_bucket(Bucket=f"forms-{account}")
    return made


@pytest.fixture
def bucket(account: str) -> str:
    return f"forms-{account}"


def post(form: dict[str, Any], content: bytes, *, name: str = "photo.png", **fields: str) -> requests.Response:
    return requests.post(
        form["url"], data={**form["fields"], **fields}, files={"file": (name, content, "image/png")},
        allow_redirects=False, timeout=60,
    )  # fmt: skip


def code(response: requests.Response) -> tuple[int, str, str]:
    found = re.search(r"<Code>(.*?)</Code><Message>(.*?)</Message>", response.text)
    assert found is not None, response.text
    return response.status_code, found[1], found[2].replace("&quot;", '"')


@pytest.mark.parametrize("version", ["s3v4", "s3"])
def test_a_signed_form(client: Callable[..., Client], s3: Client, bucket: str, version: str) -> None:
    signer = client("s3", config=Config(signature_version=version))
    fields = {
        "acl": "bucket-owner-full-control",
        "x-amz-meta-who": "é",
        "Content-Type": "image/png",
        "Cache-Control": "max-age=5",
    }
    form = signer.generate_presigned_post(
        bucket, "in/${filename}", Fields=fields, ExpiresIn=60,
        Conditions=[{name: value} for name, value in fields.items()] + [["content-length-range", 0, 3 << 20]],
    )  # fmt: skip
    for content in (b"small", bytes(2 << 20), b""):
        response = post(form, content, name="C:\\pictures\\a b.png")
        assert response.status_code == 204, response.text
        stored = s3.get_object(Bucket=bucket, Key="in/a b.png")
        assert stored["Body"].read() == content
        assert response.headers["ETag"] == stored["ETag"]
        assert response.headers["Location"] == f"{signer.meta.endpoint_url}/{bucket}/in/a%20b.png"
        assert (stored["ContentType"], stored["CacheControl"]) == ("image/png", "max-age=5")
    assert code(post(form, bytes((3 << 20) + 1)))[:2] == (400, "EntityTooLarge")


def test_headers_of_a_form_are_latin(s3: Client, bucket: str) -> None:
    fields = {"Cache-Control": "a-%E2%80%94_\u2014_\u00e9", "Content-Disposition": 'filename="\u00e9\u2014.pdf"'}
    form = s3.generate_presigned_post(bucket, "k", Fields=fields, Conditions=[{n: v} for n, v in fields.items()])
    assert post(form, b"some").status_code == 204
    stored = s3.head_object(Bucket=bucket, Key="k")
    assert stored["CacheControl"] == "a-%E2%80%94_ _\u00e9"
    assert stored["ContentDisposition"] == 'filename="\u00e9 .pdf"'


def test_what_a_form_may_wish_for_an_answer(s3: Client, bucket: str) -> None:
    for status in ("200", "201", "204", "404"):
        form = s3.generate_presigned_post(
            bucket, "k&y", Fields={"success_action_status": status}, Conditions=[{"success_action_status": status}]
        )
        response = post(form, b"abc")
        assert response.status_code == (204 if status == "404" else int(status))
        if status == "201":
            assert "<PostResponse><Location>" in response.text
            assert f"<Bucket>{bucket}</Bucket><Key>k&amp;y</Key><ETag>" in response.text
    fields = {"success_action_redirect": "http://localhost/done?x=1"}
    form = s3.generate_presigned_post(bucket, "k", Fields=fields, Conditions=[fields])
    response = post(form, b"abc")
    etag = "%22900150983cd24fb0d6963f7d28e17f72%22"
    assert response.status_code == 303
    assert response.headers["Location"] == f"http://localhost/done?x=1&bucket={bucket}&key=k&etag={etag}"


def test_tags_and_checksums_of_a_form(s3: Client, bucket: str) -> None:
    tagging = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&#x40;2</Value></Tag></TagSet></Tagging>"
    fields = {"tagging": tagging, "x-amz-checksum-crc32": "NSRBwg=="}
    form = s3.generate_presigned_post(bucket, "k", Fields=fields, Conditions=[{n: v} for n, v in fields.items()])
    assert post(form, b"abc").status_code == 204
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a b", "Value": "1@2"}]
    assert code(post(form, b"abd"))[:2] == (400, "BadDigest")


def test_forms_that_are_refused(s3: Client, bucket: str) -> None:
    form = s3.generate_presigned_post(bucket, "k")
    refusals = [
        ({"acl": "public-read"}, "Extra input fields: acl"),
        ({"key": "other"}, 'Policy Condition failed: ["eq", "$key", "k"]'),
    ]
    for changes, reason in refusals:
        assert code(post(form, b"abc", **changes)) == (403, "AccessDenied", f"Invalid according to Policy: {reason}")
    signature = form["fields"]["x-amz-signature"]
    assert code(post(form, b"abc", **{"x-amz-signature": "0" * len(signature)}))[:2] == (403, "SignatureDoesNotMatch")
    nobody = form["fields"]["x-amz-credential"].replace(form["fields"]["x-amz-credential"].split("/")[0], "AKIANOBODY")
    assert code(post(form, b"abc", **{"x-amz-credential": nobody}))[:2] == (403, "InvalidAccessKeyId")
    response = requests.post(form["url"], data=form["fields"], timeout=60)
    assert (response.status_code, "PreconditionFailed" in response.text) == (412, True)
    response = requests.post(form["url"], files={"key": (None, "k"), "file": ("a", b"abc")}, timeout=60)
    assert code(response)[:2] == (403, "AccessDenied")
    response = requests.post(form["url"], files={"file": ("a", b"abc")}, timeout=60)
    assert code(response)[:2] == (400, "InvalidArgument")
    with pytest.raises(ClientError):
        s3.head_object(Bucket=bucket, Key="k")


def test_an_expired_form_and_a_policy_that_is_none(s3: Client, bucket: str) -> None:
    expired = s3.generate_presigned_post(bucket, "k", ExpiresIn=-5)
    assert code(post(expired, b"abc")) == (403, "AccessDenied", "Invalid according to Policy: Policy expired.")
    form = s3.generate_presigned_post(bucket, "k")
    soon = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    unsigned = base64.b64encode(json.dumps({"expiration": soon, "conditions": [{"bucket": bucket}]}).encode()).decode()
    assert code(post(form, b"abc", policy=unsigned))[:2] == (403, "SignatureDoesNotMatch")


def test_a_user_may_upload_only_what_its_policies_allow(client: Callable[..., Client], s3: Client, bucket: str) -> None:
    iam = client("iam")
    iam.create_user(UserName="uploader")
    key = iam.create_access_key(UserName="uploader")["AccessKey"]
    user = client("s3", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    form = user.generate_presigned_post(bucket, "in/k")
    assert code(post(form, b"abc"))[:2] == (403, "AccessDenied")
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/in/*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="uploader", PolicyName="in", PolicyDocument=document)
    assert post(form, b"abc").status_code == 204
    assert code(post(user.generate_presigned_post(bucket, "out/k"), b"abc"))[:2] == (403, "AccessDenied")


def test_a_policy_that_nobody_signed(s3: Client, bucket: str) -> None:
    form = s3.generate_presigned_post(bucket, "k")
    form["fields"] = {name: form["fields"][name] for name in ("key", "policy")}
    assert code(post(form, b"abc"))[:2] == (403, "AccessDenied")


def test_what_forms_say_by_the_letter(s3: Client, bucket: str) -> None:
    fields = {"x-amz-meta-word": "=?UTF-8?Q?word?=", "x-amz-meta-blank": " b ", "tagging": "<Other/>"}
    form = s3.generate_presigned_post(bucket, "k", Fields=fields, Conditions=[{n: v} for n, v in fields.items()])
    answer = post(form, b"abc")
    assert answer.status_code == 204
    stored = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert stored["Metadata"]["word"] == "=?UTF-8?Q?word?="
    assert answer.headers["x-amz-checksum-crc64nvme"] == stored["ChecksumCRC64NVME"]
    assert answer.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


def test_no_form(s3: Client, bucket: str) -> None:
    form = s3.generate_presigned_post(bucket, "k")
    answer = requests.post(form["url"], data=b"x", headers={"Content-Type": "text/html"}, timeout=60)
    assert code(answer)[:2] == (412, "PreconditionFailed")
    assert "<Condition>Bucket POST must be of the enclosure-type multipart/form-data</Condition>" in answer.text


def test_a_form_at_the_bucket_s_own_host(s3: Client, bucket: str) -> None:
    form = s3.generate_presigned_post(bucket, "k")
    address = urlsplit(form["url"])
    host = f"{bucket}.s3.localhost:{address.port}"
    answer = requests.post(
        f"{address.scheme}://{address.netloc}/",
        data=form["fields"],
        files={"file": b"abc"},
        headers={"Host": host},
        timeout=60,
    )
    assert (answer.status_code, answer.headers["Location"]) == (204, f"http://{host}/k")
