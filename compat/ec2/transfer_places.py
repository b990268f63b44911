"""Where in S3 a disk image lies, or is to lie; in whose name it is read and written.

The service takes on a role of the account, by default `vmimport`, which must trust it with the external id `vmimport`
and be allowed what the VM Import/Export guide lists.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from compat.context import Context
from compat.errors import AWSError
from compat.iam.authorize import ask
from compat.iam.principal import Principal
from compat.iam.service_roles import acting, assume, first_refused
from compat.operation import Operation

if TYPE_CHECKING:
    from backends.object.containers import Known
    from compat.cloud import Cloud

ROLE = "vmimport"
SERVICE = "vmie.amazonaws.com"
READING = Operation("s3", "GetObject", lambda ctx, p: None, "*", "s3:GetObject", streams=True)
WRITING = Operation("s3", "PutObject", lambda ctx, p: None, "*", "s3:PutObject", streams=True)
_URLS = (
    re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)"),
    re.compile(r"https://(?P<bucket>[^/]+?)\.s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?/(?P<key>[^?]+)"),
    re.compile(r"https://s3[.-](?:[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?/(?P<bucket>[^/]+)/(?P<key>[^?]+)"),
)


def invalid(message: str) -> AWSError:
    """The error for whatever is wrong with a place or a role."""
    return AWSError("InvalidParameter", message)


def place_of(container: dict[str, Any]) -> tuple[str, str]:
    """The bucket and key that a disk container names."""
    bucket = container.get("UserBucket") or {}
    if bucket.get("S3Bucket") and bucket.get("S3Key"):
        return bucket["S3Bucket"], bucket["S3Key"]
    for pattern in _URLS:
        if found := pattern.fullmatch(container.get("Url") or ""):
            key = found["key"]
            return found["bucket"], key if found.re is _URLS[0] else unquote(key)
    raise invalid("The disk container must name an S3 bucket and key, or a URL of S3.")


def bucket_named(cloud: Cloud, region: str, name: str) -> Known:
    """The bucket of that name, which must be of that region."""
    from compat.s3.places import containers  # with much of S3: not before there is a task

    known = containers(cloud).find(name)
    if known is None:
        raise invalid(f"The given S3 bucket does not exist. ({name})")
    if known.region != region:
        raise invalid("The given S3 bucket is not local to the region")
    return known


def check_source(ctx: Context, role: str, bucket: str, key: str) -> None:
    """Refuse an object that is not there, or that the caller or the role may not read."""
    known = bucket_named(ctx.cloud, ctx.region, bucket)
    if not ask(ctx, "s3:GetObject", f"arn:{ctx.partition}:s3:::{bucket}/{key}").allowed:
        raise invalid(f"User does not have access to the S3 object.({bucket}/{key})")
    acting_role(ctx.cloud, ctx.account, role, known, reading(known, key), READING)
    head = ctx.objects.head(known.number, key)
    if head is None or head.marker:
        raise invalid(f"The given S3 object does not exist. ({bucket}/{key})")
    if not head.size:
        raise invalid(f"The given S3 object is empty. ({bucket}/{key})")


def check_target(ctx: Context, role: str, bucket: str, key: str) -> None:
    """Refuse a place where the role may not write."""
    known = bucket_named(ctx.cloud, ctx.region, bucket)
    acting_role(ctx.cloud, ctx.account, role, known, writing(known, key), WRITING)


def reading(bucket: Known, key: str) -> dict[str, str]:
    """What the role must be allowed to read an image (action -> ARN)."""
    arn = f"arn:aws:s3:::{bucket.name}"
    return {"s3:GetBucketLocation": arn, "s3:ListBucket": arn, "s3:GetObject": f"{arn}/{key}"}


def writing(bucket: Known, key: str) -> dict[str, str]:
    """The same to write one."""
    arn = f"arn:aws:s3:::{bucket.name}"
    return {"s3:GetBucketLocation": arn, "s3:PutObject": f"{arn}/{key}"}


def acting_role(
    cloud: Cloud, account: str, role: str, bucket: Known, wanted: dict[str, str], operation: Operation
) -> Principal:
    """The role's session, once it may do what is wanted. Raises InvalidParameter in AWS's words."""
    who = assume(cloud, account, role, SERVICE, bucket.region, session="vm-import-export", external_id=ROLE)
    if who is not None:
        if cloud.rules.auth != "enforce":
            return who
        with acting(cloud, operation, who, bucket.region) as ctx:
            if first_refused(ctx, wanted) is None:
                return who
    raise invalid(f"The service role {role} provided does not exist or does not have sufficient permissions")
