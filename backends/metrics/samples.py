"""Samples, packed: four bytes and what their values need.

A sample stands for one value, or for several of which only number, sum, least and most are known. Blocks grow at their
end, so that keeping a sample is one statement that reads nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MOST_SERIES = 4096
"""Series that one subject can have."""

_HEAD = struct.Struct("<HH")
_WHOLE, _REAL, _WEIGHED, _SET = struct.Struct("<I"), struct.Struct("<d"), struct.Struct("<dd"), struct.Struct("<dddd")
_NOTHING = struct.Struct("")
_FORMS = (_NOTHING, _WHOLE, _REAL, _WEIGHED, _SET)
_SIZES = tuple(_HEAD.size + form.size for form in _FORMS)


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of the series in place `series`, measured in the step number `slot` of a block."""

    slot: int
    series: int
    count: float
    total: float
    least: float
    most: float

    @property
    def is_exact(self) -> bool:
        """Whether each value is known: they are all the same."""
        return self.least == self.most and self.total == self.least * self.count


def single(slot: int, series: int, value: float, count: float = 1.0) -> Sample:
    """A value that was seen `count` times."""
    return Sample(slot, series, count, value * count, value, value)


def pack(samples: Iterable[Sample]) -> bytes:
    """The samples as bytes; packed samples can be joined."""
    found = bytearray()
    for one in samples:
        form, values = _form_of(one)
        found += _HEAD.pack(one.slot, one.series << 4 | _FORMS.index(form)) + form.pack(*values)
    return bytes(found)


def _form_of(one: Sample) -> tuple[struct.Struct, tuple[float, ...]]:
    """The shortest form that holds a sample, and what it holds."""
    if not one.is_exact:
        return _SET, (one.count, one.total, one.least, one.most)
    if one.count != 1:
        return _WEIGHED, (one.least, one.count)
    if one.least == 0:
        return _NOTHING, ()
    if 0 < one.least < 1 << 32 and float(one.least).is_integer():
        return _WHOLE, (int(one.least),)
    return _REAL, (one.least,)


def unpack(data: bytes, wanted: frozenset[int] | None = None) -> Iterator[Sample]:
    """The samples in packed bytes, as they were joined; of `wanted` series, or of all."""
    place, end, head = 0, len(data), _HEAD.unpack_from
    while place < end:
        slot, word = head(data, place)
        # Most of a block is of other series than those that are asked for: nothing else is done for these.
        if wanted is None or word >> 4 in wanted:
            values = _FORMS[word & 15].unpack_from(data, place + _HEAD.size)
            if len(values) == 4:
                yield Sample(slot, word >> 4, *values)
            else:
                yield single(slot, word >> 4, *(map(float, values) if values else (0.0,)))
        place += _SIZES[word & 15]


def merged(samples: Sequence[Sample], slot: int) -> Sample:
    """Many samples of one series as one."""
    return Sample(
        slot,
        samples[0].series,
        sum(one.count for one in samples),
        sum(one.total for one in samples),
        min(one.least for one in samples),
        max(one.most for one in samples),
    )


def percentile(samples: Iterable[Sample], share: float) -> float | None:
    """The least value that `share` per cent of all values do not exceed.

    None where it cannot be told: there are no values, negative ones, or such as only their sum is known of."""
    found = sorted((one for one in samples if one.count > 0), key=lambda one: one.least)
    if not found or found[0].least < 0 or not all(one.is_exact for one in found):
        return None
    rest = share / 100 * sum(one.count for one in found)
    for one in found:
        rest -= one.count
        if rest <= 1e-9:
            return one.least
    return found[-1].least
