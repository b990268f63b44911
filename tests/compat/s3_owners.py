"""Owners of objects who do this and that, and know of each key what it may hold: what was acknowledged last, and
whatever was tried since."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

Client = Any
PLAIN, KEPT = "owned", "owned-versions"
"""The buckets: one without and one with versions."""
SIZES = (0, 10, 5_000, 40_000, 300_000)
PART = 5 << 20
COUNTER = "counter"
"""A key that all owners count up, each on the condition that nobody else did meanwhile."""


def prepare(s3: Client) -> None:
    """The buckets, with a rule that lets what is below `brief/` go after a day."""
    for bucket in (PLAIN, KEPT):
        s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=KEPT, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ID": "brief", "Status": "Enabled", "Filter": {"Prefix": "brief/"}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=PLAIN, LifecycleConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=PLAIN, Key=COUNTER, Body=b"0")


def name_of(body: bytes) -> str:
    return hashlib.sha1(body, usedforsecurity=False).hexdigest()


def status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


class Owner:
    """Does one thing after another, each over one of several servers of a cloud, whatever becomes of these."""

    def __init__(self, name: str, clients: list[Client], seed: int) -> None:
        self.name, self.clients, self.dice = name, clients, random.Random(seed)
        self.possible: dict[str, set[str | None]] = {}
        """What a key may hold: contents by name, or nothing."""
        self.brief: dict[str, str] = {}
        self.versions: dict[tuple[str, str], str] = {}
        """Versions that were acknowledged, by key and id."""
        self.tried: set[str] = set()
        """Contents of all versions that were tried."""
        self.doubtful: set[tuple[str, str]] = set()
        """Versions whose deletion was tried."""
        self.counted = self.perhaps = 0
        self.done: list[str] = []
        self.faults: list[str] = []
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        verbs = [getattr(self, name) for name in VERBS]
        while not self._stopping.is_set():
            verb = self.dice.choice(verbs)
            try:
                verb(self.dice.choice(self.clients))
                self.done.append(verb.__name__)
            except ClientError as error:
                self.faults.append(f"{verb.__name__}: {error}")
            except (BotoCoreError, HTTPError, OSError):
                self._stopping.wait(0.02)  # the server is away

    def body(self) -> bytes:
        return self.dice.randbytes(self.dice.choice(SIZES))

    def key(self) -> str:
        return f"{self.name}/{self.dice.randrange(8)}"

    def change(self, changes: dict[str, str | None], call: Callable[[], object]) -> None:
        """Until `call` returns, what was and what shall be are both possible."""
        for key, new in changes.items():
            self.possible[key] = self.possible.get(key, {None}) | {new}
        call()
        for key, new in changes.items():
            self.possible[key] = {new}

    # --- what they do -------------------------------------------------------------------------------------------------

    def put(self, s3: Client) -> None:
        key, body = self.key(), self.body()
        self.change({key: name_of(body)}, lambda: s3.put_object(Bucket=PLAIN, Key=key, Body=body))

    def put_new(self, s3: Client) -> None:
        key, body = self.key(), self.body()
        known = self.possible.get(key, {None})
        try:
            self.change({key: name_of(body)}, lambda: s3.put_object(Bucket=PLAIN, Key=key, Body=body, IfNoneMatch="*"))
        except ClientError as error:
            self.possible[key] = known
            if status(error) != 412 or known == {None}:
                raise
        else:
            if None not in known:
                self.faults.append(f"{key} was there, and was made once more")

    def put_parts(self, s3: Client) -> None:
        key, where = self.key(), {"Bucket": PLAIN}
        parts = [self.dice.randbytes(70_000)]
        if self.dice.random() < 0.3:
            parts.insert(0, self.dice.randbytes(PART))
        upload = s3.create_multipart_upload(**where, Key=key)["UploadId"]
        told = []
        for number, part in enumerate(parts, 1):
            sent = s3.upload_part(**where, Key=key, UploadId=upload, PartNumber=number, Body=part)
            told.append({"PartNumber": number, "ETag": sent["ETag"]})
        ending = {"Key": key, "UploadId": upload, "MultipartUpload": {"Parts": told}}
        self.change({key: name_of(b"".join(parts))}, lambda: s3.complete_multipart_upload(**where, **ending))
        # A completion that is asked for twice, of whichever server, is the same one.
        self.dice.choice(self.clients).complete_multipart_upload(**where, **ending)

    def copy(self, s3: Client) -> None:
        sure = [key for key, states in self.possible.items() if len(states) == 1 and None not in states]
        if sure:
            source, key = self.dice.choice(sure), self.key()
            (content,) = self.possible[source]
            if source != key:
                place = {"Bucket": PLAIN, "Key": source}
                self.change({key: content}, lambda: s3.copy_object(Bucket=PLAIN, Key=key, CopySource=place))

    def delete(self, s3: Client) -> None:
        key = self.key()
        self.change({key: None}, lambda: s3.delete_object(Bucket=PLAIN, Key=key))

    def delete_many(self, s3: Client) -> None:
        keys = sorted({self.key() for _ in range(3)})
        doomed = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        self.change(dict.fromkeys(keys), lambda: s3.delete_objects(Bucket=PLAIN, Delete=doomed))

    def look(self, s3: Client) -> None:
        key = self.key()
        self.compare(key, read(s3, PLAIN, key))

    def put_brief(self, s3: Client) -> None:
        body = self.body()
        key = f"brief/{self.name}-{len(self.brief)}"
        self.brief[key] = name_of(body)
        s3.put_object(Bucket=PLAIN, Key=key, Body=body)

    def put_version(self, s3: Client) -> None:
        key, body = self.key(), self.body()
        self.tried.add(name_of(body))
        made = s3.put_object(Bucket=KEPT, Key=key, Body=body)
        self.versions[key, made["VersionId"]] = name_of(body)

    def hide_version(self, s3: Client) -> None:
        s3.delete_object(Bucket=KEPT, Key=self.key())

    def delete_version(self, s3: Client) -> None:
        if self.versions:
            place = self.dice.choice(sorted(self.versions))
            del self.versions[place]
            self.doubtful.add(place)
            s3.delete_object(Bucket=KEPT, Key=place[0], VersionId=place[1])

    def count(self, s3: Client) -> None:
        found = s3.get_object(Bucket=PLAIN, Key=COUNTER)
        number = int(found["Body"].read())
        self.perhaps += 1
        try:
            s3.put_object(Bucket=PLAIN, Key=COUNTER, Body=b"%d" % (number + 1), IfMatch=found["ETag"])
        except ClientError as error:
            self.perhaps -= 1
            if status(error) not in (409, 412):
                raise
        else:
            self.perhaps -= 1
            self.counted += 1

    # --- what must be -------------------------------------------------------------------------------------------------

    def compare(self, key: str, found: str | None) -> None:
        states = self.possible.get(key, {None})
        if found not in states:
            self.faults.append(f"{key} holds {found}, and not one of {states}")
        self.possible[key] = {found}

    def check(self, s3: Client) -> None:
        """Compare all that there is with what is known; adds to `faults`."""
        listed = [one["Key"] for one in s3.list_objects_v2(Bucket=PLAIN, Prefix=f"{self.name}/").get("Contents", ())]
        for key in sorted({*listed, *self.possible}):
            found = read(s3, PLAIN, key)
            self.compare(key, found)
            if (key in listed) != (found is not None):
                self.faults.append(f"{key} is listed, or read, and not both")
        for key in self.brief:
            if read(s3, PLAIN, key) not in (self.brief[key], None):
                self.faults.append(f"{key} has other bytes")
        there: set[tuple[str, str]] = set()
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=KEPT, Prefix=f"{self.name}/"):
            there |= {(one["Key"], one["VersionId"]) for one in page.get("Versions", ())}
        for place in {*there, *self.versions} - self.doubtful:
            found = read(s3, KEPT, *place)
            if found not in ({self.versions[place]} if place in self.versions else self.tried):
                self.faults.append(f"{place} holds {found}")


def read(s3: Client, bucket: str, key: str, version: str | None = None) -> str | None:
    """The name of a content; None where there is none."""
    try:
        answer = s3.get_object(Bucket=bucket, Key=key, **({"VersionId": version} if version else {}))
    except ClientError as error:
        if status(error) == 404:
            return None
        raise
    body = answer["Body"].read()
    assert len(body) == answer["ContentLength"]
    return name_of(body)


VERBS = (
    *("put", "put", "put_new", "put_parts", "copy", "delete", "delete_many", "look", "look"),
    *("put_brief", "put_version", "put_version", "hide_version", "delete_version", "count", "count"),
)
