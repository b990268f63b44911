"""The bytes of disk images between the object store and files, in blocks, in the name of a role."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from backends import checksum
from backends.db import EPOCH, MICROSECOND
from backends.errors import Damaged, Missing
from backends.object.contents import Reading
from backends.object.store import Span
from backends.object.versions import Description, Head
from compat.context import Context
from compat.errors import AWSError

if TYPE_CHECKING:
    from backends.object.containers import Known

BLOCK = 1 << 20
CHUNK = bytes(1 << 16)
"""What is left out as a hole where it is all zeros: the clusters of disks are as large."""
Report = Callable[[int], None]
"""Told per cent, now and then; what it raises stops the transfer."""


def download(ctx: Context, bucket: Known, key: str, path: Path, report: Report) -> None:
    """Write an object's newest version into a new file, with holes for zeros. Raises S3's errors, `Damaged`."""
    from compat.s3 import encryption, faults, properties

    def choose(head: Head) -> Span:
        if head.marker:
            raise faults.no_such_key(key)
        encryption.check_read(head.sealed_key, {})
        if head.storage in properties.ARCHIVED:
            raise AWSError("InvalidObjectState", "The object is archived, and has to be restored first.", 403)
        return Span(0, head.size)

    try:
        head, content = ctx.objects.read(
            bucket.number, key, None, choose, lambda sealed: encryption.unlock(ctx, bucket, sealed, {})
        )
    except Missing:
        raise faults.no_such_key(key) from None
    blocks = iter(content) if isinstance(content, Reading) else iter((content,))
    done = 0
    try:
        with path.open("wb") as file:
            for block in blocks:
                _write_sparse(file, block)
                done += len(block)
                report(done * 100 // max(1, head.size))
            file.truncate(done)
    finally:
        if isinstance(content, Reading):
            content.close()
    if done != head.size:
        raise Damaged("the content is damaged", key=key, reason="its bytes are gone")


def _write_sparse(file: BinaryIO, block: bytes) -> None:
    for start in range(0, len(block), len(CHUNK)):
        chunk = block[start : start + len(CHUNK)]
        if chunk == CHUNK[: len(chunk)]:
            file.seek(len(chunk), os.SEEK_CUR)
        else:
            file.write(chunk)


def upload(ctx: Context, bucket: Known, key: str, path: Path, report: Report) -> None:
    """Make a file the newest version of an object, encrypted as the bucket says. Raises S3's errors."""
    from compat.s3 import checksums, encryption, sequel

    protection = encryption.protection(ctx, bucket, key, {})
    running, size = checksum.checksum(checksums.DEFAULT), path.stat().st_size

    def blocks() -> Iterator[bytes]:
        done = 0
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                running.update(block)
                yield block
                done += len(block)
                report(done * 100 // size)

    received = ctx.objects.receive(blocks(), key=protection.key)
    try:
        about = Description(
            modified=(ctx.cloud.database.clock() - EPOCH) // MICROSECOND,
            etag=protection.new_etag() or received.etag,
            size=received.size,
            checksum=f"{checksums.DEFAULT} {checksums.FULL} {checksum.encode(running.digest())}",
            facts=protection.within('{"ContentType":"application/octet-stream"}'),
        )
        also = None
        if not sequel.is_silent(bucket):
            about = sequel.marked(bucket, key, about)
            also = sequel.created(ctx, bucket, key, "ObjectCreated:Put", lambda: about)
        ctx.objects.publish(bucket.number, key, about, received, also=also)
    finally:
        received.close()
    sequel.wake(ctx, also)
