"""`nephele import s3`: from one server into another, all that an object is; broken off and gone on with."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.compat.conftest import new_client
from tests.server import ROOT, Server

Client = Any
ACCOUNT = "123456789012"
MIB = 1 << 20


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("import")
    with Server(folder / "source", "--ephemeral") as source, Server(folder / "target", "--ephemeral") as target:
        yield source, target


@pytest.fixture
def clients(servers: tuple[Server, Server]) -> tuple[Client, Client]:
    source, target = servers
    return new_client(source.endpoint, "s3", "test"), new_client(target.endpoint, "s3", ACCOUNT)


def command(servers: tuple[Server, Server], journal: Path, *arguments: str) -> list[str]:
    source, target = servers
    told = ["--from", source.endpoint, "--access-key", "test", "--secret-key", "test"]
    told += ["--endpoint", target.endpoint, "--account", ACCOUNT, "--journal", str(journal)]
    return [sys.executable, "-m", "gateway", "import", "s3", *told, *arguments]


def run(servers: tuple[Server, Server], journal: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(servers, journal, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=110)


def multipart(s3: Client, bucket: str, key: str, sizes: list[int]) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, ContentType="text/x-parts")["UploadId"]
    parts = []
    for number, size in enumerate(sizes, 1):
        sent = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=os.urandom(size))
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def seen(s3: Client, bucket: str, key: str, version: str | None = None) -> dict[str, Any]:
    where = {"Bucket": bucket, "Key": key} | ({"VersionId": version} if version else {})
    answer = s3.get_object(**where)
    names = ("ETag", "Metadata", "ContentType", "CacheControl", "ContentLanguage", "StorageClass", "ExpiresString")
    found = {name: answer.get(name) for name in names}
    found["tags"] = s3.get_object_tagging(**where)["TagSet"]
    found["content"] = hashlib.sha256(answer["Body"].read()).hexdigest()
    return found


def test_objects_come_as_they_are(
    servers: tuple[Server, Server], clients: tuple[Client, Client], tmp_path: Path
) -> None:
    source, target = clients
    source.create_bucket(Bucket="things")
    source.put_object(
        Bucket="things",
        Key="folder/ä b+%.txt",
        Body=b"text",
        ContentType="text/plain",
        CacheControl="max-age=5",
        ContentLanguage="de",
        Expires="Thu, 01 Dec 2033 16:00:00 GMT",
        Metadata={"one": "1", "two": "zwei"},
        Tagging="a=b&c=d+e",
        StorageClass="STANDARD_IA",
    )
    source.put_object(Bucket="things", Key="empty/", Body=b"")
    source.put_object(Bucket="things", Key="large", Body=os.urandom(9 * MIB))
    multipart(source, "things", "even", [5 * MIB, 5 * MIB, 100])
    multipart(source, "things", "uneven", [5 * MIB, 6 * MIB, 7])
    rules = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]
    source.put_bucket_cors(Bucket="things", CORSConfiguration={"CORSRules": rules})
    source.put_bucket_tagging(Bucket="things", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    done = run(servers, tmp_path / "journal", "--bucket", "things")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 buckets: 5 copied (") and done.stderr == ""
    for key in ("folder/ä b+%.txt", "empty/", "large", "even", "uneven"):
        assert seen(target, "things", key) == seen(source, "things", key)
    assert target.get_bucket_cors(Bucket="things")["CORSRules"] == rules
    assert target.get_bucket_tagging(Bucket="things")["TagSet"] == [{"Key": "k", "Value": "v"}]
    # Once more: only what has changed.
    source.put_object(Bucket="things", Key="empty/", Body=b"not any more")
    source.put_object(Bucket="things", Key="new", Body=b"new")
    done = run(servers, tmp_path / "journal", "--bucket", "things")
    assert "2 copied" in done.stdout and "4 were there already, 0 failed" in done.stdout
    assert target.get_object(Bucket="things", Key="empty/")["Body"].read() == b"not any more"


def history(s3: Client, bucket: str) -> list[tuple[str, str, bool, bool]]:
    """Key, ETag, whether it is a marker and whether it is the latest, by key, newest first."""
    page = s3.list_object_versions(Bucket=bucket)
    rows = [(one, one["ETag"]) for one in page.get("Versions", ())]
    rows += [(one, "") for one in page.get("DeleteMarkers", ())]
    rows.sort(key=lambda row: row[0]["LastModified"], reverse=True)
    rows.sort(key=lambda row: (row[0]["Key"], not row[0]["IsLatest"]))
    return [(one["Key"], etag, not etag, one["IsLatest"]) for one, etag in rows]


def test_versions_and_markers_in_their_order(
    servers: tuple[Server, Server], clients: tuple[Client, Client], tmp_path: Path
) -> None:
    source, target = clients
    source.create_bucket(Bucket="history")
    source.put_bucket_versioning(Bucket="history", VersioningConfiguration={"Status": "Enabled"})
    for number in range(4):
        source.put_object(Bucket="history", Key="k", Body=b"%d" % number)
        if number == 1:
            source.delete_object(Bucket="history", Key="k")
    source.put_object(Bucket="history", Key="gone", Body=b"x")
    source.delete_object(Bucket="history", Key="gone")
    done = run(servers, tmp_path / "journal", "--bucket", "history", "--versions")
    assert (done.returncode, "7 copied" in done.stdout) == (0, True), done.stdout + done.stderr
    assert history(target, "history") == history(source, "history")
    # A journal that was lost, as after a kill before it was written, makes no version twice.
    source.put_object(Bucket="history", Key="k", Body=b"last")
    done = run(servers, tmp_path / "other", "--bucket", "history", "--versions")
    assert done.returncode == 0, done.stderr
    assert history(target, "history") == history(source, "history")


def test_a_killed_import_goes_on(
    servers: tuple[Server, Server], clients: tuple[Client, Client], tmp_path: Path
) -> None:
    source, target = clients
    source.create_bucket(Bucket="many")
    for number in range(400):
        source.put_object(Bucket="many", Key=f"k{number:03}", Body=b"%d" % number)
    victim = subprocess.Popen(command(servers, tmp_path / "journal", "--bucket", "many", "--workers", "1"), cwd=ROOT)
    while victim.poll() is None:
        try:
            if len(target.list_objects_v2(Bucket="many").get("Contents", ())) >= 150:
                break
        except ClientError:
            pass  # there is no bucket yet
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    before = len(target.list_objects_v2(Bucket="many")["Contents"])
    assert 150 <= before < 400
    done = run(servers, tmp_path / "journal", "--bucket", "many")
    assert done.returncode == 0, done.stderr
    kept = int(done.stdout.partition("), ")[2].partition(" were")[0])
    assert 100 <= kept <= before
    listed = [
        [(one["Key"], one["ETag"]) for one in s3.list_objects_v2(Bucket="many")["Contents"]] for s3 in (source, target)
    ]
    assert listed[0] == listed[1]


def test_what_cannot_be_copied_is_told(
    servers: tuple[Server, Server], clients: tuple[Client, Client], tmp_path: Path
) -> None:
    done = run(servers, tmp_path / "journal", "--bucket", "nowhere-at-all")
    assert done.returncode == 2 and "NoSuchBucket" in done.stderr
    source, _ = clients
    source.create_bucket(Bucket="cold")
    source.put_object(Bucket="cold", Key="archived", Body=b"x", StorageClass="GLACIER")
    source.put_object(Bucket="cold", Key="warm", Body=b"x")
    done = run(servers, tmp_path / "journal", "--bucket", "cold")
    assert done.returncode == 1
    assert "1 copied" in done.stdout and "s3://cold/archived" in done.stderr and "InvalidObjectState" in done.stderr
