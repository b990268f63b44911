"""Which documents a bucket has, and what each must say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backends.object.containers import Known
from compat.errors import AWSError
from compat.operation import Params, operation
from compat.s3 import faults
from compat.s3.acl import ENFORCED, bucket_grants, listed_grants
from compat.s3.directory_rules import is_directory
from compat.s3.documents import deleter, getter, keep, putter
from compat.s3.places import bucket_of, canonical_id, ownership

if TYPE_CHECKING:
    from compat.context import Context

METHODS = frozenset({"GET", "PUT", "HEAD", "POST", "DELETE"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # what HTTP takes for the name of a header
ALGORITHMS = frozenset({"AES256", "aws:kms", "aws:kms:dsse"})
PARTITION_DATES = ("EventTime", "DeliveryTime")
LOG_PERMISSIONS = frozenset({"FULL_CONTROL", "READ", "WRITE"})
DEFAULT_ENCRYPTION = {
    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]
}
MOST_ROUTES = 50


def _one_of(value: Any, allowed: Any) -> None:
    if value not in allowed:
        raise faults.malformed()


# --- CORS -------------------------------------------------------------------------------------------------------------


def _check_cors(ctx: Context, bucket: Known, document: dict[str, Any]) -> None:
    rules = document.get("CORSRules") or []
    if not 1 <= len(rules) <= 100:
        raise faults.malformed()
    for rule in rules:
        if not rule.get("AllowedMethods") or not rule.get("AllowedOrigins"):
            raise faults.malformed()
        for method in rule["AllowedMethods"]:
            if method not in METHODS:
                raise faults.invalid_request(
                    f"Found unsupported HTTP method in CORS config. Unsupported method is {method}"
                )
        for origin in rule["AllowedOrigins"]:
            if origin.count("*") > 1:
                raise faults.invalid_request(f'AllowedOrigin "{origin}" can not have more than one wildcard.')
        for header in rule.get("AllowedHeaders") or ():
            if header.count("*") > 1:
                raise faults.invalid_request(f'AllowedHeader "{header}" can not have more than one wildcard.')
            if not _TOKEN(header):
                raise faults.invalid_request(f'AllowedHeader "{header}" contains invalid character.')
        for header in rule.get("ExposeHeaders") or ():
            if "*" in header:
                raise faults.invalid_request(
                    f'ExposeHeader "{header}" contains wildcard. We currently do not support wildcard for ExposeHeader.'
                )
            if not _TOKEN(header):
                raise faults.invalid_request(f'ExposeHeader "{header}" contains invalid character.')


putter("s3:PutBucketCors", "cors", "CORSConfiguration", _check_cors, action="s3:PutBucketCORS")
getter("s3:GetBucketCors", "cors", action="s3:GetBucketCORS")
deleter("s3:DeleteBucketCors", "cors", action="s3:PutBucketCORS")

# --- encryption -------------------------------------------------------------------------------------------------------


def _check_encryption(ctx: Context, bucket: Known, document: dict[str, Any]) -> None:
    rules = document.get("Rules") or []
    if len(rules) != 1:
        raise faults.malformed()
    default = rules[0].get("ApplyServerSideEncryptionByDefault")
    if default is not None:
        _one_of(default.get("SSEAlgorithm"), ALGORITHMS)
        if default["SSEAlgorithm"] == "AES256" and default.get("KMSMasterKeyID"):
            raise faults.invalid_argument(
                "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse",
                "ApplyServerSideEncryptionByDefault",
            )
        if is_directory(bucket.name) and (
            default["SSEAlgorithm"] == "aws:kms:dsse"
            or (default["SSEAlgorithm"] == "aws:kms" and not default.get("KMSMasterKeyID"))
        ):
            raise faults.invalid_request("Directory buckets take SSE-S3, and SSE-KMS with a customer managed key.")
    rules[0].setdefault("BucketKeyEnabled", is_directory(bucket.name))


putter(
    "s3:PutBucketEncryption",
    "encryption",
    "ServerSideEncryptionConfiguration",
    _check_encryption,
    action="s3:PutEncryptionConfiguration",
)
getter(
    "s3:GetBucketEncryption",
    "encryption",
    "ServerSideEncryptionConfiguration",
    action="s3:GetEncryptionConfiguration",
    default=DEFAULT_ENCRYPTION,
)
deleter("s3:DeleteBucketEncryption", "encryption", action="s3:PutEncryptionConfiguration")

# --- website ----------------------------------------------------------------------------------------------------------


def _check_website(ctx: Context, bucket: Known, document: dict[str, Any]) -> None:
    redirect, index = document.get("RedirectAllRequestsTo"), document.get("IndexDocument")
    if redirect is not None:
        if index is not None or document.get("ErrorDocument") or document.get("RoutingRules"):
            raise faults.invalid_argument(
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
                "RedirectAllRequestsTo",
                "not null",
            )
        if not redirect.get("HostName"):
            raise faults.malformed()
        _check_protocol(redirect)
        return
    suffix = (index or {}).get("Suffix")
    if index is None:
        raise faults.invalid_argument(
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
            "IndexDocument",
            "null",
        )
    if not suffix or "/" in suffix:
        raise faults.invalid_argument("The IndexDocument Suffix is not well formed", "IndexDocument", suffix or "")
    if (error := document.get("ErrorDocument")) is not None and not error.get("Key"):
        raise faults.invalid_argument("The ErrorDocument Key is not well formed")
    rules = document.get("RoutingRules") or []
    if document.get("RoutingRules") == []:
        raise faults.malformed()
    if len(rules) > MOST_ROUTES:
        raise faults.invalid_request(
            f"{len(rules)} routing rules provided, the number of routing rules in a website "
            f"configuration is limited to {MOST_ROUTES}."
        )
    for rule in rules:
        _check_route(rule)


def _check_protocol(redirect: dict[str, Any]) -> None:
    if redirect.get("Protocol") not in (None, "http", "https"):
        raise faults.invalid_request(
            "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected "
            "automatically."
        )


def _check_route(rule: dict[str, Any]) -> None:
    redirect, condition = rule.get("Redirect"), rule.get("Condition")
    if not redirect:
        raise faults.malformed()
    if condition is not None and not condition:
        raise faults.invalid_request(
            "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't "
            "be present."
        )
    if "ReplaceKeyWith" in redirect and "ReplaceKeyPrefixWith" in redirect:
        raise faults.invalid_request("You can only define ReplaceKeyPrefix or ReplaceKey but not both.")
    _check_protocol(redirect)
    code = redirect.get("HttpRedirectCode")
    if code is not None and not re.fullmatch("3(?!00)[0-9][0-9]", code):
        raise faults.invalid_request(
            f"The provided HTTP redirect code ({code}) is not valid. Valid codes are 3XX except 300."
        )
    error = (condition or {}).get("HttpErrorCodeReturnedEquals")
    if error is not None and not re.fullmatch("[45][0-9][0-9]", error):
        raise faults.invalid_request(
            f"The provided HTTP error code ({error}) is not valid. Valid codes are 4XX or 5XX."
        )


putter("s3:PutBucketWebsite", "website", "WebsiteConfiguration", _check_website)
getter("s3:GetBucketWebsite", "website")
deleter("s3:DeleteBucketWebsite", "website")

# --- logging ----------------------------------------------------------------------------------------------------------


@operation("s3:PutBucketLogging", on="{Bucket}")
def put_bucket_logging(ctx: Context, p: Params) -> None:
    bucket, status = bucket_of(ctx, p), p.get("BucketLoggingStatus") or {}
    enabled = status.get("LoggingEnabled")
    if enabled is None:
        ctx.containers.drop_document(bucket.name, "logging")
        return
    target = ctx.cloud.hosts["containers"].find(enabled.get("TargetBucket") or "")
    if target is None or target.tenant != bucket.tenant:
        raise AWSError(
            "InvalidTargetBucketForLogging",
            "The target bucket for logging does not exist",
            400,
            TargetBucket=enabled.get("TargetBucket"),
        )
    if target.region != bucket.region:
        # Of a source in us-east-1, AWS says no location.
        raise AWSError(
            "CrossLocationLoggingProhibitted",
            "Cross S3 location logging not allowed. ",
            403,
            SourceBucketLocation=None if bucket.region == "us-east-1" else bucket.region,
            TargetBucketLocation=target.region,
        )
    form = enabled.get("TargetObjectKeyFormat")
    if enabled.get("TargetPrefix") is None or (form is not None and len(form) != 1):
        raise faults.malformed()
    _one_of(((form or {}).get("PartitionedPrefix") or {}).get("PartitionDateSource"), (None, *PARTITION_DATES))
    if enabled.get("TargetGrants") and ownership(target) == ENFORCED:
        raise AWSError(
            "InvalidArgument",
            "Access control lists (ACLs) are disabled on the target bucket: target grants cannot be given.",
            400,
        )
    listed_grants(enabled.get("TargetGrants") or (), LOG_PERMISSIONS)
    keep(ctx, bucket, "logging", {"LoggingEnabled": enabled})


getter("s3:GetBucketLogging", "logging", default={})

# --- ownership --------------------------------------------------------------------------------------------------------


def _check_ownership(ctx: Context, bucket: Known, document: dict[str, Any]) -> None:
    rules = document.get("Rules") or []
    if len(rules) != 1:
        raise faults.malformed()
    _one_of(rules[0].get("ObjectOwnership"), (ENFORCED, "BucketOwnerPreferred", "ObjectWriter"))
    own = [[canonical_id(bucket.tenant), "FULL_CONTROL"]]
    if rules[0]["ObjectOwnership"] == ENFORCED and bucket_grants(bucket) != own:
        raise AWSError(
            "InvalidBucketAclWithObjectOwnership",
            "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            400,
        )


putter("s3:PutBucketOwnershipControls", "ownership", "OwnershipControls", _check_ownership)
getter("s3:GetBucketOwnershipControls", "ownership", "OwnershipControls")
deleter("s3:DeleteBucketOwnershipControls", "ownership", action="s3:PutBucketOwnershipControls")

# --- public access block ----------------------------------------------------------------------------------------------


def checked_block(document: dict[str, Any] | None) -> dict[str, bool]:
    """A public access block with all four of its switches."""
    if document is None:
        raise faults.malformed()
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    return {name: bool(document.get(name)) for name in names}


@operation("s3:PutPublicAccessBlock", on="{Bucket}", action="s3:PutBucketPublicAccessBlock")
def put_public_access_block(ctx: Context, p: Params) -> None:
    keep(ctx, bucket_of(ctx, p), "public", checked_block(p.get("PublicAccessBlockConfiguration")))


getter("s3:GetPublicAccessBlock", "public", "PublicAccessBlockConfiguration", action="s3:GetBucketPublicAccessBlock")
deleter("s3:DeletePublicAccessBlock", "public", action="s3:PutBucketPublicAccessBlock")

# --- switches ---------------------------------------------------------------------------------------------------------


def _check_accelerate(ctx: Context, bucket: Known, document: dict[str, Any]) -> None:
    if "." in bucket.name:
        raise faults.invalid_request(
            "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names"
        )
    _one_of(document.get("Status"), ("Enabled", "Suspended"))


def _check_abac(ctx: Context, bucket: Known, document: dict[str, Any]) -> None:
    _one_of(document.get("Status"), ("Enabled", "Disabled"))


def _check_payer(ctx: Context, bucket: Known, document: dict[str, Any]) -> None:
    _one_of(document.get("Payer"), ("Requester", "BucketOwner"))


putter(
    "s3:PutBucketAccelerateConfiguration",
    "accelerate",
    "AccelerateConfiguration",
    _check_accelerate,
    action="s3:PutAccelerateConfiguration",
)
getter("s3:GetBucketAccelerateConfiguration", "accelerate", action="s3:GetAccelerateConfiguration", default={})
putter("s3:PutBucketAbac", "abac", "AbacStatus", _check_abac)
getter("s3:GetBucketAbac", "abac", "AbacStatus", default={"Status": "Disabled"})
putter("s3:PutBucketRequestPayment", "payment", "RequestPaymentConfiguration", _check_payer)
getter("s3:GetBucketRequestPayment", "payment", default={"Payer": "BucketOwner"})
