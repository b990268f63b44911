"""Which S3 operation a request means: method, level (service, bucket, key) and the names in its query.

The table comes out of the model: literal names in the path template (`?versioning`, `list-type=2`) and the required
query members (`uploadId`, `partNumber`, `id`). The operation with most of its needs met wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from compat.model import service_model
from gateway.head import Head
from gateway.wire.faults import WireFault

SERVICE, BUCKET, KEY = "service", "bucket", "key"

# What no sub-resource asks for. POST of a form into a bucket is an operation that the model does not have.
_PLAIN = {
    ("GET", SERVICE): "ListBuckets",
    ("GET", BUCKET): "ListObjects",
    ("PUT", BUCKET): "CreateBucket",
    ("DELETE", BUCKET): "DeleteBucket",
    ("HEAD", BUCKET): "HeadBucket",
    ("POST", BUCKET): "PostObject",
    ("GET", KEY): "GetObject",
    ("PUT", KEY): "PutObject",
    ("DELETE", KEY): "DeleteObject",
    ("HEAD", KEY): "HeadObject",
}
_COPIES = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
_DIRECTORIES = "ListDirectoryBuckets"
_BY_HEADER = frozenset({"CopyObject", "UploadPartCopy", "WriteGetObjectResponse", _DIRECTORIES})


class _Needs(NamedTuple):
    names: tuple[tuple[str, str | None], ...]
    operation: str


class _Table(NamedTuple):
    by_name: dict[tuple[str, str], dict[str, list[_Needs]]]
    """By method and level: query name to the operations that need it, the most demanding first."""
    flags: dict[str, frozenset[str]]
    """By level: names of sub-resources, under any method."""


@cache
def _table() -> _Table:
    model = service_model("s3")
    by_name: dict[tuple[str, str], dict[str, list[_Needs]]] = {}
    flags: dict[str, set[str]] = {SERVICE: set(), BUCKET: set(), KEY: set()}
    # An older twin has the same URL and a shorter name: PutBucketLifecycle and PutBucketLifecycleConfiguration.
    for name in sorted(model.operation_names, key=len, reverse=True):
        operation = model.operation_model(name)
        path, _, literal = str(operation.http["requestUri"]).partition("?")
        if name in _BY_HEADER:
            continue
        level = KEY if "{Key" in path else BUCKET if "{Bucket" in path else SERVICE
        needs: dict[str, str | None] = {}
        for part in literal.split("&") if literal else ():
            query, equals, value = part.partition("=")
            needs[query] = value if equals else None
            flags[level].add(query)
        if operation.input_shape is not None:
            for member in operation.input_shape.required_members:
                about = operation.input_shape.members[member].serialization
                if about.get("location") == "querystring":
                    needs[str(about["name"])] = None
        entry = _Needs(tuple(needs.items()), name)
        for query in needs:
            by_name.setdefault((str(operation.http["method"]), level), {}).setdefault(query, []).append(entry)
    for names in by_name.values():
        for entries in names.values():
            entries.sort(key=lambda entry: -len(entry.names))
    flags[BUCKET] -= {"list-type"}
    return _Table(by_name, {level: frozenset(names) for level, names in flags.items()})


def _refused(method: str) -> WireFault:
    return WireFault(
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        405,
        service="s3",
        protocol="rest-xml",
        Method=method,
    )


def find(head: Head, style: str, bucket: bool, key: bool, directories: bool = False) -> str:
    """The operation's name. Besides the model's: `PostObject` (a form upload) and `Preflight` (CORS).

    Raises WireFault `MethodNotAllowed` where S3 has no such operation, and `InvalidArgument` for half of an upload's
    names, which must not be taken for a whole object.
    """
    method = head.method
    if method == "OPTIONS":
        return "Preflight"
    if style == "website":
        return "HeadObject" if method == "HEAD" else "GetObject"  # others are refused in HTML
    level = KEY if key else BUCKET if bucket else SERVICE
    if head.raw_query:
        operation = _by_query(method, level, head.query)
    else:
        operation = _PLAIN.get((method, level))
    if method == "PUT" and operation in _COPIES and b"x-amz-copy-source" in head.view:
        return _COPIES[operation]
    if method == "POST" and b"x-amz-request-route" in head.view:
        return "WriteGetObjectResponse"
    if operation is None:
        raise _refused(method)
    return _DIRECTORIES if directories and operation == "ListBuckets" else operation


def _by_query(method: str, level: str, query: Mapping[str, str]) -> str | None:
    table = _table()
    names = table.by_name.get((method, level))
    if names is not None:
        best: _Needs | None = None
        for name in query:
            for needs in names.get(name, ()):
                if all(need in query and (value is None or query[need] == value) for need, value in needs.names):
                    if best is None or len(needs.names) > len(best.names):
                        best = needs
                    break
        if best is not None:
            return best.operation
    if not table.flags[level].isdisjoint(query):
        return None
    if method == "PUT" and level == KEY and ("uploadId" in query or "partNumber" in query):
        raise WireFault(
            "InvalidArgument",
            "A part is uploaded with both uploadId and partNumber.",
            400,
            service="s3",
            protocol="rest-xml",
            ArgumentName="partNumber" if "uploadId" in query else "uploadId",
        )
    return _PLAIN.get((method, level))
