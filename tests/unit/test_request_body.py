"""Request bodies: every encoding in pieces of any size, every promise held, and nothing else let through."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore import httpchecksum
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import checksum
from compat.errors import AWSError
from gateway.authenticated import Authenticated
from gateway.body import Body, BytesSource, open_body
from gateway.head import Head
from gateway.sigv4 import signing_key
from tests.unit.signing import KEY, NOW, PERMANENT, SECRET

SCOPE = "20261122/eu-central-1/s3/aws4_request"
STAMP = "20261122T123045Z"
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
ALGORITHMS = sorted(checksum.SIZES)


class Pieces:
    """A source that hands out a body in pieces of given sizes, the last size for the rest."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.left, position = [], 0
        for size in [*sizes, len(data)]:
            self.left.append(data[position : position + size])
            position += size
        self.left = [piece for piece in self.left if piece]

    def read(self) -> bytes:
        return self.left.pop(0) if self.left else b""


def proof(payload_hash: str) -> Authenticated:
    key = signing_key(SECRET, "20261122", "eu-central-1", "s3")
    return Authenticated(
        KEY, PERMANENT, "header", "AWS4-HMAC-SHA256", NOW, "eu-central-1", "s3", payload_hash, SEED, key, STAMP, SCOPE
    )


def head(length: int, **headers: str) -> Head:
    return Head("PUT", b"/b/k", b"", [
        (b"content-length", str(length).encode()),
        *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
    ])  # fmt: skip


def opened(data: bytes, form: str = "UNSIGNED-PAYLOAD", /, *sizes: int, **headers: str) -> Body:
    return open_body(head(len(data), x_amz_content_sha256=form, **headers), proof(form), Pieces(data, list(sizes)))


def refused(call: Callable[[], Any]) -> AWSError:
    with pytest.raises(AWSError) as caught:
        call()
    assert 400 <= caught.value.status < 500
    return caught.value


def seal(to_sign: str) -> str:
    key = signing_key(SECRET, "20261122", "eu-central-1", "s3")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def signed_chunks(chunks: list[bytes], trailers: dict[str, str] | None = None) -> bytes:
    """A body with chunk signatures, made by the description of the protocol; with `trailers`, a signed trailer."""
    previous, out = SEED, b""
    empty = hashlib.sha256(b"").hexdigest()
    for chunk in [*chunks, b""]:
        digest = hashlib.sha256(chunk).hexdigest()
        previous = seal(f"AWS4-HMAC-SHA256-PAYLOAD\n{STAMP}\n{SCOPE}\n{previous}\n{empty}\n{digest}")
        out += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + chunk
        if chunk or trailers is None:
            out += b"\r\n"
    if trailers is not None:
        lines = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        digest = hashlib.sha256(lines.encode()).hexdigest()
        previous = seal(f"AWS4-HMAC-SHA256-TRAILER\n{STAMP}\n{SCOPE}\n{previous}\n{digest}")
        out += lines.replace("\n", "\r\n").encode() + f"x-amz-trailer-signature:{previous}\r\n\r\n".encode()
    return out


def unsigned_chunks(chunks: list[bytes], trailers: dict[str, str]) -> bytes:
    out = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks)
    return out + b"0\r\n" + "".join(f"{name}:{value}\r\n" for name, value in trailers.items()).encode() + b"\r\n"


def crc32_of(chunks: list[bytes]) -> dict[str, str]:
    return {"x-amz-checksum-crc32": checksum.encode(checksum.of("CRC32", b"".join(chunks)))}


# Only the last chunk may be small, so the others are padded.
CHUNKS = st.lists(st.integers(0, 30), max_size=3).flatmap(
    lambda sizes: st.binary(min_size=1, max_size=20).map(
        lambda last: [bytes([size]) * (8192 + size) for size in sizes] + [last]
    )
)
SIZES = st.lists(st.integers(1, 9000), max_size=12)


# --- what is right is read --------------------------------------------------------------------------------------------


@given(st.binary(max_size=100), st.lists(st.integers(1, 30), max_size=5))
def test_plain(data: bytes, sizes: list[int]) -> None:
    digest = hashlib.sha256(data).hexdigest()
    body = opened(data, digest, *sizes, content_md5=base64.b64encode(hashlib.md5(data).digest()).decode())
    body.want("CRC64NVME")
    assert body.length == len(data)
    assert b"".join(body.blocks()) == data
    assert body.digest("CRC64NVME") == checksum.of("CRC64NVME", data)
    assert body.digest("MD5") == hashlib.md5(data).digest()


