"""Arithmetic of address ranges: no database, no state."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network

from backends.network.errors import BadSize, Malformed

Range = IPv4Network | IPv6Network
WIDEST, NARROWEST = 16, 28
RESERVED_LOW, RESERVED_HIGH = 4, 1
"""The network address, the router, the resolver and one for later; and the broadcast address."""


def parse(text: str) -> Range:
    """The range that `text` names, with host bits cleared. Raises `Malformed`."""
    address, slash, bits = text.strip().partition("/")
    if not slash or not bits.isdecimal():
        raise Malformed(f"{text!r} is not a range", value=text, what="range")
    try:
        return ipaddress.ip_network(f"{address}/{bits}", strict=False)
    except ValueError as fault:
        raise Malformed(f"{text!r} is not a range", value=text, what="range") from fault


def parse4(text: str) -> IPv4Network:
    """The IPv4 range that `text` names. Raises `Malformed`."""
    found = parse(text)
    if not isinstance(found, IPv4Network):
        raise Malformed(f"{text!r} is not an IPv4 range", value=text, what="range")
    return found


def parse6(text: str) -> IPv6Network:
    """The IPv6 range that `text` names. Raises `Malformed`."""
    found = parse(text)
    if not isinstance(found, IPv6Network):
        raise Malformed(f"{text!r} is not an IPv6 range", value=text, what="range")
    return found


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address that `text` names. Raises `Malformed`."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as fault:
        raise Malformed(f"{text!r} is not an address", value=text, what="address") from fault


def sized(text: str) -> IPv4Network:
    """An IPv4 range of a size that networks and segments may have, /16 to /28. Raises `Malformed`, `BadSize`."""
    found = parse4(text)
    if not WIDEST <= found.prefixlen <= NARROWEST:
        raise BadSize(f"{text} is not between /{WIDEST} and /{NARROWEST}", cidr=text)
    return found


def inside(inner: Range, outers: Iterable[Range]) -> bool:
    """Whether `inner` lies wholly in one of `outers`."""
    return any(
        inner.version == outer.version
        and int(outer.network_address) <= int(inner.network_address)
        and int(inner.broadcast_address) <= int(outer.broadcast_address)
        for outer in outers
    )


def clash(one: Range, others: Iterable[Range]) -> Range | None:
    """The first of `others` that overlaps `one`."""
    return next((other for other in others if one.version == other.version and one.overlaps(other)), None)


def capacity(segment: IPv4Network) -> int:
    """How many addresses ports of `segment` can have."""
    return segment.num_addresses - RESERVED_LOW - RESERVED_HIGH


def assignable(segment: Range, ip: str) -> bool:
    """Whether a port of `segment` may have `ip`: inside, and not reserved."""
    wanted = address(ip)
    if wanted not in segment:
        return False
    offset = int(wanted) - int(segment.network_address)
    return RESERVED_LOW <= offset < segment.num_addresses - RESERVED_HIGH


def next_free(segment: IPv4Network, cursor: int, taken: Callable[[str], bool]) -> tuple[str, int] | None:
    """The first free address at or after offset `cursor`, going round once, and the cursor for the next search.

    Going on from the last address given keeps an address that was just freed out of use for as long as possible."""
    room = capacity(segment)
    base = int(segment.network_address)
    start = (cursor - RESERVED_LOW) % room
    for step in range(room):
        offset = (start + step) % room
        candidate = str(ipaddress.IPv4Address(base + RESERVED_LOW + offset))
        if not taken(candidate):
            return candidate, RESERVED_LOW + (offset + 1) % room
    return None


def normal(text: str) -> str:
    """`text` as stored and compared: host bits cleared, IPv6 in its short form. Raises `Malformed`."""
    return str(parse(text))


def carve(outer: Range, bits: int, taken: Iterable[Range]) -> Range | None:
    """The first range of prefix length `bits` in `outer` that overlaps none of `taken`."""
    held = list(taken)
    return next((part for part in outer.subnets(new_prefix=bits) if clash(part, held) is None), None)
