"""Signature version 4, verified on the request as it was sent.

`authenticate` is the entry for every service; requests signed with version 2 are handed to `gateway/sigv2.py`.
The canonical request is formed from the raw bytes: for S3 the path is percent-decoded and encoded again, nothing more;
for other services dot segments and doubled slashes are removed and the path, as sent, is encoded once more.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote_from_bytes, unquote_to_bytes

from compat.iam.principal import Credential
from gateway import sigv2, sigv2_forms
from gateway.authenticated import SKEW, V4, Authenticated, Lookup, moment_of, moment_of_date, proven, sealed
from gateway.head import Head
from gateway.hoisted import is_header
from gateway.signature_faults import Fault, SignatureFault

S3_FAMILY = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})
NO_REGION, MEANT_REGION = "aws-global", "us-east-1"
"""What clients call no region in particular, and the region that they are to sign for then."""
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = frozenset(
    {
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    }
)
EMPTY = sha256(b"").hexdigest()
LONGEST = 604800
MOST_CREDENTIAL = 512
"""Longest credential, in characters: keys derived from it are kept."""
MOST_KEPT_NAMES = 512
"""Longest list of signed headers that is kept in split form, in bytes."""
MOST_SIGNED = 256
"""Most names of signed headers; a request has no more headers either."""

_SIGV4A = "AWS4-ECDSA-P256-SHA256"
_COMPONENTS = ("Credential", "SignedHeaders", "Signature")
_USUAL = re.compile(
    rb"AWS4-HMAC-SHA256 +Credential=([^,\s]+), *SignedHeaders=([^,\s]+), *Signature=([0-9a-f]{64})"
).fullmatch
# A query in which every byte is encoded exactly where it must be, and no value has an `=` of its own.
_TEXT = rb"(?:[\w\-.~]++|%(?!2D|2E|5F|7E|3\d|[46][1-9A-F]|[57][0-9A])[0-9A-F]{2})*+"
_CANONICAL = re.compile(rb"(?:(?:^|&)%b(?:=%b)?+)*+" % (_TEXT, _TEXT), re.ASCII).fullmatch
_HASH = re.compile(r"[0-9a-f]{64}").fullmatch
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9\-._~/]*").fullmatch
_PLAIN_QUERY = re.compile(rb"[A-Za-z0-9\-._~]*").fullmatch
_NUMBER = re.compile(r"-?[0-9]{1,18}").fullmatch


def authenticate(
    head: Head,
    lookup: Lookup,
    now: datetime,
    *,
    service: str = "",
    payload: bytes | None = None,
    unsigned_payload: bool = False,
    host_bucket: str = "",
    form: Mapping[str, str] | None = None,
) -> Authenticated | None:
    """Who signed this request; None when nobody did. Raises `SignatureFault`.

    `service` is the signing name that the credential must be scoped to (any, when empty). `payload` is the whole body
    and must be given for every service but S3, whose bodies are checked when they are read (`gateway/body.py`);
    `unsigned_payload` says that the operation takes bodies that are not signed (`authtype` `v4-unsigned-body`).
    `host_bucket` is the bucket when it came in the host name: version 2 signs it as part of the path. `form` are the
    fields of a service that takes forms, which may be signed by version 2.
    """
    header = head.view.get(b"authorization")
    query = head.query if head.raw_query else {}
    if "X-Amz-Algorithm" in query or "X-Amz-Signature" in query or "X-Amz-Credential" in query:
        claim = _from_query(head, query)
        if header is not None:
            raise SignatureFault(Fault.TWO_MECHANISMS, authorization=header.decode("latin-1"))
    elif header is not None:
        if header[:4] != b"AWS4":
            return sigv2.authenticate_header(head, header, lookup, now, service, host_bucket)
        claim = _from_header(head, header)
    elif service in ("", "s3") and ("Signature" in query or "AWSAccessKeyId" in query):
        return sigv2.authenticate_query(head, lookup, now, host_bucket)
    elif form is not None and sigv2_forms.is_signed(form):
        return sigv2_forms.authenticate_form(head, form, lookup, now, service)
    else:
        return None
    _check_scope(claim, service)
    s3 = claim.service in S3_FAMILY
    _check_time(claim, now, s3)
    _check_signed_headers(head, claim)
    credential = proven(claim.access_key, claim.token, lookup, now)
    if credential.principal.session_bucket is not None and claim.service != "s3express":
        raise SignatureFault(Fault.UNKNOWN_KEY, access_key=claim.access_key)
    hashes = _payload_hashes(head, claim, payload, unsigned_payload, s3)
    return _verify(head, claim, credential, hashes, s3)


# --- what the request claims ------------------------------------------------------------------------------------------


class _Claim:
    """The signature's components, not yet believed."""

    __slots__ = (
        "access_key",
        "date",
        "expires",
        "how",
        "moment",
        "names",
        "region",
        "scope",
        "service",
        "signature",
        "terminator",
        "timestamp",
        "token",
    )
    access_key: str
    date: str
    expires: int | None
    how: str
    moment: datetime
    names: bytes
    region: str
    scope: str
    service: str
    signature: bytes
    terminator: str
    timestamp: str
    token: str | None

    def set_credential(self, credential: str, place: str) -> None:
        parts = _parts_of(credential) if len(credential) <= MOST_CREDENTIAL else None
        if parts is None:
            raise SignatureFault(Fault.CREDENTIAL, place=place, credential=credential)
        self.access_key, self.date, self.region, self.service, self.terminator, self.scope = parts


