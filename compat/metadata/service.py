"""The metadata service without its wire: who asks, may they, and what is the answer.

An instance is known by the network and the address that it asks from (or, where no packets flow, by the loopback
address that it asks at), never by anything that a request says.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from backends.compute.models import Guest
from backends.db import Unit
from backends.identity.seal import Seal, Unsealable
from backends.identity.signet import Signet
from compat.cloud import Cloud
from compat.metadata.identity_document import signed
from compat.metadata.instance import Instance, by_address, by_ending, read
from compat.metadata.role_credentials import RoleCredentials, role_of
from compat.metadata.tree import VERSIONS, Node, at, tree

TOKEN_PATH = "/latest/api/token"
TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"
MOST_TTL = 21600


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. Header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer. `hops`: how many hops its packets may make, where that is limited."""

    status: int
    body: bytes = b""
    kind: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)
    hops: int | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    instance: Instance
    root: Mapping[str, Node]


Finder = Callable[[Unit], Guest | None]


def asking_from(network: str, ip: str) -> Finder:
    """The instance that has an address in a network."""
    return lambda unit: by_address(unit, network, ip)


def asked_at(ip: str) -> Finder | None:
    """The instance whose loopback address that is; None for an address that can be nobody's.

    It is `127.` and the last three bytes of the instance's id: i-…a1b2c3 is asked at 127.161.178.195."""
    parts = [int(part) for part in ip.split(".")] if ip.count(".") == 3 else []
    if not parts or parts[0] != 127:
        return None
    ending = bytes(parts[1:]).hex()

    def find(unit: Unit) -> Guest | None:
        found = by_ending(unit, ending)
        return found[0] if len(found) == 1 else None

    return find


class MetadataService:
    """Answers for one cloud. What was read of an instance is kept while no row that it was made of changes."""

    def __init__(self, cloud: Cloud, seal: Seal, signet: Signet) -> None:
        self._cloud, self._seal, self._signet = cloud, seal, signet
        self._credentials = RoleCredentials(cloud)
        self._kept: dict[object, tuple[dict[str, int], _Known | None]] = {}

    def answer(self, place: object, find: Finder, asked: Asked) -> Told:
        """The answer to a request; `place` is where it came from, equal for requests of the same origin."""
        known = self._find(place, find)
        if known is None:
            return _page(404)
        options: Mapping[str, object] = known.instance.shown.get("MetadataOptions") or {}
        if options.get("HttpEndpoint") == "disabled":
            return _page(403)
        path = unquote(asked.path.partition("?")[0])  # names may have signs that clients spell out
        if path.rstrip("/") == TOKEN_PATH:
            return self._token(known, asked, int(str(options.get("HttpPutResponseHopLimit") or 1)))
        if asked.method == "OPTIONS":
            return Told(200, headers={"Allow": "GET, HEAD, OPTIONS"})
        if asked.method not in ("GET", "HEAD"):
            return _page(405, {"Allow": "GET, HEAD, OPTIONS"})
        headers: dict[str, str] = {}
        given = asked.headers.get(TOKEN)
        if given is not None:
            left = self._left(known.instance.guest.id, given)
            if left is None:
                return _page(401)
            headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"] = str(left)
        elif options.get("HttpTokens") == "required":
            return _page(401)
        return _read(known.root, path, headers)

    def _find(self, place: object, find: Finder) -> _Known | None:
        stamps = self._cloud.database.stamps.read()
        kept = self._kept.get(place)
        if kept is not None and all(stamps.get(topic, 0) == value for topic, value in kept[0].items()):
            return kept[1]
        with self._cloud.database.unit(None, write=False) as unit:
            guest = find(unit)
            known = None if guest is None else self._know(unit, guest)
            topics = unit.topics_read
        if len(self._kept) > 4096:
            self._kept.clear()
        self._kept[place] = {topic: stamps.get(topic, 0) for topic in topics}, known
        return known

    def _know(self, unit: Unit, guest: Guest) -> _Known:
        instance = read(unit, guest)
        role = role_of(unit, guest)
        root = tree(
            instance,
            role=None if role is None else role.name,
            dynamic=signed(instance, self._signet),
            credentials="" if role is None else lambda: self._credentials.text(guest, role),
        )
        return _Known(instance, root)

    # --- tokens: nothing is kept, so they outlive a restart ----------------------------------------------------------

    def _token(self, known: _Known, asked: Asked, hops: int) -> Told:
        """A token, for whoever can make a PUT and did not come through a proxy."""
        if asked.method == "OPTIONS":
            return Told(200, headers={"Allow": "OPTIONS, PUT"})
        if asked.method != "PUT":
            return _page(405, {"Allow": "OPTIONS, PUT"})
        if "x-forwarded-for" in asked.headers:
            return _page(403)
        ttl = asked.headers.get(TTL, "")
        if not (ttl.isascii() and ttl.isdigit() and len(ttl) < 9 and 1 <= int(ttl) <= MOST_TTL):
            return _page(400)
        ends = int(self._cloud.database.clock().timestamp()) + int(ttl)
        sealed = self._seal.close(ends.to_bytes(8, "big") + secrets.token_bytes(6), _purpose(known.instance.guest.id))
        token = base64.urlsafe_b64encode(sealed)
        return Told(200, token, headers={"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl}, hops=hops)

    def _left(self, guest: str, token: str) -> int | None:
        """How many seconds a token is still good for, for that instance; None for one that is not."""
        try:
            opened = self._seal.open(base64.urlsafe_b64decode(token.encode()), _purpose(guest))
        except (Unsealable, ValueError):
            return None
        left = int.from_bytes(opened[:8], "big") - int(self._cloud.database.clock().timestamp())
        return left if left > 0 else None


def _purpose(guest: str) -> str:
    return f"metadata token of {guest}"


def _read(root: Mapping[str, Node], path: str, headers: Mapping[str, str]) -> Told:
    """What stands at a path. The first part is a version; all show the same."""
    version, _, rest = path.lstrip("/").partition("/")
    if not version:
        return Told(200, "\n".join(VERSIONS).encode(), headers=headers)
    content = at(root, rest) if version in VERSIONS else None
    if content is None:
        return _page(404, headers)
    if isinstance(content, bytes):
        return Told(200, content, "application/octet-stream", headers)
    return Told(200, content.encode(), headers=headers)


_REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
}


def _page(status: int, headers: Mapping[str, str] | None = None) -> Told:
    """An error as the metadata service shows it, to people."""
    title = f"{status} - {_REASONS[status]}"
    text = (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n'
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"\n'
        '\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n'
        f" <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    )
    return Told(status, text.encode(), "text/html", headers or {})
