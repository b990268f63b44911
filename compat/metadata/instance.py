"""An instance as its metadata tells of it: the rows, read at once, and the answers to "who is asking?"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from backends.compute.models import Guest, GuestState, LoginKey
from backends.db import Unit
from backends.network.models import DhcpOptions, Network, Port, PortAddress, Segment
from backends.volume.models import Attachment
from compat.tags import Tag
from compat.vpc.names import private_domain, public_name

ALIVE = (GuestState.PENDING, GuestState.RUNNING, GuestState.STOPPING, GuestState.SHUTTING_DOWN)
"""States in which something can run that asks."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The rows that one instance's metadata is made of. They are read only, and may outlive their session.

    `ports` are in the order of their device index. `options` holds, for each network, the DHCP options in force.
    """

    guest: Guest
    ports: Sequence[Port]
    networks: Mapping[str, Network]
    segments: Mapping[str, Segment]
    options: Mapping[str, Sequence[Mapping[str, Any]]]
    disks: Sequence[tuple[str, str]]
    """Device and volume of each attached disk, in the order of the devices."""
    tags: Mapping[str, str]
    login_key: str | None
    """The OpenSSH text of the key pair's public half."""

    @property
    def shown(self) -> Mapping[str, Any]:
        """What DescribeInstances shows of the launch."""
        found: Mapping[str, Any] = self.guest.notes["shown"]
        return found

    def domain(self, port: Port) -> str:
        """The domain of private names at a port: what the DHCP options say, else the region's."""
        for option in self.options.get(port.network_id, ()):
            if option["key"] == "domain-name" and option["values"]:
                return str(option["values"][0])
        return private_domain(self.guest.region)

    def private_name(self, port: Port) -> str | None:
        """The private host name at a port."""
        names: Mapping[str, Any] = self.shown.get("PrivateDnsNameOptions") or {}
        if names.get("HostnameType") == "resource-name":
            return f"{self.guest.id}.{self.domain(port)}"
        address = port.private()
        return None if address is None else f"ip-{address.ip.replace('.', '-')}.{self.domain(port)}"

    def public_name(self, port: Port, ip: str) -> str:
        """The public host name of a public address of a port; empty where the VPC gives none."""
        network = self.networks[port.network_id]
        return public_name(self.guest.region, ip) if network.hostnames and network.resolver else ""


def by_address(unit: Unit, network: str, ip: str) -> Guest | None:
    """The guest that has an address in a network, if it is alive."""
    return unit.session.scalar(
        select(Guest)
        .join(Port, Port.guest_id == Guest.id)
        .join(PortAddress, PortAddress.port_id == Port.id)
        .where(Port.network_id == network, PortAddress.ip == ip, Guest.state.in_(ALIVE))
    )


def by_ending(unit: Unit, ending: str) -> Sequence[Guest]:
    """The living guests whose id ends so."""
    return unit.session.scalars(select(Guest).where(Guest.id.endswith(ending), Guest.state.in_(ALIVE))).all()


def read(unit: Unit, guest: Guest) -> Instance:
    """Everything that a guest's metadata tells. `unit` must see it (a reconciler's unit sees all)."""
    session = unit.session
    ports = session.scalars(
        select(Port).where(Port.guest_id == guest.id).order_by(Port.device_index, Port.card_index)
    ).all()
    networks = {
        row.id: row
        for row in session.scalars(select(Network).where(Network.id.in_({port.network_id for port in ports})))
    }
    segments = session.scalars(select(Segment).where(Segment.id.in_({port.segment_id for port in ports})))
    wanted = {row.dhcp_options_id for row in networks.values() if row.dhcp_options_id}
    options = {row.id: row.options for row in session.scalars(select(DhcpOptions).where(DhcpOptions.id.in_(wanted)))}
    disks = session.execute(
        select(Attachment.device, Attachment.disk).where(Attachment.guest == guest.id).order_by(Attachment.device)
    )
    tags = session.execute(
        select(Tag.key, Tag.value)
        .where(Tag.tenant == guest.tenant, Tag.region == guest.region, Tag.resource == guest.id)
        .order_by(Tag.key)
    )
    return Instance(
        guest=guest,
        ports=ports,
        networks=networks,
        segments={row.id: row for row in segments},
        options={row.id: options.get(row.dhcp_options_id or "", ()) for row in networks.values()},
        disks=[(device, disk) for device, disk in disks],
        tags=dict(row.tuple() for row in tags),
        login_key=_login_key(unit, guest),
    )


def _login_key(unit: Unit, guest: Guest) -> str | None:
    """The public key that the guest was started with; it stays when the key pair is deleted."""
    kept: str | None = guest.notes.get("login_key")
    if kept is not None or guest.key_name is None:
        return kept
    return unit.session.scalar(
        select(LoginKey.public).where(
            LoginKey.tenant == guest.tenant, LoginKey.region == guest.region, LoginKey.name == guest.key_name
        )
    )
