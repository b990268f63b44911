"""Checksums of objects as S3 speaks of them: which one an upload has, how it is kept, where it is shown.

An object keeps one: `"<algorithm> <type> <value>"`, the type being `FULL_OBJECT` or `COMPOSITE` (the checksum of the
parts' checksums, with `-<parts>` behind it).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from backends import checksum
from compat.operation import Params
from compat.s3 import faults
from compat.streams import RequestBody

FULL, COMPOSITE = "FULL_OBJECT", "COMPOSITE"
DEFAULT = "CRC64NVME"
MEMBERS = {name: f"Checksum{name}" for name in checksum.SIZES}


class Kept(NamedTuple):
    """A checksum as it is kept."""

    algorithm: str
    type: str
    value: str

    def __str__(self) -> str:
        return " ".join(self)


def kept(text: str) -> Kept | None:
    """The checksum in a row; None where there is none."""
    return Kept(*text.split(" ", 2)) if text else None


def chosen(body: RequestBody, p: Params) -> str:
    """The algorithm of an upload: the one it declares, else the server's own. Raises for two, or for an unknown one."""
    declared = list(body.checksums)
    if len(declared) > 1:
        raise faults.invalid_request(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    named = p.get("ChecksumAlgorithm")
    if named is not None:
        named = known(named)
        if declared and declared[0] != named:
            raise faults.invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid.")
    return declared[0] if declared else named or DEFAULT


def known(algorithm: str) -> str:
    """The algorithm's name in capitals. Raises for an unknown one."""
    name = algorithm.upper()
    if name not in checksum.SIZES:
        raise faults.invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
            f"[{', '.join(sorted(checksum.SIZES))}]"
        )
    return name


def type_of(p: Params) -> str | None:
    """The type of checksum that a call states, in capitals. Raises for an unknown one."""
    stated = p.get("ChecksumType")
    if stated is None:
        return None
    if stated.upper() not in (FULL, COMPOSITE):
        raise faults.invalid_request("Value for x-amz-checksum-type header is invalid.")
    return str(stated).upper()


def of_parts(p: Params) -> tuple[str, str] | None:
    """The algorithm and type of an upload in parts as its creation names them; None where it names none.

    The linear ones combine, and so may speak of the whole object; CRC64NVME always does.
    """
    named, type_ = p.get("ChecksumAlgorithm"), type_of(p)
    if named is None:
        if type_ is not None:
            raise faults.invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
            )
        return None
    algorithm = known(named)
    type_ = type_ or (FULL if algorithm == DEFAULT else COMPOSITE)
    if (type_ == FULL and not checksum.is_linear(algorithm)) or (type_ == COMPOSITE and algorithm == DEFAULT):
        raise faults.invalid_request(
            f"The {type_} checksum type cannot be used with the {algorithm.lower()} checksum algorithm."
        )
    return algorithm, type_


def declared(p: Params) -> tuple[str, str] | None:
    """The algorithm and value that a call's parameters say of a whole object (CompleteMultipartUpload)."""
    found = [(name, str(p[member])) for name, member in MEMBERS.items() if p.get(member) is not None]
    if len(found) > 1:
        raise faults.invalid_request(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    for name, value in found:
        digest, _, count = value.partition("-")
        if checksum.decode(name, digest) is None or (count and not count.isdecimal()):
            raise faults.invalid_request(f"Value for x-amz-checksum-{name.lower()} header is invalid.")
    return found[0] if found else None


def show(text: str, into: dict[str, Any], *, type: bool = True) -> None:
    """Add a kept checksum to a result."""
    found = kept(text)
    if found is not None:
        into[MEMBERS[found.algorithm]] = found.value
        if type:
            into["ChecksumType"] = found.type


def show_listed(text: str, into: dict[str, Any]) -> None:
    """Add to an entry of a listing which checksum there is."""
    if text:
        into["ChecksumAlgorithm"], into["ChecksumType"] = _listed(text[: text.rindex(" ")])


@lru_cache(64)
def _listed(kind: str) -> tuple[list[str], str]:
    algorithm, _, type_ = kind.partition(" ")
    return [algorithm], type_
