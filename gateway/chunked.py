"""The `aws-chunked` encoding: chunks with or without signatures, then trailing headers with or without one.

4000;chunk-signature=<hex>  CRLF  <16384 bytes>  CRLF        (the signature only in the signed forms)
0;chunk-signature=<hex>  CRLF
x-amz-checksum-crc32:<base64>  CRLF  x-amz-trailer-signature:<hex>  CRLF  CRLF
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator
from hashlib import sha256

from compat.errors import AWSError
from compat.streams import BLOCK
from gateway.authenticated import V4, Authenticated, sealed

_HEADER = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?[ \t]*").fullmatch
_TRAILER = re.compile(
    rb"([A-Za-z0-9\-_]{1,128})[ \t]*:[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?|)[ \t]*"
).fullmatch
_LONGEST_LINE = 512
_LONGEST_TRAILER = 16384
_SMALLEST = 8192
_EMPTY = sha256(b"").hexdigest()


def truncated() -> AWSError:
    """The body ended inside a chunk, or is not `aws-chunked`: S3 says the same of both."""
    return AWSError("IncompleteBody", "The request body terminated unexpectedly", 400)


def bad_trailer() -> AWSError:
    """The trailing headers are missing, or something else."""
    return AWSError(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
        400,
    )


class ChunkSeal:
    """The chain of chunk signatures that a request's own signature begins."""

    __slots__ = ("_access_key", "_key", "_start", "_trailer_start", "previous", "trailer")

    def __init__(self, authenticated: Authenticated, *, trailer: bool) -> None:
        self.trailer = trailer
        self.previous = authenticated.signature
        self._access_key, self._key = authenticated.access_key, authenticated.signing_key
        place = f"{authenticated.timestamp}\n{authenticated.scope}\n"
        self._start = f"{V4}-PAYLOAD\n{place}"
        self._trailer_start = f"{V4}-TRAILER\n{place}"

    def check_chunk(self, given: bytes, digest: str) -> None:
        """Hold `given` against the signature of a chunk whose data have this SHA-256. Raises `AWSError`."""
        self._check(given, f"{self._start}{self.previous}\n{_EMPTY}\n{digest}")

    def check_trailer(self, given: bytes, trailers: bytes) -> None:
        """Hold `given` against the signature of the trailing headers, `name:value\\n` each. Raises `AWSError`."""
        self._check(given, f"{self._trailer_start}{self.previous}\n{sha256(trailers).hexdigest()}")

    def _check(self, given: bytes, to_sign: str) -> None:
        right = sealed(self._key, to_sign.encode())
        if not hmac.compare_digest(right.encode(), given):
            raise AWSError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your key and "
                "signing method.",
                403,
                AWSAccessKeyId=self._access_key,
                StringToSign=to_sign,
                SignatureProvided=given.decode("latin-1"),
            )
        self.previous = right


class Unsealed:
    """Takes any chunk signature, for when nobody checks signatures."""

    __slots__ = ("trailer",)

    def __init__(self, *, trailer: bool) -> None:
        self.trailer = trailer

    def check_chunk(self, given: bytes, digest: str) -> None:
        """Accept."""

    def check_trailer(self, given: bytes, trailers: bytes) -> None:
        """Accept."""


Seal = ChunkSeal | Unsealed


class _Reader:
    """Raw bytes by line and by count, over pieces of any size."""

    __slots__ = ("_piece", "_position", "_pull")

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self._pull = pull
        self._piece, self._position = b"", 0

    def line(self) -> bytes:
        """The bytes before the next CRLF, which is consumed."""
        while True:
            end = self._piece.find(b"\r\n", self._position)
            if end >= 0:
                line = self._piece[self._position : end]
                self._position = end + 2
                if len(line) > _LONGEST_LINE:
                    raise truncated()
                return line
            if len(self._piece) - self._position > _LONGEST_LINE:
                raise truncated()
            more = self._pull()
            if not more:
                raise truncated()
            self._piece = self._piece[self._position :] + more
            self._position = 0

    def some(self, most: int) -> memoryview:
        """At least one and at most `most` bytes."""
        if self._position == len(self._piece):
            self._piece, self._position = self._pull(), 0
            if not self._piece:
                raise truncated()
        start = self._position
        self._position = min(start + most, len(self._piece))
        return memoryview(self._piece)[start : self._position]

    def rest(self, most: int) -> bytes:
        """Everything up to the end of the body, which must be no more than `most` bytes."""
        rest = self._piece[self._position :]
        while len(rest) <= most and (more := self._pull()):
            rest += more
        if len(rest) > most:
            raise bad_trailer()
        return rest


def decode_chunks(
    pull: Callable[[], bytes], seal: Seal | None, promised: tuple[str, ...], trailers: dict[str, str]
) -> Iterator[bytes]:
    """The decoded bytes in blocks; `trailers` is filled at the end. Raises `AWSError`, and what `pull` raises.

    A block may be yielded before the signature of its chunk has been seen: only the end of the iteration vouches.
    """
    reader = _Reader(pull)
    gathered: list[memoryview] = []
    size = 0
    short = False
    while True:
        header = _HEADER(reader.line())
        if header is None or (header[2] is None) != (seal is None):
            raise truncated()
        left = int(header[1], 16)
        if left == 0:
            break
        if short:
            raise AWSError(
                "InvalidChunkSizeError", "Only the last chunk is allowed to have a size less than 8192 bytes", 400
            )
        short = left < _SMALLEST
        digest = None if seal is None else sha256()
        while left:
            part = reader.some(min(left, BLOCK - size))
            left -= len(part)
            size += len(part)
            gathered.append(part)
            if digest is not None:
                digest.update(part)
            if size == BLOCK:
                yield b"".join(gathered)
                gathered.clear()
                size = 0
        if reader.line() != b"":
            raise truncated()
        if seal is not None and digest is not None:
            seal.check_chunk(header[2], digest.hexdigest())
    if seal is not None:
        seal.check_chunk(header[2], _EMPTY)
    if gathered:
        yield b"".join(gathered)
    _read_trailers(reader.rest(_LONGEST_TRAILER), seal, promised, trailers)


def _read_trailers(rest: bytes, seal: Seal | None, promised: tuple[str, ...], trailers: dict[str, str]) -> None:
    """Parse what follows the last chunk: exactly the promised headers, and their signature in the signed form."""
    signature: bytes | None = None
    signed = b""
    for line in rest.split(b"\n"):
        line = line.rstrip(b"\r")
        if not line:
            continue
        found = _TRAILER(line)
        if found is None:
            raise bad_trailer()
        name, value = found[1].lower(), found[2]
        if name == b"x-amz-trailer-signature" and seal is not None and seal.trailer:
            signature = value
            continue
        if signature is not None or name.decode() in trailers:
            raise bad_trailer()
        trailers[name.decode()] = value.decode()
        signed += name + b":" + value + b"\n"
    if sorted(trailers) != sorted(promised):
        raise bad_trailer()
    if seal is not None and seal.trailer:
        if signature is None:
            raise bad_trailer()
        seal.check_trailer(signature, signed)
