"""Values made up from the shapes of AWS's models, and requests as botocore's own clients would send them."""

from __future__ import annotations

import random
import string
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from botocore.awsrequest import AWSPreparedRequest, create_request_object, prepare_request_dict
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.serialize import create_serializer

from compat.model import SERVICES
from gateway.head import Head

TEXT = string.ascii_letters + string.digits + "-_./:<>&\"'{}%+=~#?; é東😀\t\n\r]"
_HEADER_TEXT = string.ascii_letters + string.digits + "-_./:+=~"
_START = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_DEEPEST = 6


class Maker:
    """Makes a value for a shape. `dense` fills nearly every member; `empties` allows empty containers."""

    def __init__(self, seed: int, dense: bool, empties: bool, milliseconds: bool = True, text: str = TEXT) -> None:
        self.random = random.Random(seed)
        self.dense = dense
        self.empties = empties
        self.milliseconds = milliseconds
        self.text = text

    def structure(self, shape: StructureShape, depth: int = 0) -> dict[str, Any]:
        names = list(shape.members)
        if shape.is_tagged_union:
            names = [self.random.choice(names)]
        elif depth:
            share = 0.85 if self.dense and depth < 3 else 0.4
            chosen = [name for name in names if self.random.random() < share]
            names = chosen or names[:1]
        found = {}
        for name in names:
            member = shape.members[name]
            required = name in shape.required_members or member.serialization.get("location") == "uri"
            if depth == 0 and not required and self.random.random() < (0.1 if self.dense else 0.6):
                continue
            value = self.value(member, depth + 1)
            if value is not None:
                found[name] = value
        return found

    def value(self, shape: Shape, depth: int) -> Any:
        """A value, or None where the shape cannot have one at this depth."""
        place = shape.serialization.get("location")
        if depth > _DEEPEST and isinstance(shape, (ListShape, MapShape, StructureShape)):
            if not self.empties or (isinstance(shape, StructureShape) and shape.is_tagged_union):
                return None
            return [] if isinstance(shape, ListShape) else {}
        if isinstance(shape, StructureShape):
            if shape.is_document_type:
                return {"a": [1, "b", {"c": None}]}
            made = self.structure(shape, depth)
            return made if made or self.empties else None
        if isinstance(shape, ListShape):
            least = 0 if self.empties and place is None and not shape.serialization.get("flattened") else 1
            made_list = [self.value(shape.member, depth + 1) for _ in range(self.random.randint(least, 2))]
            made_list = [each for each in made_list if each is not None]
            return made_list if made_list or least == 0 else None
        if isinstance(shape, MapShape):
            return self._map(shape, depth)
        return self._scalar(shape)

    def _map(self, shape: MapShape, depth: int) -> dict[str, Any] | None:
        headers = shape.serialization.get("location") == "headers"
        found = {}
        for _ in range(self.random.randint(1, 2)):
            value = self._header_text() if headers else self.value(shape.value, depth + 1)
            key = self._header_text().lower().translate(str.maketrans("", "", "/:=+~._")) or "k" if headers else None
            if value is not None:
                found[key or self._text(shape.key)] = value
        return found or None

    def _header_text(self) -> str:
        return "".join(self.random.choices(_HEADER_TEXT, k=self.random.randint(1, 9)))

    def _text(self, shape: Shape) -> str:
        enum = shape.metadata.get("enum")
        if enum:
            return str(self.random.choice(enum))
        return "".join(self.random.choices(self.text, k=self.random.randint(1, 12)))

    def _scalar(self, shape: Shape) -> Any:
        place = shape.serialization.get("location")
        kind = shape.type_name
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind in ("integer", "long"):
            return self.random.choice([0, 1, -7, 2**31 - 1, self.random.randint(0, 10**6)])
        if kind in ("float", "double"):
            return self.random.choice([0.0, 1.5, -2.25, 1024.0, 3.0])
        if kind == "timestamp":
            whole = place == "header" or shape.serialization.get("timestampFormat") == "rfc822"
            part = 0 if whole or not self.milliseconds else self.random.choice([0, 1, 999])
            return _START + timedelta(seconds=self.random.randint(0, 10**9), milliseconds=part)
        if kind == "blob":
            return self.random.randbytes(self.random.randint(1, 12))
        if shape.serialization.get("hostLabel"):
            return str(self.random.randint(10**11, 10**12 - 1))
        if place in ("header", "uri"):
            enum = shape.metadata.get("enum")
            text = str(self.random.choice(enum)) if enum else self._header_text()
            return text if place != "uri" or enum else text + self.random.choice(["", "/é x%", "//..", "+&=", "?a#b"])
        return self._text(shape)


def prepared(operation: OperationModel, params: dict[str, Any], protocol: str) -> AWSPreparedRequest:
    """The request that botocore sends for these parameters, unsigned."""
    serialized = create_serializer(protocol, include_validation=False).serialize_to_request(params, operation)
    serialized.pop("host_prefix", None)
    prepare_request_dict(serialized, "http://127.0.0.1:4566", None, user_agent="test")
    request: AWSPreparedRequest = create_request_object(serialized).prepare()
    return request


def head_of(request: AWSPreparedRequest, service: str, host: str = "127.0.0.1:4566") -> Head:
    """The head of a botocore request, with a credential scope as its signer would add."""
    parts = urlsplit(request.url)
    scope = SERVICES[service].scope
    signature = (
        f"AWS4-HMAC-SHA256 Credential=AKID/20260102/us-east-1/{scope}/aws4_request, SignedHeaders=host, Signature=0"
    )
    headers = [(b"host", host.encode()), (b"authorization", signature.encode())]
    for name, value in request.headers.items():
        encoded = value if isinstance(value, bytes) else str(value).encode("utf-8")
        headers.append((name.lower().encode(), encoded))
    return Head(request.method, parts.path.encode(), parts.query.encode(), headers)


def body_of(request: AWSPreparedRequest) -> bytes:
    """The body of a botocore request as bytes."""
    body = request.body
    if isinstance(body, dict):
        return urlencode(body, doseq=True).encode()
    if isinstance(body, str):
        return body.encode()
    assert body is None or isinstance(body, (bytes, bytearray))
    return bytes(body or b"")
