"""Blobs as objects of an engine that speaks S3, so that several gateways share one store: `<prefix><2 digits>/<name>`.

A blob goes there in one PUT, or in parts of 8 MiB where it is larger: memory holds one part a writer. A part is sent
while the next one comes in. What a killed process was sending is an open upload there: nobody sees it, and `tidy`
ends those that are older than a day.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from backends.errors import DriverError, Exhausted, Exists, Missing, Unsupported
from backends.object.drivers.base import Block

T = TypeVar("T")
PART = 8 << 20
SENDERS = 32
MISSING = {"NoSuchKey", "404", "NotFound"}
FULL = {"SlowDown", "ServiceUnavailable", "XMinioStorageFull", "EntityTooLarge", "QuotaExceeded", "507", "503"}
ABANDONED = 86400.0
QUARANTINE = "quarantine/"


class S3Blobs:
    """The driver over one bucket of an engine. Promises: see `BlobDriver`."""

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        *,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        prefix: str = "",
    ) -> None:
        """Raises `Missing` where there is no such bucket, and `DriverError` where the engine does not answer."""
        self.bucket, self.prefix = bucket, prefix
        self._has_conditions = True  # until the engine says that it has none (Swift)
        config = Config(
            s3={"addressing_style": "path"},
            retries={"max_attempts": 4, "mode": "standard"},
            max_pool_connections=SENDERS * 3,
            connect_timeout=10,
            read_timeout=120,
            # Engines other than AWS's do not all take checksums in trailers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self.client: Any = Session().create_client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=config,
        )
        self.senders = ThreadPoolExecutor(SENDERS, thread_name_prefix="blob-sender")
        self.ask(lambda: self.client.head_bucket(Bucket=bucket))

    def check_room(self) -> None:
        """The engine says so by itself."""

    def create(self, name: str) -> S3Writer:
        """Nothing is sent before there is a part, or all."""
        return S3Writer(self, name)

    def open(self, name: str) -> S3Blob:
        """Begins to read it at once, so that its size is known."""
        return S3Blob(self, name)

    def remove(self, name: str) -> None:
        """One DELETE, which S3 answers alike whether it was there or not (others may say that it was not)."""
        with contextlib.suppress(Missing):
            self.ask(lambda: self.client.delete_object(Bucket=self.bucket, Key=self.key(name)))

    def set_aside(self, name: str) -> None:
        """Copied by the engine to `<prefix>quarantine/<name>`, then removed."""
        source = {"Bucket": self.bucket, "Key": self.key(name)}
        target = f"{self.prefix}{QUARANTINE}{name}"
        try:
            self.ask(lambda: self.client.copy_object(Bucket=self.bucket, Key=target, CopySource=source))
        except Missing:
            return
        self.remove(name)

    def names(self, after: str = "") -> Iterator[tuple[str, float]]:
        """A page of 1,000 at a time."""
        start = self.key(after) if after else self.prefix
        while True:
            page = self.ask(
                lambda start=start: self.client.list_objects_v2(  # type: ignore[misc]
                    Bucket=self.bucket, Prefix=self.prefix, StartAfter=start
                )
            )
            now = datetime.now(UTC)
            found = page.get("Contents", ())
            for one in found:
                start = one["Key"]
                name = start.rpartition("/")[2]
                if start == self.key(name) and len(name) == 32:
                    yield name, max((now - one["LastModified"]).total_seconds(), 0.0)
            if not page.get("IsTruncated") or not found:
                return

    def tidy(self) -> None:
        """End uploads that nobody goes on with."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self.prefix)
        for page in self.ask(lambda: list(pages)):
            for upload in page.get("Uploads", ()):
                if time.time() - upload["Initiated"].timestamp() > ABANDONED:
                    self.abort(upload["Key"], upload["UploadId"])

    def claim(self, identity: str) -> str:
        """Whose store this is: `identity`, if nobody's before. Two indexes over one store would sweep each other's."""
        key = f"{self.prefix}store"
        try:
            return self._owner(key)
        except Missing:
            with contextlib.suppress(Exists):
                self.put(key, identity.encode())
            return self._owner(key)

    def close(self) -> None:
        """End the threads and the connections."""
        self.senders.shutdown(wait=True)
        self.client.close()

    # --- for writers and readers --------------------------------------------------------------------------------------

    def key(self, name: str) -> str:
        """Where a blob lies in the bucket."""
        return f"{self.prefix}{name[:2]}/{name}"

    def ask(self, call: Callable[[], T]) -> T:
        """Call the engine; its errors are native ones."""
        try:
            return call()
        except ClientError as error:
            raise _named(error) from error
        except (BotoCoreError, OSError) as error:
            raise DriverError(f"the object engine does not answer: {error}") from error

    def put(self, key: str, data: bytes) -> None:
        """Make an object where there is none. Raises `Exists`."""
        if self._has_conditions:
            try:
                self.ask(lambda: self.client.put_object(Bucket=self.bucket, Key=key, Body=data, IfNoneMatch="*"))
                return
            except Unsupported:
                self._has_conditions = False
        if self.has(key):
            raise Exists(key)
        self.ask(lambda: self.client.put_object(Bucket=self.bucket, Key=key, Body=data))

    def has(self, key: str) -> bool:
        """Whether there is an object."""
        try:
            self.ask(lambda: self.client.head_object(Bucket=self.bucket, Key=key))
        except Missing:
            return False
        return True

    def abort(self, key: str, upload: str) -> None:
        """End an upload, if it is still there."""
        with contextlib.suppress(DriverError, Missing, Exhausted):
            self.ask(lambda: self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload))

    def _owner(self, key: str) -> str:
        body = self.ask(lambda: self.client.get_object(Bucket=self.bucket, Key=key))["Body"]
        with contextlib.closing(body):
            return str(self.ask(lambda: body.read(1000)).decode())


