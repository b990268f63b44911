"""The head of a request, exactly as it came over the wire, before anything is decoded or normalised.

Signatures are checked on these bytes, and routing reads the same object, so nothing can differ between the two.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

ZERO_COPY = "http.response.zerocopysend"
"""ASGI's name for sending from an open file."""
POURED = "nephele.response.poured"
"""Our connection's name for sending what is filled into a buffer: `fill`, `count`, `more_body`."""
TLS = "nephele.tls"
"""Our connection's name for how it is sealed: version and cipher, as OpenSSL names them."""
WHOLE = "nephele.response.whole"
"""Our connection's name for an answer in one message: `status`, `headers` (names in lower case), `body`."""


@dataclass(slots=True)
class Head:
    """Request line and headers.

    `raw_path` and `raw_query` are the bytes between the spaces of the request line (percent-encoded, as sent, without
    the `?`); `headers` are in the order sent, names in lower case, values as sent; `client` is the peer's address
    (empty when unknown); `scheme` is `http` or `https`; `zero_copy` says that the server can send from open files,
    `whole` that it takes an answer in one message; `tls` is the connection's version and cipher.
    """

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: list[tuple[bytes, bytes]]
    client: str = ""
    scheme: str = "http"
    zero_copy: bool = False
    whole: bool = False
    tls: tuple[str, str] | None = None
    _view: dict[bytes, bytes] | None = field(default=None, init=False, repr=False, compare=False)
    _query: list[tuple[bytes, bytes]] | None = field(default=None, init=False, repr=False, compare=False)
    _parameters: dict[str, str] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def view(self) -> dict[bytes, bytes]:
        """Headers by lower-case name; values of a repeated header are joined with a comma. Shared: do not change it."""
        view = self._view
        if view is None:
            view = dict(self.headers)
            if len(view) != len(self.headers):
                view = {}
                for name, value in self.headers:
                    view[name] = view[name] + b"," + value if name in view else value
            self._view = view
        return view

    def text(self, name: bytes, default: str = "") -> str:
        """The value of a header as text (Latin-1, so that it cannot fail), without surrounding white space."""
        value = self.view.get(name)
        return default if value is None else value.decode("latin-1").strip()

    @property
    def query_bytes(self) -> list[tuple[bytes, bytes]]:
        """Query parameters in the order sent, decoded (`+` is a space); one without `=` has an empty value. Shared."""
        pairs = self._query
        if pairs is None:
            pairs = self._query = split_pairs(self.raw_query) if self.raw_query else []
        return pairs

    @property
    def query(self) -> dict[str, str]:
        """Query parameters by name, as text; of a repeated one the first counts. Shared: do not change it.

        Bytes that are not UTF-8 become lone surrogates (`surrogateescape`), so nothing is lost and nothing fails here.
        """
        parameters = self._parameters
        if parameters is None:
            parameters = {}
            for name, value in self.query_bytes:
                parameters.setdefault(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            self._parameters = parameters
        return parameters

    @property
    def host(self) -> str:
        """The Host header as sent, port included; empty when there is none."""
        return self.text(b"host")


def head_of(scope: MutableMapping[str, Any]) -> Head:
    """The head of an ASGI http scope. Nothing is copied or decoded."""
    client, extensions = scope.get("client"), scope.get("extensions", {})
    return Head(
        scope["method"],
        scope["raw_path"],
        scope["query_string"],
        scope["headers"],
        client[0] if client else "",
        scope["scheme"],
        ZERO_COPY in extensions,
        WHOLE in extensions,
        extensions.get(TLS),
    )


def split_pairs(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """The decoded (name, value) pairs of a query string or form body; empty pieces between `&` are dropped."""
    pairs = []
    for piece in encoded.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            if b"%" in piece or b"+" in piece:
                name, value = _decoded(name), _decoded(value)
            pairs.append((name, value))
    return pairs


def _decoded(text: bytes) -> bytes:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text
