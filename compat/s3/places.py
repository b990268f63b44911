"""Which bucket and which object a call is about; whose they are, and how owners are named."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from backends.object.containers import Containers, Known, KnownDoor
from backends.object.names import rank_of
from compat.context import partition_of
from compat.errors import AWSError
from compat.model import service_model
from compat.operation import Params
from compat.s3 import directory_rules, faults
from compat.s3.directory_rules import DOOR_SUFFIX, SUFFIX, ZONAL, is_door

if TYPE_CHECKING:
    from backends.object.models import Door
    from compat.cloud import Cloud
    from compat.context import Context

LONGEST_KEY = 1024
NULL = "null"
ALIAS_SUFFIX = "-s3alias"
_DOOR_ARN = re.compile(
    r"arn:aws[a-z-]*:s3:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):accesspoint[/:](?P<name>[a-z0-9-]+)"
)
_DOOR_LABEL = re.compile(r"(?P<name>[a-z0-9-]+)-(?P<account>[0-9]{12})")
# The operations that AWS lists as compatible with access points.
THROUGH_DOORS = frozenset(
    "AbortMultipartUpload CompleteMultipartUpload CopyObject CreateMultipartUpload DeleteObject DeleteObjects "
    "DeleteObjectAnnotation DeleteObjectTagging GetBucketAcl GetBucketCors GetBucketLocation "
    "GetBucketNotificationConfiguration GetBucketPolicy GetObject GetObjectAcl GetObjectAnnotation GetObjectAttributes "
    "GetObjectLegalHold GetObjectRetention GetObjectTagging HeadBucket HeadObject ListMultipartUploads "
    "ListObjectAnnotations ListObjects ListObjectsV2 ListObjectVersions ListParts PutObject PutObjectAcl "
    "PutObjectAnnotation PutObjectLegalHold PutObjectRetention PutObjectTagging RestoreObject SelectObjectContent "
    "UploadPart UploadPartCopy".split()
)

THROUGH_DIRECTORY_DOORS = ZONAL - {"RenameObject"}


def containers(cloud: Cloud) -> Containers:
    """What is known of all buckets."""
    found: Containers = cloud.hosts["containers"]
    return found


def bucket_of(ctx: Context, p: Params) -> Known:
    """The bucket that a call names; `NoSuchBucket`, or `AccessDenied` when it is not the expected owner's."""
    known: Known | None = ctx.cloud.hosts["containers"].find(p["Bucket"])
    if known is None:
        known = _behind(ctx, p["Bucket"])
    if known.name.endswith(SUFFIX):
        directory_rules.check(ctx, known, p)
    expected = p.get("ExpectedBucketOwner")
    if expected is not None and expected != known.tenant:
        check_account(expected)
        raise faults.denied()
    if "payment" in known.documents and pays(ctx, known):
        if p.get("RequestPayer") != "requester" or ctx.principal.is_anonymous:
            raise faults.denied()
        if _says_charged(ctx.operation.name):
            ctx.besides = {"RequestCharged": "requester"}
    return known


def pays(ctx: Context, known: Known) -> bool:
    """Whether the caller pays for the call, and has to say so: nobody may be anonymous there."""
    if (known.documents.get("payment") or {}).get("Payer") != "Requester" or ctx.operation.service != "s3":
        return False
    return ctx.principal.account != known.tenant and _may_be_charged(ctx.operation.name)


@lru_cache(256)
def _may_be_charged(operation: str) -> bool:
    shape = service_model("s3").operation_model(operation).input_shape
    return shape is not None and "RequestPayer" in shape.members


@lru_cache(256)
def _says_charged(operation: str) -> bool:
    shape = service_model("s3").operation_model(operation).output_shape
    return shape is not None and "RequestCharged" in shape.members


def _behind(ctx: Context, name: str) -> Known:
    """The bucket behind an access point. Raises where there is none, or the operation does not go through one."""
    door = door_named(ctx, name)
    known: Known | None = None if door is None else ctx.cloud.hosts["containers"].find(door.container)
    if known is None:
        raise faults.no_such_bucket(name) if not name.startswith("arn:") else faults.no_such_access_point(name)
    if ctx.operation.name not in (THROUGH_DIRECTORY_DOORS if is_door(name) else THROUGH_DOORS):
        raise faults.method_not_allowed(ctx.operation.name[:6].upper(), "ACCESSPOINT")
    return known


