"""UpdateObjectEncryption: another KMS key for an object. Its content stays as it is; its own key is sealed anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.errors import Changed, Missing
from backends.object.versions import Amendment, Head
from compat.operation import Params, Result, operation
from compat.s3 import encryption, faults
from compat.s3.absence import absent
from compat.s3.places import bucket_of, key_of, version_of

if TYPE_CHECKING:
    from compat.context import Context

TRIES = 8


@operation("s3:UpdateObjectEncryption", on="{Bucket}/{Key}", streams=True, slow=True)
def update_object_encryption(ctx: Context, p: Params) -> Result:
    bucket, key, version = bucket_of(ctx, p), key_of(p), version_of(p)
    asked: dict[str, Any] | None = p["ObjectEncryption"].get("SSEKMS")
    if asked is None:
        raise faults.malformed()
    if not asked["KMSKeyArn"].startswith("arn:") or ":key/" not in asked["KMSKeyArn"]:
        raise faults.invalid_request("The KMS key must be named by its ARN.")
    want = encryption.Wanted("aws:kms", asked["KMSKeyArn"], shared=bool(asked.get("BucketKeyEnabled")))
    for attempt in range(TRIES):
        head = ctx.objects.head(bucket.number, key, version)
        if head is None or head.marker:
            raise absent(ctx, key, p.get("VersionId"))
        if not _can_change(head):
            raise faults.invalid_request("Only objects that are encrypted by SSE-S3 or SSE-KMS can be updated.")
        sealed = head.sealed_key
        assert sealed is not None
        secret = ctx.objects.open_key(sealed, lambda of: encryption.unlock(ctx, bucket, of, p))
        protection = encryption.protect(ctx, bucket, key, want, secret)
        assert protection.key is not None
        change = Amendment(facts=protection.within(encryption.without(head.facts)), sealed_key=protection.key.sealed)

        def revise(now: Head, seen: Head = head, change: Amendment = change) -> Amendment:
            if now[:7] != seen[:7] or now.sealed_key != seen.sealed_key:
                raise Changed("the object was changed meanwhile")
            return change

        try:
            ctx.objects.amend(bucket.number, key, head.version, revise)
            break
        except Changed:
            if attempt == TRIES - 1:
                raise faults.conflict() from None
        except Missing:
            continue
    return {}


def _can_change(head: Head) -> bool:
    """Whether the object's key can be sealed by KMS: not one of a caller's, and not two layers of them."""
    if head.sealed_key is None or "SSECustomerAlgorithm" in head.facts:
        return False
    return "aws:kms:dsse" not in head.facts
