"""`nephele import s3`: from one server into another, all that an object is; broken off and gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from gateway.importing import Importer
from gateway.importing_journal import Item, Journal
from tests import swift
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
    return subprocess.run(command(servers, journal, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=300)


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
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
    rows = [one for page in pages for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))]
    return [(one["Key"], one.get("ETag", ""), "ETag" not in one, one["IsLatest"]) for one in rows]


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


class Gate:
    """A way to a server that lets nothing more through once so many objects have passed."""

    def __init__(self, port: int, most: int) -> None:
        self.port, self.left, self.shut = port, most, threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self.listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self.port))
                for one, other, counted in ((ours, theirs, True), (theirs, ours, False)):
                    threading.Thread(target=self._pass, args=(one, other, counted), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, counted: bool) -> None:
        with one, other, contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if counted:
                    self.left -= data.count(b"PUT /many/k")
                    if self.left < 0:
                        self.shut.set()
                        continue
                other.sendall(data)


def test_a_killed_import_goes_on(
    servers: tuple[Server, Server], clients: tuple[Client, Client], tmp_path: Path
) -> None:
    source, target = clients
    source.create_bucket(Bucket="many")
    for number in range(200):
        source.put_object(Bucket="many", Key=f"k{number:03}", Body=b"%d" % number)
    gate = Gate(servers[1].port, 150)
    words = command(servers, tmp_path / "journal", "--bucket", "many", "--workers", "1")
    with gate.listener, subprocess.Popen([*words, "--endpoint", gate.endpoint], cwd=ROOT) as victim:
        assert gate.shut.wait(300)
        victim.send_signal(signal.SIGKILL)
    before = len(target.list_objects_v2(Bucket="many")["Contents"])
    assert before == 150
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
    assert done.returncode == 1 and "NoSuchBucket" in done.stderr
    source, target = clients
    assert "nowhere-at-all" not in [one["Name"] for one in target.list_buckets()["Buckets"]]
    source.create_bucket(Bucket="cold")
    source.put_object(Bucket="cold", Key="archived", Body=b"x", StorageClass="GLACIER")
    source.put_object(Bucket="cold", Key="warm", Body=b"x")
    # A bucket that cannot be made does not keep the others back.
    source.create_bucket(Bucket="somebodys")
    new_client(servers[1].endpoint, "s3", "210987654321").create_bucket(Bucket="somebodys")
    done = run(servers, tmp_path / "journal", "--bucket", "somebodys", "--bucket", "cold")
    assert done.returncode == 1 and "s3://somebodys: " in done.stderr and "BucketAlreadyExists" in done.stderr
    assert "1 copied" in done.stdout and "s3://cold/archived" in done.stderr and "InvalidObjectState" in done.stderr


def test_an_endpoint_that_is_away_ends_the_import(
    servers: tuple[Server, Server], clients: tuple[Client, Client], tmp_path: Path
) -> None:
    told = command(servers, tmp_path / "journal")
    told[told.index("--from") + 1] = "http://127.0.0.1:1"
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 2 and "0 buckets: 0 copied" in done.stdout and "127.0.0.1:1" in done.stderr


def test_a_source_that_changes_meanwhile(
    servers: tuple[Server, Server], clients: tuple[Client, Client], tmp_path: Path
) -> None:
    """Other metadata make another object, what was deleted after it was listed is no fault, locks that are over are
    left, and one that was killed while it sent parts leaves no upload."""
    source, target = clients
    source.create_bucket(Bucket="moving", ObjectLockEnabledForBucket=True)
    target.create_bucket(Bucket="moving")  # without locks, and with something in it
    target.put_object(Bucket="moving", Key="mine", Body=b"mine")
    over = datetime.now(UTC) + timedelta(seconds=1)
    source.put_object(
        Bucket="moving", Key="over", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=over
    )
    later = over + timedelta(days=3)
    source.put_object(
        Bucket="moving", Key="held", Body=b"x", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=later
    )
    source.put_object(Bucket="moving", Key="k", Body=b"x", Metadata={"a": "1"})
    while datetime.now(UTC) <= over:  # the source's own clock, which is this machine's
        source.head_object(Bucket="moving", Key="over")
    upload = target.create_multipart_upload(Bucket="moving", Key="large")["UploadId"]
    journal = Journal(tmp_path / "journal")
    journal.begin("moving", "large", upload)
    journal.close()
    done = run(servers, tmp_path / "journal", "--bucket", "moving")
    assert (done.returncode, done.stderr) == (0, "") and "3 copied" in done.stdout
    assert target.get_object_retention(Bucket="moving", Key="held")["Retention"]["Mode"] == "GOVERNANCE"
    assert "ObjectLockMode" not in target.head_object(Bucket="moving", Key="over")
    assert target.get_object(Bucket="moving", Key="mine")["Body"].read() == b"mine"
    assert "Uploads" not in target.list_multipart_uploads(Bucket="moving")
    source.put_object(Bucket="moving", Key="k", Body=b"x", Metadata={"a": "2"})
    done = run(servers, tmp_path / "journal", "--bucket", "moving")
    assert "1 copied" in done.stdout and target.head_object(Bucket="moving", Key="k")["Metadata"] == {"a": "2"}
    book = Journal(tmp_path / "other")
    importer = Importer(source, target, book, versions=False, workers=1)
    importer._keys = lambda bucket: iter([[Item("k", None, "x", 1, over)], [Item("gone", None, "x", 1, over)]])  # type: ignore[method-assign]
    assert [*importer.copy("moving")] and (importer.report.copied, importer.report.gone) == (1, 1)
    assert importer.report.failures == []
    book.close()


def test_into_another_region_than_the_first(
    servers: tuple[Server, Server], clients: tuple[Client, Client], tmp_path: Path
) -> None:
    """Buckets are made where new ones are made anyway, whatever the source's region is called."""
    source, target = clients
    source.create_bucket(Bucket="abroad")
    source.put_object(Bucket="abroad", Key="k", Body=b"x")
    told = command(servers, tmp_path / "journal", "--bucket", "abroad", "--region", "garage")
    environment = os.environ | {"NEPHELE_DEFAULT_REGION": "eu-west-1"}
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, timeout=110, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert target.get_bucket_location(Bucket="abroad")["LocationConstraint"] == "eu-west-1"


