"""S3's errors, with the members that AWS sends in them."""

from __future__ import annotations

import logging
from typing import Any

from backends.errors import Damaged, DriverError, Exhausted
from compat.errors import AWSError
from compat.operation import FALLBACKS

log = logging.getLogger("nephele.object")

# "Not configured" has a code and a sentence of its own for each document.
ABSENT = {
    "policy": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
    "cors": ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
    "website": ("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"),
    "lifecycle": ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
    "replication": ("ReplicationConfigurationNotFoundError", "The replication configuration was not found"),
    "encryption": (
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found",
    ),
    "lock": ("ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"),
    "tagging": ("NoSuchTagSet", "The TagSet does not exist"),
    "public": ("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"),
    "ownership": ("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
}


def no_such_bucket(name: str) -> AWSError:
    """404."""
    return AWSError("NoSuchBucket", "The specified bucket does not exist", 404, BucketName=name)


def taken(name: str, *, mine: bool) -> AWSError:
    """409: a bucket of that name is there already, the caller's or somebody else's."""
    if mine:
        return AWSError(
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
            409,
            BucketName=name,
        )
    return AWSError(
        "BucketAlreadyExists",
        "The requested bucket name is not available. The bucket namespace is shared by all users of the "
        "system. Please select a different name and try again.",
        409,
        BucketName=name,
    )


def no_such_access_point(name: str) -> AWSError:
    """404."""
    return AWSError("NoSuchAccessPoint", "The specified accesspoint does not exist", 404, AccessPointName=name)


def no_such_key(key: str, headers: dict[str, str] | None = None) -> AWSError:
    """404; with headers where a delete marker stands."""
    return AWSError("NoSuchKey", "The specified key does not exist.", 404, headers=headers, Key=key)


def no_such_version(key: str, version: str) -> AWSError:
    """404."""
    return AWSError("NoSuchVersion", "The specified version does not exist.", 404, Key=key, VersionId=version)


def no_version_id(version: str) -> AWSError:
    """400: nothing that could name a version."""
    return invalid_argument("Invalid version id specified", "versionId", version)


def no_such_upload(upload: str) -> AWSError:
    """404."""
    return AWSError(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        404,
        UploadId=upload,
    )


def not_configured(kind: str, bucket: str) -> AWSError:
    """404: the bucket has no document of that kind."""
    code, message = ABSENT[kind]
    return AWSError(code, message, 404, BucketName=bucket)


def no_configuration() -> AWSError:
    """404: no document of that id."""
    return AWSError("NoSuchConfiguration", "The specified configuration does not exist.", 404)


def id_mismatch() -> AWSError:
    """400: a document with another id than its call."""
    return AWSError("IdMismatch", "Document ID does not match the specified configuration ID.", 400)


def invalid_argument(message: str, name: str | None = None, value: Any = None) -> AWSError:
    """400."""
    shown = None if value is None else str(value)
    return AWSError("InvalidArgument", message, 400, ArgumentName=name, ArgumentValue=shown)


def invalid_request(message: str) -> AWSError:
    """400."""
    return AWSError("InvalidRequest", message, 400)


def malformed() -> AWSError:
    """400: a document that breaks its schema."""
    return AWSError(
        "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema", 400
    )


def malformed_acl() -> AWSError:
    """400: an access control list that breaks its schema."""
    return AWSError(
        "MalformedACLError",
        "The XML you provided was not well-formed or did not validate against our published schema",
        400,
    )


def denied() -> AWSError:
    """403."""
    return AWSError("AccessDenied", "Access Denied", 403)


def precondition(condition: str) -> AWSError:
    """412."""
    return AWSError(
        "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412, Condition=condition
    )


def conflict() -> AWSError:
    """409: others were quicker, again and again."""
    return AWSError("OperationAborted", "A conflicting operation is in progress. Please try again.", 409)


def conditional_conflict(condition: str, key: str) -> AWSError:
    """409: the object was written or deleted after the upload that is to replace it began."""
    return AWSError(
        "ConditionalRequestConflict",
        "The conditional request cannot succeed due to a conflicting operation against this resource.",
        409,
        Condition=condition,
        Key=key,
    )


def acls_off() -> AWSError:
    """400: the bucket's owner owns everything in it, and lists say nothing."""
    return AWSError("AccessControlListNotSupported", "The bucket does not allow ACLs", 400)


def method_not_allowed(method: str, resource: str, headers: dict[str, str] | None = None) -> AWSError:
    """405."""
    return AWSError(
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        405,
        headers=headers,
        Method=method,
        ResourceType=resource,
    )


def no_such_header(header: str) -> AWSError:
    """501: the header (or query parameter) is nothing for this type of bucket, or at all."""
    return AWSError(
        "NotImplemented", "A header you provided implies functionality that is not implemented", 501, Header=header
    )


def not_offered(what: str) -> AWSError:
    """501: understood, and not offered."""
    return AWSError("NotImplemented", f"{what} is not implemented by Nephele.", 501)


def _no_room(fact: Exhausted) -> AWSError:
    """503, as S3 answers when it cannot take more for now; clients try again by themselves."""
    return AWSError("SlowDown", f"Please reduce your request rate. (Nephele: {fact})", 503)


def _failed(fact: DriverError) -> AWSError:
    """500: what this says of the disk is for those who run the server."""
    log.error("the object store failed: %s", fact)
    return AWSError("InternalError", "We encountered an internal error. Please try again.", 500)


def _damaged(fact: Damaged) -> AWSError:
    """500, in words: a second try will not help."""
    reason = fact.facts.get("reason", fact)
    text = f"The stored content of this object is damaged: {reason}. `nephele audit` tells what else is."
    return AWSError("InternalError", text, 500)


FALLBACKS["s3"] = {Exhausted: _no_room, Damaged: _damaged, DriverError: _failed}
