"""A key that signs for the whole deployment, and the certificate that shows so."""

from __future__ import annotations

import contextlib
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

KEY_FILE = "instance-identity.pem"
CERTIFICATE_FILE = "instance-identity.crt"
LASTS = timedelta(days=100 * 365)


class Signet:
    """RSA with 2048 bits. Key and certificate are made at the first signature, and kept in the data folder.

    `certificate_file` may be given to anybody who wants to check a signature.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate_file = folder / CERTIFICATE_FILE
        self._held: tuple[RSAPrivateKey, Certificate] | None = None

    def sign(self, data: bytes) -> bytes:
        """The SHA-256 signature (PKCS #1 v1.5) of `data`."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        return self._load()[0].sign(data, padding.PKCS1v15(), hashes.SHA256())

    def enclose(self, data: bytes) -> bytes:
        """`data` with its signature in one PKCS #7 structure (DER). The certificate is not in it."""
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.serialization import pkcs7

        key, certificate = self._load()
        builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(certificate, key, hashes.SHA256())
        return builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCerts])

    def _load(self) -> tuple[RSAPrivateKey, Certificate]:
        if self._held is None:
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
            from cryptography.x509 import load_pem_x509_certificate

            path = self._folder / KEY_FILE
            if not path.exists():
                _place(path, _make(), 0o600)  # of two processes that start at once, one is first
            text = path.read_bytes()
            key = load_pem_private_key(text, None)
            assert isinstance(key, RSAPrivateKey)
            certificate = load_pem_x509_certificate(text)
            _place(self.certificate_file, text[text.index(b"-----BEGIN CERTIFICATE-----") :], 0o644)
            self._held = key, certificate
        return self._held


def _place(path: Path, content: bytes, mode: int) -> None:
    """Make a file that is there whole or not at all; one that is there stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def _make() -> bytes:
    """A new key and a certificate that it signed itself, in one PEM text."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Nephele"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Nephele instance identity"),
        ]
    )
    now = datetime.now(UTC).replace(microsecond=0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LASTS)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)
