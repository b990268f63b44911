"""Small documents of other servers: how identity providers say where their keys are."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ipaddress
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from compat.sts.issuers import Unreachable, Untrusted, Unusable
from gateway import __version__

PATIENCE = 5.0
"""Seconds for one document."""
MOST_BYTES = 1 << 20


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Nowhere else: what is asked is asked of the provider."""


class WebDocuments:
    """Fetches over HTTPS, with the authorities that this machine trusts (`SSL_CERT_FILE` names others) or, where these
    do not know a certificate, with the one that a thumbprint names. `plain`: over HTTP, too, from this machine."""

    def __init__(self, *, plain: bool) -> None:
        self._plain = plain

    def get(self, url: str, thumbprints: Sequence[str]) -> bytes:
        """See `Documents`."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "http" and self._plain and is_loopback(host):
            return self._get(url, None)
        if parts.scheme != "https" or not host:
            raise Unusable(f"{url} is not an address of HTTPS")
        try:
            return self._get(url, ssl.create_default_context())
        except Untrusted:
            anchor = _anchor(host, parts.port or 443, {print.lower() for print in thumbprints})
        context = ssl.create_default_context(cadata=anchor)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return self._get(url, context)

    def _get(self, url: str, context: ssl.SSLContext | None) -> bytes:
        handlers: list[urllib.request.BaseHandler] = [_Stay()]
        if context is not None:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        if is_loopback(urlsplit(url).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(url, headers={"User-Agent": f"Nephele/{__version__}"})
        ends = time.monotonic() + PATIENCE
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=PATIENCE) as answer:
                return _read(answer, url, ends)
        except urllib.error.HTTPError as fault:
            with contextlib.closing(fault):
                raise (Unreachable if fault.code >= 500 else Unusable)(f"{url} answers {fault.code}") from None
        except urllib.error.URLError as fault:
            if isinstance(fault.reason, ssl.SSLError):
                raise Untrusted(str(fault.reason)) from None
            raise Unreachable(f"{url}: {fault.reason}") from None
        except (http.client.HTTPException, OSError, ValueError) as fault:
            raise Unreachable(f"{url}: {fault}") from None


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _read(answer: Any, url: str, ends: float) -> bytes:
    found = bytearray()
    while block := answer.read1(65536):
        found += block
        if len(found) > MOST_BYTES:
            raise Unusable(f"{url} is longer than {MOST_BYTES} bytes")
        if time.monotonic() > ends:
            raise Unreachable(f"{url} takes longer than {PATIENCE:g} seconds")
    return bytes(found)


def _anchor(host: str, port: int, thumbprints: set[str]) -> bytes:
    """The certificate among those that a server shows which has one of the thumbprints. Raises `Untrusted`.

    That it is shown proves nothing: it is then what the server's certificate must come from.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = _chain(secured)
    except OSError as fault:
        raise Unreachable(f"{host}: {fault}") from None
    for certificate in shown:
        if hashlib.sha1(certificate, usedforsecurity=False).hexdigest() in thumbprints:
            return certificate
    raise Untrusted(f"{host} shows no certificate with a thumbprint that was given")


def _chain(secured: ssl.SSLSocket) -> list[bytes]:
    """All certificates that the other side shows, its own first; Python before 3.13 has that under another name."""
    public = getattr(secured, "get_unverified_chain", None)
    if public is not None:
        return list(public())
    hidden = getattr(getattr(secured, "_sslobj", None), "get_unverified_chain", None)
    if hidden is not None:
        return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in hidden() or ()]
    own = secured.getpeercert(binary_form=True)
    return [own] if own is not None else []
