"""Who calls, whose a key is, and what an encoded refusal says."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

from backends.identity.seal import Unsealable
from compat.errors import AWSError
from compat.iam.authorize import SEALED_FOR
from compat.iam.directory import directory
from compat.iam.names import account_in
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result


@operation("sts:GetCallerIdentity", open=True)
def get_caller_identity(ctx: Context, p: Params) -> Result:
    """Works for everybody who signs. A user made anew under an old name has another id: hence the topic."""
    principal = ctx.principal
    if principal.is_anonymous:
        raise AWSError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    ctx.session.topics_read.add("identity")
    return {"UserId": principal.unique_id, "Account": principal.account, "Arn": principal.within(ctx.partition).arn}


@operation("sts:GetAccessKeyInfo")
def get_access_key_info(ctx: Context, p: Params) -> Result:
    id = p["AccessKeyId"]
    held = directory(ctx.cloud).credential(id)
    account = held.principal.account if held is not None else account_in(id)
    if account is None:
        raise AWSError("ValidationError", "Invalid Access Key ID")
    ctx.session.topics_read.add("identity")
    return {"Account": account}


@operation("sts:DecodeAuthorizationMessage")
def decode_authorization_message(ctx: Context, p: Params) -> Result:
    message = p["EncodedMessage"]
    try:
        sealed = base64.urlsafe_b64decode(message.encode() + b"=" * (-len(message) % 4))
        plain = zlib.decompress(directory(ctx.cloud).seal.open(sealed, SEALED_FOR))
    except (binascii.Error, ValueError, Unsealable, zlib.error):
        raise AWSError("InvalidAuthorizationMessageException", "Message is not valid.") from None
    return {"DecodedMessage": plain.decode()}
