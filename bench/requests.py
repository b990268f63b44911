"""The measured requests, signed by botocore once and then sent again and again by wrk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

BUCKET = "bench-bucket"
BODY_1K = bytes(range(256)) * 4


@dataclass(frozen=True)
class Case:
    """One measured request: `body` is what the client sends; `seed` names what must exist before."""

    name: str
    service: str
    method: str
    path: str
    body: bytes = b""
    content_type: str = ""


def form(action: str, version: str, **params: str) -> bytes:
    """A query-protocol form."""
    pairs = {"Action": action, "Version": version, **params}
    return "&".join(f"{key}={value}" for key, value in pairs.items()).encode()


FORM = "application/x-www-form-urlencoded; charset=utf-8"
EC2 = "2016-11-15"
CASES = (
    Case("S3 GET 1 KiB", "s3", "GET", f"/{BUCKET}/one"),
    Case("S3 PUT 1 KiB", "s3", "PUT", f"/{BUCKET}/put", BODY_1K),
    Case("S3 ListObjectsV2 200", "s3", "GET", f"/{BUCKET}?list-type=2&prefix=list%2F"),
    Case("EC2 DescribeVpcs", "ec2", "POST", "/", form("DescribeVpcs", EC2), FORM),
    Case("EC2 DescribeInstances 100", "ec2", "POST", "/", form("DescribeInstances", EC2), FORM),
    Case(
        "EC2 CreateVolume",
        "ec2",
        "POST",
        "/",
        form("CreateVolume", EC2, AvailabilityZone="us-east-1a", Size="1", VolumeType="gp3"),
        FORM,
    ),
    Case("IAM ListRoles", "iam", "POST", "/", form("ListRoles", "2010-05-08"), FORM),
    Case("STS GetCallerIdentity", "sts", "POST", "/", form("GetCallerIdentity", "2011-06-15"), FORM),
)


def client(service: str, endpoint: str) -> Any:
    """A boto3 client of the measured account."""
    return boto3.client(
        service,  # type: ignore[call-overload]  # whatever its name
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )


def seed(endpoint: str) -> None:
    """What the measured requests read: 201 objects, 100 instances, 20 roles."""
    s3 = client("s3", endpoint)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="one", Body=BODY_1K)
    for number in range(200):
        s3.put_object(Bucket=BUCKET, Key=f"list/{number:04d}", Body=b"x")
    iam = client("iam", endpoint)
    trust = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    )
    for number in range(20):
        iam.create_role(RoleName=f"bench-{number}", AssumeRolePolicyDocument=trust)
    ec2 = client("ec2", endpoint)
    for _ in range(10):  # an image that every server of this kind has
        ec2.run_instances(ImageId="ami-12c6146b", InstanceType="t3.micro", MinCount=10, MaxCount=10)


def sign(case: Case, endpoint: str) -> dict[str, str]:
    """The signed headers of a case. They are good for 15 minutes."""
    headers = {"Host": urlsplit(endpoint).netloc}
    if case.content_type:
        headers["Content-Type"] = case.content_type
    request = AWSRequest(method=case.method, url=endpoint + case.path, data=case.body, headers=headers)
    signer = S3SigV4Auth if case.service == "s3" else SigV4Auth
    signer(Credentials("test", "test"), case.service, "us-east-1").add_auth(request)
    return dict(request.headers.items())


def write_script(case: Case, endpoint: str, folder: Path) -> Path:
    """A wrk script that sends the signed request."""
    headers = {**sign(case, endpoint)}
    if case.body:
        headers["Content-Length"] = str(len(case.body))
    body = folder / "body"
    body.write_bytes(case.body)
    lines = [f'wrk.method = "{case.method}"', f'wrk.path = "{case.path}"']
    lines += [f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}" for key, value in headers.items()]
    if case.body:
        lines.append(f'wrk.body = io.open({json.dumps(str(body))}, "rb"):read("*a")')
    script = folder / "request.lua"
    script.write_text("\n".join(lines) + "\n")
    return script
