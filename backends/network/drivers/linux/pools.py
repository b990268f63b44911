"""The pools of public addresses of all deployments on this host. Two that overlap give out the same addresses, of which
the host then reaches one owner only."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from pyroute2 import IPRoute

WORD = "nephele"
NEVER_ROUTED = ("198.18.0.0/16", "198.19.0.0/16", "198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")
"""Ranges that mean nobody in the internet: for benchmarks (RFC 2544) and documentation (RFC 5737)."""


def sign(deployment: str, pool: ipaddress.IPv4Network) -> str:
    """What a deployment's link on the host bears (its alias), for others to see."""
    return f"{WORD} {deployment} {pool}"


def overlapping(deployment: str, pool: ipaddress.IPv4Network) -> list[tuple[str, ipaddress.IPv4Network]]:
    """The other deployments, by name, that have networks in this thread's network namespace and a pool that overlaps
    `pool`."""
    return sorted((name, other) for name, other in _signs() if name != deployment and other.overlaps(pool))


def free() -> ipaddress.IPv4Network | None:
    """A range that means nobody in the internet, and that no deployment here has taken; None when there is none."""
    taken = [pool for _, pool in _signs()]
    blocks = (ipaddress.IPv4Network(text) for text in NEVER_ROUTED)
    return next((block for block in blocks if not any(block.overlaps(pool) for pool in taken)), None)


def _signs() -> Iterator[tuple[str, ipaddress.IPv4Network]]:
    with IPRoute() as links:
        for message in links.get_links():
            words = str(message.get_attr("IFLA_IFALIAS") or "").split()
            if len(words) == 3 and words[0] == WORD:
                try:
                    yield words[1], ipaddress.IPv4Network(words[2])
                except ValueError:
                    continue
