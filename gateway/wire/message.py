"""What readers take and writers give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.head import Head

Headers = list[tuple[bytes, bytes]]

XML = (b"content-type", b"text/xml;charset=UTF-8")
XML_REST = (b"content-type", b"application/xml")


@dataclass(slots=True)
class WireRequest:
    """A request as a reader takes it.

    `path` holds the decoded labels of the path (and of the host, where a bucket stands there), `form` the parsed fields
    of a form body or query-string call, `body` the whole body of an operation whose payload is not streamed (with any
    transfer coding already taken off; empty for streaming operations).
    """

    head: Head
    path: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    body: bytes = b""


@dataclass(slots=True)
class WireResponse:
    """A whole answer. `body` is bytes, or the stream that the operation returned as its payload.

    Headers carry the request id in the protocol's own header, and `content-length` unless `body` is a stream of unknown
    length; `Date`, `Server` and CORS headers are the caller's.
    """

    status: int
    headers: Headers
    body: Any = b""


@dataclass(slots=True)
class Encoded:
    """An encoded answer without its request id, to be rendered any number of times.

    The body is `before + request id + after`, or just `before` where `after` is None. `id_header` names the header in
    which the protocol sends the id; `host_id` adds `x-amz-id-2`, as S3 does.
    """

    status: int
    headers: Headers
    before: bytes = b""
    after: bytes | None = None
    stream: Any = None
    id_header: bytes = b"x-amzn-requestid"
    host_id: bool = False
    counted: bool = True
    """Whether a `content-length` is to be added; false where the operation named one, or an answer has no body."""

    def render(self, request_id: str, host_id: str = "") -> WireResponse:
        """The answer under this request id."""
        wire_id = request_id.encode("ascii")
        headers = [*self.headers, (self.id_header, wire_id)]
        if self.host_id:
            headers.append((b"x-amz-id-2", host_id.encode("ascii") or wire_id))
        if self.stream is not None:
            return WireResponse(self.status, headers, self.stream)
        body = self.before if self.after is None else self.before + wire_id + self.after
        if self.counted:
            headers.append((b"content-length", b"%d" % len(body)))
        return WireResponse(self.status, headers, body)
