"""What a caller says of an object beside its bytes: system headers, metadata, storage class, encryption, tags.

Headers and metadata are kept as one JSON text whose members are those of GetObject's answer, so that an answer begins
as the parsed text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from backends.db import EPOCH, MICROSECOND
from compat.errors import AWSError
from compat.operation import Params
from compat.s3 import faults

if TYPE_CHECKING:
    from compat.context import Context

HEADERS = ("CacheControl", "ContentDisposition", "ContentLanguage", "WebsiteRedirectLocation")
DEFAULT_TYPE = "binary/octet-stream"
MOST_METADATA = 2048
LONGEST_REDIRECT = 2048
CLASSES = frozenset(
    "STANDARD REDUCED_REDUNDANCY STANDARD_IA ONEZONE_IA INTELLIGENT_TIERING GLACIER DEEP_ARCHIVE GLACIER_IR".split()
)
ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
MOST_TAGS = 10
TAG_TEXT = re.compile(r"[\w\s+\-=.:/@]*")
_QUOTED = [
    "_" if one == 32 else chr(one) if 32 < one < 127 and chr(one) not in "=?_" else f"={one:02X}" for one in range(256)
]
_WORD = re.compile(r"=\?utf-8\?[bq]\?.*\?=", re.IGNORECASE)


def facts_of(p: Params) -> str:
    """The headers and metadata that a call gives to an object."""
    facts: dict[str, Any] = {"ContentType": p.get("ContentType") or DEFAULT_TYPE}
    for name in HEADERS:
        if (value := p.get(name)) is not None:
            facts[name] = value
    if encoding := _without_chunks(p.get("ContentEncoding")):
        facts["ContentEncoding"] = encoding
    if (expires := p.get("Expires")) is not None:
        facts["Expires"] = expires if isinstance(expires, str) else http_date(expires)
    if metadata := p.get("Metadata"):
        facts["Metadata"] = checked_metadata(metadata)
    if redirect := facts.get("WebsiteRedirectLocation"):
        _check_redirect(redirect)
    return orjson.dumps(facts).decode()


def _check_redirect(place: str) -> None:
    fault = None
    if not place.startswith(("/", "http://", "https://")):
        fault = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."
    elif len(place) > LONGEST_REDIRECT:
        fault = f"The length of website redirect location cannot exceed {LONGEST_REDIRECT:,} characters."
    if fault is not None:
        raise AWSError("InvalidRedirectLocation", fault, 400)


def shown(facts: str) -> dict[str, Any]:
    """Kept facts as members of an answer."""
    found: dict[str, Any] = orjson.loads(facts) if facts else {}
    if "Metadata" in found:
        found["Metadata"] = {name: _header(value) for name, value in found["Metadata"].items()}
    return found


def checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """User metadata with names in lower case; refused when it is too large."""
    size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size > MOST_METADATA:
        raise AWSError(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            400,
            Size=size,
            MaxSizeAllowed=MOST_METADATA,
        )
    return {name.lower(): _text(value) for name, value in metadata.items()}


def _text(value: str) -> str:
    """What a header's value says: encoded words (RFC 2047) are read, unless they are none."""
    if not is_encoded_word(value):
        return value
    try:
        return "".join(
            word if isinstance(word, str) else word.decode(charset or "ascii") for word, charset in decode_header(value)
        )
    except (HeaderParseError, UnicodeDecodeError, LookupError):
        return value


def _header(value: str) -> str:
    """A header's value: what is not printable ASCII goes as an encoded word, readable where most of it is ASCII."""
    strange = sum(not (" " <= one <= "~" or one in "\t\r\n") for one in value)
    if not strange:
        return value
    return encoded_word(value, readable=strange * 2 < len(value))


def encoded_word(value: str, *, readable: bool = False) -> str:
    """A text as RFC 2047 writes it: its bytes in base64, or one by one where they are not what they stand for."""
    if not readable:
        return f"=?UTF-8?B?{base64.b64encode(value.encode()).decode()}?="
    return f"=?UTF-8?Q?{''.join(_QUOTED[byte] for byte in value.encode())}?="


