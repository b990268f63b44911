"""Which service, operation and protocol a request means, found as AWS's clients say it.

In this order: `X-Amz-Target` (JSON), the path of smithy's rpc-v2 (CBOR), the credential scope, `Action`, the host. What
tells nothing is S3, whose anonymous requests carry no other mark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from urllib.parse import unquote_to_bytes

from compat.model import SERVICES, Service, operation_names
from gateway import rest_table, s3_table
from gateway.head import Head
from gateway.hosts import Host, parse_host
from gateway.wire.faults import WireFault

_FORM = b"application/x-www-form-urlencoded"
_CBOR = b"rpc-v2-cbor"
_CONTROL_PATH = b"/v20180820/"
_CONTROL_HEADERS = frozenset({b"x-amz-account-id", b"x-amz-outpost-id"})
_QUERY_PROTOCOLS = frozenset({"ec2", "query"})
_TARGETS = {service.target: service for service in SERVICES.values() if service.target}
_SCOPES = {service.scope: service for service in SERVICES.values() if service.name != "s3control"}
_HOSTS = {service.host: service for service in SERVICES.values()}
_S3_SCOPES = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})
_CLASSIC_BALANCING = "2012-06-01"


@dataclass(slots=True)
class Route:
    """Where a request goes.

    `path` holds the decoded labels of path and host under their wire names (`Bucket`, `Key`, …); `form` the fields of a
    query-protocol call, wherever they came from. `style` is, for S3, how the bucket was named: `path`, `virtual` or
    `website` (then GetObject or HeadObject, and `Key` may be empty); else empty. `scope` is the service
    name of the credential scope, empty for a request that is not signed with version 4.
    """

    service: str
    operation: str
    protocol: str
    path: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    style: str = ""
    scope: str = ""


def scope_of(head: Head) -> str:
    """The service named in the credential scope of the Authorization header or of a presigned query; else empty."""
    authorization = head.view.get(b"authorization")
    if authorization is not None:
        at = authorization.find(b"Credential=")
        if at < 0:
            return ""
        end = authorization.find(b",", at)
        return _scope_in(authorization[at + 11 : end] if end > 0 else authorization[at + 11 :])
    if head.raw_query and b"X-Amz-Credential" in head.raw_query:
        return _scope_in(head.query.get("X-Amz-Credential", "").encode("utf-8", "surrogateescape"))
    return ""


@lru_cache(1024)
def _scope_in(credential: bytes) -> str:
    """The service in `AKID/20260102/us-east-1/service/aws4_request`; an access key may have slashes of its own."""
    parts = credential.strip().split(b"/")
    return parts[-2].decode("latin-1") if len(parts) >= 5 else ""


def wants_form(head: Head) -> bool:
    """Whether the body must be read and parsed (`gateway.wire.parse_form`) before the request can be routed.

    True for the POST of a query-protocol service; never for S3, whose bodies are streams.
    """
    if head.method != "POST":
        return False
    view = head.view
    if b"x-amz-target" in view or view.get(b"smithy-protocol") == _CBOR:
        return False
    scope = scope_of(head)
    if scope in _S3_SCOPES:
        return False
    typed = view.get(b"content-type", b"").lower().startswith(_FORM)
    if scope:
        known = _SCOPES.get(scope)
        return typed or (known is not None and _form_protocol(known) != "")
    return typed and head.raw_path in (b"/", b"") and not parse_host(view.get(b"host", b"")).bucket


class Router:
    """Finds routes. `domains` are host names of this server's own, below which buckets and services are names."""

    def __init__(self, domains: tuple[str, ...] = ()) -> None:
        self._host = lru_cache(4096)(lambda host: parse_host(host, domains))

    def resolve(self, head: Head, form: Mapping[str, str] | None = None) -> Route:
        """The route of a request; `form` is the parsed body where `wants_form` said so.

        Raises WireFault with `service` and `protocol` set, so that it can be answered in the right envelope.
        """
        view = head.view
        target = view.get(b"x-amz-target")
        if target is not None:
            return _by_target(target.decode("latin-1"), scope_of(head))
        if view.get(b"smithy-protocol") == _CBOR or head.raw_path.startswith(b"/service/"):
            route = _by_rpc_path(head)
            if route is not None:
                return route
        scope = scope_of(head)
        if scope and scope not in _S3_SCOPES:
            return _by_scope(head, form, scope)
        host = self._host(view.get(b"host", b""))
        if not scope:
            named = _HOSTS.get(host.service)
            if (form is not None and "Action" in form) or (
                b"Action=" in head.raw_query and head.raw_path in (b"/", b"")
            ):
                return _by_action(head, form, named)
            if named is not None and named.protocol == "rest-json":
                return _by_rest(named, head, "")
        if head.raw_path.startswith(_CONTROL_PATH) and (host.control or not _CONTROL_HEADERS.isdisjoint(view)):
            return _by_rest(SERVICES["s3control"], head, scope)
        return _to_s3(head, host, scope)


def _unknown_action(service: str, protocol: str, name: str) -> WireFault:
    text = f"The action {name} is not valid for this web service."
    return WireFault("InvalidAction", text, 400, service=service, protocol=protocol)


def _not_spoken(name: str, protocol: str) -> WireFault:
    return WireFault("NotImplemented", f"The service {name} is not offered by Nephele.", 501, protocol=protocol)


