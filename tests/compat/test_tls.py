"""TLS at the port that also speaks plain HTTP: boto3, the AWS CLI and Python's own client trust the authority."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

from tests.server import Server

ACCOUNT = "616161616161"
pytestmark = pytest.mark.embedded  # what no table has a part in


@pytest.fixture(scope="module")
def trusted(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the authority's certificate."""
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    with urllib.request.urlopen(f"{server.endpoint}/_nephele/ca.pem") as answer:
        file.write_bytes(answer.read())
    return file


def sealed(server: Server, host: str = "localhost") -> str:
    """The endpoint for those who speak TLS."""
    return f"https://{host}:{server.endpoint.rpartition(':')[2]}"


def client(server: Server, verify: str | bool, service: str = "s3"):
    """A client that speaks TLS."""
    return boto3.client(
        service,
        endpoint_url=sealed(server),
        aws_access_key_id=ACCOUNT,
        aws_secret_access_key="test",
        region_name="us-east-1",
        verify=verify,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def test_objects_pass_both_ways_and_plain_http_goes_on(server: Server, trusted: Path) -> None:
    s3 = client(server, str(trusted))
    s3.create_bucket(Bucket="behind-tls")
    large = os.urandom(9 << 20)
    s3.put_object(Bucket="behind-tls", Key="large", Body=large)
    s3.put_object(Bucket="behind-tls", Key="small", Body=b"abc")
    assert s3.get_object(Bucket="behind-tls", Key="large")["Body"].read() == large
    assert s3.get_object(Bucket="behind-tls", Key="small")["Body"].read() == b"abc"
    with urllib.request.urlopen(f"{server.endpoint}/_nephele/health") as answer:
        assert json.load(answer)["status"] == "running"


def test_who_does_not_know_the_authority_does_not_trust_it(server: Server) -> None:
    with pytest.raises(SSLError):
        client(server, True).list_buckets()


@pytest.mark.parametrize("name", ["localhost", "bucket.s3.localhost.localstack.cloud", "cloud", "under_score.local"])
def test_a_client_gets_a_certificate_of_the_name_that_it_asks_for(server: Server, trusted: Path, name: str) -> None:
    port = int(server.endpoint.rpartition(":")[2])
    context = ssl.create_default_context(cafile=trusted)
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname=name) as one,
    ):
        assert one.version() == "TLSv1.3"
        assert ("DNS", name) in one.getpeercert()["subjectAltName"]


def test_a_client_that_names_no_host_gets_one_of_the_address(server: Server, trusted: Path) -> None:
    context = ssl.create_default_context(cafile=trusted)
    with urllib.request.urlopen(f"{sealed(server, '127.0.0.1')}/_nephele/health", context=context) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_policies_may_ask_for_tls_and_for_its_version(server: Server, trusted: Path, version: ssl.TLSVersion) -> None:
    s3 = client(server, str(trusted))
    bucket = f"tls-only-{version.name.lower().replace('_', '-')}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a", Body=b"a")
    old = {"NumericLessThan": {"s3:TlsVersion": "1.3"}}
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    s3.put_bucket_policy(
        Bucket=bucket,
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    denied | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}},
                    denied | {"Condition": old},
                ],
            }
        ),
    )
    link = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a"})
    context = ssl.create_default_context(cafile=trusted)
    context.minimum_version = context.maximum_version = version
    if version == ssl.TLSVersion.TLSv1_3:
        assert urllib.request.urlopen(link, context=context).read() == b"a"
    else:
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(link, context=context)
    plain = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=ACCOUNT,
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        plain.get_object(Bucket=bucket, Key="a")


def test_the_command_prints_what_the_cli_has_to_trust(server: Server, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "gateway", "ca", "--endpoint", server.endpoint]
    (tmp_path / "ca.pem").write_bytes(subprocess.run(words, check=True, capture_output=True).stdout)
    beside = Path(sys.executable).with_name("aws")
    program = str(beside) if beside.exists() else shutil.which("aws")
    assert program is not None
    given = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    given |= {"AWS_CA_BUNDLE": str(tmp_path / "ca.pem"), "AWS_ENDPOINT_URL": sealed(server)}
    asked = [program, "sts", "get-caller-identity", "--output", "json"]
    done = subprocess.run(asked, env=os.environ | given, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["Account"] == ACCOUNT


@pytest.mark.parametrize("rest", [b"", b"\x03\x01\x00\x05hello", b"\x03\x01" + b"\xff" * 400])
def test_what_only_looks_like_tls_is_not_answered_and_does_no_harm(server: Server, rest: bytes) -> None:
    port = int(server.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
        one.sendall(b"\x16" + rest)
        if len(rest) > 5:
            assert b"HTTP" not in one.recv(4096)
    with urllib.request.urlopen(f"{server.endpoint}/_nephele/health") as answer:
        assert answer.status == 200


def test_a_certificate_of_ones_own_is_served_and_a_bad_one_refused(tmp_path: Path) -> None:
    given, trusted = tmp_path / "own.pem", tmp_path / "trusted.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2", "-nodes"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *subject]
    subprocess.run([*made, "-keyout", str(tmp_path / "key.pem"), "-out", str(trusted)], check=True, capture_output=True)
    given.write_bytes((tmp_path / "key.pem").read_bytes() + trusted.read_bytes())
    with Server(tmp_path / "two", environment={"NEPHELE_TLS_CERTIFICATE": str(given)}) as second:
        assert client(second, str(trusted)).list_buckets()["Buckets"] == []
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{second.endpoint}/_nephele/ca.pem")
    given.write_text("no certificate")
    words = [sys.executable, "-m", "gateway", "serve", "--port", "0", "--data-dir", str(tmp_path / "three")]
    environment = os.environ | {"NEPHELE_TLS_CERTIFICATE": str(given)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "cannot use the certificate" in done.stderr
