"""Errors as AWS names them. Native errors never cross the edge unless an operation's `raises=` names them."""

from __future__ import annotations

from typing import Any

# Codes whose HTTP status is not 400 wherever they occur. S3 and others that differ by service pass `status` themselves.
STATUS: dict[str, int] = {
    "AccessDenied": 403,
    "AuthFailure": 401,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ConcurrentModification": 409,
    "ConditionalRequestConflict": 409,
    "DeleteConflict": 409,
    "DryRunOperation": 412,
    "EntityAlreadyExists": 409,
    "EntityTemporarilyUnmodifiable": 409,
    "InternalError": 500,
    "InsufficientInstanceCapacity": 500,
    "InvalidBucketState": 409,
    "InvalidClientTokenId": 403,
    "InvalidObjectState": 403,
    "InvalidRange": 416,
    "LimitExceeded": 409,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchConfiguration": 404,
    "NoSuchEntity": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NoSuchWebsiteConfiguration": 404,
    "NotImplemented": 501,
    "ObjectLockConfigurationNotFoundError": 404,
    "OperationAborted": 409,
    "OptInRequired": 401,
    "OwnershipControlsNotFoundError": 404,
    "PreconditionFailed": 412,
    "ReplicationConfigurationNotFoundError": 404,
    "RequestLimitExceeded": 503,
    "ServerSideEncryptionConfigurationNotFoundError": 404,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "UnauthorizedOperation": 403,
    "UnmodifiableEntity": 400,
}


class AWSError(Exception):
    """An answer that is an error: AWS's code, a message for people, an HTTP status and further fields of the envelope.

    `fields` become members of the error document (S3 and typed errors have such members, `BucketName` say).
    `headers` are sent with the answer.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        status: int | None = None,
        *,
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status if status is not None else STATUS.get(code, 400)
        self.headers = headers or {}
        self.fields = fields


def not_implemented(service: str, operation: str, reason: str | None = None) -> AWSError:
    """The answer for an operation that AWS knows and Nephele does not offer, with the reason where there is one."""
    told = f": {reason}." if reason else ". `nephele operations` lists what is."
    return AWSError("NotImplemented", f"The operation {service}:{operation} is not implemented by Nephele{told}")
