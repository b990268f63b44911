"""Cross-origin requests of browsers: preflights, the headers of answers, and what is refused to other sites' pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from compat.cloud import Cloud
from compat.context import host_id
from compat.errors import AWSError
from compat.iam.principal import Principal, PrincipalKind
from compat.s3.cors import allow, has_rules, match, why_not
from gateway.head import Head
from gateway.route import Route
from gateway.wire import WireResponse

Headers = list[tuple[bytes, bytes]]
METHODS = frozenset({"DELETE", "GET", "HEAD", "POST", "PUT"})
"""Those that rules can speak of."""
EXPOSED = ("*", "ETag", "x-amz-request-id", "x-amz-version-id", "x-amzn-ErrorType", "x-amzn-RequestId")
"""What pages of the operator's origins may read besides; those who send cookies are not given the `*`."""
MOST_AGE = 600
"""Seconds for which browsers may remember what the operator allows."""


def preflight(cloud: Cloud, head: Head, route: Route, request_id: str) -> WireResponse:
    """The answer to OPTIONS on a bucket or an object. Raises `AWSError` where the bucket's rules do not allow it."""
    origin, method = head.text(b"origin"), head.text(b"access-control-request-method")
    if not origin:
        raise AWSError("BadRequest", "Insufficient information. Origin request header needed.", 400)
    bucket = route.path.get("Bucket", "")
    if method not in METHODS and has_rules(cloud, bucket):
        raise AWSError("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}", 400)
    allowed = _allowed(cloud, bucket, origin, method, _asked(head))
    if allowed is None:
        raise AWSError(
            "AccessForbidden",
            f"CORSResponse: {why_not(cloud, bucket)}",
            403,
            Method=method or head.method,
            ResourceType="OBJECT" if "Key" in route.path and has_rules(cloud, bucket) else "BUCKET",
        )
    allowed |= {"x-amz-request-id": request_id, "x-amz-id-2": host_id(request_id), "content-length": "0"}
    return WireResponse(200, _encoded(allowed))


def check_page(cloud: Cloud, head: Head, route: Route, caller: Principal) -> None:
    """Raises `AWSError` where a page of another site would act in the name of a root whose secret everybody knows.

    Browsers send some requests without asking first: forms, pictures, simple POSTs. The page cannot read the answer,
    but what it calls takes effect; it needs only `test`, with the signature in the address. Other methods, and whatever
    bears an `Authorization` header, were asked for by a preflight. Objects are read and uploaded by forms from other
    sites all the time.
    """
    if caller.kind is not PrincipalKind.ROOT or not cloud.rules.open_root or b"authorization" in head.view:
        return
    if head.method not in ("GET", "POST") or (route.service == "s3" and head.method == "GET"):
        return
    origin = head.text(b"origin")
    foreign = _is_elsewhere(origin, head) if origin else head.text(b"sec-fetch-site") == "cross-site"
    bucket = route.path.get("Bucket", "") if route.service == "s3" else ""
    if foreign and (not origin or _allowed(cloud, bucket, origin, head.method, []) is None):
        raise AWSError(
            "AccessDenied",
            f"A page of {origin or 'another site'} may not call this in the name of a root that everybody knows. "
            "NEPHELE_CORS_ORIGINS names the origins whose pages may.",
            403,
        )


def _is_elsewhere(origin: str, head: Head) -> bool:
    """Whether an origin is neither this endpoint nor another port of this machine."""
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        return True
    here = host in ("localhost", "::1") or host.endswith(".localhost") or host.startswith("127.")
    return not here and origin.partition("://")[2] != head.text(b"host")


def _allowed(cloud: Cloud, bucket: str, origin: str, method: str, asked: list[str]) -> dict[str, str] | None:
    """What a bucket's rules say, where it has some; else what the operator says of all services."""
    if not cloud.rules.cors_origins or has_rules(cloud, bucket):
        return allow(cloud, bucket, origin, method, asked)
    rule = {
        "AllowedOrigins": cloud.rules.cors_origins,
        "AllowedMethods": sorted(METHODS),
        "AllowedHeaders": ["*"],
        "ExposeHeaders": EXPOSED,
        "MaxAgeSeconds": MOST_AGE,
    }
    return match([rule], origin, method, asked)


def _asked(head: Head) -> list[str]:
    """The headers that a page wants to send."""
    return [name.strip() for name in head.text(b"access-control-request-headers").split(",") if name.strip()]


def headers(cloud: Cloud, head: Head, route: Route) -> Headers:
    """The headers that let a page of another origin read this answer; none where no rule allows it."""
    bucket = route.path.get("Bucket", "") if route.service == "s3" else ""
    if head.method == "OPTIONS" or not (bucket or cloud.rules.cors_origins):
        return []  # a preflight says it itself
    method = head.text(b"access-control-request-method") or head.method
    allowed = _allowed(cloud, bucket, head.text(b"origin"), method, _asked(head))
    return [] if allowed is None else _encoded(allowed)


def _encoded(allowed: dict[str, str]) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in allowed.items()]
