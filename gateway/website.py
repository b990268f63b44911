"""The website endpoint: a bucket's objects for browsers, with documents for folders and errors, and redirections."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from compat.context import Call, host_id
from compat.dispatch import Dispatcher
from compat.errors import AWSError
from compat.iam.principal import ANONYMOUS
from compat.s3 import website
from compat.s3.website import Site, Turn
from compat.streams import Stream
from gateway.head import Head
from gateway.route import Route
from gateway.wire import WireFault, WireRequest, WireResponse, codec

ABOUT = "https://aws.amazon.com/s3/"
"""Where the endpoint sends those who name no bucket."""
_HTML = (b"content-type", b"text/html; charset=utf-8")
# Headers of the request that speak of what is asked for, and mean nothing for an error document.
_CONDITIONS = frozenset({b"range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"})


class Visit:
    """One request of a browser. Blocks: for a worker thread. Everything is read as anybody may read it."""

    def __init__(self, dispatcher: Dispatcher, head: Head, route: Route, call_with: Callable[..., Call]) -> None:
        self._dispatcher, self._head, self._call_with = dispatcher, head, call_with
        self._bucket, self._key = route.path.get("Bucket", ""), route.path.get("Key", "")
        self._request_id = ""

    def answer(self, request_id: str) -> WireResponse:
        """The page, a redirection, or the error as a page."""
        self._request_id = request_id
        if not self._bucket:
            return self._turn(Turn(ABOUT, 301))
        try:
            if self._head.method not in ("GET", "HEAD"):
                raise AWSError(
                    "MethodNotAllowed",
                    "The specified method is not allowed against this resource.",
                    405,
                    headers={"Allow": "HEAD, GET"},
                    Method=self._head.method,
                    ResourceType="OBJECT",
                )
            site = website.site_of(self._dispatcher.cloud, self._bucket)
            return self._show(site)
        except AWSError as failure:
            return self._page(failure)

    def _show(self, site: Site) -> WireResponse:
        scheme, host, key = self._head.scheme, self._head.host, self._key
        turn = website.turn_of_all(site, scheme, key) or website.turn_of_rules(site, scheme, host, key)
        if turn is not None:
            return self._turn(turn)
        try:
            return self._read(website.object_key(site, key))
        except AWSError as failure:
            if failure.status in (304, 416):
                raise
            if failure.status in (403, 404) and key and not key.endswith("/") and self._is_folder(site):
                return self._turn(Turn(f"/{quote(key)}/", 302))
            turn = website.turn_of_rules(site, scheme, host, key, failure.status)
            if turn is not None:
                return self._turn(turn)
            return self._document(site, failure)

    def _is_folder(self, site: Site) -> bool:
        try:
            self._read(f"{self._key}/{website.index_of(site)}", head=True)
        except AWSError:
            return False
        return True

    def _document(self, site: Site, failure: AWSError) -> WireResponse:
        """The site's own document for an error, with the status of the error."""
        key = website.error_key(site, failure)
        if key is None:
            raise failure
        try:
            shown = self._read(key, plain=True)
        except AWSError as second:
            return self._page(failure, second)
        if shown.status != 301:
            shown.status = failure.status
        return shown

    def _read(self, key: str, *, head: bool = False, plain: bool = False) -> WireResponse:
        """An object as its endpoint would answer it; `WebsiteRedirectLocation` redirects. Raises `AWSError`."""
        name = "HeadObject" if head or self._head.method == "HEAD" else "GetObject"
        headers = [pair for pair in self._head.headers if not (plain and pair[0] in _CONDITIONS)]
        spoken = codec("s3", name)
        request = WireRequest(Head("GET", b"/", b"", headers), {"Bucket": self._bucket, "Key": key})
        try:
            params = spoken.read(request)
        except WireFault as fault:
            about: dict[str, Any] = dict(fault.fields)
            raise AWSError(fault.code, fault.message, fault.status, **about) from None
        call = self._call_with(
            name=name,
            params=params,
            principal=ANONYMOUS,
            region=self._dispatcher.cloud.rules.default_region,
            auth_type="anonymous",
        )
        result = self._dispatcher.perform(self._dispatcher.admit(call)).result
        if location := result.get("WebsiteRedirectLocation"):
            if isinstance(result.get("Body"), Stream):
                result["Body"].close()
            return self._turn(Turn(location, 301))
        response: WireResponse = spoken.write(result).render(self._request_id, host_id(self._request_id))
        return response

    def _ids(self) -> list[tuple[bytes, bytes]]:
        id = self._request_id
        return [(b"x-amz-request-id", id.encode()), (b"x-amz-id-2", host_id(id).encode())]

    def _turn(self, turn: Turn) -> WireResponse:
        location = turn.location.replace("\r", "").replace("\n", "").encode("utf-8")
        return WireResponse(turn.status, [*self._ids(), (b"location", location), (b"content-length", b"0")])

    def _page(self, failure: AWSError, second: AWSError | None = None) -> WireResponse:
        """An error for people."""
        headers = [*self._ids()]
        headers += [(name.lower().encode(), str(value).encode("latin-1")) for name, value in failure.headers.items()]
        if failure.status == 304:
            return WireResponse(304, headers)
        title = f"{failure.status} {HTTPStatus(failure.status).phrase}"
        body = f"<h1>{title}</h1>\n{self._facts(failure)}"
        if second is not None:
            body += "<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n" + _list(second)
        text = f"<html>\n<head><title>{title}</title></head>\n<body>\n{body}<hr/>\n</body>\n</html>\n".encode()
        headers += [_HTML, (b"content-length", b"%d" % len(text))]
        headers += [(b"x-amz-error-code", failure.code.encode()), (b"x-amz-error-message", failure.message.encode())]
        return WireResponse(failure.status, headers, b"" if self._head.method == "HEAD" else text)

    def _facts(self, failure: AWSError) -> str:
        return _list(failure, RequestId=self._request_id, HostId=host_id(self._request_id))


def _list(failure: AWSError, **more: str) -> str:
    about = {"Code": failure.code, "Message": failure.message, **failure.fields, **more}
    items = "".join(f"<li>{name}: {escape(str(value))}</li>\n" for name, value in about.items() if value is not None)
    return f"<ul>\n{items}</ul>\n"
