"""The micro guest's file system, as a cpio archive that the kernel unpacks: made file by file, owned by root."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path
from typing import IO

from backends.errors import Unsupported

MODULES = (
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/char/hw_random/virtio-rng",
    "drivers/char/virtio_console",
    "drivers/acpi/button",
    "drivers/input/evdev",
    "drivers/misc/pvpanic/pvpanic",
    "drivers/misc/pvpanic/pvpanic-mmio",
)
LIBRARIES = (
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libcrypt.so.1",
    "libtomcrypt.so.1",
    "libtommath.so.1",
    "libgmp.so.10",
    "libz.so.1",
)
SCRIPTS = {
    "init": "init.sh",
    "etc/rc": "rc.sh",
    "bin/imds": "imds.sh",
    "usr/share/udhcpc/default.script": "udhcpc.sh",
    "sbin/hotplug": "hotplug.sh",
    "etc/acpi/PWRF/00000080": "power.sh",
}
TEXTS = {
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\nec2-user:*:0:0:the same:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/shells": "/bin/sh\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/profile": "export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=linux PS1='micro# '\ncd /root\n",
}
FOLDERS = (
    *("bin", "sbin", "lib", "lib64", "lib/modules", "usr", "usr/lib", "usr/bin", "usr/sbin", "usr/share"),
    *("usr/share/udhcpc", "etc", "etc/acpi", "etc/acpi/PWRF", "etc/dropbear", "proc", "sys", "dev", "run", "tmp"),
    *("mnt", "root", "home", "var", "var/lib", "var/lib/nephele"),
)
IN_SBIN = ("init", "poweroff", "reboot", "halt")


def make_root(unpacked: Path, guest: Path, target: Path) -> None:
    """Write the archive `target` out of unpacked packages and the scripts in `guest`."""
    kernel = next(unpacked.glob("lib/modules/*/kernel"), None) or next(unpacked.glob("usr/lib/modules/*/kernel"))
    busybox = _first(unpacked, "busybox")
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
        archive = _Archive(file)
        for folder in FOLDERS:
            archive.add(folder, 0o40700 if folder == "root" else 0o40755)
        archive.add("bin/busybox", 0o100755, busybox.read_bytes())
        for applet in _applets(busybox):
            archive.add(f"sbin/{applet}" if applet in IN_SBIN else f"bin/{applet}", 0o120777, b"/bin/busybox")
        for module in MODULES:
            path = kernel / f"{module}.ko"
            archive.add(f"lib/modules/{path.name}", 0o100644, path.read_bytes())
        for name in LIBRARIES:
            archive.add(f"usr/lib/{name}", 0o100755, _first(unpacked, name).read_bytes())
        archive.add("lib64/ld-linux-x86-64.so.2", 0o120777, b"/usr/lib/ld-linux-x86-64.so.2")
        for program in ("dropbear", "dropbearkey"):
            archive.add(f"usr/sbin/{program}", 0o100755, _first(unpacked, program).read_bytes())
        for name, script in SCRIPTS.items():
            archive.add(name, 0o100755, (guest / script).read_bytes())
        archive.add("etc/inittab", 0o100644, (guest / "inittab.txt").read_bytes())
        for name, text in TEXTS.items():
            archive.add(name, 0o100644, text.encode())
        archive.add("etc/mtab", 0o120777, b"/proc/mounts")
        archive.end()


def _first(unpacked: Path, name: str) -> Path:
    """The program or library of that name, wherever its package has it, links followed."""
    for folder in ("bin", "sbin", "lib/x86_64-linux-gnu", "lib64"):
        for place in (unpacked / folder / name, unpacked / "usr" / folder / name):
            if place.is_file():
                return place
    raise Unsupported(f"the packages have no {name}", reason=f"the packages have no {name}")


def _applets(busybox: Path) -> list[str]:
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, check=True, timeout=10)
    return sorted(set(listed.stdout.decode().split()) - {"busybox"})


class _Archive:
    """A cpio archive of the `newc` kind: see the kernel's Documentation/driver-api/early-userspace/buffer-format."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file, self._number = file, 0

    def add(self, name: str, mode: int, content: bytes = b"") -> None:
        """One entry; of a symbolic link the content is where it points."""
        self._number += 1
        fields = (self._number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(os.fsencode(name)) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + os.fsencode(name) + b"\0"
        self._padded(head)
        self._padded(content)

    def end(self) -> None:
        """The mark of the end."""
        self._number = 0
        self.add("TRAILER!!!", 0)

    def _padded(self, data: bytes) -> None:
        self._file.write(data + b"\0" * (-len(data) % 4))
