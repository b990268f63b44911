"""Presigned requests of S3: their query may say what headers say elsewhere."""

from __future__ import annotations

from dataclasses import replace

from gateway.head import Head

CONDITIONS = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"})
# Those of the signature; and those of checksums, which clients compute of an empty body when they sign a URL.
_LEFT = frozenset(
    b"x-amz-algorithm x-amz-credential x-amz-date x-amz-expires x-amz-signedheaders x-amz-signature "
    b"x-amz-security-token x-amz-content-sha256 x-amz-sdk-checksum-algorithm".split()
)


def hoisted(head: Head) -> Head:
    """The request with the parameters of a presigned URL that are headers among its headers; a header counts more.

    Any other request as it is. Signatures are checked on the request as it came.
    """
    raw = head.raw_query
    if not raw or (b"X-Amz-Signature=" not in raw and b"Signature=" not in raw):
        return head
    more = [
        (name.lower(), value)
        for name, value in head.query_bytes
        if is_header(name.lower()) and name.lower() not in head.view
    ]
    return replace(head, headers=[*head.headers, *dict(more).items()]) if more else head


def is_header(name: bytes) -> bool:
    """Whether a parameter of a presigned URL, in lower case, stands for a header."""
    if name in CONDITIONS:
        return True
    return name.startswith(b"x-amz-") and name not in _LEFT and not name.startswith(b"x-amz-checksum-")
