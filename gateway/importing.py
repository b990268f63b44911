"""Copying buckets from any S3 endpoint into another, so that it can be broken off and gone on with.

Whatever is copied is checked on the way: the MD5 of what came against the source's ETag where that is one, the same
MD5 by the target, and the ETags of objects in parts, which keep their parts. What is done stands in a journal.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import tempfile
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import IO, Any
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from gateway.importing_journal import Item, Journal

log = logging.getLogger("nephele.import")

MEMORY = 8 << 20
"""Bytes of a content that are held in memory; what is larger lies in a temporary file meanwhile."""
BLOCK = 1 << 20
LARGEST_PUT = 5 << 30
PART = 64 << 20
"""How large parts are made where the source does not tell how large its own are."""
TRIES = 3
PATIENCE = 3
"""As many keys a worker may fail one after the other because an endpoint is away, before the import gives up."""
FAULTS = (BotoCoreError, ClientError, HTTPError, OSError)
HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "WebsiteRedirectLocation",
)


GONE = {"NoSuchKey", "NoSuchVersion", "404"}


class Mismatch(OSError):
    """What arrived is not what was sent."""


@dataclass
class Report:
    """What an import came to. Numbers move while it goes on."""

    buckets: int = 0
    copied: int = 0
    bytes: int = 0
    kept: int = 0
    """Objects that an earlier run had copied."""
    gone: int = 0
    """Objects that were listed, and deleted before they were read."""
    failures: list[str] = field(default_factory=list)

    @property
    def settled(self) -> int:
        """Objects of which is known what became of them."""
        return self.copied + self.kept + self.gone + len(self.failures)


class Importer:
    """Copies buckets from `source` to `target`, clients of botocore. One import at a time for a journal."""

    def __init__(self, source: Any, target: Any, journal: Journal, *, versions: bool, workers: int) -> None:
        self._source, self._target, self._journal = source, target, journal
        self._versions, self._workers = versions, workers
        self.report = Report()
        self._lock = threading.Lock()
        self._away = 0

    def copy(self, bucket: str) -> Iterator[None]:
        """Copy what a bucket holds and is not done yet; gives control back after each key. Raises the last of `FAULTS`
        when an endpoint is away."""
        self._end_uploads(bucket)
        running: dict[Future[list[Item]], list[Item]] = {}
        with ThreadPoolExecutor(self._workers, thread_name_prefix="import") as pool:
            try:
                for items in self._keys(bucket):
                    left = [item for item in items if not self._journal.has(bucket, item)]
                    self.report.kept += len(items) - len(left)
                    if left:
                        future = pool.submit(self._copy_key, bucket, left, len(items) - len(left))
                        running[future] = left
                    while len(running) >= self._workers * 2:
                        self._settle(bucket, running)
                        yield
                while running:
                    self._settle(bucket, running)
                    yield
            finally:
                for future in running:
                    future.cancel()
                self._journal.save()

    def count(self, bucket: str) -> int:
        """How many versions (or objects) a bucket has: one listing of it."""
        return sum(len(items) for items in self._keys(bucket))

    def _settle(self, bucket: str, running: dict[Future[list[Item]], list[Item]]) -> None:
        """Wait for the oldest key, and note what became of it."""
        future = next(iter(running))
        items = running.pop(future)
        try:
            done = future.result()
        except FAULTS as fault:  # what of the key was copied before is found again by the next run
            self.report.failures.append(f"s3://{bucket}/{items[0].key}: {fault}")
            self._away = self._away + 1 if is_away(fault) else 0
            if self._away >= PATIENCE * self._workers:
                raise
            return
        self._away = 0
        self._journal.add(bucket, done)
        self.report.copied += len(done)
        self.report.gone += len(items) - len(done)

    def _end_uploads(self, bucket: str) -> None:
        """What a killed run was sending in parts is dropped by the target."""
        for key, upload in self._journal.begun(bucket):
            try:
                self._target.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
            except ClientError as error:
                log.info("s3://%s/%s: the upload of an earlier run: %s", bucket, key, error)
            self._journal.end(upload)

    # --- what there is ------------------------------------------------------------------------------------------------

    def _keys(self, bucket: str) -> Iterator[list[Item]]:
        """For each key, what is to be copied, oldest first."""
        if not self._versions:
            pages = self._source.get_paginator("list_objects_v2").paginate(Bucket=bucket)
            for page in pages:
                for one in page.get("Contents", ()):
                    yield [Item(one["Key"], None, one["ETag"].strip('"'), one["Size"], one["LastModified"])]
            return
        gathered: list[Item] = []
        for item in self._all_versions(self._source, bucket):
            if gathered and gathered[0].key != item.key:
                yield gathered[::-1]
                gathered = []
            gathered.append(item)
        if gathered:
            yield gathered[::-1]

    def _all_versions(self, client: Any, bucket: str, prefix: str = "") -> Iterator[Item]:
        """Versions and markers by key, newest first."""
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
            found = [(one, False) for one in page.get("Versions", ())]
            found += [(one, True) for one in page.get("DeleteMarkers", ())]
            found.sort(key=lambda one: one[0]["LastModified"], reverse=True)
            found.sort(key=lambda one: (one[0]["Key"].encode(), not one[0]["IsLatest"]))
            for key, group in itertools.groupby(found, key=lambda one: one[0]["Key"]):
                for one, marker in self._in_order(client, bucket, key, list(group)):
                    etag = one.get("ETag", "marker").strip('"')
                    yield Item(key, one["VersionId"], etag, one.get("Size", 0), one["LastModified"], marker)

    def _in_order(
        self, client: Any, bucket: str, key: str, group: list[tuple[dict[str, Any], bool]]
    ) -> list[tuple[dict[str, Any], bool]]:
        """Versions and markers of a key, newest first. A page has them in two lists, with their times in whole seconds:
        where some of both came in one second, pages of one entry tell the order."""
        versions, markers = ({one["LastModified"] for one, marker in group if marker is kind} for kind in (False, True))
        if versions.isdisjoint(markers):
            return group
        places: dict[str, int] = {}
        wanted = {one["VersionId"] for one, _ in group}
        pages = client.get_paginator("list_object_versions").paginate(
            Bucket=bucket, Prefix=key, PaginationConfig={"PageSize": 1}
        )
        for page in pages:
            for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                places.setdefault(one["VersionId"], len(places))
            if wanted <= places.keys():
                break
        return sorted(group, key=lambda one: places.get(one[0]["VersionId"], len(places)))

    # --- one key ------------------------------------------------------------------------------------------------------

    def _copy_key(self, bucket: str, items: list[Item], before: int) -> list[Item]:
        if self._versions:
            return self._copy_versions(bucket, items, before)
        return self._copy_each(bucket, items)

    def _copy_versions(self, bucket: str, items: list[Item], before: int) -> list[Item]:
        """A run that was killed, or failed on a later version, may have copied the first ones without noting them."""
        key = items[0].key
        found = takewhile(lambda item: item.key == key, self._all_versions(self._target, bucket, key))
        there = [item.etag for item in found]
        done = 0
        for copied, item in zip(there[::-1][before:], items, strict=False):
            if copied != item.etag:
                break
            done += 1
        return items[:done] + self._copy_each(bucket, items[done:])

    def _copy_each(self, bucket: str, items: list[Item]) -> list[Item]:
        """Copy them in turn; those that were there still."""
        done = []
        for item in items:
            for attempt in range(TRIES):
                try:
                    if self._copy_item(bucket, item, ask=attempt > 0):
                        done.append(item)
                    break
                except (BotoCoreError, HTTPError, OSError) as fault:
                    if attempt == TRIES - 1:
                        raise
                    log.info("s3://%s/%s: %s; once more", bucket, item.key, fault)
        return done

    def _copy_item(self, bucket: str, item: Item, *, ask: bool) -> bool:
        """Whether the item was there to be copied. `ask`: for the size of every part, since they were not as even as
        they looked."""
        if item.marker:
            self._target.delete_object(Bucket=bucket, Key=item.key)
            return True
        where = {"Bucket": bucket, "Key": item.key} | ({"VersionId": item.version} if item.version else {})
        try:
            answer = self._source.get_object(**where, ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response["Error"]["Code"] not in GONE:
                raise
            return False
        about = {name: answer[name] for name in HEADERS if answer.get(name)} | {"Metadata": answer["Metadata"]}
        if answer.get("ExpiresString"):
            about["Expires"] = answer["ExpiresString"]
        if answer.get("StorageClass", "STANDARD") != "STANDARD":
            about["StorageClass"] = answer["StorageClass"]
        until = answer.get("ObjectLockRetainUntilDate")
        if until is not None and until > datetime.now(UTC):  # S3 takes no retention that is over
            about |= {"ObjectLockMode": answer["ObjectLockMode"], "ObjectLockRetainUntilDate": until}
        if answer.get("ObjectLockLegalHoldStatus"):
            about["ObjectLockLegalHoldStatus"] = answer["ObjectLockLegalHoldStatus"]
        if answer.get("TagCount"):
            tags = self._source.get_object_tagging(**where)["TagSet"]
            about["Tagging"] = encoded({tag["Key"]: tag["Value"] for tag in tags})
        etag, size = answer["ETag"].strip('"'), answer["ContentLength"]
        if "-" in etag or size > LARGEST_PUT:
            answer["Body"].close()
            self._copy_parts(where, about, etag, size, ask)
        else:
            self._copy_whole(bucket, item.key, about, answer, etag)
        return True

    def _copy_whole(self, bucket: str, key: str, about: dict[str, Any], answer: Any, etag: str) -> None:
        with tempfile.SpooledTemporaryFile(MEMORY) as held:
            digest = self._fetch(answer, held)
            if is_digest(etag, answer) and digest.hex() != etag:
                raise Mismatch(f"the source sent bytes with the MD5 {digest.hex()}, its ETag is {etag}")
            self._target.put_object(Bucket=bucket, Key=key, Body=held, ContentMD5=b64encode(digest).decode(), **about)

    def _copy_parts(self, where: dict[str, Any], about: dict[str, Any], etag: str, size: int, ask: bool) -> None:
        sizes = self._part_sizes(where, etag, size, ask)
        place = {"Bucket": where["Bucket"], "Key": where["Key"]}
        upload = self._target.create_multipart_upload(**place, **about)["UploadId"]
        self._journal.begin(place["Bucket"], place["Key"], upload)
        try:
            parts, start = [], 0
            for number, length in enumerate(sizes or cut(size), 1):
                span = f"bytes={start}-{start + length - 1}"
                answer = self._get_span(where, span, etag)
                with tempfile.SpooledTemporaryFile(MEMORY) as held:
                    digest = b64encode(self._fetch(answer, held)).decode()
                    sent = self._target.upload_part(
                        **place, UploadId=upload, PartNumber=number, Body=held, ContentMD5=digest
                    )
                parts.append({"PartNumber": number, "ETag": sent["ETag"]})
                start += length
            done = self._target.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException:
            self._target.abort_multipart_upload(**place, UploadId=upload)
            self._journal.end(upload)
            raise
        self._journal.end(upload)
        if sizes and is_digest(etag, answer) and done["ETag"].strip('"') != etag:
            self._target.delete_object(**place, **({"VersionId": done["VersionId"]} if "VersionId" in done else {}))
            raise Mismatch(f"the copy has the ETag {done['ETag']}, the source {etag}")

    def _get_span(self, where: dict[str, Any], span: str, etag: str) -> Any:
        try:
            return self._source.get_object(**where, Range=span, IfMatch=f'"{etag}"')
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (404, 412):
                raise
            raise Mismatch("it was replaced while it was read") from error

    def _part_sizes(self, where: dict[str, Any], etag: str, size: int, ask: bool) -> list[int]:
        """The sizes of the source's parts; none where it does not tell."""
        try:
            first = self._source.head_object(**where, PartNumber=1)
            length, count = first["ContentLength"], int(etag.partition("-")[2])
            if not ask and 0 < length <= size and -(-size // length) == count:
                return [min(length, size - start) for start in range(0, size, length)]
            sizes = [self._source.head_object(**where, PartNumber=n)["ContentLength"] for n in range(1, count + 1)]
        except (ClientError, ValueError):
            return []
        return sizes if sum(sizes) == size else []

    def _fetch(self, answer: Any, held: IO[bytes]) -> bytes:
        """Take an answer's body; its MD5."""
        digest, left = hashlib.md5(usedforsecurity=False), answer["ContentLength"]
        with answer["Body"] as body:
            while block := body.read(BLOCK):
                digest.update(block)
                held.write(block)
                left -= len(block)
                with self._lock:
                    self.report.bytes += len(block)
        if left:
            raise Mismatch(f"the source sent {left} bytes less than it said")
        held.seek(0)
        return digest.digest()


def is_away(fault: Exception) -> bool:
    """Whether the fault is an endpoint's as a whole, and not about the object that was asked for."""
    if isinstance(fault, ClientError):
        return int(fault.response["ResponseMetadata"]["HTTPStatusCode"]) >= 500
    return not isinstance(fault, Mismatch)


def is_digest(etag: str, answer: Mapping[str, Any]) -> bool:
    """Whether an ETag tells the MD5 of the bytes: with keys of KMS or of the caller it does not."""
    plain = answer.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in answer
    return plain and len(etag.partition("-")[0]) == 32


def cut(size: int) -> list[int]:
    """Parts for so many bytes, at most 10,000."""
    length = max(PART, -(-size // 10_000))
    return [min(length, size - start) for start in range(0, size, length)]


def encoded(tags: Mapping[str, str]) -> str:
    """Tags as S3 takes them in a header."""
    return urlencode(tags)
