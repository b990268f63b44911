"""Buckets: made, found, listed, deleted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backends.errors import Exists, InUse
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.regions import regions
from compat.s3 import directory_buckets, faults
from compat.s3.acl import ENFORCED, check_public, grants_of_headers
from compat.s3.directory_buckets import ALL_BLOCKED
from compat.s3.directory_rules import SUFFIX, bucket_arn, is_directory
from compat.s3.paging import name_in, token_of
from compat.s3.places import ALIAS_SUFFIX, bucket_of, canonical_id, owner
from compat.s3.properties import check_tags

if TYPE_CHECKING:
    from compat.context import Context

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
FIRST_REGION = "us-east-1"
OLD_EUROPE = "EU"
"""An older name of eu-west-1, which is told of the buckets that were made with it."""
MOST_BUCKETS = 10000
MOST_BUCKET_TAGS = 50


def check_name(name: str) -> None:
    """Refuse what is no name for a new bucket."""
    if (
        not _NAME.fullmatch(name)
        or ".." in name
        or _ADDRESS.fullmatch(name)
        or name.startswith(_RESERVED_STARTS)
        or name.endswith(_RESERVED_ENDS)
    ):
        raise AWSError("InvalidBucketName", "The specified bucket is not valid.", 400, BucketName=name)


def check_namespace(ctx: Context, name: str, region: str, namespace: str | None) -> None:
    """Refuse names of the account's own namespace elsewhere, and other names within it."""
    if namespace not in (None, "global", "account-regional"):
        raise faults.invalid_argument("The bucket namespace is not valid", "x-amz-bucket-namespace", namespace)
    within, end = name.endswith("-an"), f"-{ctx.account}-{region}-an"
    if namespace == "account-regional":
        if not within:
            raise AWSError("InvalidNamespaceHeader", f"The name of the bucket does not end with {end}.", 400)
        if not name.endswith(end) or name == end:
            raise AWSError(
                "InvalidBucketNamespace",
                f"The name of a bucket in the namespace of this account and Region ends with {end}.",
                400,
                BucketName=name,
            )
    elif within and namespace is None:
        raise AWSError(
            "MissingNamespaceHeader", "The name of the bucket asks for the header x-amz-bucket-namespace.", 400
        )
    elif within:
        raise AWSError("InvalidBucketName", "The specified bucket is not valid.", 400, BucketName=name)


def region_of(ctx: Context, p: Params) -> str:
    """The region in which a new bucket is to be: the constraint must fit the region that was asked."""
    constraint = (p.get("CreateBucketConfiguration") or {}).get("LocationConstraint") or None
    given = constraint
    if constraint == OLD_EUROPE:
        constraint = "eu-west-1"
    if constraint is not None and constraint not in regions() and ctx.region == FIRST_REGION:
        raise AWSError(
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
            400,
            LocationConstraint=constraint,
        )
    if ctx.region == FIRST_REGION:
        if constraint == FIRST_REGION:
            raise AWSError(
                "InvalidLocationConstraint",
                "The specified location-constraint is not valid",
                400,
                LocationConstraint=constraint,
            )
        return constraint or FIRST_REGION
    if constraint != ctx.region:
        raise AWSError(
            "IllegalLocationConstraintException",
            f"The {given or 'unspecified'} location constraint is incompatible for the region specific endpoint "
            "this request was sent to.",
            400,
        )
    return ctx.region


@operation("s3:CreateBucket", on="{Bucket}")
def create_bucket(ctx: Context, p: Params) -> Result:
    name = p["Bucket"]
    if is_directory(name):
        return directory_buckets.create(ctx, p)
    check_name(name)
    if (p.get("CreateBucketConfiguration") or {}).keys() & {"Bucket", "Location"}:
        raise faults.invalid_request("Only directory buckets have a location and a type.")
    region = region_of(ctx, p)
    check_namespace(ctx, name, region, p.get("BucketNamespace"))
    rule = p.get("ObjectOwnership")
    if rule is None:
        rule = "ObjectWriter" if ctx.rules.old_s3_defaults else ENFORCED
    if rule not in (ENFORCED, "BucketOwnerPreferred", "ObjectWriter"):
        raise faults.invalid_argument(f"Invalid x-amz-object-ownership header: {rule}", "x-amz-object-ownership")
    tags = (p.get("CreateBucketConfiguration") or {}).get("Tags") or []
    if any((tag.get("Key") or "").startswith("aws:") for tag in tags):
        raise AWSError(
            "InvalidTag",
            'User-defined tag keys can\'t start with "aws:". This prefix is reserved for system tags. Remove "aws:" '
            "from your tag keys and try again.",
            400,
        )
    check_tags(tags, MOST_BUCKET_TAGS)
    grants = grants_of_headers(ctx, p, canonical_id(ctx.account), None)
    if grants is not None and rule == ENFORCED:
        if p.get("ACL") != "private":
            raise AWSError(
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
                400,
            )
        grants = None
    documents: dict[str, Any] = {"ownership": {"Rules": [{"ObjectOwnership": rule}]}}
    if not ctx.rules.old_s3_defaults:
        documents["public"] = ALL_BLOCKED
    if grants is not None:
        check_public(documents, ctx, ctx.account, grants)
        documents["acl"] = {"grants": grants}
    if tags:
        documents["tagging"] = {"TagSet": tags}
    if (p.get("CreateBucketConfiguration") or {}).get("LocationConstraint") == OLD_EUROPE:
        documents["location"] = {"LocationConstraint": OLD_EUROPE}
    if p.get("ObjectLockEnabledForBucket"):
        documents["lock"] = {"ObjectLockEnabled": "Enabled"}
    location = f"/{name}" if region == FIRST_REGION else f"http://{name}.s3.amazonaws.com/"
    try:
        ctx.containers.add(name, region=region, tenant=ctx.account)
    except Exists as taken:
        if taken.tenant != ctx.account:
            raise faults.taken(name, mine=False) from None
        if region == FIRST_REGION and taken.region == FIRST_REGION and not tags:
            # in this region, AWS takes it as done
            return {"Location": location, "BucketArn": f"arn:{ctx.partition}:s3:::{name}"}
        raise faults.taken(name, mine=True) from None
    for kind, body in documents.items():
        ctx.containers.put_document(name, kind, body)
    if "lock" in documents:
        ctx.containers.keep_versions(name, "Enabled")
    return {"Location": location, "BucketArn": f"arn:{ctx.partition}:s3:::{name}"}