class S3Writer:
    """Gathers parts; each is sent while the next one gathers."""

    def __init__(self, driver: S3Blobs, name: str) -> None:
        self._driver, self._name, self._key = driver, name, driver.key(name)
        self._held = bytearray()
        self._upload: str | None = None
        self._sending: Future[dict[str, Any]] | None = None
        self._sent: list[dict[str, Any]] = []

    def write(self, block: Block) -> None:
        """Append; the fault of an earlier part may surface here."""
        self._held += block
        while len(self._held) > PART:
            data = bytes(memoryview(self._held)[:PART])
            del self._held[:PART]
            self._send(data)

    def keep(self) -> None:
        """The last part, and the word that makes the object: engines that speak S3 make it durable before they
        answer."""
        driver = self._driver
        if self._upload is None:
            driver.put(self._key, bytes(self._held))
            return
        self._send(bytes(self._held))
        self._settle()
        # Not every engine knows conditions here; names are by chance, so this is for those who give one twice.
        if driver.has(self._key):
            raise Exists(self._name)
        upload = self._upload
        driver.ask(
            lambda: driver.client.complete_multipart_upload(
                Bucket=driver.bucket, Key=self._key, UploadId=upload, MultipartUpload={"Parts": self._sent}
            )
        )
        self._upload = None

    def discard(self) -> None:
        """End the upload, if there is one that was not kept."""
        self._held.clear()
        if self._sending is not None:
            with contextlib.suppress(DriverError, Missing, Exhausted):
                self._settle()
        if self._upload is not None:
            self._driver.abort(self._key, self._upload)
            self._upload = None

    def _send(self, data: bytes) -> None:
        driver = self._driver
        if self._upload is None:
            made = driver.ask(lambda: driver.client.create_multipart_upload(Bucket=driver.bucket, Key=self._key))
            self._upload = made["UploadId"]
        self._settle()
        number = len(self._sent) + 1
        self._sending = driver.senders.submit(self._send_part, number, data)

    def _send_part(self, number: int, data: bytes) -> dict[str, Any]:
        driver = self._driver
        answer = driver.ask(
            lambda: driver.client.upload_part(
                Bucket=driver.bucket, Key=self._key, UploadId=self._upload, PartNumber=number, Body=data
            )
        )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _settle(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            self._sent.append(sending.result())


class S3Blob:
    """Reads forward on one answer; a jump asks anew. A small blob is read at once."""

    descriptor: int | None = None

    def __init__(self, driver: S3Blobs, name: str) -> None:
        self._driver, self._key = driver, driver.key(name)
        self._at = 0
        self._body: Any = None
        answer = self._ask(0)
        self.size = int(answer["ContentLength"])
        self._whole: bytes | None = None
        if self.size <= PART:
            self._whole = self._take(self.size)
            self.close()

    def read(self, offset: int, length: int) -> bytes:
        """See `Blob`."""
        length = max(min(length, self.size - offset), 0)
        if self._whole is not None:
            return self._whole[offset : offset + length]
        if not length:
            return b""
        if self._body is None or offset != self._at:
            self.close()
            self._ask(offset)
        return self._take(length)

    def close(self) -> None:
        """Let the answer go, read or not."""
        if self._body is not None:
            self._body.close()
            self._body = None

    def _ask(self, offset: int) -> Any:
        driver = self._driver
        options = {"Range": f"bytes={offset}-"} if offset else {}
        answer = driver.ask(lambda: driver.client.get_object(Bucket=driver.bucket, Key=self._key, **options))
        self._body, self._at = answer["Body"], offset
        return answer

    def _take(self, length: int) -> bytes:
        parts = []
        while length:
            data = self._driver.ask(lambda length=length: self._body.read(length))  # type: ignore[misc]
            if not data:
                break
            parts.append(data)
            length -= len(data)
            self._at += len(data)
        return b"".join(parts)


def _named(error: ClientError) -> Exception:
    """The native error of an engine's."""
    about = error.response.get("Error", {})
    code, status = about.get("Code", ""), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"the object engine answers {status} {code}: {about.get('Message', '')}"
    if code in MISSING:
        return Missing(text)
    if code in ("PreconditionFailed", "ConditionalRequestConflict") or status == 412:
        return Exists(text)
    if code == "NotImplemented":
        return Unsupported(text)
    if code in FULL or status in (503, 507):
        return Exhausted(text)
    return DriverError(text)
