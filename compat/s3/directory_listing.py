"""Listings of directory buckets: in no order, below directories only, with the prefixes of uploads in progress."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Any

from backends.object.containers import Known
from backends.object.listing import Entry, Page
from compat.operation import Params
from compat.s3 import faults

if TYPE_CHECKING:
    from compat.context import Context

DELIMITER = "/"


def check_listing(p: Params) -> None:
    """Refuse prefixes that do not end a directory, and other delimiters than `/`."""
    if (delimiter := p.get("Delimiter")) not in (None, "", DELIMITER):
        raise faults.invalid_argument("Directory buckets only support / as delimiter.", "delimiter", delimiter)
    if (prefix := p.get("Prefix")) and not prefix.endswith(DELIMITER):
        raise faults.invalid_argument("The prefix must end in the delimiter /.", "prefix", prefix)


def list_keys(ctx: Context, bucket: Known, p: Params, after: str, limit: int) -> Page[Entry]:
    """A page of live keys. With a delimiter it has the prefixes of uploads in progress, too."""
    prefix, delimiter = p.get("Prefix") or "", p.get("Delimiter") or ""
    objects, number = ctx.objects, bucket.number
    page = objects.list_keys(number, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
    if not delimiter or not limit:
        return page
    uploads = objects.list_uploads(number, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
    if not uploads.entries and not uploads.prefixes:
        return page
    keys: dict[bytes, Entry | None] = {entry.key: entry for entry in page.entries}
    keys |= dict.fromkeys([*page.prefixes, *uploads.prefixes])
    # Beyond the end of a page that goes on, its listing is not known.
    ends = [_key(one.last) for one in (page, uploads) if one.more]
    known = sorted(key for key in keys if not ends or key <= min(ends))
    shown = known[:limit]
    merged: Page[Entry] = Page(more=len(shown) < len(keys) or bool(ends))
    for key in shown:
        entry = keys[key]
        if entry is None:
            merged.prefixes.append(key)
        else:
            merged.entries.append(entry)
    merged.last = shown[-1] if len(known) > limit or not ends else min(ends)
    return merged


def _key(last: Any) -> bytes:
    key: bytes = last if isinstance(last, bytes) else last.key
    return key


def without_order(page: Page[Any]) -> None:
    """Put the entries and prefixes of a page into an order that nobody can take for that of their names."""
    page.entries.sort(key=lambda entry: zlib.crc32(entry.key))
    page.prefixes.sort(key=zlib.crc32)


def marker(key: str, upload: str) -> str:
    """Where a listing of uploads goes on, as one opaque text."""
    return base64.urlsafe_b64encode(f"{upload}\0{key}".encode()).decode()


def read_marker(text: str) -> tuple[str, str]:
    """The key and the upload behind which a listing goes on."""
    if not text:
        return "", ""
    try:
        upload, _, key = base64.urlsafe_b64decode(text.encode()).decode().partition("\0")
    except (ValueError, binascii.Error):
        raise faults.invalid_argument("The key marker is not valid", "key-marker", text) from None
    return key, upload
