"""The tree of an instance's metadata: a pure function of its rows, and the way to a path in it.

A leaf is a text, bytes, or a function that makes one when it is asked for. Names and contents are those of AWS's
"Instance metadata categories"; what an instance has not got is not in the tree. All versions show the same tree.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from backends.compute.models import Guest
from backends.network.models import Port
from compat.context import partition_of
from compat.ec2.flavors import flavors
from compat.metadata.instance import Instance
from compat.regions import regions, zones

Leaf = str | bytes | Callable[[], str | bytes]
Node = Mapping[str, "Node"] | Leaf

VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
    "2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20", "2016-04-19",
    "2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01", "2020-10-27", "2021-01-03",
    "2021-03-23", "2021-07-15", "2022-07-09", "2022-09-24", "2024-04-11", "latest",
)  # fmt: skip


class Keys(dict[str, "Node"]):
    """The folder of public keys: entries are listed as `0=name`, and found as `0`."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__({"0": {"openssh-key": text}})
        self.names = {"0": name}


def tree(instance: Instance, *, role: str | None, dynamic: Mapping[str, Node], credentials: Leaf) -> dict[str, Node]:
    """What lies below a version. `role` is the name of the role that the instance profile carries, `credentials` the
    leaf with its keys, `dynamic` the folder of instance identity."""
    guest = instance.guest
    found: dict[str, Node] = {
        "dynamic": {
            "fws": {"instance-monitoring": "enabled" if guest.monitored else "disabled"},
            "instance-identity": dynamic,
        },
        "meta-data": _sorted(_meta_data(instance, role, credentials)),
    }
    if guest.user_data:
        found["user-data"] = base64.b64decode(guest.user_data)
    return found


def _meta_data(instance: Instance, role: str | None, credentials: Leaf) -> dict[str, Node]:
    guest, shown = instance.guest, instance.shown
    found: dict[str, Node] = {
        "ami-id": guest.image,
        "ami-launch-index": str(guest.position),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": _sorted(_mappings(instance)),
        "events": {
            "maintenance": {"history": "[]", "scheduled": "[]"},
        },
        "hibernation": {"configured": str((shown.get("HibernationOptions") or {}).get("Configured", False)).lower()},
        "instance-action": "none",
        "instance-id": guest.id,
        "instance-life-cycle": str(shown.get("InstanceLifecycle") or "on-demand"),
        "instance-type": guest.flavor,
        "metrics": {"vhostmd": '<?xml version="1.0" encoding="UTF-8"?>'},
        "placement": _sorted(_placement(guest, shown)),
        "profile": f"default-{shown.get('VirtualizationType', 'hvm')}",
        "reservation-id": guest.batch,
        "services": _services(guest.region),
        "system": _system(guest.flavor),
    }
    for member, name in (("KernelId", "kernel-id"), ("RamdiskId", "ramdisk-id")):
        if shown.get(member):
            found[name] = str(shown[member])
    if instance.ports:
        found |= _first_port(instance, instance.ports[0])
        found["network"] = {"interfaces": {"macs": {port.mac: _card(instance, port) for port in instance.ports}}}
    if guest.notes.get("profile") is not None:
        found["iam"] = _profile(guest, role, credentials)
    if instance.login_key is not None:
        found["public-keys"] = Keys(guest.key_name or "", instance.login_key.rstrip("\n") + "\n")
    if (shown.get("MetadataOptions") or {}).get("InstanceMetadataTags") == "enabled":
        found["tags"] = {"instance": dict(instance.tags)}
    return found


def _mappings(instance: Instance) -> dict[str, Node]:
    """The root device under both its names, and the further volumes as `ebs1`, `ebs2`, …"""
    root = instance.guest.root_device
    found: dict[str, Node] = {} if root is None else {"ami": root, "root": root}
    others = [device for device, _ in instance.disks if device != root]
    return found | {f"ebs{number}": device.removeprefix("/dev/") for number, device in enumerate(others, 1)}


def _placement(guest: Guest, shown: Mapping[str, Any]) -> dict[str, Node]:
    placement: Mapping[str, Any] = shown.get("Placement") or {}
    found: dict[str, Node] = {"availability-zone": guest.zone, "region": guest.region}
    for zone in zones(guest.region):
        if zone.name == guest.zone:
            found["availability-zone-id"] = zone.id
    for member, name in (("GroupName", "group-name"), ("HostId", "host-id"), ("PartitionNumber", "partition-number")):
        if placement.get(member):
            found[name] = str(placement[member])
    return found


