"""What a firewall rule means, in one spelling: protocol names, ports, peers."""

from __future__ import annotations

from dataclasses import dataclass

from backends.network import cidr
from backends.network.errors import Malformed

NAMED = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
NUMBERS = {"icmp": "1", "tcp": "6", "udp": "17", "icmpv6": "58", "icmp6": "58", "all": "-1", "-1": "-1"}
ALL = "-1"
WITH_PORTS = ("tcp", "udp")
WITH_TYPES = ("icmp", "icmpv6")
PORTS = 65535


def protocol_name(text: str) -> str:
    """The protocol as rules keep it: tcp, udp, icmp, icmpv6, -1, or its number. Raises `Malformed`."""
    number = protocol_number(text)
    return NAMED.get(number, number)


def protocol_number(text: str) -> str:
    """The protocol as packet filters keep it: its number, "-1" for all. Raises `Malformed`."""
    word = text.strip().lower()
    if word in NUMBERS:
        return NUMBERS[word]
    if word.isdecimal() and int(word) <= 255:
        return str(int(word))
    raise Malformed(f"{text!r} is not a protocol", value=text, what="protocol")


@dataclass(frozen=True)
class RuleSpec:
    """A rule in its one spelling; two rules are the same when their `key`s are."""

    protocol: str
    from_port: int
    to_port: int
    peer_kind: str
    peer: str
    description: str | None = None

    @property
    def key(self) -> tuple[str, int, int, str, str]:
        """What makes it this rule and no other; the description does not."""
        return (self.protocol, self.from_port, self.to_port, self.peer_kind, self.peer)


def spell(
    protocol: str, from_port: int | None, to_port: int | None, peer_kind: str, peer: str, description: str | None = None
) -> RuleSpec:
    """The rule in its one spelling. Raises `Malformed` for an unknown protocol, ports out of order or range, a bad
    range."""
    name = protocol_name(protocol)
    low, high = _ports(name, from_port, to_port)
    if peer_kind == "cidr4":
        peer = str(cidr.parse4(peer))
    elif peer_kind == "cidr6":
        peer = str(cidr.parse6(peer))
    return RuleSpec(name, low, high, peer_kind, peer, description)


def _ports(name: str, low: int | None, high: int | None) -> tuple[int, int]:
    if name in WITH_TYPES:
        kind = -1 if low is None else low
        code = -1 if high is None else high
        if not (-1 <= kind <= 255 and -1 <= code <= 255):
            raise Malformed("ICMP type and code are -1 to 255", value=f"{kind}/{code}", what="icmp")
        return kind, -1 if kind == -1 else code
    if name not in WITH_PORTS:
        return -1, -1
    if low is None or high is None:
        raise Malformed("a rule needs both ports", value=name, what="port")
    if (low, high) == (-1, -1):
        return 0, PORTS
    for port in (low, high):
        if not 0 <= port <= PORTS:
            raise Malformed(f"{port} is not a port", value=port, what="port")
    if low > high:
        raise Malformed("the ports are out of order", value=f"{low}-{high}", what="order")
    return low, high
