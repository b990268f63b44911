"""`kill -9` at any moment: what was acknowledged is there, nothing half-made is seen, what was wanted comes true."""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.compat.conftest import new_client
from tests.compat.passing import until
from tests.compat.waiting import wait
from tests.server import Server

ROUNDS = 6
BUCKET = "crash-test"
ACCOUNT = "123456789012"


Clients = dict[str, Any]


class Load:
    """Clients that write until the server is gone, and remember what was acknowledged and what was only tried."""

    def __init__(self, clients: Clients) -> None:
        self.objects: dict[str, str] = {}  # key → MD5 of what was acknowledged
        self.deleted: set[str] = set()
        self.tried: dict[str, str] = {}
        self.volumes: dict[str, str] = {}  # id → value of the tag that came with it
        self.users: set[str] = set()
        self.reservations: dict[str, int] = {}  # client token → instances
        self.acknowledged = 0
        self._stop, self._progress = threading.Event(), threading.Condition()
        self._clients = clients
        steps = (self._put, self._multipart, self._volume, self._user, self._run)
        self._threads = [threading.Thread(target=self._repeat, args=(step,)) for step in steps]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def run(self, calls: int) -> None:
        """Go on until so many calls were acknowledged."""
        with self._progress:
            assert self._progress.wait_for(lambda: self.acknowledged >= calls, timeout=200)

    def _repeat(self, step: Callable[[Clients], None]) -> None:
        while not self._stop.is_set():
            try:
                step(self._clients)
                with self._progress:
                    self.acknowledged += 1
                    self._progress.notify()
            except (BotoCoreError, OSError):
                break  # the server is gone; what this step tried was not acknowledged
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                    raise

    def _put(self, clients: Clients) -> None:
        body = os.urandom(random.choice([10, 5_000, 40_000, 700_000]))
        key = f"object/{secrets.token_hex(4)}"
        self.tried[key] = hashlib.md5(body).hexdigest()
        clients["s3"].put_object(Bucket=BUCKET, Key=key, Body=body)
        self.objects[key] = self.tried[key]
        if random.random() < 0.2:
            self.deleted.add(key)
            clients["s3"].delete_object(Bucket=BUCKET, Key=key)
            del self.objects[key]

    def _multipart(self, clients: Clients) -> None:
        s3, key = clients["s3"], f"parts/{secrets.token_hex(4)}"
        parts = [os.urandom(5 << 20), os.urandom(70_000)]
        self.tried[key] = hashlib.md5(b"".join(parts)).hexdigest()
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        done = [
            {
                "PartNumber": number,
                "ETag": s3.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=part)["ETag"],
            }
            for number, part in enumerate(parts, 1)
        ]
        s3.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": done})
        self.objects[key] = self.tried[key]

    def _volume(self, clients: Clients) -> None:
        mark = secrets.token_hex(4)
        made = clients["ec2"].create_volume(
            AvailabilityZone="us-east-1a",
            Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "mark", "Value": mark}]}],
        )
        self.volumes[made["VolumeId"]] = mark

    def _user(self, clients: Clients) -> None:
        name = "u" + secrets.token_hex(4)
        clients["iam"].create_user(UserName=name)
        self.users.add(name)

    def _run(self, clients: Clients) -> None:
        token, count = secrets.token_hex(8), random.randint(1, 3)
        clients["ec2"].run_instances(
            ImageId="ami-12c6146b", InstanceType="t3.micro", MinCount=count, MaxCount=count, ClientToken=token
        )
        self.reservations[token] = count


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    clients = {name: new_client(server.endpoint, name, ACCOUNT) for name in ("s3", "ec2", "iam")}
    pasts: list[Load] = []
    try:
        clients["s3"].create_bucket(Bucket=BUCKET)
        for _ in range(ROUNDS):
            load = Load(clients)
            load.run(random.randint(1, 60))
            server.kill()
            load.join()
            pasts.append(load)
            server.start_again()
            _check_objects(clients, pasts)
            _check_the_rest(clients, pasts)
        _check_leftovers(server, clients, tmp_path / "data")
    finally:
        server.stop()


def _check_objects(clients: Clients, pasts: list[Load]) -> None:
    s3 = clients["s3"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    listed = {entry["Key"]: entry for page in pages for entry in page.get("Contents", ())}
    for load in pasts:
        for key in load.objects:
            assert key in listed, f"{key} was acknowledged and is gone"
    tried = {key: digest for load in pasts for key, digest in load.tried.items()}
    doubtful = {key for load in pasts for key in load.deleted}
    assert set(listed) <= set(tried)
    latest = pasts[-1]
    for key in listed:
        if key in latest.tried or key in doubtful:
            body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            assert hashlib.md5(body).hexdigest() == tried[key], f"{key} holds other bytes than were sent"


def _check_the_rest(clients: Clients, pasts: list[Load]) -> None:
    ec2, iam = clients["ec2"], clients["iam"]
    volumes = {v["VolumeId"]: v for page in ec2.get_paginator("describe_volumes").paginate() for v in page["Volumes"]}
    users = {u["UserName"] for page in iam.get_paginator("list_users").paginate() for u in page["Users"]}
    pages = ec2.get_paginator("describe_instances").paginate()
    reservations = [reservation for page in pages for reservation in page["Reservations"]]
    by_token = {r["Instances"][0]["ClientToken"]: len(r["Instances"]) for r in reservations}
    for load in pasts:
        assert load.users <= users
        for id, mark in load.volumes.items():
            assert volumes[id]["Tags"] == [{"Key": "mark", "Value": mark}]
        for token, count in load.reservations.items():
            assert by_token[token] == count
    for volume in volumes.values():  # a volume that was not acknowledged is whole or absent
        assert volume["Size"] >= 1
    instances = [instance["InstanceId"] for reservation in reservations for instance in reservation["Instances"]]
    if instances:  # what was wanted comes true after the restart, too
        wait(ec2, "instance_running", InstanceIds=instances[-20:])


def _check_leftovers(server: Server, clients: Clients, data: Path) -> None:
    """After the last start and its sweep, the store holds no more bytes than the objects and their tried parts do."""
    s3 = clients["s3"]
    for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    for page in pages:
        for entry in page.get("Contents", ()):
            s3.delete_object(Bucket=BUCKET, Key=entry["Key"])
    server.kill()
    server.start_again()  # a start sweeps what a kill left behind, while the server answers already
    until(lambda: [path for path in (data / "objects").rglob("*") if path.is_file()], lambda files: files == [])
