"""Small changes of a ruleset in raw netlink, past libnftables: chains, and rules of the forms in `expressions`.

A transaction names the generation that it starts from: the kernel refuses it when anybody has changed any rule since.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable

from backends.network.drivers.linux.expressions import encode, name
from backends.network.drivers.linux.ruleset import TABLE, Chain, Ruleset

NETLINK_NETFILTER = 12
NFTABLES = 10
BEGIN, END = 16, 17
NEWCHAIN, DELCHAIN, NEWRULE, DELRULE = 3, 5, 6, 8
REQUEST, ACK, CREATE, APPEND = 1, 4, 0x400, 0x800
NLMSG_ERROR = 2
SO_SNDBUFFORCE = 32
ROOM = 16 << 20

Message = tuple[int, int, bytes]
"""(kind, flags, attributes)"""


def messages(old: Ruleset, new: Ruleset, table: str = TABLE) -> list[Message] | None:
    """The steps of a transaction from `old`, which the table holds, to `new`; None when some can only be said in
    nftables' own words."""
    if old.sets != new.sets:
        return None
    where = name(1, table)
    changed: list[tuple[bytes, tuple[str, ...], tuple[str, ...]]] = []
    found: list[Message] = []
    nothing = Chain("", ())
    for id, chain in new.chains.items():
        before = old.chains.get(id)
        if before is None:
            if chain.hook or chain.family != "ip":
                return None
            found.append((NEWCHAIN, CREATE, where + name(3, id)))
        if before is None or before.rules != chain.rules:
            changed.append((where + name(2, id), (before or nothing).rules, chain.rules))
    for place, held, wanted in changed:
        common = held == wanted[: len(held)]
        if not common:
            found.append((DELRULE, 0, place))
        for rule in wanted[len(held) :] if common else wanted:
            encoded = encode(rule)
            if encoded is None:
                return None
            found.append((NEWRULE, CREATE | APPEND, place + encoded))
    gone = [id for id in old.chains if id not in new.chains]
    found += [(DELRULE, 0, where + name(2, id)) for id in gone]
    found += [(DELCHAIN, 0, where + name(3, id)) for id in gone]
    return found


class Writer:
    """A socket for transactions, in the namespace of the thread that makes it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        for option in (socket.SO_SNDBUF, SO_SNDBUFFORCE):
            with contextlib.suppress(PermissionError):  # only the machine's root may go beyond its limit
                self._socket.setsockopt(socket.SOL_SOCKET, option, ROOM)

    def commit(self, steps: Iterable[Message], generation: int) -> int:
        """Do all steps at once, or none of them; the generation that they lead to. Raises the kernel's OSError;
        ERESTART when `generation` is over."""
        parts = [_message(BEGIN, 0, 0, struct.pack("=HHI", 8, 1, socket.htonl(generation)), NFTABLES)]
        listed = list(steps)
        for number, (kind, flags, body) in enumerate(listed, 1):
            flags |= ACK if number == len(listed) else 0
            parts.append(_message(NFTABLES << 8 | kind, flags, number, body))
        parts.append(_message(END, 0, len(listed) + 1, b"", NFTABLES))
        self._socket.send(b"".join(parts))
        # The kernel has answered when `send` returns.
        fault, heard = 0, False
        with contextlib.suppress(BlockingIOError):
            while True:
                for number, sequence in _answers(self._socket.recv(1 << 16, socket.MSG_DONTWAIT)):
                    fault = fault or number
                    heard = heard or sequence == len(listed)
        if fault or not heard:
            fault = fault or errno.EIO
            raise OSError(fault, f"the kernel refuses a change of rules: {os.strerror(fault)}")
        return (generation + 1) & 0xFFFFFFFF or 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _message(kind: int, flags: int, sequence: int, body: bytes, resource: int = 0) -> bytes:
    family = socket.AF_UNSPEC if resource else socket.AF_INET
    return (
        struct.pack("=IHHII", 20 + len(body), kind, REQUEST | flags, sequence, 0)
        + struct.pack("=BBH", family, 0, socket.htons(resource))
        + body
    )


def _answers(data: bytes) -> Iterable[tuple[int, int]]:
    """(errno, sequence) of each answer."""
    position = 0
    while position + 20 <= len(data):
        length, kind, _, sequence, _, fault = struct.unpack_from("=IHHIIi", data, position)
        if kind == NLMSG_ERROR:
            yield -fault, sequence
        position += (length + 3) & ~3
