"""The public access block of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.bucket_documents import checked_block

if TYPE_CHECKING:
    from compat.context import Context


def account_of(ctx: Context, p: Params) -> str:
    """The account that a call names, which must be the caller's."""
    account: str = p["AccountId"]
    if account != ctx.account:
        raise faults.denied()
    return account


def limit_of(p: Params, most: int = 1000) -> int:
    """How many entries a page may have. Raises S3's error for fewer than none."""
    given: int | None = p.get("MaxResults")
    if given is not None and given < 0:
        raise faults.invalid_request(f"MaxResults must be between 0 and {most}.")
    return min(given or most, most)


@operation("s3control:PutPublicAccessBlock", action="s3:PutAccountPublicAccessBlock")
def put_public_access_block(ctx: Context, p: Params) -> None:
    block = checked_block(p.get("PublicAccessBlockConfiguration"))
    ctx.containers.put_tenant_document(account_of(ctx, p), "public", block)


@operation("s3control:GetPublicAccessBlock", action="s3:GetAccountPublicAccessBlock", streams=True)
def get_public_access_block(ctx: Context, p: Params) -> Result:
    found = ctx.cloud.hosts["containers"].of_tenant(account_of(ctx, p)).get("public")
    if found is None:
        raise AWSError(
            "NoSuchPublicAccessBlockConfiguration",
            "The public access block configuration was not found",
            404,
            AccountId=ctx.account,
        )
    return {"PublicAccessBlockConfiguration": dict(found)}


@operation("s3control:DeletePublicAccessBlock", action="s3:PutAccountPublicAccessBlock")
def delete_public_access_block(ctx: Context, p: Params) -> None:
    ctx.containers.drop_tenant_document(account_of(ctx, p), "public")
