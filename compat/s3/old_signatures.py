"""Where S3 still takes signatures of version 2: in the regions that were there before 2014."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.loaders import Loader

if TYPE_CHECKING:
    from backends.object.containers import Known
    from compat.cloud import Cloud

V2 = "s3"
"""What botocore calls this version."""


def are_taken(cloud: Cloud, bucket: str) -> bool:
    """Whether a call about a bucket may be signed so. That about none, or about one that is not there, is for the
    region of the endpoint, which is the default one."""
    known: Known | None = cloud.hosts["containers"].find(bucket) if bucket else None
    return _takes(cloud.rules.default_region if known is None else known.region)


@cache
def _takes(region: str) -> bool:
    data: dict[str, Any] = Loader().load_data("endpoints")
    for partition in data["partitions"]:
        if region in partition["regions"]:
            s3 = partition["services"].get("s3", {})
            own = s3.get("endpoints", {}).get(region, {}).get("signatureVersions")
            return V2 in (own or s3.get("defaults", {}).get("signatureVersions") or ())
    return True  # a region that is only here has no date
