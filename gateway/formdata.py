"""multipart/form-data as browsers upload it to a bucket: fields first, then the file as a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message

from compat.errors import AWSError
from compat.streams import BLOCK
from gateway.body import Body, Source
from gateway.postpolicy import Policy, check_size

_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?").fullmatch
_MOST_BEFORE = 20480
_MOST_HEADERS = 4096


def malformed() -> AWSError:
    """The refusal of what is no such form."""
    return AWSError(
        "MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.", 400
    )


@dataclass(slots=True)
class Form:
    """The fields before the file, by lower-case name (the first of a name counts), and the file."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    file: Source | None = None


class FileBody(Body):
    """The file of a form as a request body, held against the size that its policy allows. Its length is not known."""

    __slots__ = ("_policy",)

    def __init__(self, file: Source, policy: Policy | None) -> None:
        super().__init__(file)
        self._policy = policy

    def blocks(self) -> Iterator[bytes]:
        """The file. Raises `AWSError` as soon as it is too large, or at its end when it was too small."""
        size = 0
        for block in super().blocks():
            size += len(block)
            if self._policy is not None:
                check_size(self._policy, size, complete=False)
            yield block
        if self._policy is not None:
            check_size(self._policy, size, complete=True)


def read_form(content_type: str, source: Source) -> Form:
    """Read a form up to its file. Raises `AWSError`, and what the source raises. Blocks."""
    parts = _Parts(source, _boundary(content_type))
    form = Form()
    size = 0
    if not parts.begin():
        raise malformed()
    while True:
        name, filename = parts.headers()
        if name == "file":
            form.filename, form.file = filename, parts
            return form
        value = b""
        while piece := parts.read():
            value += piece
            if size + len(value) > _MOST_BEFORE:
                raise AWSError(
                    "MaxPostPreDataLengthExceededError",
                    "Your POST request fields preceding the upload file were too large.",
                    400,
                    MaxPostPreDataLengthBytes=_MOST_BEFORE,
                )
        size += len(name) + len(value)
        try:
            form.fields.setdefault(name, value.decode("utf-8"))
        except UnicodeDecodeError:
            raise malformed() from None
        if parts.last:
            return form


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    boundary = message.get_param("boundary")
    if message.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not _BOUNDARY(boundary):
        raise AWSError(
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
            412,
            Condition="Bucket POST must be of the enclosure-type multipart/form-data",
        )
    return boundary.encode("latin-1")


class _Parts:
    """The parts of a multipart body, one after another; `read` yields what is in the present one."""

    __slots__ = ("_buffer", "_delimiter", "_source", "_within", "last")

    def __init__(self, source: Source, boundary: bytes) -> None:
        self._source = source
        self._delimiter = b"\r\n--" + boundary
        # A delimiter at the very beginning has no line break before it.
        self._buffer = b"\r\n"
        self._within = False
        self.last = False

    def begin(self) -> bool:
        """Go to the first part; whether there is one."""
        self._within = True
        preamble = 0
        while piece := self.read():
            preamble += len(piece)
            if preamble > _MOST_HEADERS:
                raise malformed()
        return not self.last

    def headers(self) -> tuple[str, str | None]:
        """Name in lower case and file name (None without one) of the part that begins here.

        S3 passes over the type of a file's part.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MOST_HEADERS:
                raise malformed()
            self._fill()
        block, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        self._within = True
        name, filename = "", None
        for line in block.split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.strip().lower() == b"content-disposition":
                text = value.decode("utf-8", "replace").strip()
                name, filename = _parameter(text, "name") or "", _parameter(text, "filename")
        if not name:
            raise malformed()
        return name.lower(), filename

    def read(self) -> bytes:
        """The next bytes of the present part, at most `BLOCK`; empty at its end."""
        if not self._within:
            return b""
        while True:
            at = self._buffer.find(self._delimiter)
            if at == 0:
                self._end_part()
                return b""
            if at > 0:
                end = min(at, BLOCK)
                piece, self._buffer = self._buffer[:end], self._buffer[end:]
                return piece
            ready = min(len(self._buffer) - len(self._delimiter) + 1, BLOCK)
            if ready > 0:
                piece, self._buffer = self._buffer[:ready], self._buffer[ready:]
                return piece
            self._fill()

    def _end_part(self) -> None:
        self._within = False
        self._buffer = self._buffer[len(self._delimiter) :]
        while len(self._buffer) < 2:
            self._fill()
        if self._buffer.startswith(b"--"):
            self.last = True
        elif not self._buffer.startswith(b"\r\n"):
            raise malformed()

    def _fill(self) -> None:
        more = self._source.read()
        if not more:
            raise malformed()
        self._buffer += more


def _parameter(text: str, name: str) -> str | None:
    found = re.search(rf';\s*{name}=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))', text, re.IGNORECASE)
    if found is None:
        return None
    return found[2] if found[1] is None else re.sub(r"\\([\"\\])", r"\1", found[1])
