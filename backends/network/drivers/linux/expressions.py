"""Rules as the kernel takes them: the few forms that rules of firewall groups and packet filters have, encoded at a
fraction of what libnftables takes to read them. What a rule comes to is what libnftables makes of the same text."""

from __future__ import annotations

import ipaddress
import struct
from functools import lru_cache

from backends.network.drivers.linux.netlink import attribute

NETWORK, TRANSPORT = 1, 2
"""Where offsets of a payload count from."""
REGISTER, VERDICT = 1, 0
EQUAL, AT_MOST, AT_LEAST = 0, 3, 5
L4PROTO = 16
SECOND = 2
"""The register behind one that is full."""
LINKS = {"iifname": 6, "oifname": 7}
SIDES = {"saddr": 12, "daddr": 16}
"""Offsets in an IPv4 header."""
PROTOCOL = 9
WORDS = {"icmp": 1, "tcp": 6, "udp": 17}
CODES = {"accept": 1, "drop": 0, "return": -5}
JUMPS = {"jump": -3, "goto": -4}
COMMENT = 0
NESTED = 0x8000


def name(kind: int, text: str) -> bytes:
    """An attribute that is a name."""
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def _expression(kind: str, *attributes: bytes) -> bytes:
    return attribute(1 | NESTED, name(1, kind) + attribute(2 | NESTED, b"".join(attributes)))


def _load(base: int, offset: int, length: int) -> bytes:
    return _expression("payload", _number(1, REGISTER), _number(2, base), _number(3, offset), _number(4, length))


def _compare(operation: int, value: bytes) -> bytes:
    held = attribute(3 | NESTED, attribute(1, value))
    return _expression("cmp", _number(1, REGISTER), _number(2, operation), held)


@lru_cache(1 << 14)
def _peer(side: str, who: str) -> bytes | None:
    """`ip saddr 10.0.0.0/8`, or a set of addresses."""
    offset = SIDES.get(side)
    if offset is None:
        return None
    if who.startswith("@"):
        return _load(NETWORK, offset, 4) + _expression("lookup", name(1, who[1:]), _number(2, REGISTER), _number(5, 0))
    try:
        block = ipaddress.IPv4Network(who)
    except ValueError:
        return None
    length, value = block.prefixlen, block.network_address.packed
    if length % 8 == 0 and length:
        return _load(NETWORK, offset, length // 8) + _compare(EQUAL, value[: length // 8])
    mask = _expression(
        "bitwise",
        *(_number(1, REGISTER), _number(2, REGISTER), _number(3, 4)),
        *(attribute(kind | NESTED, attribute(1, bits)) for kind, bits in ((4, block.netmask.packed), (5, bytes(4)))),
        _number(6, 0),
    )
    return _load(NETWORK, offset, 4) + mask + _compare(EQUAL, value)


@lru_cache(1 << 10)
def _member(link: str, side: str, who: str) -> bytes | None:
    """`iifname . ip saddr @set`, which has the link's name and the address one after the other."""
    key, offset = LINKS.get(link), SIDES.get(side)
    if key is None or offset is None or not who.startswith("@"):
        return None
    named = _expression("meta", _number(1, REGISTER), _number(2, key))
    address = _expression("payload", *(_number(n, v) for n, v in ((1, SECOND), (2, NETWORK), (3, offset), (4, 4))))
    return named + address + _expression("lookup", name(1, who[1:]), _number(2, REGISTER), _number(5, 0))


def _protocol(number: int) -> bytes:
    return _expression("meta", _number(1, REGISTER), _number(2, L4PROTO)) + _compare(EQUAL, bytes((number,)))


@lru_cache(1 << 14)
def _ports(protocol: str, ports: str) -> bytes:
    """`tcp dport 80` or `tcp dport 80-90`."""
    low, _, high = ports.partition("-")
    begin = _protocol(WORDS[protocol]) + _load(TRANSPORT, 2, 2)
    if not high:
        return begin + _compare(EQUAL, struct.pack(">H", int(low)))
    return begin + _compare(AT_LEAST, struct.pack(">H", int(low))) + _compare(AT_MOST, struct.pack(">H", int(high)))


@lru_cache(1 << 10)
def _echo(kind: str, code: str) -> bytes:
    """`icmp type 8`, or `icmp type 8 icmp code 0`."""
    value = bytes((int(kind),)) + (bytes((int(code),)) if code else b"")
    return _protocol(WORDS["icmp"]) + _load(TRANSPORT, 0, len(value)) + _compare(EQUAL, value)


@lru_cache(1 << 8)
def _of_protocol(word: str) -> bytes:
    """`ip protocol tcp`."""
    return _load(NETWORK, PROTOCOL, 1) + _compare(EQUAL, bytes((WORDS.get(word) or int(word),)))


@lru_cache(1 << 10)
def _verdict(word: str, chain: str) -> bytes:
    code = _number(1, JUMPS[word] if chain else CODES[word]) + (name(2, chain) if chain else b"")
    held = attribute(2 | NESTED, attribute(2 | NESTED, code))
    return _expression("immediate", _number(1, VERDICT), held)


COUNTER = _expression("counter")


def encode(rule: str) -> bytes | None:
    """The attributes of a rule (expressions, and the comment); None for a form that is not known here."""
    words = rule.split(" ")
    found: list[bytes | None] = []
    comment, place, count = b"", 0, len(words)
    while place < count:
        word, left = words[place], count - place
        if word == "ip" and left > 2 and words[place + 1] == "protocol":
            found.append(_of_protocol(words[place + 2]))
            place += 3
        elif word == "ip" and left > 2:
            found.append(_peer(words[place + 1], words[place + 2]))
            place += 3
        elif word in LINKS and left > 4 and words[place + 1 : place + 3] == [".", "ip"]:
            found.append(_member(word, words[place + 3], words[place + 4]))
            place += 5
        elif word in ("tcp", "udp") and left > 2 and words[place + 1] == "dport" and words[place + 2][0] != "{":
            found.append(_ports(word, words[place + 2]))
            place += 3
        elif word == "icmp" and left > 2 and words[place + 1] == "type":
            coded = words[place + 3 : place + 5] == ["icmp", "code"]
            found.append(_echo(words[place + 2], words[place + 5] if coded else ""))
            place += 6 if coded else 3
        elif word in CODES:
            found.append(_verdict(word, ""))
            place += 1
        elif word in JUMPS and left > 1:
            found.append(_verdict(word, words[place + 1]))
            place += 2
        elif word == "counter":
            found.append(COUNTER)
            place += 1
        elif word == "comment" and left == 2:
            text = words[place + 1].strip('"').encode() + b"\0"
            comment = attribute(7, bytes((COMMENT, len(text))) + text)
            place += 2
        else:
            return None
    parts = [part for part in found if part is not None]
    return attribute(4 | NESTED, b"".join(parts)) + comment if len(parts) == len(found) else None
