"""What a guest finds around it, seen from a stand-in: run inside a sandbox, it prints what it found as JSON.

Arguments: the data folder of a running server, its deployment, and the network card to stand in for.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import Any

import dns.message
import dns.query
import dns.rcode

from backends.db import Database
from backends.errors import DriverError
from backends.network import dhcp
from backends.network.drivers.linux.driver import LinuxNetwork
from backends.network.models import Port
from backends.network.plan import plan, read_rows
from tests.compat.real.standins import CARD, StandIn, here

LINK_LOCAL = "169.254.169.254"


def main() -> None:
    folder, deployment, card = sys.argv[1:]
    database = Database(f"sqlite:///{folder}/nephele.db")
    driver = LinuxNetwork(deployment, IPv4Network("198.18.0.0/15"))
    with database.unit(None, write=False) as unit:
        network = unit.session.get_one(Port, card).network_id
    deadline = time.monotonic() + 60
    while True:
        # What the server ensured is left alone, and known to this process from then on.
        with database.unit(None, write=False) as unit:
            rows = read_rows(unit.session, network)
        assert rows is not None
        wanted = plan(rows)
        try:
            if driver.observe().get(network) is not None:
                driver.ensure(wanted)
                break
        except DriverError:
            pass
        assert time.monotonic() < deadline, "the network is never ensured"
        time.sleep(0.05)
    port = next(port for port in wanted.ports if port.id == card)
    segment = next(segment for segment in wanted.segments if segment.id == port.segment)
    host = here()
    guest = StandIn("one", host, driver.link(card), port, segment.cidrs[0])
    driver.adopt(network, card)
    found: dict[str, Any] = {"lease": guest.space.run(lambda: lease(guest))}
    guest.space.run(lambda: guest._configure(segment.cidrs[0]))
    for name, look in LOOKS.items():
        found[name] = guest.space.run(look)
    json.dump(found, sys.stdout)
    sys.stdout.flush()
    guest.close()
    driver.close()
    host.close()
    database.close()


# --- looks: each on the guest's own thread ----------------------------------------------------------------------------


def lease(guest: StandIn) -> dict[str, Any]:
    """Ask for an address, from a card that has none."""
    guest.space.links.flush_addr(index=socket.if_nametoindex(CARD))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, CARD.encode())
        client.bind(("", dhcp.CLIENT_PORT))
        client.settimeout(0.5)
        offer = _say(client, guest, dhcp.Kind.DISCOVER, {})
        wanted = {dhcp.Option.WANTED_ADDRESS: offer[16:20], dhcp.Option.SERVER: offer[20:24]}
        options = dhcp.read_options(offer[240:])
        wanted[dhcp.Option.SERVER] = options[dhcp.Option.SERVER]
        given = _say(client, guest, dhcp.Kind.REQUEST, wanted)
        options = dhcp.read_options(given[240:])
        return {
            "kind": options[dhcp.Option.KIND][0],
            "address": socket.inet_ntoa(given[16:20]),
            "router": socket.inet_ntoa(options[dhcp.Option.ROUTER]),
            "resolvers": socket.inet_ntoa(options[dhcp.Option.RESOLVERS]),
            "domain": options[dhcp.Option.DOMAIN].decode(),
            "host_name": options[dhcp.Option.HOST_NAME].decode(),
        }


def _say(client: socket.socket, guest: StandIn, kind: dhcp.Kind, options: dict[int, bytes]) -> bytes:
    mac = bytes.fromhex(guest.port.mac.replace(":", ""))
    packet = bytes([1, 1, 6, 0]) + b"abcd" + bytes(20) + mac.ljust(16, b"\0") + bytes(192) + dhcp.COOKIE
    packet += dhcp.write_options({dhcp.Option.KIND: bytes([kind])} | options)
    for _ in range(40):  # a client says it again until it is heard: the sockets may have to be opened first
        client.sendto(packet, ("255.255.255.255", dhcp.SERVER_PORT))
        try:
            return client.recv(2048)
        except TimeoutError:
            continue
    raise AssertionError(f"nobody answers {kind.name}")


def ask(method: str, path: str, headers: dict[str, str] | None = None, port: int = 80) -> tuple[int, str]:
    connection = http.client.HTTPConnection(LINK_LOCAL, port, timeout=20)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metadata() -> dict[str, Any]:
    """What IMDSv2 tells, and the hops that a token's packet may make."""
    frames = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    with frames:
        frames.settimeout(20)
        status, token = ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        assert status == 200, token
        while token.encode() not in (frame := frames.recv(4096)):
            pass
    named = {"X-aws-ec2-metadata-token": token}
    role = ask("GET", "/latest/meta-data/iam/security-credentials/", named)[1]
    return {
        "hops": frame[8],
        "without": ask("GET", "/latest/meta-data/instance-id")[0],
        "instance": ask("GET", "/latest/meta-data/instance-id", named),
        "user_data": ask("GET", "/latest/user-data", named)[1],
        "credentials": json.loads(ask("GET", f"/latest/meta-data/iam/security-credentials/{role}", named)[1]),
    }


def names() -> dict[str, list[str]]:
    """What the resolver says, at each of its addresses, by packet and by stream."""
    found = {}
    for server in ("10.7.0.2", "169.254.169.253"):
        for name, kind in (
            ("ip-10-7-1-9.ec2.internal", "A"),
            ("9.1.7.10.in-addr.arpa", "PTR"),
            ("nephele.internal", "A"),
            ("debian.org", "A"),
        ):
            query = dns.message.make_query(name, kind)
            for way in (dns.query.udp, dns.query.tcp):
                told = way(query, server, timeout=20)
                values = [str(item) for group in told.answer for item in group]
                found[f"{server} {name} {way.__name__}"] = values or [dns.rcode.to_text(told.rcode())]
    return found


def api() -> dict[str, Any]:
    """The AWS endpoint, from where a guest is."""
    from tests.compat.conftest import new_client

    endpoint = f"http://{LINK_LOCAL}:4566"
    held = metadata()["credentials"]
    given = {"secret": held["SecretAccessKey"], "aws_session_token": held["Token"]}
    found: dict[str, Any] = {
        "who": new_client(endpoint, "sts", held["AccessKeyId"], **given).get_caller_identity()["Arn"]
    }
    for key in ("test", "123456789012"):
        client = new_client(endpoint, "sts", key)
        try:
            found[key] = client.get_caller_identity()["Arn"]
        except client.exceptions.ClientError as error:
            found[key] = error.response["Error"]["Code"]
    found["own"] = ask("GET", "/_nephele/info", port=4566)[0]
    return found


LOOKS: dict[str, Callable[[], Any]] = {"metadata": metadata, "names": names, "api": api}


if __name__ == "__main__":
    main()
