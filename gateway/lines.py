"""Headers as the lines of an answer's head."""

from __future__ import annotations

import re

Headers = list[tuple[bytes, bytes]]

_SPELLED = {
    name.lower(): name
    for name in b"Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods "
    b"Access-Control-Allow-Origin Access-Control-Expose-Headers Access-Control-Max-Age Cache-Control "
    b"Content-Disposition Content-Encoding Content-Language Content-Length Content-Range Content-Type "
    b"Date ETag Expires Last-Modified Location Server Transfer-Encoding Vary".split()
}
_spelled = _SPELLED.get
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search


def head_lines(headers: Headers) -> bytes:
    """Headers as they stand in a head, spelled as AWS spells them, for clients that mind the case. Raises `ValueError`
    for names or values that would break it."""
    lines = b"".join([b"%b: %b\r\n" % (_spelled(name, name), value) for name, value in headers])
    if _CONTROLS(lines) or lines.count(b"\n") != len(headers):
        raise ValueError("a header has control characters")
    return lines


def respelled(head: bytes) -> bytes:
    """A head that uvicorn wrote, with names as `head_lines` spells them."""
    lines = [line.partition(b": ") for line in head.split(b"\r\n")]
    return b"\r\n".join([_spelled(name, name) + colon + value for name, colon, value in lines])
