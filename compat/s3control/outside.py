"""What S3 Control has beside buckets, access points and jobs, and why it is not offered."""

from __future__ import annotations

from compat.operation import withheld


def _all(verbs: str, subject: str) -> list[str]:
    return [f"s3control:{verb}{subject}" for verb in verbs.split()]


withheld(
    "a bucket of S3 on Outposts, of which there are none",
    *_all("Create Delete Get", "Bucket"),
    *_all("Delete Get Put", "BucketLifecycleConfiguration"),
    *_all("Delete Get Put", "BucketPolicy"),
    *_all("Delete Get Put", "BucketReplication"),
    *_all("Delete Get Put", "BucketTagging"),
    *_all("Get Put", "BucketVersioning"),
    *_all("List", "RegionalBuckets"),
)
withheld(
    "there are no functions that S3 Object Lambda could call",
    *_all("Create Delete Get", "AccessPointForObjectLambda"),
    *_all("Delete Get Put", "AccessPointPolicyForObjectLambda"),
    *_all("Get Put", "AccessPointConfigurationForObjectLambda"),
    *_all("Get", "AccessPointPolicyStatusForObjectLambda"),
    *_all("List", "AccessPointsForObjectLambda"),
)
withheld(
    "botocore sends what names one by its ARN to a host below amazonaws.com, whatever the endpoint, and signs by "
    "SigV4A: no request would come here",
    *_all("Create Delete Get", "MultiRegionAccessPoint"),
    *_all("Get Put", "MultiRegionAccessPointPolicy"),
    *_all("Get", "MultiRegionAccessPointPolicyStatus"),
    *_all("Get Submit", "MultiRegionAccessPointRoutes"),
    *_all("List", "MultiRegionAccessPoints"),
    *_all("Describe", "MultiRegionAccessPointOperation"),
)
withheld(
    "no usage metrics are gathered that Storage Lens could show",
    *_all("Delete Get Put", "StorageLensConfiguration"),
    *_all("Delete Get Put", "StorageLensConfigurationTagging"),
    *_all("List", "StorageLensConfigurations"),
    *_all("Create Delete Get Update", "StorageLensGroup"),
    *_all("List", "StorageLensGroups"),
)
withheld(
    "access grants are not offered; roles and access points do what they do",
    *_all("Create Delete Get", "AccessGrant"),
    *_all("Create Delete Get", "AccessGrantsInstance"),
    *_all("Delete Get Put", "AccessGrantsInstanceResourcePolicy"),
    *_all("Create Delete Get Update", "AccessGrantsLocation"),
    *_all("Associate Dissociate", "AccessGrantsIdentityCenter"),
    *_all("List", "AccessGrants"),
    *_all("List", "AccessGrantsInstances"),
    *_all("List", "AccessGrantsLocations"),
    *_all("List", "CallerAccessGrants"),
    *_all("Get", "AccessGrantsInstanceForPrefix"),
    *_all("Get", "DataAccess"),
)
