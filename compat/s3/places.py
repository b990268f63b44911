"""Which bucket and which object a call is about; whose they are, and how owners are named."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from backends.object.containers import Containers, Known
from backends.object.versions import rank_of
from compat.errors import AWSError
from compat.operation import Params
from compat.s3 import faults

if TYPE_CHECKING:
    from compat.cloud import Cloud
    from compat.context import Context

LONGEST_KEY = 1024
NULL = "null"


def containers(cloud: Cloud) -> Containers:
    """What is known of all buckets."""
    found: Containers = cloud.hosts["containers"]
    return found


def bucket_of(ctx: Context, p: Params) -> Known:
    """The bucket that a call names; `NoSuchBucket`, or `AccessDenied` when it is not the expected owner's."""
    known: Known | None = ctx.cloud.hosts["containers"].find(p["Bucket"])
    if known is None:
        raise faults.no_such_bucket(p["Bucket"])
    expected = p.get("ExpectedBucketOwner")
    if expected is not None and expected != known.tenant:
        check_account(expected, "x-amz-expected-bucket-owner")
        raise faults.denied()
    return known


def check_account(text: str, header: str) -> None:
    """Refuse what cannot be an account id."""
    if not (len(text) == 12 and text.isascii() and text.isdigit()):
        raise faults.invalid_argument(f"The value specified in the {header} header is not valid", header, text)


def key_of(p: Params) -> str:
    """The key, which must not be too long."""
    key: str = p["Key"]
    if len(key) > LONGEST_KEY // 4 and (size := len(key.encode())) > LONGEST_KEY:
        raise AWSError("KeyTooLongError", "Your key is too long", 400, Size=size, MaxSizeAllowed=LONGEST_KEY)
    return key


def version_of(p: Params) -> str | None:
    """The version that a call names, as the store names it; None for the newest."""
    version: str | None = p.get("VersionId")
    if version is None:
        return None
    if version == NULL:
        return ""
    if not version or rank_of(version) is None:
        raise faults.invalid_argument("Invalid version id specified", "versionId", version)
    return version


@lru_cache(1024)
def canonical_id(account: str) -> str:
    """The canonical user id of an account: 64 hexadecimal digits, the same in every cloud of ours."""
    return hashlib.sha256(b"canonical user of " + account.encode()).hexdigest()


def owner(ctx: Context, account: str) -> dict[str, Any]:
    """An account as an `Owner`."""
    shown = {"ID": canonical_id(account)}
    if ctx.rules.owner_display_names:
        shown["DisplayName"] = f"account-{account}"
    return shown


def ownership(known: Known) -> str:
    """Who owns what is written into the bucket: `BucketOwnerEnforced`, `BucketOwnerPreferred` or `ObjectWriter`."""
    document = known.documents.get("ownership")
    return "ObjectWriter" if document is None else str(document["Rules"][0]["ObjectOwnership"])
