"""Condition keys of S3, computed from a call's parameters and headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from compat.iam.guards import RESOURCE_TAGS
from compat.iam.keys import FAMILIES, Keys, service_keys, text, truth
from compat.iam.policy.request import ContextValue

MEMBERS = {
    "prefix": "Prefix",
    "delimiter": "Delimiter",
    "max-keys": "MaxKeys",
    "versionid": "VersionId",
    "x-amz-acl": "ACL",
    "x-amz-grant-full-control": "GrantFullControl",
    "x-amz-grant-read": "GrantRead",
    "x-amz-grant-read-acp": "GrantReadACP",
    "x-amz-grant-write": "GrantWrite",
    "x-amz-grant-write-acp": "GrantWriteACP",
    "x-amz-metadata-directive": "MetadataDirective",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
    "x-amz-storage-class": "StorageClass",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
    "x-amz-object-ownership": "ObjectOwnership",
    "object-lock-mode": "ObjectLockMode",
    "object-lock-legal-hold": "ObjectLockLegalHoldStatus",
    "if-match": "IfMatch",
    "if-none-match": "IfNoneMatch",
    "annotation-prefix": "AnnotationPrefix",
    "max-annotation-results": "MaxAnnotationResults",
    "x-amz-object-if-match": "ObjectIfMatch",
}
"""Key -> input member, where the key is the member."""

AUTH_TYPES = {"header": "REST-HEADER", "query": "REST-QUERY-STRING", "post": "POST"}


def _copy_source(keys: Keys) -> ContextValue:
    source = keys.p.get("CopySource")
    if isinstance(source, dict):
        return f"{source.get('Bucket')}/{source.get('Key')}"
    return source if source is None else unquote(str(source).partition("?versionId=")[0])


def _location(keys: Keys) -> ContextValue:
    return text((keys.p.get("CreateBucketConfiguration") or {}).get("LocationConstraint"))


def _retain_until(keys: Keys) -> ContextValue:
    until = _retention_date(keys)
    return until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if until is not None else None


def _retention_date(keys: Keys) -> datetime | None:
    until = keys.p.get("ObjectLockRetainUntilDate") or (keys.p.get("Retention") or {}).get("RetainUntilDate")
    return until if isinstance(until, datetime) else None


def _remaining_days(keys: Keys) -> ContextValue:
    until = _retention_date(keys)
    return None if until is None else str((until - keys.ctx.cloud.database.clock()).days)


def _lock_mode(keys: Keys) -> ContextValue:
    return keys.p.get("ObjectLockMode") or (keys.p.get("Retention") or {}).get("Mode")


def _legal_hold(keys: Keys) -> ContextValue:
    return keys.p.get("ObjectLockLegalHoldStatus") or (keys.p.get("LegalHold") or {}).get("Status")


def _event_hold(keys: Keys) -> ContextValue:
    return keys.p.get("ObjectLockEventHold") or (keys.p.get("Retention") or {}).get("EventHold")


def _event_hold_days(keys: Keys) -> ContextValue:
    term = (keys.p.get("Retention") or {}).get("EventHoldDuration") or {}
    days = keys.p.get("ObjectLockEventHoldDurationDays") or term.get("Days")
    years = keys.p.get("ObjectLockEventHoldDurationYears") or term.get("Years")
    return text(days if days is not None or years is None else years * 365)


def _auth_type(keys: Keys) -> ContextValue:
    return AUTH_TYPES.get(keys.ctx.call.auth_type)


def _signature_version(keys: Keys) -> ContextValue:
    return None if keys.ctx.principal.is_anonymous else keys.ctx.call.signature_version


def _signature_age(keys: Keys) -> ContextValue:
    return None if keys.ctx.principal.is_anonymous else str(keys.ctx.call.signature_age * 1000)


def _content_sha256(keys: Keys) -> ContextValue:
    return (keys.ctx.call.headers or {}).get("x-amz-content-sha256")


def _resource_account(keys: Keys) -> ContextValue:
    owner = keys.extra.get("owner")
    return owner if owner is not None else keys.ctx.account


def _request_tag_keys(keys: Keys) -> ContextValue:
    return tuple(_request_tags(keys)) or None


def _request_tags(keys: Keys) -> dict[str, str]:
    """The tags that the call puts on an object: in the header form, or in the body of PutObjectTagging."""
    tagging = keys.p.get("Tagging")
    if isinstance(tagging, str):
        return dict(parse_qsl(tagging, keep_blank_values=True))
    if isinstance(tagging, dict) and keys.resource.count("/"):
        return {tag["Key"]: tag["Value"] for tag in tagging.get("TagSet") or ()}
    return {}


def _inventory_fields(keys: Keys) -> ContextValue:
    return text((keys.p.get("InventoryConfiguration") or {}).get("OptionalFields"))


EXACT: dict[str, Callable[[Keys], ContextValue]] = {
    "x-amz-copy-source": _copy_source,
    "locationconstraint": _location,
    "object-lock-retain-until-date": _retain_until,
    "object-lock-remaining-retention-days": _remaining_days,
    "object-lock-mode": _lock_mode,
    "object-lock-legal-hold": _legal_hold,
    "object-lock-event-hold": _event_hold,
    "object-lock-event-hold-duration-days": _event_hold_days,
    "authtype": _auth_type,
    "signatureversion": _signature_version,
    "signatureage": _signature_age,
    "x-amz-content-sha256": _content_sha256,
    "resourceaccount": _resource_account,
    "requestobjecttagkeys": _request_tag_keys,
    "objectcreationoperation": lambda keys: truth(keys.ctx.operation.name not in ("UploadPart", "UploadPartCopy")),
    "inventoryaccessibleoptionalfields": _inventory_fields,
    "tlsversion": lambda keys: keys.ctx.call.tls and keys.ctx.call.tls[0].removeprefix("TLSv"),
}


@service_keys("s3")
def _s3_keys(keys: Keys, name: str) -> ContextValue:
    exact = EXACT.get(name)
    if exact is not None:
        return exact(keys)
    member = MEMBERS.get(name)
    return text(keys.p.get(member)) if member is not None else None


def _tag_of(what: str) -> Callable[[Keys, str], ContextValue]:
    """A tag that the bucket, access point or object in the resource's ARN has already."""

    def tag_of(keys: Keys, name: str) -> ContextValue:
        asked = RESOURCE_TAGS.get(f"s3:{what}")
        return _named((asked(keys.ctx, keys.resource) if asked is not None else None) or {}, name)

    return tag_of


def _request_object_tag(keys: Keys, name: str) -> ContextValue:
    return _named(_request_tags(keys), name)


def _named(tags: Mapping[str, str], name: str) -> ContextValue:
    return next((value for key, value in tags.items() if key.lower() == name), None)


FAMILIES |= {
    "s3:existingobjecttag": _tag_of("object"),
    "s3:requestobjecttag": _request_object_tag,
    "s3:buckettag": _tag_of("bucket"),
    "s3:accesspointtag": _tag_of("accesspoint"),
}