@settings(max_examples=40)
@given(CHUNKS, SIZES)
def test_signed_chunks(chunks: list[bytes], sizes: list[int]) -> None:
    data = b"".join(chunks)
    body = opened(signed_chunks(chunks), SIGNED, *sizes, x_amz_decoded_content_length=str(len(data)))
    assert body.length == len(data)
    assert body.whole(1 << 20) == data


@settings(max_examples=40)
@given(CHUNKS, SIZES)
def test_signed_trailer(chunks: list[bytes], sizes: list[int]) -> None:
    data, trailers = b"".join(chunks), crc32_of(chunks)
    body = opened(
        signed_chunks(chunks, trailers), SIGNED_TRAILER, *sizes,
        x_amz_decoded_content_length=str(len(data)), x_amz_trailer="x-amz-checksum-crc32",
    )  # fmt: skip
    assert body.checksums == {"CRC32": None}
    assert body.whole(1 << 20) == data
    assert body.trailers == trailers
    assert body.checksums == {"CRC32": trailers["x-amz-checksum-crc32"]}


@settings(max_examples=40)
@given(st.binary(max_size=50000), st.sampled_from(["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]), SIZES)
def test_what_botocore_chunks(data: bytes, algorithm: str, sizes: list[int]) -> None:
    wrapper = httpchecksum.AwsChunkedWrapper(
        io.BytesIO(data),
        checksum_cls=httpchecksum._CHECKSUM_CLS[algorithm],  # type: ignore[attr-defined]  # private
        checksum_name=f"x-amz-checksum-{algorithm}",
        chunk_size=8192,
    )
    body = opened(
        wrapper.read(), UNSIGNED_TRAILER, *sizes,
        x_amz_decoded_content_length=str(len(data)), x_amz_trailer=f"x-amz-checksum-{algorithm}",
        content_encoding="aws-chunked", x_amz_sdk_checksum_algorithm=algorithm.upper(),
    )  # fmt: skip
    assert body.whole(1 << 20) == data
    assert body.checksums == {algorithm.upper(): checksum.encode(checksum.of(algorithm.upper(), data))}


def test_chunks_of_nobody_are_known_by_their_encoding() -> None:
    request = head(0, content_encoding="gzip,aws-chunked", x_amz_decoded_content_length="3",
                   x_amz_trailer="x-amz-checksum-crc32")  # fmt: skip
    body = open_body(request, None, BytesSource(unsigned_chunks([b"abc"], crc32_of([b"abc"]))))
    assert body.whole(9) == b"abc"


def test_signatures_of_chunks_are_passed_over_where_nobody_checks_signatures() -> None:
    trailers = crc32_of([b"abc"])
    for form, data in ((SIGNED, signed_chunks([b"abc"])), (SIGNED_TRAILER, signed_chunks([b"abc"], trailers))):
        request = head(len(data), x_amz_content_sha256=form, x_amz_decoded_content_length="3",
                       x_amz_trailer="x-amz-checksum-crc32")  # fmt: skip
        altered = re.sub(rb"signature([=:])[0-9a-f]{64}", rb"signature\g<1>" + b"0" * 64, data)
        assert altered != data
        assert open_body(request, None, BytesSource(altered), unproven=True).whole(9) == b"abc"
        assert refused(partial(open_body, request, None, BytesSource(data))).code == "InvalidRequest"


def test_blocks_are_neither_longer_than_a_mebibyte_nor_empty() -> None:
    chunks = [bytes(65536)] * 40
    data = signed_chunks(chunks)
    sizes = [1 << 20] * 3
    for body in (
        opened(data, SIGNED, *sizes, x_amz_decoded_content_length=str(40 * 65536)),
        open_body(head(len(data)), None, BytesSource(data)),
    ):
        lengths = [len(block) for block in body.blocks()]
        assert max(lengths) <= 1 << 20
        assert min(lengths) > 0
        assert len(lengths) == 3


# --- what is not is refused -------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_a_changed_byte_of_signed_chunks_is_refused(at: int, byte: int, trailer: bool) -> None:
    chunks = [b"a" * 8192, b"bc"]
    trailers = crc32_of(chunks)
    data = signed_chunks(chunks, trailers if trailer else None)
    at %= len(data)
    if data[at] == byte:
        return
    altered = data[:at] + bytes([byte]) + data[at + 1 :]
    headers = {"x_amz_trailer": "x-amz-checksum-crc32"} if trailer else {}
    form = SIGNED_TRAILER if trailer else SIGNED
    body = opened(altered, form, x_amz_decoded_content_length="8194", **headers)
    tolerated = altered.lower() == data.lower() or altered.split() == data.split()
    if not tolerated:
        refused(lambda: body.whole(1 << 20))


@pytest.mark.parametrize("cut", [1, 2, 3, 40, 80, 90, 95, 8200])
def test_a_body_that_stops_is_incomplete(cut: int) -> None:
    data = signed_chunks([b"a" * 8192, b"bc"])
    body = opened(data[:-cut], SIGNED, x_amz_decoded_content_length="8194")
    if cut <= 2:  # the last line break vouches for nothing
        assert len(body.whole(1 << 20)) == 8194
    else:
        assert refused(lambda: body.whole(1 << 20)).code in ("IncompleteBody", "InvalidRequest")


def test_lengths_must_be_as_declared() -> None:
    for declared in (2, 4):
        body = opened(unsigned_chunks([b"abc"], {}), UNSIGNED_TRAILER, x_amz_decoded_content_length=str(declared))
        error = refused(partial(body.whole, 9))
        assert (error.code, error.status) == ("IncompleteBody", 400)
    request = head(0, x_amz_content_sha256=SIGNED)
    error = refused(lambda: open_body(request, proof(SIGNED), BytesSource(b"")))
    assert (error.code, error.status) == ("MissingContentLength", 411)
    error = refused(lambda: opened(b"", UNSIGNED_TRAILER, x_amz_decoded_content_length="x"))
    assert error.code == "InvalidArgument"


def test_a_streamed_operation_needs_a_length() -> None:
    bare, chunked = Head("PUT", b"/", b"", []), Head("PUT", b"/", b"", [(b"transfer-encoding", b"chunked")])
    error = refused(lambda: open_body(bare, None, BytesSource(b""), length_required=True))
    assert (error.code, error.status) == ("MissingContentLength", 411)
    with pytest.raises(AWSError) as caught:
        open_body(chunked, None, BytesSource(b""), length_required=True)
    assert (caught.value.code, caught.value.status, caught.value.fields) == (
        "NotImplemented", 501, {"Header": "Transfer-Encoding"},
    )  # fmt: skip
    assert open_body(bare, None, BytesSource(b"")).whole(1) == b""
    assert open_body(chunked, None, BytesSource(b"x")).whole(1) == b"x"


def test_a_small_chunk_before_the_last() -> None:
    body = opened(unsigned_chunks([b"abc", b"d"], {}), UNSIGNED_TRAILER, x_amz_decoded_content_length="4")
    assert refused(lambda: body.whole(9)).code == "InvalidChunkSizeError"


@pytest.mark.parametrize(
    ("promised", "sent"),
    [
        ("x-amz-checksum-crc32", b""),
        ("", b"x-amz-checksum-crc32:AAAAAA==\r\n"),
        ("x-amz-checksum-crc32", b"x-amz-checksum-crc32c:AAAAAA==\r\n"),
        ("x-amz-checksum-crc32", b"x-amz-checksum-crc32 AAAAAA==\r\n"),
        ("x-amz-checksum-crc32", b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n"),
        ("x-amz-meta-a", b"x-amz-meta-a:" + b"a" * 20000 + b"\r\n"),
    ],
)
def test_trailers_must_be_as_promised(promised: str, sent: bytes) -> None:
    data = b"3\r\nabc\r\n0\r\n" + sent + b"\r\n"
    headers = {"x_amz_trailer": promised} if promised else {}
    body = opened(data, UNSIGNED_TRAILER, x_amz_decoded_content_length="3", **headers)
    assert refused(lambda: body.whole(9)).code == "MalformedTrailerError"


def test_a_signed_trailer_needs_its_signature() -> None:
    trailers = crc32_of([b"abc"])
    data = signed_chunks([b"abc"], trailers)
    at = data.index(b"x-amz-trailer-signature:")
    headers = {"x_amz_trailer": "x-amz-checksum-crc32", "x_amz_decoded_content_length": "3"}
    assert (
        refused(lambda: opened(data[:at] + b"\r\n", SIGNED_TRAILER, **headers).whole(9)).code == "MalformedTrailerError"
    )
    wrong = data[: at + 24] + b"0" * 64 + b"\r\n\r\n"
    error = refused(lambda: opened(wrong, SIGNED_TRAILER, **headers).whole(9))
    assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)
    assert error.fields["StringToSign"].startswith("AWS4-HMAC-SHA256-TRAILER\n")


def test_content_sha256() -> None:
    error = refused(lambda: opened(b"abd", hashlib.sha256(b"abc").hexdigest()).whole(9))
    assert (error.code, error.status) == ("XAmzContentSHA256Mismatch", 400)
    assert error.fields == {
        "ClientComputedContentSHA256": hashlib.sha256(b"abc").hexdigest(),
        "S3ComputedContentSHA256": hashlib.sha256(b"abd").hexdigest(),
    }


def test_content_md5() -> None:
    right, other = (base64.b64encode(hashlib.md5(data).digest()).decode() for data in (b"abc", b"abd"))
    assert opened(b"abc", content_md5=right).whole(9) == b"abc"
    error = refused(lambda: opened(b"abd", content_md5=right).whole(9))
    told = base64.b64decode(right).hex()
    assert (error.code, error.fields) == ("BadDigest", {"ExpectedDigest": told, "CalculatedDigest": other})
    for text in ("", "AAAA", "not base64", right + "="):
        error = refused(partial(opened, b"abc", content_md5=text))
        assert (error.code, error.status, error.fields) == ("InvalidDigest", 400, {"Content-MD5": text})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checksums_in_headers_and_trailers(algorithm: str) -> None:
    name = f"x_amz_checksum_{algorithm.lower()}"
    right = checksum.encode(checksum.of(algorithm, b"abc"))
    body = opened(b"abc", **{name: right})
    assert body.checksums == {algorithm: right}
    assert body.whole(9) == b"abc"
    assert checksum.encode(body.digest(algorithm)) == right
    error = refused(lambda: opened(b"abd", **{name: right}).whole(9))
    assert (error.code, error.status) == ("BadDigest", 400)
    assert error.message == f"The {algorithm} you specified did not match the calculated checksum."
    error = refused(lambda: opened(b"abc", **{name: "AA=="}))
    assert (error.code, error.message) == (
        "InvalidRequest", f"Value for x-amz-checksum-{algorithm.lower()} header is invalid.",
    )  # fmt: skip
    header = name.replace("_", "-")
    promised = {"x_amz_trailer": header, "x_amz_decoded_content_length": "3"}
    assert opened(unsigned_chunks([b"abc"], {header: right}), UNSIGNED_TRAILER, **promised).whole(9) == b"abc"
    error = refused(lambda: opened(unsigned_chunks([b"abd"], {header: right}), UNSIGNED_TRAILER, **promised).whole(9))
    assert error.code == "BadDigest"
    error = refused(lambda: opened(unsigned_chunks([b"abc"], {header: "AA"}), UNSIGNED_TRAILER, **promised).whole(9))
    assert error.code == "InvalidRequest"


def test_one_checksum_and_the_one_that_was_named() -> None:
    two = {"x_amz_checksum_crc32": "AAAAAA==", "x_amz_checksum_crc32c": "AAAAAA=="}
    assert "Expecting a single" in refused(lambda: opened(b"abc", **two)).message
    error = refused(lambda: opened(b"abc", x_amz_sdk_checksum_algorithm="CRC32"))
    assert error.message.startswith("x-amz-sdk-checksum-algorithm specified, but no corresponding")


def test_checksums_of_the_object_are_not_those_of_the_document() -> None:
    request = head(3, x_amz_checksum_crc32="AAAAAA==")
    body = open_body(request, None, BytesSource(b"abc"), checksummed=False)
    assert body.whole(9) == b"abc"


def test_a_document_that_must_be_checked() -> None:
    error = refused(lambda: open_body(head(3), None, BytesSource(b"abc"), checksum_required=True))
    assert (error.code, error.message) == ("InvalidRequest", "Missing required header for this request: Content-MD5")
    request = head(3, x_amz_checksum_crc32=checksum.encode(checksum.of("CRC32", b"abc")))
    assert open_body(request, None, BytesSource(b"abc"), checksum_required=True).whole(3) == b"abc"


def test_a_document_that_is_too_long() -> None:
    assert refused(lambda: opened(b"abc").whole(2)).code == "MaxMessageLengthExceeded"


@given(
    st.binary(max_size=200), st.sampled_from([SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER, "UNSIGNED-PAYLOAD"]),
    st.lists(st.integers(1, 20), max_size=6), st.text("x0123-", max_size=5), st.binary(max_size=12), st.booleans(),
)  # fmt: skip
def test_arbitrary_bytes_raise_nothing_but_errors(
    data: bytes, form: str, sizes: list[int], length: str, value: bytes, begun: bool
) -> None:
    names = [
        b"x-amz-trailer",
        b"content-md5",
        b"x-amz-checksum-crc32",
        b"content-length",
        b"x-amz-sdk-checksum-algorithm",
    ]
    for name in names:
        request = Head("PUT", b"/", b"", [(b"x-amz-decoded-content-length", length.encode()), (name, value)])
        try:
            body = open_body(
                request, proof(form), Pieces(signed_chunks([b"a"])[: len(data)] + data if begun else data, sizes)
            )
            list(body.blocks())
        except AWSError as error:
            assert error.status < 500
