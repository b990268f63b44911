"""Cross-origin requests of browsers: preflights, and the headers of answers."""

from __future__ import annotations

from compat.cloud import Cloud
from compat.context import host_id
from compat.errors import AWSError
from compat.s3.cors import allow, has_rules, why_not
from gateway.head import Head
from gateway.route import Route
from gateway.wire import WireResponse

Headers = list[tuple[bytes, bytes]]
METHODS = frozenset({"DELETE", "GET", "HEAD", "POST", "PUT"})
"""Those that rules can speak of."""


def preflight(cloud: Cloud, head: Head, route: Route, request_id: str) -> WireResponse:
    """The answer to OPTIONS on a bucket or an object. Raises `AWSError` where the bucket's rules do not allow it."""
    origin, method = head.text(b"origin"), head.text(b"access-control-request-method")
    if not origin:
        raise AWSError("BadRequest", "Insufficient information. Origin request header needed.", 400)
    bucket = route.path.get("Bucket", "")
    if method not in METHODS and has_rules(cloud, bucket):
        raise AWSError("BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}", 400)
    allowed = allow(cloud, bucket, origin, method, _asked(head))
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


def _asked(head: Head) -> list[str]:
    """The headers that a page wants to send."""
    return [name.strip() for name in head.text(b"access-control-request-headers").split(",") if name.strip()]


def headers(cloud: Cloud, head: Head, route: Route) -> Headers:
    """The headers that let a page of another origin read this answer; none where no rule allows it."""
    if route.service != "s3" or "Bucket" not in route.path or head.method == "OPTIONS":
        return []  # a preflight says it itself
    method = head.text(b"access-control-request-method") or head.method
    allowed = allow(cloud, route.path["Bucket"], head.text(b"origin"), method, _asked(head))
    return [] if allowed is None else _encoded(allowed)


def _encoded(allowed: dict[str, str]) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in allowed.items()]