@operation("s3:HeadBucket", on="{Bucket}", action="s3:ListBucket", streams=True)
def head_bucket(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    result: Result = {
        "BucketRegion": bucket.region,
        "BucketArn": bucket_arn(bucket),
        "AccessPointAlias": p["Bucket"].endswith(ALIAS_SUFFIX),
        "$headers": {"content-type": "application/xml"},
    }
    if (place := bucket.documents.get("directory")) is not None:
        result |= {"BucketLocationType": place["location"], "BucketLocationName": place["zone"]}
    return result


@operation("s3:GetBucketLocation", on="{Bucket}", streams=True)
def get_bucket_location(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    region = None if bucket.region == FIRST_REGION else bucket.region
    return {"LocationConstraint": region, **(bucket.documents.get("location") or {})}


@operation("s3:DeleteBucket", on="{Bucket}")
def delete_bucket(ctx: Context, p: Params) -> None:
    bucket = bucket_of(ctx, p)
    if is_directory(bucket.name) and ctx.objects.list_uploads(bucket.number, limit=1).entries:
        raise AWSError(
            "BucketNotEmpty", "The bucket you tried to delete has uploads in progress.", 409, BucketName=bucket.name
        )
    try:
        ctx.containers.drop(bucket.name)
    except InUse as held:
        if held.facts.get("doors"):
            raise AWSError(
                "BucketHasAccessPointsAttached",
                "The bucket you are trying to delete has access points attached. Delete your access points and try "
                "again.",
                400,
                BucketName=bucket.name,
            ) from None
        raise AWSError(
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
            if bucket.keeping
            else "The bucket you tried to delete is not empty",
            409,
            BucketName=bucket.name,
        ) from None


@operation("s3:ListBuckets", action="s3:ListAllMyBuckets")
def list_buckets(ctx: Context, p: Params) -> Result:
    most, token, prefix = p.get("MaxBuckets"), p.get("ContinuationToken"), p.get("Prefix")
    if most is not None and not 1 <= most <= MOST_BUCKETS:
        raise faults.invalid_argument(
            "Argument max-buckets must be an integer between 1 and 10000", "max-buckets", most
        )
    if (region := p.get("BucketRegion")) and region not in regions():
        raise faults.invalid_argument(f"Argument value {region} is not a valid AWS Region", "bucket-region")
    if "\0" in (prefix or ""):
        raise faults.invalid_argument("The prefix is not valid", "prefix", prefix)
    limit = MOST_BUCKETS if most is None else most
    found = ctx.containers.of(
        ctx.account,
        prefix=prefix or "",
        region=p.get("BucketRegion"),
        but_ending=SUFFIX,
        after=name_in(token) if token else "",
        limit=limit + 1,
    )
    paged = most is not None or bool(token) or prefix is not None or p.get("BucketRegion") is not None
    buckets = []
    for row in found[:limit]:
        about: dict[str, Any] = {"Name": row.name, "CreationDate": row.created.replace(microsecond=0)}
        if paged:
            about["BucketRegion"] = row.region
            about["BucketArn"] = f"arn:{ctx.partition}:s3:::{row.name}"
        buckets.append(about)
    result: Result = {"Owner": owner(ctx, ctx.account), "Buckets": buckets}
    if prefix is not None:
        result["Prefix"] = prefix
    if len(found) > limit:
        result["ContinuationToken"] = token_of(found[limit - 1].name)
    return result
