"""A raw disk with a boot loader of its own, by plain writes: a FAT partition with SYSLINUX, an ext4 one for root."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

from backends.errors import Unsupported

MIB = 1 << 20
SECTOR = 512
SIZE = 1024 * MIB
"""The whole disk: the least that a volume can have. It is sparse."""

BOOT_START, BOOT_SIZE = MIB, 32 * MIB
FAT16, LINUX, BOOTABLE = 0x0E, 0x83, 0x80
BLOCK = 1 << 16

MENU = b"""SERIAL 0 115200
DEFAULT nephele
PROMPT 0
TIMEOUT 0
LABEL nephele
 LINUX /vmlinuz
 INITRD /initrd.gz
 APPEND console=tty0 console=ttyS0 quiet random.trust_cpu=on
"""


def make_disk(
    target: Path,
    kernel: Path,
    memory_disk: Path,
    unpacked: Path,
    *,
    size: int = SIZE,
    boot_size: int = BOOT_SIZE,
    menu_text: bytes = MENU,
    root_tree: Path | None = None,
) -> None:
    """Write the disk; `unpacked` has mtools and SYSLINUX in it. Needs mkfs.ext4 on this machine.

    `size` and `boot_size` in bytes; the root partition has the rest, and the files of `root_tree`, where that is given.
    """
    root_start = BOOT_START + boot_size
    places = f"{unpacked}/usr/bin:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    environment = {"PATH": places, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C"}
    if shutil.which("mkfs.ext4", path=places) is None:
        reason = "mkfs.ext4 is not here: apt-get install e2fsprogs"
        raise Unsupported(reason, reason=reason)

    def run(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120, cwd=target.parent)

    boot, root, menu = (target.with_name(name) for name in (".boot", ".root", ".menu"))
    _empty(boot, boot_size)
    # 16 heads of 63 sectors: what the BIOS of QEMU says of disks of this size; read by LBA anyhow.
    run(
        *("mformat", "-i", str(boot), "-v", "BOOT", "-T", str(boot_size // SECTOR), "-h", "16", "-s", "63"),
        *("-H", str(BOOT_START // SECTOR), "::"),
    )
    menu.write_bytes(menu_text)
    for source, name in ((kernel, "vmlinuz"), (memory_disk, "initrd.gz"), (menu, "syslinux.cfg")):
        run("mcopy", "-i", str(boot), str(source), f"::/{name}")
    run("syslinux", "--install", str(boot))
    _empty(root, size - root_start)
    tree = () if root_tree is None else ("-d", str(root_tree))
    run("mkfs.ext4", "-q", "-F", "-L", "nephele-root", "-J", "size=8", "-E", "root_owner=0:0", *tree, str(root))
    _empty(target, size)
    with target.open("r+b") as disk:
        disk.write((unpacked / "usr/lib/syslinux/mbr/mbr.bin").read_bytes()[:440])
        disk.seek(440)
        disk.write(_partition_table(root_start, size - root_start))
        for part, start in ((boot, BOOT_START), (root, root_start)):
            _copy_data(part, disk.fileno(), start)
    for draft in (boot, root, menu):
        draft.unlink()


def _empty(path: Path, size: int) -> None:
    with path.open("wb") as file:
        os.truncate(file.fileno(), size)


def _partition_table(root_start: int, root_size: int) -> bytes:
    """Disk signature, two entries of the four, the mark at the end. CHS fields say "see LBA"."""
    entries = b""
    for flag, kind, start, size in (
        (BOOTABLE, FAT16, BOOT_START, root_start - BOOT_START),
        (0, LINUX, root_start, root_size),
    ):
        see_lba = b"\xfe\xff\xff"
        entries += struct.pack("<B3sB3sII", flag, see_lba, kind, see_lba, start // SECTOR, size // SECTOR)
    return b"nphl\0\0" + entries.ljust(64, b"\0") + b"\x55\xaa"


def _copy_data(source: Path, target: int, start: int) -> None:
    """Copy what is not zero."""
    with source.open("rb") as file:
        position = start
        while block := file.read(BLOCK):
            if block.strip(b"\0"):
                os.pwrite(target, block, position)
            position += len(block)
