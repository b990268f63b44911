"""A guest of a few megabytes that boots in seconds, made out of Debian's packages, unprivileged, nothing installed.

It has Debian's cloud kernel, busybox, dropbear as SSH server, and a dozen scripts (`guest/`): DHCP, the metadata
service's tokens, keys and user data, cards and disks that come and go, the power button, a shell on the serial console.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from backends.errors import Unsupported
from backends.image.micro.disk import make_disk
from backends.image.micro.packages import Packages
from backends.image.micro.root import make_root

NAME = "nephele-micro"
MEMORY = 128
"""MiB of memory that it wants; with 96 it still starts."""


@dataclass(frozen=True, slots=True)
class Micro:
    """What was made: a raw disk image that boots by itself, and its kernel and initial memory disk for direct boot.

    `root` is a gzipped cpio archive of everything, kernel modules too; the memory disk is the same file.
    """

    disk: Path
    kernel: Path
    root: Path


def build(cache: Path) -> Micro:
    """Make the image in the folder `cache`, or find it there as it was made from the same packages and scripts.

    Raises `Unsupported` (fact: reason) where it cannot be made: no apt, another processor, a program missing.
    """
    packages = Packages.wanted(cache)
    here = Path(__file__).parent
    parts = sorted(path.read_bytes() for path in here.rglob("*") if path.suffix in (".py", ".sh", ".txt"))
    seen = hashlib.sha256(b"\0".join([*parts, *(name.encode() for name in packages.names)])).hexdigest()[:16]
    folder = cache / f"micro-{seen}"
    made = Micro(folder / "disk.raw", folder / "vmlinuz", folder / "root.cpio.gz")
    if folder.is_dir():
        return made
    with tempfile.TemporaryDirectory(dir=cache, prefix=".micro-") as name:
        draft = Path(name) / "micro"
        draft.mkdir()
        unpacked = packages.unpack(Path(name) / "unpacked")
        kernel = next(unpacked.glob("boot/vmlinuz-*"), None)
        if kernel is None:
            raise Unsupported("the kernel's package has no kernel", reason="the kernel's package has no kernel")
        os.replace(kernel, draft / "vmlinuz")
        make_root(unpacked, here / "guest", draft / "root.cpio.gz")
        try:
            make_disk(draft / "disk.raw", draft / "vmlinuz", draft / "root.cpio.gz", unpacked)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or b"").decode("utf-8", "replace").strip()
            raise Unsupported(f"{error.cmd[0]}: {said}", reason=f"{error.cmd[0]} failed: {said}") from error
        try:
            os.replace(draft, folder)
        except OSError:
            if not folder.is_dir():  # else another build was faster
                raise
    return made
