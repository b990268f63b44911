"""TLS at the endpoint's own port: certificates for whatever name a client asks for, signed by an authority of this
cloud's own, or a certificate that was given.

Nothing is made before the first client speaks TLS. The authority lies in the data folder, for its owner only; clients
have to trust it (`nephele ca` prints its certificate).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import ssl
import tempfile
import time
from asyncio.sslproto import SSLProtocol
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

HELLO = 0x16
"""The first byte of a connection that begins with TLS (RFC 8446, 5.1: a handshake record); of no HTTP request."""
LASTS_OF_AUTHORITY = timedelta(days=3650)
LASTS = timedelta(days=30)
RENEWED = 86400.0
"""Seconds after which a certificate is made anew."""
MOST_KEPT = 256
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)


class Certificates:
    """The certificates of one server. `given`: a PEM file with a certificate, its chain and its key, for all names.

    Raises `ssl.SSLError` and `OSError` where that file cannot be used.
    """

    def __init__(self, folder: Path, given: Path | None = None) -> None:
        self._file = folder / "tls" / "authority.pem"
        self._given: ssl.SSLContext | None = None
        if given is not None:
            self._given = _context()
            self._given.load_cert_chain(given)
        self._kept: OrderedDict[str, tuple[float, ssl.SSLContext]] = OrderedDict()
        self._authority: tuple[EllipticCurvePrivateKey, x509.Certificate] | None = None

    def context(self, address: str) -> ssl.SSLContext:
        """For a connection to an address of ours; a client that names a host gets a certificate of that name."""
        return self._given or self._for(address)

    def authority(self) -> bytes | None:
        """The certificate, in PEM, that clients have to trust; None where a certificate was given."""
        from cryptography.hazmat.primitives.serialization import Encoding

        return None if self._given is not None else self._signer()[1].public_bytes(Encoding.PEM)

    def _for(self, name: str) -> ssl.SSLContext:
        kept = self._kept.get(name)
        if kept is not None and time.monotonic() - kept[0] < RENEWED:
            self._kept.move_to_end(name)
            return kept[1]
        context = _context()
        with tempfile.NamedTemporaryFile(prefix="nephele-") as file:  # ssl reads certificates from files only
            file.write(_leaf(name, *self._signer()))
            file.flush()
            context.load_cert_chain(file.name)
        context.sni_callback = self._named
        self._kept[name] = time.monotonic(), context
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return context

    def _named(self, connection: Any, name: str | None, _: ssl.SSLContext) -> None:
        if name is not None and _NAME.fullmatch(name.lower()):
            connection.context = self._for(name.lower())

    def _signer(self) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
        """The authority, which the first of several processes makes for all."""
        if self._authority is None:
            if not self._file.exists():
                self._file.parent.mkdir(mode=0o700, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=self._file.parent) as file:
                    file.write(_new_authority())
                    file.flush()
                    os.fsync(file.fileno())
                    with contextlib.suppress(FileExistsError):
                        os.link(file.name, self._file)
            self._authority = _read(self._file.read_bytes())
        return self._authority


def seal(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    data: bytes,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Put TLS between a transport and a protocol, when `data` came already, which asyncio's own `start_tls` does not
    take. Whoever had the transport gets nothing more of it."""
    nobody: Any = None
    sealing = SSLProtocol(loop, protocol, context, nobody, server_side=True)
    transport.set_protocol(sealing)
    sealing.connection_made(transport)
    while data:
        room = sealing.get_buffer(len(data))
        taken = min(len(room), len(data))
        room[:taken] = data[:taken]
        sealing.buffer_updated(taken)
        data = data[taken:]


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read(pem: bytes) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: Any = load_pem_private_key(pem, None)
    return key, x509.load_pem_x509_certificate(pem)


def _new_authority() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _subject("Nephele, the cloud on this machine")
    certificate = (
        _begun(key.public_key(), name, name, LASTS_OF_AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_uses("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(key, certificate)


def _leaf(name: str, signer: EllipticCurvePrivateKey, authority: x509.Certificate) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    own: x509.GeneralName
    try:
        own = x509.IPAddress(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        own = x509.DNSName(name)
    issuer_key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _begun(key.public_key(), _subject(name[:64]), authority.subject, LASTS)
        .add_extension(x509.SubjectAlternativeName([own]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_uses("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _pem(key, certificate)


def _begun(key: Any, subject: x509.Name, issuer: x509.Name, lasts: timedelta) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # for machines whose clock is slow
        .not_valid_after(now + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(text: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


def _uses(*uses: str) -> x509.KeyUsage:
    from cryptography import x509

    every = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
    every += "crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{use: use in uses for use in every.split()})


def _pem(key: EllipticCurvePrivateKey, certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)
