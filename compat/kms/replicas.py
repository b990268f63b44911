"""The same key in several regions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from backends.errors import Exists
from compat.errors import AWSError
from compat.iam.demands import Demand, demands_also
from compat.kms import faults
from compat.kms.places import arn_of, check_enabled, metadata, the_key
from compat.kms.policies import check_policy, default_policy
from compat.kms.rows import row_of, service
from compat.kms.tags import kept_tags
from compat.operation import operation, withheld
from compat.regions import partition_of, regions

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

withheld("which of a key's regions is the primary one does not change here", "kms:UpdatePrimaryRegion")


@demands_also("kms:ReplicateKey")
def _make(ctx: Context, p: Params) -> Iterable[Demand]:
    """A replica is a key that is made."""
    yield Demand("kms:CreateKey", ("*",))


@operation("kms:ReplicateKey", on=the_key)
def replicate_key(ctx: Context, p: Params) -> Result:
    """Its material is the primary's; policy, description and tags are its own."""
    row = row_of(ctx, p)
    arn, region = arn_of(ctx, row), p["ReplicaRegion"]
    if not row.id.startswith("mrk-") or row.original is not None:
        raise faults.unsupported(f"{arn} is not a multi-Region primary key.")
    check_enabled(arn, row)
    if region not in regions() or partition_of(region) != partition_of(row.region):
        raise faults.invalid(f"{region} is not a region to which keys of {row.region} can be replicated.")
    rules = p.get("Policy") or default_policy(ctx)
    check_policy(ctx, rules, lockout=not p.get("BypassPolicyLockoutSafetyCheck"))
    tags = kept_tags({}, p.get("Tags") or ())
    try:
        made = service(ctx).replicate(row, region, rules=rules, note=p.get("Description") or "", tags=tags)
    except Exists:
        raise AWSError("AlreadyExistsException", f"{arn} is in {region} already.") from None
    return {
        "ReplicaKeyMetadata": metadata(ctx, made),
        "ReplicaPolicy": rules,
        "ReplicaTags": [{"TagKey": key, "TagValue": value} for key, value in tags.items()],
    }