def _system(flavor: str) -> str:
    """What instances of that type run on. Bare metal has Nitro's cards, too."""
    known = flavors().get(flavor)
    return "nitro" if known is None or known.family.nitro else "xen"


def _services(region: str) -> dict[str, Node]:
    known = regions().get(region)
    return {"domain": known.dns_suffix if known is not None else "amazonaws.com", "partition": partition_of(region)}


def _profile(guest: Guest, role: str | None, credentials: Leaf) -> dict[str, Node]:
    profile = guest.notes["profile"]
    info = {
        "Code": "Success",
        "LastUpdated": f"{guest.launched:%Y-%m-%dT%H:%M:%SZ}",
        "InstanceProfileArn": profile["Arn"],
        "InstanceProfileId": profile["Id"],
    }
    return {"info": pretty(info), "security-credentials": {} if role is None else {role: credentials}}


def _first_port(instance: Instance, port: Port) -> dict[str, Node]:
    """What is told of the first interface at the top of the tree."""
    found: dict[str, Node] = {"mac": port.mac, "security-groups": _lines(link.name for link in port.groups)}
    name = instance.private_name(port)
    if name is not None:
        found |= {"hostname": name, "local-hostname": name}
    private = port.private()
    if private is not None:
        found["local-ipv4"] = private.ip
        if private.public_ip is not None:
            found["public-ipv4"] = private.public_ip
            found["public-hostname"] = instance.public_name(port, private.public_ip)
    six = [row.ip for row in port.addresses if row.family == 6]
    return found | ({"ipv6": six[0]} if six else {})


def _card(instance: Instance, port: Port) -> dict[str, Node]:
    """An interface, whole."""
    guest, segment, network = instance.guest, instance.segments[port.segment_id], instance.networks[port.network_id]
    four = [row for row in port.addresses if row.family == 4]
    six = [row.ip for row in port.addresses if row.family == 6]
    publics = [(row.public_ip, row.ip) for row in four if row.public_ip is not None]
    found: dict[str, Node] = {
        "device-number": str(port.device_index or 0),
        "interface-id": port.id,
        "mac": port.mac,
        "network-card": str(port.card_index or 0),
        "owner-id": guest.tenant,
        "security-group-ids": _lines(link.group_id for link in port.groups),
        "security-groups": _lines(link.name for link in port.groups),
        "subnet-id": port.segment_id,
        "vpc-id": port.network_id,
        "vpc-ipv4-cidr-block": network.cidr,
        "vpc-ipv4-cidr-blocks": _lines(block.cidr for block in network.ranges if block.family == 4),
    }
    if segment.cidr:
        found["subnet-ipv4-cidr-block"] = segment.cidr
    if four:
        found["local-ipv4s"] = _lines(row.ip for row in four)
    name = instance.private_name(port)
    if name is not None:
        found["local-hostname"] = name
    if publics:
        found["ipv4-associations"] = dict(publics)
        found["public-ipv4s"] = _lines(public for public, _ in publics)
        found["public-hostname"] = instance.public_name(port, publics[0][0])
    if six:
        found["ipv6s"] = _lines(six)
    if segment.ranges:
        found["subnet-ipv6-cidr-blocks"] = _lines(block.cidr for block in segment.ranges)
        found["vpc-ipv6-cidr-blocks"] = _lines(block.cidr for block in network.ranges if block.family == 6)
    return _sorted(found)


def _lines(values: Any) -> str:
    return "\n".join(values)


def _sorted(folder: dict[str, Node]) -> dict[str, Node]:
    return dict(sorted(folder.items()))


def pretty(document: Mapping[str, Any]) -> str:
    """A JSON document as the metadata service writes it."""
    return json.dumps(document, indent=2, separators=(",", " : "))


def at(root: Mapping[str, Node], path: str) -> str | bytes | None:
    """What stands at a path below a version: a leaf's content, a folder's list, or None. Slashes at the end, or
    doubled, change nothing. What is right below a version is listed without slashes, as AWS does."""
    node: Node = root
    for part in path.split("/"):
        if part:
            if not isinstance(node, Mapping) or part not in node:
                return None
            node = node[part]
    if isinstance(node, Mapping):
        return "\n".join(root) if node is root else listing(node)
    return node() if callable(node) else node


def listing(folder: Mapping[str, Node]) -> str:
    """The entries of a folder, one a line; folders end in a slash."""
    if isinstance(folder, Keys):
        return "\n".join(f"{entry}={name}" for entry, name in folder.names.items())
    return "\n".join(name + "/" * isinstance(node, Mapping) for name, node in folder.items())