def _by_target(target: str, scope: str) -> Route:
    prefix, _, name = target.rpartition(".")
    service = _TARGETS.get(prefix)
    if service is None:
        raise _not_spoken(prefix or scope, "json")
    if name not in operation_names(service.name):
        raise _unknown_action(service.name, "json", name)
    return Route(service.name, name, "json", scope=scope)


def _by_rpc_path(head: Head) -> Route | None:
    parts = head.raw_path.decode("latin-1").split("/")
    if len(parts) != 5 or parts[1] != "service" or parts[3] != "operation":
        return None
    service = _TARGETS.get(parts[2])
    if service is None:
        if head.view.get(b"smithy-protocol") != _CBOR:
            return None
        raise _not_spoken(parts[2], "smithy-rpc-v2-cbor")
    if parts[4] not in operation_names(service.name):
        raise _unknown_action(service.name, "smithy-rpc-v2-cbor", parts[4])
    return Route(service.name, parts[4], "smithy-rpc-v2-cbor", scope=scope_of(head))


def _by_scope(head: Head, form: Mapping[str, str] | None, scope: str) -> Route:
    service = _SCOPES.get(scope)
    if service is None:
        raise _not_spoken(scope, "query" if form else "rest-json")
    protocol = _form_protocol(service)
    if not protocol:
        if service.protocol == "rest-json":
            return _by_rest(service, head, scope)
        raise _unknown_action(service.name, service.protocol, "")
    return _call(service, protocol, _fields(head, form, service.name, protocol), scope)


@cache
def _form_protocol(service: Service) -> str:
    """The protocol in which the service takes forms, or an empty text."""
    return next((spoken for spoken in service.protocols if spoken in _QUERY_PROTOCOLS), "")


def _fields(head: Head, form: Mapping[str, str] | None, service: str, protocol: str) -> Mapping[str, str]:
    if form is not None and ("Action" in form or not head.raw_query):
        return form
    fields = dict(head.query)
    if form:
        fields.update(form)
    try:
        "".join([*fields, *fields.values()]).encode("utf-8")
    except UnicodeEncodeError:
        text = "The query string is not UTF-8."
        raise WireFault("MalformedQueryString", text, 400, service=service, protocol=protocol) from None
    return fields


def _call(service: Service, protocol: str, fields: Mapping[str, str], scope: str) -> Route:
    action = fields.get("Action")
    if not action:
        text = "The request must contain the parameter Action"
        raise WireFault("MissingAction", text, 400, service=service.name, protocol=protocol)
    if service.name == "elbv2" and fields.get("Version") == _CLASSIC_BALANCING:
        raise _not_spoken("elb", "query")
    if action not in operation_names(service.name):
        raise _unknown_action(service.name, protocol, action)
    return Route(service.name, action, protocol, form=fields, scope=scope)


def _by_action(head: Head, form: Mapping[str, str] | None, named: Service | None) -> Route:
    """An unsigned call: the host tells the service, or the dated version, or who has such an action."""
    fields = _fields(head, form, "", "query")
    version, action = fields.get("Version", ""), fields.get("Action", "")
    spoken = [service for service in SERVICES.values() if _form_protocol(service)]
    if named is None or named not in spoken:
        dated = [service for service in spoken if service.api_version == version]
        named = next((service for service in dated or spoken if action in operation_names(service.name)), None)
        if named is None and dated:
            named = dated[0]  # which says that it knows no such action, in its own form
        if named is None:
            raise _unknown_action("", "query", action)
    return _call(named, _form_protocol(named), fields, "")


def _by_rest(service: Service, head: Head, scope: str) -> Route:
    found = rest_table.find(service.name, head.method, head.raw_path)
    if found is None:
        code = "InvalidURI" if service.protocol == "rest-xml" else "UnknownOperationException"
        text = "No operation has this method and path."
        raise WireFault(code, text, 404, service=service.name, protocol=service.protocol)
    operation, labels = found
    path = {name: _decoded(value, service) for name, value in labels.items()}
    return Route(service.name, operation, service.protocol, path, scope=scope)


_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _decoded(raw: bytes, service: Service) -> str:
    """A label, percent-decoded exactly once."""
    try:
        if b"%" not in raw:
            return raw.decode("utf-8")
        if _BROKEN.search(raw) is not None:
            raise ValueError(raw)
        return unquote_to_bytes(raw).decode("utf-8")
    except ValueError:  # UnicodeDecodeError among them
        code = "InvalidURI" if service.protocol == "rest-xml" else "ValidationException"
        text = "Couldn't parse the specified URI."
        raise WireFault(code, text, 400, service=service.name, protocol=service.protocol) from None


_S3 = SERVICES["s3"]


def _to_s3(head: Head, host: Host, scope: str) -> Route:
    raw = head.raw_path
    if host.bucket or host.style == "website":
        bucket, key, style = host.bucket, raw[1:], host.style
    else:
        first, _, key = raw[1:].partition(b"/")
        bucket, style = _decoded(first, _S3), "path"
    path = {}
    if bucket:
        path["Bucket"] = bucket
    elif key and style != "website":
        raise WireFault(
            "InvalidBucketName", "The specified bucket is not valid.", 400, service="s3", protocol="rest-xml"
        )
    if key:
        path["Key"] = _decoded(key, _S3)
    if style == "website":
        path.setdefault("Key", "")
    operation = s3_table.find(
        head, style, bool(bucket), bool(key), directories=host.directories or scope == "s3express"
    )
    return Route("s3", operation, "rest-xml", path, None, style, scope)


resolve = Router().resolve
"""`Router.resolve` without domains of one's own."""
