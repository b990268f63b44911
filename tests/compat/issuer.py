"""A small OpenID Connect provider: keys of its own, tokens, and the two documents that it publishes."""

from __future__ import annotations

import base64
import datetime
import hashlib
import http.server
import ipaddress
import json
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _number(number: int, size: int | None = None) -> str:
    return _text(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


class Issuer:
    """Serves on a loopback address; with `folder`, over TLS with a certificate that nobody vouches for."""

    def __init__(self, folder: Path | None = None) -> None:
        self.rsa, self.ec = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(issuer.documents.get(self.path)).encode()
                self.send_response(200 if self.path in issuer.documents else 404)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thumbprint = ""
        if folder is not None:
            self._secure(folder)
        scheme = "http" if folder is None else "https"
        self.id = f"127.0.0.1:{self._server.server_port}/realm"
        self.url = f"{scheme}://{self.id}"
        self.documents = {
            "/realm/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/realm/keys": {"keys": self._keys()},
        }

    def _secure(self, folder: Path) -> None:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
        now = datetime.datetime.now(datetime.UTC)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.ec.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(address, critical=False)
            .sign(self.ec, hashes.SHA256())
        )
        self.thumbprint = hashlib.sha1(made.public_bytes(serialization.Encoding.DER)).hexdigest()
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        path = folder / "issuer.pem"
        path.write_bytes(self.ec.private_bytes(pem, pkcs8, serialization.NoEncryption()) + made.public_bytes(pem))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def _keys(self) -> list[dict[str, str]]:
        numbers, point = self.rsa.public_key().public_numbers(), self.ec.public_key().public_numbers()
        return [
            {"kty": "RSA", "kid": "RS256", "use": "sig", "n": _number(numbers.n), "e": _number(numbers.e)},
            {"kty": "EC", "kid": "ES256", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)},
        ]

    def token(self, algorithm: str = "RS256", **claims: Any) -> str:
        """A signed token, good for ten minutes, with further claims (None: without that one)."""
        now = int(time.time())
        usual = {"iss": self.url, "sub": "somebody", "aud": "app", "iat": now, "exp": now + 600}
        told = {name: value for name, value in (usual | claims).items() if value is not None}
        head = {"alg": algorithm, "kid": algorithm, "typ": "JWT"}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, told))
        if algorithm == "RS256":
            return f"{signed}.{_text(self.rsa.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
        r, s = utils.decode_dss_signature(self.ec.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def __enter__(self) -> Issuer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