def door_named(ctx: Context, name: str) -> KnownDoor | None:
    """The access point that stands in the place of a bucket's name: by its alias, its ARN, or the first label of its
    host (`name-account`)."""
    return door_called(ctx.cloud, ctx.region, name)


def door_called(cloud: Cloud, region: str, name: str) -> KnownDoor | None:
    """The same, of a call in a region."""
    doors = containers(cloud)
    if name.endswith((ALIAS_SUFFIX, DOOR_SUFFIX)):
        return doors.door(name)
    found = _DOOR_ARN.fullmatch(name)
    if found is not None:
        return doors.door_of(found["account"], found["region"], found["name"])
    found = _DOOR_LABEL.fullmatch(name)
    return None if found is None else doors.door_of(found["account"], region, found["name"])


def door_of_resource(ctx: Context, resource: str) -> tuple[KnownDoor, str] | None:
    """The access point and the key in the ARN of a resource that is reached through one; None for others."""
    rest = resource.partition(":::")[2] or resource
    if rest.startswith("arn:"):
        start, slash, after = rest.partition("/")
        name, _, key = after.partition("/")
        door = door_named(ctx, start + slash + name)
        key = key.removeprefix("object/")
    else:
        name, _, key = rest.partition("/")
        door = door_named(ctx, name)
    return None if door is None else (door, key)


def door_arn(door: KnownDoor | Door) -> str:
    """The ARN of an access point."""
    service = "s3express" if is_door(door.name) else "s3"
    return f"arn:{partition_of(door.region)}:{service}:{door.region}:{door.tenant}:accesspoint/{door.name}"


def check_account(text: str) -> None:
    """Refuse what cannot be an account id."""
    if not (len(text) == 12 and text.isascii() and text.isdigit()):
        raise AWSError(
            "InvalidBucketOwnerAWSAccountID",
            f"The value of the expected bucket owner parameter must be an AWS Account ID... [{text}]",
            400,
        )


def key_of(p: Params) -> str:
    """The key, which must not be too long."""
    key: str = p["Key"]
    if len(key) > LONGEST_KEY // 4 and (size := len(key.encode())) > LONGEST_KEY:
        raise AWSError("KeyTooLongError", "Your key is too long", 400, Size=size, MaxSizeAllowed=LONGEST_KEY)
    return key


def location(scheme: str, host: str, bucket: str, key: str) -> str:
    """The URL of an object, in the style in which the host was asked."""
    place = "" if host.startswith(f"{bucket}.") else f"/{quote(bucket)}"
    return f"{scheme}://{host}{place}/{quote(key)}"


def version_of(p: Params) -> str | None:
    """The version that a call names, as the store names it; None for the newest."""
    version: str | None = p.get("VersionId")
    if version is None:
        return None
    if version == NULL:
        return ""
    if not version:
        raise faults.invalid_argument("Version id cannot be the empty string", "versionId", version)
    if rank_of(version) is None:
        raise faults.no_version_id(version)
    return version


@lru_cache(1024)
def canonical_id(account: str) -> str:
    """The canonical user id of an account: 64 hexadecimal digits, the same in every cloud of ours."""
    id = hashlib.sha256(b"canonical user of " + account.encode()).hexdigest()
    if len(_ACCOUNTS) < MOST_NAMED:
        _ACCOUNTS[id] = account
    return id


_ACCOUNTS: dict[str, str] = {}
"""Accounts by canonical id, as far as this process has seen them: for display names, which promise nothing."""
MOST_NAMED = 65536


def named(ctx: Context, id: str) -> dict[str, Any]:
    """A canonical id as an owner, an initiator or a grantee."""
    shown = {"ID": id}
    if ctx.rules.owner_display_names and (account := _ACCOUNTS.get(id)) is not None:
        shown["DisplayName"] = f"account-{account}"
    return shown


def shown_initiator(kept: dict[str, str]) -> dict[str, str]:
    """An `Initiator` as answers show it. Those of older uploads were kept without a name."""
    return {"DisplayName": kept["ID"].rpartition("/")[2], **kept}


def owner(ctx: Context, account: str) -> dict[str, Any]:
    """An account as an `Owner`."""
    return named(ctx, canonical_id(account))


def ownership(known: Known) -> str:
    """Who owns what is written into the bucket: `BucketOwnerEnforced`, `BucketOwnerPreferred` or `ObjectWriter`."""
    document = known.documents.get("ownership")
    return "ObjectWriter" if document is None else str(document["Rules"][0]["ObjectOwnership"])
