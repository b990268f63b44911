"""Conditional reads and writes, and ranges."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from backends.db import EPOCH, MICROSECOND
from backends.object.store import Span
from backends.object.versions import Expect, Head
from compat.errors import AWSError
from compat.operation import Params
from compat.s3 import faults
from compat.s3.properties import http_date

SECOND = timedelta(seconds=1)
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def moment(microseconds: int) -> datetime:
    """A time of the store as S3 shows it: in whole seconds."""
    return _second(microseconds // 1_000_000)


@lru_cache(8192)
def _second(number: int) -> datetime:
    return EPOCH + number * SECOND


def is_same(etag: str, wanted: str) -> bool:
    """Whether a header such as `If-Match` names the ETag; `*` names every one."""
    wanted = wanted.strip()
    if wanted == "*":
        return True
    return any(one.strip().removeprefix("W/").strip('"') == etag for one in wanted.split(","))


def check_read(head: Head, p: Params, prefix: str = "") -> None:
    """Refuse a read whose conditions do not hold: 412, or 304 where that is what conditions are for.

    With a prefix (`CopySource`) there is no 304.
    """
    match, none_match = p.get(prefix + "IfMatch"), p.get(prefix + "IfNoneMatch")
    changed_since, unchanged_since = p.get(prefix + "IfModifiedSince"), p.get(prefix + "IfUnmodifiedSince")
    if match is None and none_match is None and changed_since is None and unchanged_since is None:
        return
    name = "x-amz-copy-source-" if prefix else ""
    whole_second = head.modified - head.modified % 1_000_000
    if match is not None:
        if not is_same(head.etag, match):
            raise faults.precondition(f"{name}If-Match")
    elif unchanged_since is not None and whole_second > (unchanged_since - EPOCH) // MICROSECOND:
        raise faults.precondition(f"{name}If-Unmodified-Since")
    if none_match is not None:
        if is_same(head.etag, none_match):
            raise faults.precondition(f"{name}If-None-Match") if prefix else unmodified(head)
    elif changed_since is not None and whole_second <= (changed_since - EPOCH) // MICROSECOND:
        if changed_since > datetime.now(UTC):
            return  # times that are yet to come are no conditions
        raise faults.precondition(f"{name}If-Modified-Since") if prefix else unmodified(head)


def unmodified(head: Head) -> AWSError:
    """304, with what a cache wants to know."""
    modified = http_date(moment(head.modified))
    return AWSError("NotModified", "Not Modified", 304, headers={"ETag": f'"{head.etag}"', "Last-Modified": modified})


def expectation(p: Params, key: str) -> Expect | None:
    """What a conditional write expects of the object that it replaces; None where the write is unconditional."""
    match, none_match = p.get("IfMatch"), p.get("IfNoneMatch")
    if match is None and none_match is None:
        return None
    if match is not None and none_match is not None:
        raise AWSError(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            501,
            Header="If-Match,If-None-Match",
            additionalMessage="Multiple conditional request headers present in the request",
        )
    for header, refused in (
        ("If-None-Match", none_match is not None and none_match.strip() != "*"),
        ("If-Match", match is not None and match.strip() == "*"),
    ):
        if refused:
            raise AWSError(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                501,
                Header=header,
                additionalMessage=f"We don't accept the provided value of {header} header for this API",
            )

    def expect(head: Head | None) -> None:
        if none_match is not None and head is not None:
            raise faults.precondition("If-None-Match")
        if match is not None:
            if head is None:
                raise faults.no_such_key(key)
            if not is_same(head.etag, match):
                raise faults.precondition("If-Match")

    return expect


def expectation_of_delete(
    key: str, etag: str | None, modified: datetime | None, size: int | None, *, directory: bool = False
) -> Expect | None:
    """What a conditional delete expects of the current version; None where it is unconditional. Time and size are
    conditions of directory buckets only, and hold of what is not there; whoever names an ETag, or any, misses it."""
    if modified is not None and not directory:
        raise faults.no_such_header("x-amz-if-match-last-modified-time")
    if size is not None and not directory:
        raise faults.no_such_header("x-amz-if-match-size")
    if etag is None and modified is None and size is None:
        return None

    def expect(head: Head | None) -> None:
        if head is None:
            if etag is not None:
                raise faults.no_such_key(key)
            return
        if etag is not None and not is_same(head.etag, etag):
            raise faults.precondition("If-Match")
        if modified is not None and moment(head.modified) != modified:
            raise faults.precondition("x-amz-if-match-last-modified-time")
        if size is not None and head.size != size:
            raise faults.precondition("x-amz-if-match-size")

    return expect


def span_of(text: str, size: int) -> Span | None:
    """The bytes that a `Range` header wants; None when the header does not say one range, and so says nothing.

    Raises `InvalidRange` when there are no such bytes.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(size - int(last), 0), size
        if not int(last):
            raise _no_such_range(text, size)
    else:
        start = int(first)
        stop = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise _no_such_range(text, size)
    return Span(start, stop - start)


def _no_such_range(text: str, size: int) -> AWSError:
    return AWSError(
        "InvalidRange",
        "The requested range is not satisfiable",
        416,
        headers={"Content-Range": f"bytes */{size}"},
        RangeRequested=text,
        ActualObjectSize=size,
    )


def source_span(text: str, size: int) -> Span:
    """The bytes of a copied part: `bytes=first-last`, both given, within the source."""
    found = _RANGE.fullmatch(text)
    if found is None or not found[1] or not found[2] or int(found[1]) > int(found[2]):
        raise faults.invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            "x-amz-copy-source-range",
            text,
        )
    start, last = int(found[1]), int(found[2])
    if start >= size:
        raise faults.invalid_request("The specified copy range is invalid for the source object size")
    if last >= size:
        raise faults.invalid_argument(
            f"Range specified is not valid for source object of size: {size}", "x-amz-copy-source-range", text
        )
    return Span(start, last - start + 1)
