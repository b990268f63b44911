"""What readers take and writers give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.head import Head
from gateway.lines import Headers, head_lines

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
    lines: bytes = b""
    """The same headers as the lines of a head, where they are at hand."""


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
    _lines: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """`headers` as lines, from the second time on: most answers are rendered once."""

    def render(self, request_id: str, host_id: str = "") -> WireResponse:
        """The answer under this request id."""
        wire_id = request_id.encode("ascii")
        own = [(self.id_header, wire_id)]
        if self.host_id:
            own.append((b"x-amz-id-2", host_id.encode("ascii") or wire_id))
        if self.stream is not None:
            return WireResponse(self.status, self.headers + own, self.stream)
        body = self.before if self.after is None else self.before + wire_id + self.after
        if self.counted:
            own.append((b"content-length", b"%d" % len(body)))
        lines = self._lines
        if lines:
            lines += b"".join([b"%b: %b\r\n" % header for header in own])
        else:
            self._lines = b"" if lines is None else head_lines(self.headers)
        return WireResponse(self.status, self.headers + own, body, lines or b"")