def is_encoded_word(value: str) -> bool:
    """Whether a text would be read as an encoded word."""
    return _WORD.fullmatch(value) is not None


def _without_chunks(encoding: str | None) -> str:
    """The content encoding without the one that only concerned the upload."""
    if not encoding or "aws-chunked" not in encoding:
        return encoding or ""
    return ",".join(part.strip() for part in encoding.split(",") if part.strip() not in ("aws-chunked", ""))


def storage_of(p: Params) -> str:
    """The storage class as it is kept: empty for STANDARD."""
    given: str | None = p.get("StorageClass")
    if given is None or given == "STANDARD":
        return ""
    if given not in CLASSES:
        raise AWSError(
            "InvalidStorageClass", "The storage class you specified is not valid", 400, StorageClassRequested=given
        )
    return given


def tags_of(p: Params) -> str:
    """The tags in an `x-amz-tagging` header, as they are kept."""
    given = p.get("Tagging")
    if not given:
        return ""
    pairs = parse_qsl(given, keep_blank_values=True, strict_parsing=False)
    if len({name for name, _ in pairs}) < len(pairs) or any(part.count("=") > 1 for part in given.split("&")):
        raise faults.invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag "
            "name duplicates.",
            "x-amz-tagging",
            given,
        )
    return kept_tags([{"Key": key, "Value": value} for key, value in sorted(pairs)])


def kept_tags(tags: list[dict[str, Any]], most: int = MOST_TAGS) -> str:
    """A tag set as it is kept: JSON, in the order given; empty where there are none."""
    check_tags(tags, most)
    return orjson.dumps([[tag["Key"], tag["Value"]] for tag in tags]).decode() if tags else ""


def check_tags(tags: list[dict[str, Any]], most: int) -> None:
    """Refuse tag sets as S3 does."""
    if len(tags) > most:
        message = (
            "Object tags cannot be greater than 10"
            if most == MOST_TAGS
            else "Bucket tag count cannot be greater than 50"
        )
        raise AWSError("BadRequest", message, 400)
    seen = set()
    for tag in tags:
        key, value = tag.get("Key"), tag.get("Value")
        if key is None or value is None:
            raise faults.malformed()
        if not key or len(key) > 128 or not TAG_TEXT.fullmatch(key):
            raise AWSError("InvalidTag", "The TagKey you have provided is invalid", 400, TagKey=key)
        if len(value) > 256 or not TAG_TEXT.fullmatch(value):
            raise AWSError("InvalidTag", "The TagValue you have provided is invalid", 400, TagKey=key, TagValue=value)
        if key in seen:
            raise AWSError("InvalidTag", "Cannot provide multiple Tags with the same key", 400, TagKey=key)
        if key.lower().startswith("aws:"):
            message = (
                "Your TagKey cannot be prefixed with aws:"
                if most == MOST_TAGS
                else "System tags cannot be added/updated by requester"
            )
            raise AWSError("InvalidTag", message, 400, TagKey=key)
        seen.add(key)


def shown_tags(kept: str) -> list[dict[str, str]]:
    """A kept tag set as members of an answer."""
    return [{"Key": key, "Value": value} for key, value in orjson.loads(kept)] if kept else []


def http_date(moment: datetime) -> str:
    """A time as HTTP writes it."""
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


def now(ctx: Context) -> int:
    """The moment of the call in the store's microseconds."""
    moment: datetime = ctx.now
    return (moment - EPOCH) // MICROSECOND


def with_redirect(facts: str, location: str | None) -> str:
    """Kept facts with another website redirect, or without one."""
    found: dict[str, Any] = orjson.loads(facts)
    found.pop("WebsiteRedirectLocation", None)
    if location:
        _check_redirect(location)
        found["WebsiteRedirectLocation"] = location
    return orjson.dumps(found).decode()
