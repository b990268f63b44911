"""Request bodies: plain, and `aws-chunked` in all its forms, checked against every promise while they are read.

Everything here runs on a worker thread and pulls from a `Source`; memory holds a block or two, however long the body.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterator
from typing import Any, Protocol

from backends import checksum
from compat.errors import AWSError
from compat.streams import BLOCK
from gateway.authenticated import V4, Authenticated
from gateway.chunked import ChunkSeal, Seal, Unsealed, decode_chunks
from gateway.head import Head
from gateway.sigv4 import STREAMING

_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch
_HEADERS = tuple((f"x-amz-checksum-{name.lower()}".encode(), name) for name in checksum.SIZES)
_BY_TRAILER = {header.decode(): name for header, name in _HEADERS}
SHORT = "You did not provide the number of bytes specified by the Content-Length HTTP header"


class Source(Protocol):
    """Where the raw bytes come from."""

    def read(self) -> bytes:
        """The next bytes, at most `BLOCK`; empty at the end. Blocks. Raises `ClientGone`."""


class BytesSource:
    """A body that is already here."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 0

    @property
    def size(self) -> int:
        """How many bytes there are in all."""
        return len(self._data)

    def read(self) -> bytes:
        """The next bytes; no copy is made of a body of one block."""
        position = self._position
        if position == 0 and len(self._data) <= BLOCK:
            self._position = len(self._data)
            return self._data
        block = self._data[position : position + BLOCK]
        self._position = position + len(block)
        return block


