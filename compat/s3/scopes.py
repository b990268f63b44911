"""Scopes of access points of directory buckets: which operations go through one, and on which keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compat.operation import Params
from compat.s3 import faults

OPERATIONS = {
    "GetObject": ("GetObject", "HeadObject"),
    "GetObjectAttributes": ("GetObjectAttributes",),
    "ListMultipartUploadParts": ("ListParts",),
    "ListBucket": ("ListObjectsV2", "HeadBucket"),
    "ListBucketMultipartUploads": ("ListMultipartUploads",),
    "PutObject": (
        "PutObject",
        "CopyObject",
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPartCopy",
        "CompleteMultipartUpload",
    ),
    "DeleteObject": ("DeleteObject", "DeleteObjects"),
    "AbortMultipartUpload": ("AbortMultipartUpload",),
}
"""Permission -> the operations that it lets through."""
MOST_PREFIX_BYTES = 256
LISTING = frozenset({"ListObjectsV2", "ListMultipartUploads"})


def checked_scope(scope: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """A scope as it is kept. Raises S3's errors."""
    prefixes, permissions = (list((scope or {}).get(name) or ()) for name in ("Prefixes", "Permissions"))
    for permission in permissions:
        if permission not in OPERATIONS:
            raise faults.invalid_request(f"The permission {permission} is not valid in the scope of an access point.")
    if sum(len(prefix.encode()) for prefix in prefixes) >= MOST_PREFIX_BYTES:
        raise faults.invalid_request(
            f"All prefixes of a scope together must be shorter than {MOST_PREFIX_BYTES} bytes."
        )
    made = {"Prefixes": prefixes, "Permissions": permissions}
    return {name: values for name, values in made.items() if values}


def scope_allows(scope: Mapping[str, Any], operation: str, p: Params) -> bool:
    """Whether a call is within a scope. What a scope does not mention, it does not restrict."""
    permissions, prefixes = scope.get("Permissions"), scope.get("Prefixes")
    if permissions and not any(operation in OPERATIONS[permission] for permission in permissions):
        return False
    return not prefixes or all(key.startswith(tuple(prefixes)) for key in _keys(operation, p))


def _keys(operation: str, p: Params) -> Iterator[str]:
    """The key that a call is about; of a listing, the prefix. Each key of a DeleteObjects is a call of its own."""
    if operation in LISTING:
        yield p.get("Prefix") or ""
    elif p.get("Key") is not None:
        yield p["Key"]
