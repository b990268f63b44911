"""The regular expressions of AWS's models, written for Java, as Python understands them."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_CATEGORY = re.compile(r"\\p\{(\w+)\}")
_ASTRAL = r"\U00010000-\U0010FFFF"


@cache
def _category(name: str) -> str:
    """The inside of a character class for a Unicode category (`L`, `Zs`); all characters above U+FFFF count."""
    ranges: list[list[int]] = []
    for point in range(0x10000):
        if unicodedata.category(chr(point)).startswith(name):
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1][1] = point
            else:
                ranges.append([point, point])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges) + _ASTRAL


@cache
def compiled(pattern: str) -> re.Pattern[str] | None:
    """The pattern for use with `fullmatch`, or None when it is not a regular expression even in Java's dialect."""
    translated = pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", _ASTRAL)
    translated = re.sub(r"(\\[wds])-(?!\])", r"\1\\-", translated)
    translated = _CATEGORY.sub(lambda found: _category(found.group(1)), translated)
    try:
        return re.compile(translated)
    except re.error:
        return None
