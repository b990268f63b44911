"""What the walk of a request has to know of its operation before anything of the body is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from compat.model import operation_model
from compat.operation import find
from gateway.wire import codec

UNCHECKED = {
    "PutBucketAcl",
    "PutBucketLogging",
    "PutBucketPolicy",
    "PutBucketRequestPayment",
    "PutBucketVersioning",
    "PutBucketWebsite",
    "PutObjectAcl",
}
"""S3's oldest documents: the model wants a checksum of them, S3 does not (s3cmd sends none)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the model says of an operation, looked up once."""

    streams_in: bool
    checksummed: bool
    checksum_required: bool
    anonymous: bool
    unsigned_body: bool
    slow: bool
    streams: bool


@lru_cache(None)
def facts_of(service: str, operation: str) -> Facts:
    """The facts of a known operation; those of an implemented one include what `@operation` says."""
    model = operation_model(service, operation)
    ours = find(service, operation)
    checksum = model.http_checksum if model is not None else {}
    auth = model.auth_type if model is not None else None
    return Facts(
        streams_in=model is None or (codec(service, operation).stream_in is not None),
        checksummed=bool(checksum.get("requestAlgorithmMember")) or bool(checksum.get("requestChecksumRequired")),
        checksum_required=bool(checksum.get("requestChecksumRequired")) and operation not in UNCHECKED,
        anonymous=service == "s3" or auth == "none",
        unsigned_body=auth == "v4-unsigned-body",
        slow=ours is not None and ours.slow,
        streams=ours is not None and ours.streams,
    )
