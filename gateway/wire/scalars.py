"""Single values: text to Python and back, in every spelling that AWS's protocols use.

The `read_…` functions raise ValueError for text that is no such value; readers make it a fault of their protocol.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}").fullmatch
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?").fullmatch
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ](\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?\s*(Z|[+-]\d\d:?\d\d)?", re.I
)

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_UNSAFE = re.compile('[&<>"\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]')
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_MOST_KEPT = 8192
_LONGEST_KEPT = 100

kept: dict[str, str] = {}
"""Texts already escaped, so that ids, states and type names are looked up instead of searched again."""


def _entity(found: re.Match[str]) -> str:
    character = found.group()
    point = ord(character)
    if point >= 0xD800:
        return "\ufffd"
    return _ENTITIES.get(character) or f"&#x{point:x};"


def escape(value: object) -> str:
    """The text as XML character data or attribute value. Control characters become references, as in S3's answers."""
    text = value if type(value) is str else str(value)
    escaped = _UNSAFE.sub(_entity, text)
    if len(text) <= _LONGEST_KEPT:
        if len(kept) >= _MOST_KEPT:
            kept.clear()
        kept[text] = escaped
    return escaped


def read_integer(text: str) -> int:
    """An integer of at most 64 bits."""
    if _INTEGER(text) is None:
        raise ValueError(text)
    number = int(text)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(text)
    return number


def read_float(text: str) -> float:
    """A float, also `NaN`, `Infinity` and `-Infinity`."""
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _NUMBER(text) is None:
        raise ValueError(text)
    return float(text)


def read_boolean(text: str) -> bool:
    """`true` or `false`, in any case."""
    lowered = text.lower()
    if lowered == "true":
        return True
    if lowered == "false":
        return False
    raise ValueError(text)


def read_blob(text: str) -> bytes:
    """Base64; line breaks are allowed, other alphabets are not."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, UnicodeEncodeError) as fault:
        raise ValueError(text) from fault


def read_timestamp(text: str) -> datetime:
    """An instant: ISO 8601, seconds since the epoch, or the date of an HTTP header. Without a zone it is UTC."""
    text = text.strip()
    found = _ISO.fullmatch(text)
    if found is not None:
        return _from_iso(found)
    if _NUMBER(text) is not None:
        return from_epoch(float(text))
    try:
        instant = parsedate_to_datetime(text)
        return _utc(instant)
    except (TypeError, IndexError, OverflowError) as fault:
        raise ValueError(text) from fault


def _from_iso(found: re.Match[str]) -> datetime:
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    micro = int((fraction or "0")[:6].ljust(6, "0"))
    instant = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micro, UTC)
    if zone and zone not in "Zz":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        try:
            instant = instant - offset if zone[0] == "+" else instant + offset
        except OverflowError as fault:
            raise ValueError(found.string) from fault
    return instant


def from_epoch(seconds: float) -> datetime:
    """The instant that many seconds after 1970, to the microsecond."""
    try:
        whole = math.floor(seconds)
        return _EPOCH + timedelta(seconds=whole, microseconds=round((seconds - whole) * 1_000_000))
    except OverflowError as fault:
        raise ValueError(str(seconds)) from fault


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


READERS: dict[str, Callable[[str], Any]] = {
    "integer": read_integer,
    "long": read_integer,
    "float": read_float,
    "double": read_float,
    "boolean": read_boolean,
    "timestamp": read_timestamp,
    "blob": read_blob,
}
"""What reads each type of a model that is not plain text."""


@lru_cache(4096)  # what is listed is listed again, and objects written in one second show one instant
def iso_milliseconds(instant: datetime) -> str:
    """`2013-09-24T16:32:50.000Z`"""
    if instant.tzinfo is not UTC:
        instant = _utc(instant)
    return instant.isoformat("T", "milliseconds")[:23] + "Z"


def iso_seconds(instant: datetime) -> str:
    """`2013-09-24T16:32:50Z`"""
    if instant.tzinfo is not UTC:
        instant = _utc(instant)
    return instant.isoformat("T", "seconds")[:19] + "Z"


@lru_cache(1024)
def http_date(instant: datetime) -> str:
    """`Tue, 24 Sep 2013 16:32:50 GMT`"""
    if instant.tzinfo is not UTC:
        instant = _utc(instant)
    text = instant.isoformat("T", "seconds")
    return f"{_DAYS[instant.weekday()]}, {text[8:10]} {_MONTHS[instant.month]} {text[:4]} {text[11:19]} GMT"


def epoch(instant: datetime) -> float:
    """Seconds since 1970, to the millisecond."""
    return round(_utc(instant).timestamp(), 3)


def write_float(value: float) -> str:
    """The shortest text that reads back as the same number."""
    if value != value:
        return "NaN"
    if value in (math.inf, -math.inf):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def write_blob(value: bytes | str) -> str:
    """Base64 of bytes, or of the UTF-8 of a text."""
    data = value.encode() if isinstance(value, str) else value
    return base64.b64encode(data).decode("ascii")
