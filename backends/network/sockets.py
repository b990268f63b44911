"""What is served inside one real network: DHCP and DNS, and the streams that somebody above knows.

The sockets are made in the network's namespace and served by the loop that runs outside. A card is known by the network
and its address, or (DHCP) by the link and its hardware address; nothing that a guest says of itself is believed, since
the network lets nothing else through.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial

from backends.db import Database, Unit
from backends.errors import DriverError
from backends.network import dhcp, resolver
from backends.network.drivers.base import NetworkDriver
from backends.network.leases import lease_of, resolver_of
from backends.network.models import Network
from backends.shares import Share

log = logging.getLogger("nephele.guests")

PATIENCE = 3.0
"""Seconds that another resolver may take."""
MOST_QUERIES = 64
"""Questions of one network that are under way at a time, of each kind: leases, names to be asked elsewhere, streams."""
MOST_OF_ONE = 16
"""The part of them that one address may have: a guest that asks without end keeps none of the others waiting."""
RESOLVER = "169.254.169.253"
"""The address of every network's resolver, beside the one in its own range."""
IP_PKTINFO, IP_FREEBIND = 8, 15  # linux/in.h
_PKTINFO = struct.Struct("=I4s4s")

Streams = Mapping[tuple[str, int], Callable[[str, socket.socket], Awaitable[asyncio.Server]]]
"""By address and port: begins to serve a listening socket of a network."""
Known = Callable[[Unit, Network, str, str], resolver.Found]
"""What is known of a name, for records of a type."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every network's sockets need. `leased` is told the port of a card that took its address."""

    database: Database
    driver: NetworkDriver
    known: Known
    leased: Callable[[str], None]
    streams: Streams
    resolvers: tuple[str, ...] = ()
    """Where what `known` does not know is asked; nowhere by default."""


def namespace() -> int:
    """What tells the network namespace of this thread from others."""
    return os.stat("/proc/thread-self/ns/net").st_ino


@dataclass(slots=True)
class _Sockets:
    dhcp: socket.socket
    dns: socket.socket
    dns_stream: socket.socket
    streams: dict[tuple[str, int], socket.socket]
    namespace: int

    def all(self) -> list[socket.socket]:
        return [self.dhcp, self.dns, self.dns_stream, *self.streams.values()]


