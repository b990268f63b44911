"""Directory buckets: made and listed, and how their objects differ from others'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.errors import Exists
from backends.object.containers import Known
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.regions import zones
from compat.s3 import faults, properties
from compat.s3.acl import ENFORCED
from compat.s3.directory_rules import EXPRESS, NAME, SUFFIX, is_directory, zone_of
from compat.s3.paging import name_in, token_of, wrong_token
from compat.s3.properties import check_tags

if TYPE_CHECKING:
    from compat.context import Context

MOST = 1000
MOST_TAGS = 50
LONGEST_NAME = 63
ALL_BLOCKED = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)


def is_name(name: str, region: str) -> bool:
    """Whether that is the name of a directory bucket in one of the region's zones."""
    return (
        len(name) <= LONGEST_NAME
        and NAME.fullmatch(name) is not None
        and any(zone.id == zone_of(name) for zone in zones(region))
    )


def create(ctx: Context, p: Params) -> Result:
    """CreateBucket, where the name is that of a directory bucket."""
    name = p["Bucket"]
    if len(name) > LONGEST_NAME or NAME.fullmatch(name) is None:
        raise AWSError("InvalidBucketName", "The specified bucket is not valid.", 400, BucketName=name)
    about = p.get("CreateBucketConfiguration") or {}
    location, kind, tags = about.get("Location") or {}, about.get("Bucket") or {}, about.get("Tags") or []
    if about.get("LocationConstraint") or kind.get("Type") != "Directory" or not location.get("Name"):
        raise faults.malformed()
    if location.get("Type") == "LocalZone":
        raise faults.denied()  # as to every account that has not been let into one
    if location.get("Type") != "AvailabilityZone" or kind.get("DataRedundancy") not in (None, "SingleAvailabilityZone"):
        raise faults.malformed()
    if location["Name"] != zone_of(name):
        raise faults.invalid_request("The zone in the bucket's name is not the one of its location.")
    if not is_name(name, ctx.region):
        raise faults.invalid_request(f"There is no zone {location['Name']} in {ctx.region}.")
    check_tags(tags, MOST_TAGS)
    try:
        ctx.containers.add(name, region=ctx.region, tenant=ctx.account)
    except Exists as taken:
        raise faults.taken(name, mine=taken.tenant == ctx.account) from None
    documents: dict[str, Any] = {
        "ownership": {"Rules": [{"ObjectOwnership": ENFORCED}]},
        "public": ALL_BLOCKED,
        "directory": {"location": "AvailabilityZone", "zone": zone_of(name)},
    }
    if tags:
        documents["tagging"] = {"TagSet": tags}
    for document, body in documents.items():
        ctx.containers.put_document(name, document, body)
    return {
        "Location": f"http://{name}.s3express-{zone_of(name)}.{ctx.region}.amazonaws.com/",
        "BucketArn": ctx.arn("s3express", f"bucket/{name}"),
    }


@operation("s3:ListDirectoryBuckets", action="s3express:ListAllMyDirectoryBuckets")
def list_directory_buckets(ctx: Context, p: Params) -> Result:
    """Those of the region that is asked."""
    limit, token = p.get("MaxDirectoryBuckets"), p.get("ContinuationToken")
    limit = MOST if limit is None else limit
    if not 0 <= limit <= MOST:
        raise faults.invalid_argument(
            f"Argument max-directory-buckets must be an integer between 0 and {MOST}", "max-directory-buckets", limit
        )
    after = name_in(token) if token else ""
    if token and not is_directory(after):
        raise wrong_token(token)
    found = ctx.containers.of(ctx.account, region=ctx.region, ending=SUFFIX, after=after, limit=limit + 1)
    result: Result = {
        "Buckets": [
            {
                "Name": row.name,
                "CreationDate": row.created.replace(microsecond=0),
                "BucketArn": ctx.arn("s3express", f"bucket/{row.name}"),
            }
            for row in found[:limit]
        ]
    }
    if len(found) > limit > 0:
        result["ContinuationToken"] = token_of(found[limit - 1].name)
    return result


def storage_of(bucket: Known, p: Params) -> str:
    """The storage class of a new object, as it is kept: a directory bucket has but one."""
    if not is_directory(bucket.name):
        return properties.storage_of(p)
    given = p.get("StorageClass")
    if given not in (None, EXPRESS):
        raise AWSError(
            "InvalidStorageClass", "The storage class you specified is not valid", 400, StorageClassRequested=given
        )
    return EXPRESS


def check_copy(bucket: Known, p: Params, tags: str, book: str | None) -> None:
    """Refuse to copy into a directory bucket what objects there do not have: tags and annotations of the source."""
    if not is_directory(bucket.name):
        return
    if tags and (p.get("TaggingDirective") or "COPY") == "COPY":
        raise faults.no_such_header("x-amz-tagging-directive")
    directive = p.get("AnnotationDirective")
    if directive == "COPY" or (book is not None and directive != "EXCLUDE"):
        raise faults.no_such_header("x-amz-object-annotation-directive")