@lru_cache(4096)
def _parts_of(credential: str) -> tuple[str, str, str, str, str, str] | None:
    """Access key, date, region, service, terminator, and the scope that the last four are; None if one is missing."""
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or not all(parts):
        return None
    key, date, region, service, terminator = parts
    return key, date, region, service, terminator, credential[len(key) + 1 :]


def _from_header(head: Head, header: bytes) -> _Claim:
    claim = _Claim()
    claim.how, claim.expires = "header", None
    usual = _USUAL(header)
    if usual is not None:
        credential, claim.names, claim.signature = usual.groups()
    else:
        credential, claim.names, claim.signature = _unusual(header)
    claim.set_credential(credential.decode("latin-1"), "header")
    view = head.view
    dated = view.get(b"x-amz-date")
    if dated is not None:
        claim.timestamp = dated.decode("latin-1")
        moment = moment_of(claim.timestamp)
    else:
        moment = moment_of_date(head.text(b"date"))
        claim.timestamp = "" if moment is None else f"{moment:%Y%m%dT%H%M%SZ}"
    if moment is None:
        raise SignatureFault(Fault.NO_DATE)
    claim.moment = moment
    token = view.get(b"x-amz-security-token")
    if token is None and claim.service == "s3express":
        token = view.get(b"x-amz-s3session-token")
    claim.token = None if token is None else token.decode("latin-1")
    return claim


def _unusual(header: bytes) -> tuple[bytes, bytes, bytes]:
    """The three components of a header with other spacing or order; the fault that names what it lacks."""
    text = header.decode("latin-1")
    algorithm, _, rest = text.partition(" ")
    if algorithm != V4:
        raise SignatureFault(Fault.UNSUPPORTED, algorithm=algorithm)
    parts: dict[str, str] = {}
    odd = None
    for piece in rest.split(","):
        name, equals, value = piece.strip().partition("=")
        if equals and value.strip():
            parts.setdefault(name.strip(), value.strip())
        elif odd is None:
            odd = piece.strip()
    lacking = [name for name in _COMPONENTS if name not in parts]
    if lacking:
        raise SignatureFault(Fault.HEADER, lacking=lacking, authorization=text, odd=odd)
    credential, names, signature = (parts[name].encode("latin-1") for name in _COMPONENTS)
    return credential, names, signature


