"""What a guest would write to and read from a disk, whatever the format."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from backends.volume.drivers import qcow2_file
from backends.volume.drivers.base import DiskDriver


def write(driver: DiskDriver, disk: str, offset: int, data: bytes) -> None:
    """Write as a guest."""
    access = driver.access(disk)
    if access.format == "raw":
        with open(access.path, "r+b") as file:
            file.seek(offset)
            file.write(data)
        return
    with tempfile.NamedTemporaryFile() as pattern:
        pattern.write(data)
        pattern.flush()
        command = f"write -q -s {pattern.name} {offset} {len(data)}"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, access.path], check=True, capture_output=True)


def read(driver: DiskDriver, disk: str) -> bytes:
    """Everything that a guest would read."""
    access = driver.access(disk)
    if access.format == "raw":
        return Path(access.path).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "raw"
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", access.path, str(target)], check=True)
        return target.read_bytes()


def size(driver: DiskDriver, disk: str) -> int:
    """How large the guest sees it."""
    access = driver.access(disk)
    return Path(access.path).stat().st_size if access.format == "raw" else qcow2_file.header(Path(access.path)).size
