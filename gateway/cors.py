"""Cross-origin requests of browsers: preflights, and the headers of answers."""

from __future__ import annotations

from compat.cloud import Cloud
from compat.errors import AWSError
from compat.s3.cors import allow
from gateway.head import Head
from gateway.route import Route
from gateway.wire import WireResponse

Headers = list[tuple[bytes, bytes]]


def preflight(cloud: Cloud, head: Head, route: Route) -> WireResponse:
    """The answer to OPTIONS on a bucket or an object. Raises `AWSError` where the bucket's rules do not allow it."""
    origin, method = head.text(b"origin"), head.text(b"access-control-request-method")
    if not origin or not method:
        raise AWSError("BadRequest", "Insufficient information. Origin request header needed.", 400)
    asked = [name.strip() for name in head.text(b"access-control-request-headers").split(",") if name.strip()]
    allowed = allow(cloud, route.path.get("Bucket", ""), origin, method, asked)
    if allowed is None:
        raise AWSError(
            "AccessForbidden",
            "CORSResponse: This CORS request is not allowed. This is usually because the evaluation of Origin, "
            "request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted "
            "by the resource's CORS spec.",
            403,
            Method=method,
            ResourceType="OBJECT" if "Key" in route.path else "BUCKET",
        )
    return WireResponse(200, [*_encoded(allowed), (b"content-length", b"0")])


def headers(cloud: Cloud, head: Head, route: Route) -> Headers:
    """The headers that let a page of another origin read this answer; none where no rule allows it."""
    if route.service != "s3" or "Bucket" not in route.path or head.method == "OPTIONS":
        return []  # a preflight says it itself
    method = head.text(b"access-control-request-method") or head.method
    allowed = allow(cloud, route.path["Bucket"], head.text(b"origin"), method, [])
    return [] if allowed is None else _encoded(allowed)


def _encoded(allowed: dict[str, str]) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in allowed.items()]