def _from_query(head: Head, query: dict[str, str]) -> _Claim:
    claim = _Claim()
    claim.how = "query"
    algorithm = query.get("X-Amz-Algorithm")
    if algorithm == _SIGV4A:
        raise SignatureFault(Fault.UNSUPPORTED, algorithm=algorithm)
    if algorithm is not None and algorithm != V4:
        raise SignatureFault(
            Fault.QUERY, reason='X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"'
        )
    try:
        credential, claim.timestamp = query["X-Amz-Credential"], query["X-Amz-Date"]
        names, signature, expires = query["X-Amz-SignedHeaders"], query["X-Amz-Signature"], query["X-Amz-Expires"]
        if algorithm is None:
            raise KeyError
    except KeyError:
        raise SignatureFault(
            Fault.QUERY,
            reason="Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
            "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        ) from None
    claim.set_credential(credential, "query")
    claim.names = names.encode("utf-8", "surrogateescape")
    claim.signature = signature.encode("utf-8", "surrogateescape")
    moment = moment_of(claim.timestamp)
    if moment is None:
        raise SignatureFault(
            Fault.QUERY, reason="X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        )
    claim.moment = moment
    claim.expires = _seconds(expires)
    claim.token = query.get("X-Amz-Security-Token") or query.get("X-Amz-S3session-Token")
    if claim.token is None and b"x-amz-security-token" in head.view:
        claim.token = head.text(b"x-amz-security-token")
    return claim


def _seconds(expires: str) -> int:
    if _NUMBER(expires.removeprefix("-")) is None:
        raise SignatureFault(Fault.QUERY, reason="X-Amz-Expires should be a number")
    seconds = int(expires)
    if seconds < 0:
        raise SignatureFault(Fault.QUERY, reason="X-Amz-Expires must be non-negative")
    if seconds > LONGEST:
        raise SignatureFault(
            Fault.QUERY,
            reason="X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less "
            "than 604800 seconds",
        )
    return seconds


# --- whether the claim holds ------------------------------------------------------------------------------------------


def _check_scope(claim: _Claim, service: str) -> None:
    if claim.terminator != "aws4_request":
        raise SignatureFault(Fault.TERMINATOR, place=claim.how, given=claim.terminator)
    if service and claim.service != service and not (service == "s3" and claim.service in S3_FAMILY):
        raise SignatureFault(Fault.SERVICE, place=claim.how, given=claim.service, expected=service)
    if claim.region == NO_REGION and claim.service in S3_FAMILY:
        raise SignatureFault(Fault.REGION, place=claim.how, given=claim.region, expected=MEANT_REGION)
    if claim.date != claim.timestamp[:8]:
        raise SignatureFault(Fault.DATE, place=claim.how, scoped=claim.date, date=claim.timestamp)


def _check_time(claim: _Claim, now: datetime, s3: bool) -> None:
    if claim.expires is None:
        if abs(now - claim.moment) > SKEW:
            raise SignatureFault(Fault.SKEWED, requested=claim.moment, now=now)
        return
    if claim.moment - now > SKEW:
        raise SignatureFault(Fault.EARLY, requested=claim.moment, now=now)
    lasts = timedelta(seconds=claim.expires)
    if not s3 and lasts < SKEW:
        lasts = SKEW  # STS takes a presigned request for 15 minutes whatever it says: tokens for EKS say 60 seconds.
    if now > claim.moment + lasts:
        raise SignatureFault(
            Fault.EXPIRED,
            seconds=claim.expires,
            expires=claim.moment + lasts,
            requested=claim.moment,
            now=now,
        )


def _check_signed_headers(head: Head, claim: _Claim) -> None:
    names = claim.names
    if names.count(b";") >= MOST_SIGNED:
        raise SignatureFault(Fault.QUERY if claim.how == "query" else Fault.HEADER, reason="too many SignedHeaders")
    signed = _signed(names) if len(names) <= MOST_KEPT_NAMES else frozenset(names.split(b";"))
    if b"host" not in signed:
        raise SignatureFault(Fault.UNSIGNED, names=["host"])
    left = [name for name in head.view.keys() - signed if name.startswith(b"x-amz-")]
    if claim.how == "query" and b"x-amz-content-sha256" in left:
        left.remove(b"x-amz-content-sha256")  # not believed either, see `_payload_hashes`
    if left:
        raise SignatureFault(Fault.UNSIGNED, names=[name.decode("latin-1") for name in sorted(left)])


@lru_cache(1024)
def _signed(names: bytes) -> frozenset[bytes]:
    return frozenset(names.split(b";"))


def _payload_hashes(head: Head, claim: _Claim, payload: bytes | None, unsigned: bool, s3: bool) -> tuple[str, ...]:
    """The payload hashes under which the signature may be right; the first is what the caller declared."""
    given = head.view.get(b"x-amz-content-sha256")
    if claim.how == "query" and b"x-amz-content-sha256" not in claim.names.split(b";"):
        given = None
    declared = None if given is None else given.decode("latin-1")
    if s3:
        if declared is None and claim.how == "query":
            declared = head.query.get("X-Amz-Content-Sha256", UNSIGNED)
        if declared is None:
            raise SignatureFault(Fault.NO_PAYLOAD_HASH)
        if _HASH(declared) is None and declared != UNSIGNED and declared not in STREAMING:
            raise SignatureFault(Fault.PAYLOAD_HASH, given=declared)
        if payload is None or _HASH(declared) is None:
            return (declared,)
    actual = sha256(payload).hexdigest() if payload else EMPTY
    if s3:
        return (actual,)
    if unsigned:
        return (UNSIGNED, actual) if declared in (None, UNSIGNED) else (actual,)
    return (actual,)


def _verify(head: Head, claim: _Claim, credential: Credential, hashes: tuple[str, ...], s3: bool) -> Authenticated:
    key = signing_key(credential.secret, claim.date, claim.region, claim.service)
    start = canonical_start(head, claim.names, s3, presigned=claim.how == "query")
    prefix = f"{V4}\n{claim.timestamp}\n{claim.scope}\n".encode("utf-8", "surrogateescape")
    request = to_sign = b""
    for payload_hash in hashes:
        request = start + payload_hash.encode()
        to_sign = prefix + sha256(request).hexdigest().encode()
        right = sealed(key, to_sign)
        if hmac.compare_digest(right.encode(), claim.signature):
            return Authenticated(
                claim.access_key,
                credential,
                claim.how,
                V4,
                claim.moment,
                claim.region,
                claim.service,
                payload_hash,
                right,
                key,
                claim.timestamp,
                claim.scope,
            )
    raise SignatureFault(
        Fault.MISMATCH,
        access_key=claim.access_key,
        string_to_sign=to_sign.decode("latin-1"),
        canonical_request=request.decode("latin-1"),
        provided=claim.signature.decode("latin-1"),
    )


# --- the canonical request --------------------------------------------------------------------------------------------


@lru_cache(4096)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of one day, region and service. Kept, since deriving it costs four times what using it does."""
    key = b"AWS4" + secret.encode("utf-8", "surrogateescape")
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode("utf-8", "surrogateescape"), "sha256")
    return key


def canonical_start(head: Head, names: bytes, s3: bool, *, presigned: bool) -> bytes:
    """The canonical request but for its last line, the payload hash. `names` are the signed headers, as sent."""
    path = s3_path(head.raw_path) if s3 else normal_path(head.raw_path)
    query = canonical_query(head, presigned) if head.raw_query else b""
    view = head.view
    if presigned:  # some clients move signed headers into the query
        view = {name.lower(): value for name, value in reversed(head.query_bytes) if is_header(name.lower())} | view
    headers = b"\n".join([name + b":" + view.get(name, b"") for name in names.split(b";")])
    repeated = len(head.view) != len(head.headers)
    if repeated or b" " in headers or b"\t" in headers:
        headers = b"\n".join([name + b":" + _value(head, view, name, repeated) for name in names.split(b";")])
    return b"%b\n%b\n%b\n%b\n\n%b\n" % (head.method.encode("latin-1"), path, query, headers, names)


def _value(head: Head, view: Mapping[bytes, bytes], name: bytes, repeated: bool) -> bytes:
    """A header as it is signed: its values with single spaces, one after the other."""
    value = view.get(name, b"")
    if repeated and b"," in value:
        return b",".join([_trimmed(each) for known, each in head.headers if known == name])
    return _trimmed(value)


def _trimmed(value: bytes) -> bytes:
    return b" ".join(value.split())


def canonical_query(head: Head, presigned: bool) -> bytes:
    """The query with names and values encoded again, sorted; a presigned one without its signature."""
    if _CANONICAL(head.raw_query):  # most clients send what they signed: no need to decode and encode
        pieces = [piece.partition(b"=") for piece in head.raw_query.split(b"&") if piece]
        pairs = [(name, value) for name, _, value in pieces]
    else:
        pairs = [(_encoded(name), _encoded(value)) for name, value in head.query_bytes]
    if presigned:
        pairs = [pair for pair in pairs if pair[0] != b"X-Amz-Signature"]
    pairs.sort()
    return b"&".join([name + b"=" + value for name, value in pairs])


def _encoded(text: bytes) -> bytes:
    return text if _PLAIN_QUERY(text) else quote_from_bytes(text, "-_.~").encode()


def s3_path(raw: bytes) -> bytes:
    """The path as S3 signs it: every byte but the unreserved ones and `/` percent-encoded once, nothing removed."""
    if _PLAIN_PATH(raw):
        return raw or b"/"
    return quote_from_bytes(unquote_to_bytes(raw), "/-_.~").encode()


def normal_path(raw: bytes) -> bytes:
    """The path as the other services sign it: without dot segments and doubled slashes, encoded once more as sent."""
    if raw in (b"/", b""):
        return b"/"
    kept: list[bytes] = []
    for segment in raw.split(b"/"):
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment and segment != b".":
            kept.append(segment)
    path = b"/" + b"/".join(kept)
    if kept and raw.endswith(b"/"):
        path += b"/"
    return quote_from_bytes(path, "/-_.~").encode()