class Body:
    """A request's body as handlers read it (`compat.streams.RequestBody`). Make it with `open_body`."""

    __slots__ = (
        "_auth",
        "_declared_md5",
        "_declared_sha256",
        "_hashes",
        "_is_part",
        "_promised_trailers",
        "_chunked",
        "_seal",
        "_source",
        "checksums",
        "length",
        "trailers",
    )

    def __init__(self, source: Source) -> None:
        self._source = source
        self.length: int | None = None
        self.checksums: dict[str, str | None] = {}
        self.trailers: dict[str, str] = {}
        self._hashes: dict[str, checksum.Checksum] = {}
        self._declared_md5: bytes | None = None
        self._declared_sha256: str | None = None
        self._is_part = False
        self._chunked = False
        self._seal: Seal | None = None
        self._promised_trailers: tuple[str, ...] = ()

    def want(self, *algorithms: str) -> None:
        """Have these algorithms computed as well. Call it before the first block."""
        for algorithm in algorithms:
            if algorithm not in self._hashes:
                self._hashes[algorithm] = checksum.checksum(algorithm)

    def digest(self, algorithm: str) -> bytes:
        """The digest of the whole body; KeyError when the algorithm was neither wanted nor declared."""
        return self._hashes[algorithm].digest()

    def blocks(self) -> Iterator[bytes]:
        """The decoded body; at its end every promise has been checked. Raises `AWSError` and `ClientGone`."""
        hashes = list(self._hashes.values())
        received = 0
        for block in self._decoded():
            received += len(block)
            if self.length is not None and received > self.length:
                raise AWSError(
                    "IncompleteBody", SHORT, 400, NumberBytesExpected=self.length, NumberBytesProvided=received
                )
            for each in hashes:
                each.update(block)
            yield block
        if self.length is not None and received != self.length:
            raise AWSError("IncompleteBody", SHORT, 400, NumberBytesExpected=self.length, NumberBytesProvided=received)
        self._check()

    def whole(self, limit: int) -> bytes:
        """The body in one piece, for documents. Raises `AWSError` also when it is longer than `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        for block in self.blocks():
            size += len(block)
            if size > limit:
                raise AWSError(
                    "MaxMessageLengthExceeded", "Your request was too big.", 400, MaxMessageLengthBytes=limit
                )
            parts.append(block)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _decoded(self) -> Iterator[bytes]:
        if self._chunked:
            yield from decode_chunks(self._source.read, self._seal, self._promised_trailers, self.trailers)
            return
        while block := self._source.read():
            yield block

    def _check(self) -> None:
        if self._declared_sha256 is not None:
            computed = self._hashes["SHA256"].digest().hex()
            if not hmac.compare_digest(computed, self._declared_sha256):
                raise AWSError(
                    "XAmzContentSHA256Mismatch",
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                    400,
                    ClientComputedContentSHA256=self._declared_sha256,
                    S3ComputedContentSHA256=computed,
                )
        if self._declared_md5 is not None and self._declared_md5 != (computed_md5 := self._hashes["MD5"].digest()):
            raise AWSError(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                400,
                ExpectedDigest=checksum.encode(self._declared_md5) if self._is_part else self._declared_md5.hex(),
                CalculatedDigest=checksum.encode(computed_md5),
            )
        for algorithm, text in self.checksums.items():
            if text is None:
                text = self.trailers.get(f"x-amz-checksum-{algorithm.lower()}", "")
                if checksum.decode(algorithm, text) is None:
                    raise _invalid_value(algorithm, "trailing header")
                self.checksums[algorithm] = text
            if checksum.decode(algorithm, text) != self._hashes[algorithm].digest():
                raise AWSError(
                    "BadDigest", f"The {algorithm} you specified did not match the calculated checksum.", 400
                )


def open_body(
    head: Head,
    authenticated: Authenticated | None,
    source: Source,
    *,
    checksummed: bool = True,
    checksum_required: bool = False,
    length_required: bool = False,
    unproven: bool = False,
) -> Body:
    """The body of an S3 request, with its promises read from the head. Nothing is read yet. Raises `AWSError`.

    `checksummed`: `x-amz-checksum-*` headers speak of this body (they do where the operation has an `httpChecksum`
    trait; CompleteMultipartUpload's speak of the object). `checksum_required`: one of them or Content-MD5 must come.
    `length_required`: the operation streams its body, whose length must be known beforehand. `unproven`: nobody checks
    signatures, so neither are those of chunks.
    """
    body = Body(source)
    body._is_part = b"partNumber=" in head.raw_query
    form = _form(head, authenticated)
    if form in STREAMING:
        body._chunked = True
        body.length = _decoded_length(head)
        if form.startswith("STREAMING-AWS4"):
            trailer = form.endswith("-TRAILER")
            if unproven:
                body._seal = Unsealed(trailer=trailer)
            elif authenticated is None or authenticated.version != V4:
                raise AWSError("InvalidRequest", "Signed chunks need a request that is signed with version 4.", 400)
            else:
                body._seal = ChunkSeal(authenticated, trailer=trailer)
        if form.endswith("-TRAILER"):
            names = head.text(b"x-amz-trailer").lower().split(",")
            body._promised_trailers = tuple(name.strip() for name in names if name.strip())
    else:
        body.length = _plain_length(head, length_required)
        if _SHA256(form):
            body._declared_sha256 = form
            body.want("SHA256")
    read_promises(head, body, checksummed=checksummed)
    if checksum_required and not body.checksums and body._declared_md5 is None:
        raise AWSError("InvalidRequest", "Missing required header for this request: Content-MD5", 400)
    return body


def read_promises(head: Head, body: Body, *, checksummed: bool = True) -> None:
    """Note the digests that the head declares of the body, to be checked at its end. Raises `AWSError`."""
    _read_md5(head, body)
    if checksummed:
        _read_checksums(head, body)


def _form(head: Head, authenticated: Authenticated | None) -> str:
    if authenticated is not None and authenticated.version == V4:
        form = authenticated.payload_hash
    else:
        form = head.text(b"x-amz-content-sha256")
    if form in ("", "UNSIGNED-PAYLOAD") and b"x-amz-decoded-content-length" in head.view:
        if "aws-chunked" in head.text(b"content-encoding").lower():
            return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    return form


def _decoded_length(head: Head) -> int:
    text = head.text(b"x-amz-decoded-content-length")
    if not text:
        raise AWSError("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
    return _number(text, "x-amz-decoded-content-length")


def _plain_length(head: Head, required: bool) -> int | None:
    text = head.text(b"content-length")
    if text:
        return _number(text, "Content-Length")
    if b"transfer-encoding" in head.view:
        if required:
            raise AWSError(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented.",
                501,
                Header="Transfer-Encoding",
            )
        return None
    if required:
        raise AWSError("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)
    return 0


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise AWSError("InvalidArgument", f"{name} is not a length.", 400, ArgumentName=name, ArgumentValue=text)
    return int(text)


def _read_md5(head: Head, body: Body) -> None:
    given = head.view.get(b"content-md5")
    if given is None:
        return
    text = given.decode("latin-1").strip()
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        fields: dict[str, Any] = {"Content-MD5": text}
        raise AWSError("InvalidDigest", "The Content-MD5 you specified was invalid.", 400, **fields)
    body._declared_md5 = digest
    body.want("MD5")


def _read_checksums(head: Head, body: Body) -> None:
    view = head.view
    if sum(header in view for header, _ in _HEADERS) > 1:
        raise _several()
    for header, algorithm in _HEADERS:
        if header in view:
            text = head.text(header)
            if checksum.decode(algorithm, text) is None:
                raise _invalid_value(algorithm, "header")
            body.checksums[algorithm] = text
    for name in body._promised_trailers:
        if name in _BY_TRAILER:
            body.checksums.setdefault(_BY_TRAILER[name], None)
    if len(body.checksums) > 1:
        raise _several()
    named = head.text(b"x-amz-sdk-checksum-algorithm").upper()
    if named and not body.checksums and (body.length or body._chunked):
        raise AWSError(
            "InvalidRequest",
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers "
            "were found.",
            400,
        )
    body.want(*body.checksums)


def _several() -> AWSError:
    return AWSError(
        "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.", 400
    )


def _invalid_value(algorithm: str, place: str) -> AWSError:
    return AWSError("InvalidRequest", f"Value for x-amz-checksum-{algorithm.lower()} {place} is invalid.", 400)
