"""What each volume type allows, and block device mappings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from compat.errors import AWSError


@dataclass(frozen=True, slots=True)
class VolumeType:
    """Limits of a volume type: sizes in GiB, throughput in MiB/s; None where a call may not say."""

    name: str
    sizes: range
    iops: range | None = None
    ratio: int | None = None
    throughput: range | None = None
    default_iops: int | None = None
    default_throughput: int | None = None


BURST = 3000
"""Operations per second of a gp2 volume that has credits; it has 5.4 million of them in the beginning."""

TYPES = {
    one.name: one
    for one in (
        VolumeType("gp2", range(1, 16385)),
        VolumeType("gp3", range(1, 65537), range(3000, 80001), 500, range(125, 2001), 3000, 125),
        VolumeType("io1", range(4, 16385), range(100, 64001), 50),
        VolumeType("io2", range(4, 65537), range(100, 256001), 1000),
        VolumeType("st1", range(125, 16385)),
        VolumeType("sc1", range(125, 16385)),
        VolumeType("standard", range(1, 1025)),
    )
}


def performance(kind: str, size: int, iops: int | None, throughput: int | None) -> tuple[int | None, int | None]:
    """The IOPS and throughput of a volume of that type and size, as asked or by default. Raises EC2's own refusals."""
    about = TYPES.get(kind)
    if about is None:
        raise AWSError("UnknownVolumeType", f"Unsupported volume type '{kind}' for volume creation.")
    if size > about.sizes[-1]:
        raise _invalid(f"Volume of {size}GiB is too large for volume type {kind}; maximum is {about.sizes[-1]}GiB")
    if size < about.sizes[0]:
        raise _invalid(f"Volume of {size}GiB is too small for volume type {kind}; minimum is {about.sizes[0]}GiB")
    if throughput is not None and about.throughput is None:
        raise AWSError("InvalidParameterCombination", f"The parameter throughput is not supported for {kind} volumes.")
    if about.iops is None:
        if iops is not None:
            raise AWSError("InvalidParameterCombination", f"The parameter iops is not supported for {kind} volumes.")
        return (min(max(100, 3 * size), 16000) if kind == "gp2" else None), None
    if iops is None and about.default_iops is None:
        raise AWSError("MissingParameter", f"The parameter iops must be specified for {kind} volumes.")
    iops = iops if iops is not None else about.default_iops
    assert iops is not None
    _check_iops(about, size, iops)
    if about.throughput is None:
        return iops, None
    throughput = throughput if throughput is not None else about.default_throughput
    assert throughput is not None
    if throughput not in about.throughput:
        raise _invalid(
            f"Volume throughput of {throughput}MiB/s is out of range; "
            f"it must be between {about.throughput[0]} and {about.throughput[-1]}MiB/s"
        )
    if throughput * 4 > iops:
        raise _invalid(f"Throughput (MiBps) to iops ratio of {throughput / iops:.6f} is too high; maximum is 0.25")
    return iops, throughput


def burst(kind: str, iops: int | None) -> int | None:
    """Operations per second that a volume may make for a while: of gp2, what saved credits allow."""
    return BURST if kind == "gp2" and iops is not None and iops < BURST else None


def _check_iops(about: VolumeType, size: int, iops: int) -> None:
    assert about.iops is not None and about.ratio is not None
    if iops < about.iops[0]:
        raise _invalid(f"Volume iops of {iops} is too low; minimum is {about.iops[0]}.")
    if iops > about.iops[-1]:
        raise _invalid(f"Volume iops of {iops} is too high; maximum is {about.iops[-1]}.")
    least = about.default_iops or 0
    if iops > max(about.ratio * size, least):
        raise _invalid(f"Iops to volume size ratio of {iops / size:.6f} is too high; maximum is {about.ratio}")


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidParameterValue", message)


def merge_mappings(mappings: Sequence[dict[str, Any]], asked: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """An image's block mappings with those of a call laid over them, device by device."""
    merged = {mapping["device"]: dict(mapping) for mapping in mappings}
    for one in asked:
        device = one.get("DeviceName")
        if not device:
            raise AWSError("MissingParameter", "The request must contain the parameter BlockDeviceMapping.DeviceName")
        if one.get("NoDevice") is not None:
            merged.pop(device, None)
        elif one.get("VirtualName"):
            merged[device] = {"device": device, "ephemeral": one["VirtualName"]}
        elif one.get("Ebs") is not None:
            merged[device] = _overlay(merged.get(device) or {}, device, one["Ebs"])
        else:
            raise AWSError("InvalidBlockDeviceMapping", f"The block device mapping of '{device}' names no device.")
    return list(merged.values())


def _overlay(held: dict[str, Any], device: str, ebs: dict[str, Any]) -> dict[str, Any]:
    base = {} if "ephemeral" in held else held
    changed = ebs.get("VolumeType") is not None and ebs["VolumeType"] != base.get("kind")
    size = ebs.get("VolumeSize")
    if size is None and base.get("size") is None and ebs.get("SnapshotId") is None:
        raise AWSError("MissingParameter", f"The request must contain the parameter size/snapshot for {device}")
    keep = ebs.get("DeleteOnTermination")
    return {
        "device": device,
        "snapshot": ebs.get("SnapshotId") or base.get("snapshot"),
        "size": size if size is not None else (None if ebs.get("SnapshotId") else base.get("size")),
        "kind": ebs.get("VolumeType") or base.get("kind") or "gp2",
        "iops": ebs.get("Iops") or (None if changed or size is not None else base.get("iops")),
        "throughput": ebs.get("Throughput") or (None if changed else base.get("throughput")),
        "encrypted": ebs.get("Encrypted") if ebs.get("Encrypted") is not None else base.get("encrypted"),
        "key": ebs.get("KmsKeyId") or base.get("key"),
        "keep": not keep if keep is not None else base.get("keep", False),
    }


def render_mapping(mapping: dict[str, Any]) -> dict[str, Any]:
    """A block mapping of an image in AWS's form."""
    if "ephemeral" in mapping:
        return {"DeviceName": mapping["device"], "VirtualName": mapping["ephemeral"]}
    ebs: dict[str, Any] = {
        "DeleteOnTermination": not mapping.get("keep"),
        "Encrypted": bool(mapping.get("encrypted")),
        "VolumeSize": mapping.get("size"),
        "VolumeType": mapping.get("kind"),
    }
    if mapping.get("snapshot"):
        ebs["SnapshotId"] = mapping["snapshot"]
    if mapping.get("key"):
        ebs["KmsKeyId"] = mapping["key"]
    if mapping.get("kind") in ("gp3", "io1", "io2") and mapping.get("iops"):
        ebs["Iops"] = mapping["iops"]
    if mapping.get("kind") == "gp3" and mapping.get("throughput"):
        ebs["Throughput"] = mapping["throughput"]
    return {"DeviceName": mapping["device"], "Ebs": ebs}