def test_out_of_swift(servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whose S3 API answers questions that it does not know with lists of objects."""
    if reason := swift.missing():
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        try:
            endpoint = stack.enter_context(swift.swift(tmp_path_factory.mktemp("swift")))
        except OSError as error:
            pytest.skip(f"Swift needs a file system with extended attributes: {error}")
        config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        source = new_client(endpoint, "s3", swift.ACCESS, secret=swift.SECRET, config=config)
        source.create_bucket(Bucket="from-swift")
        keys = ["a", "a b+c%d", "ü€😀", "dir/", "a//b", "..", "<&>"]
        for key in keys:
            source.put_object(Bucket="from-swift", Key=key, Body=key.encode() * 1000, Metadata={"m": "1"})
        multipart(source, "from-swift", "parts", [5 * MIB, 70_000])
        told = command(servers, tmp_path_factory.mktemp("journal") / "journal")
        told[told.index("--from") + 1] = endpoint
        told[told.index("--access-key") + 1], told[told.index("--secret-key") + 1] = swift.ACCESS, swift.SECRET
        done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, timeout=110)
        assert (done.returncode, done.stderr) == (0, "") and "8 copied" in done.stdout
        target = new_client(servers[1].endpoint, "s3", ACCOUNT)
        assert "Status" not in target.get_bucket_versioning(Bucket="from-swift")
        for key in [*keys, "parts"]:
            sent, kept = (s3.get_object(Bucket="from-swift", Key=key) for s3 in (source, target))
            assert sent["Body"].read() == kept["Body"].read() and sent["Metadata"] == kept["Metadata"]
            assert key == "parts" or sent["ETag"] == kept["ETag"]