def _make(streams: list[tuple[str, int]]) -> _Sockets:
    """Make every socket; on the thread that lives in the network."""
    with contextlib.ExitStack() as undo:

        def made(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
            one = undo.enter_context(socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            if kind == socket.SOCK_DGRAM:
                one.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            one.bind((address, port))
            if kind == socket.SOCK_STREAM:
                one.listen(128)
            return one

        found = _Sockets(
            made(socket.SOCK_DGRAM, "", dhcp.SERVER_PORT),
            made(socket.SOCK_DGRAM, "", 53),
            made(socket.SOCK_STREAM, "", 53),
            {place: made(socket.SOCK_STREAM, *place) for place in streams},
            namespace(),
        )
        undo.pop_all()
        return found


@dataclass(slots=True)
class NetworkSockets:
    """The open sockets of one network, on the running loop."""

    network: str
    around: Surroundings
    _held: _Sockets
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _leases: Share = field(default_factory=lambda: Share(MOST_QUERIES, MOST_OF_ONE))
    _forwards: Share = field(default_factory=lambda: Share(MOST_QUERIES, MOST_OF_ONE))
    _streams: Share = field(default_factory=lambda: Share(MOST_QUERIES, MOST_OF_ONE))

    @classmethod
    async def open(cls, network: str, around: Surroundings) -> NetworkSockets:
        """Open them all. Raises `DriverError` where the network is not there (yet), or `OSError`."""
        loop = asyncio.get_running_loop()
        work = partial(around.driver.inside, network, partial(_make, list(around.streams)))
        made = cls(network, around, await loop.run_in_executor(None, work))
        try:
            await made._serve(loop)
        except BaseException:
            made.close()
            raise
        return made

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        held = self._held
        self._servers.append(await asyncio.start_server(self._dns_stream, sock=held.dns_stream))
        for place, serve in self.around.streams.items():
            self._servers.append(await serve(self.network, held.streams[place]))
        loop.add_reader(held.dhcp, self._read, held.dhcp, self._dhcp)
        loop.add_reader(held.dns, self._read, held.dns, self._dns)

    async def stands(self) -> bool:
        """Whether the network is still the one that the sockets were made in."""
        loop = asyncio.get_running_loop()
        try:
            work = partial(self.around.driver.inside, self.network, namespace)
            return await loop.run_in_executor(None, work) == self._held.namespace
        except DriverError:
            return False

    def close(self) -> None:
        """Close every socket; what is under way ends."""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        for one in self._held.all():
            if one.fileno() >= 0:
                loop.remove_reader(one)
                one.close()

    # --- packets -----------------------------------------------------------------------------------------------------

    def _read(self, one: socket.socket, work: Callable[[bytes, int, bytes, tuple[str, int]], object]) -> None:
        """Hand every packet that waits to `work`, with the link and the address that it came to."""
        for _ in range(64):
            try:
                data, ancillary, _flags, sender = one.recvmsg(4096, 256)
            except OSError:
                return
            for level, kind, content in ancillary:
                if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                    link, _ours, destination = _PKTINFO.unpack(content[:12])
                    try:
                        work(data, link, destination, sender)
                    except Exception:  # an edge: one guest's packet must not stop the others
                        log.exception("a packet in %s", self.network)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- DHCP --------------------------------------------------------------------------------------------------------

    def _dhcp(self, data: bytes, link: int, destination: bytes, sender: tuple[str, int]) -> None:
        question = dhcp.read(data)
        if question is not None and self._leases.take(str(link)):
            self._spawn(self._leases.use(str(link), self._lease(question, link)))

    async def _lease(self, question: dhcp.Question, link: int) -> None:
        around = self.around
        with around.database.unit(None, write=False) as unit:
            lease = lease_of(unit, self.network, question.mac, lambda ip: f"ip-{ip.replace('.', '-')}")
        answer = dhcp.answer(question, lease)
        if answer is None or lease is None or not await self._comes_from(lease.port, link):
            return
        control = _PKTINFO.pack(link, socket.inet_aton(lease.router), bytes(4))
        try:
            self._held.dhcp.sendmsg(
                [answer.packet],
                [(socket.IPPROTO_IP, IP_PKTINFO, control)],
                0,
                (answer.destination, dhcp.CLIENT_PORT),
            )
        except OSError as error:
            log.warning("DHCP to %s in %s: %s", lease.address, self.network, error)
            return
        if answer.leased:
            around.leased(lease.port)

    async def _comes_from(self, port: str, link: int) -> bool:
        """Whether a link is that port's own: a guest could send another's hardware address."""
        name = self.around.driver.link(port)
        loop = asyncio.get_running_loop()
        work = partial(self.around.driver.inside, self.network, partial(_index_of, name))
        try:
            return await loop.run_in_executor(None, work) == link
        except DriverError:
            return False

    # --- DNS ---------------------------------------------------------------------------------------------------------

    def _dns(self, data: bytes, link: int, destination: bytes, sender: tuple[str, int]) -> None:
        ours = socket.inet_ntoa(destination)
        told = self._answer(data, ours)
        if isinstance(told, bytes):
            self._send_dns(told, destination, sender)
        elif told is not None and self._forwards.take(sender[0]):
            self._spawn(self._forwards.use(sender[0], self._forward(told.query, destination, sender)))

    def _answer(self, query: bytes, asked_at: str) -> bytes | resolver.Ask | None:
        """What to say to a query that came to one of our addresses; None for silence."""
        with self.around.database.unit(None, write=False) as unit:
            network = unit.session.get(Network, self.network)
            if network is None or not network.resolver or asked_at not in (resolver_of(network), RESOLVER):
                return None

            def known(name: str, kind: str) -> resolver.Found:
                return self.around.known(unit, network, name, kind)

            try:
                return resolver.answer(query, known, forwards=bool(self.around.resolvers))
            except resolver.Unanswerable:
                return None

    def _send_dns(self, told: bytes, source: bytes, receiver: tuple[str, int]) -> None:
        control = _PKTINFO.pack(0, source, bytes(4))
        with contextlib.suppress(OSError):
            self._held.dns.sendmsg([told], [(socket.IPPROTO_IP, IP_PKTINFO, control)], 0, receiver)

    async def _forward(self, query: bytes, source: bytes, receiver: tuple[str, int]) -> None:
        told = await self._ask_others(query, stream=False)
        if told is not None:
            self._send_dns(told, source, receiver)

    async def _ask_others(self, query: bytes, *, stream: bool) -> bytes | None:
        """The answer of the first resolver that gives one."""
        for address in self.around.resolvers:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(PATIENCE):
                    return await (_ask_by_stream if stream else _ask_by_packet)(query, address)
        return None

    async def _dns_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender = writer.get_extra_info("peername")[0]
        if self._streams.take(sender):
            await self._streams.use(sender, self._converse(reader, writer))
        else:
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = writer.get_extra_info("sockname")[0]
        with contextlib.closing(writer), contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
            while True:
                async with asyncio.timeout(PATIENCE):
                    query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                told = self._answer(query, ours)
                if isinstance(told, resolver.Ask):
                    told = await self._ask_others(told.query, stream=True)
                if told is None:
                    return
                writer.write(len(told).to_bytes(2, "big") + told)
                await writer.drain()


def _index_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


async def _ask_by_packet(query: bytes, address: str) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as one:
        one.connect((address, 53))  # from a port that nobody can guess, and from that address only
        await loop.sock_sendall(one, query)
        while True:
            told = await loop.sock_recv(one, 4096)
            if told[:2] == query[:2]:
                return told


async def _ask_by_stream(query: bytes, address: str) -> bytes:
    reader, writer = await asyncio.open_connection(address, 53)
    with contextlib.closing(writer):
        writer.write(len(query).to_bytes(2, "big") + query)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
