"""A Debian 12 with cloud-init as a disk image: made by mmdebstrap, from wherever this machine's apt fetches packages.

Nothing of it is fitted to Nephele: a kernel, systemd, cloud-init and QEMU's agent, as Debian has them. Its own choice
is where it looks for its metadata, as in Debian's images for EC2.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from backends.errors import Unsupported
from backends.image.micro.disk import MIB, make_disk
from backends.image.micro.packages import Packages

SUITE = "bookworm"
PACKAGES = (
    *("systemd-sysv", "systemd-resolved", "dbus", "udev", "cloud-init", "cloud-guest-utils", "linux-image-cloud-amd64"),
    *("openssh-server", "qemu-guest-agent", "iproute2", "netbase", "ca-certificates", "e2fsprogs", "initramfs-tools"),
    *("sudo",),
)
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
FILES = {
    "etc/fstab": "LABEL=nephele-root / ext4 defaults 0 1\n",
    "etc/cloud/cloud.cfg.d/90_ec2.cfg": (
        "datasource_list: [Ec2]\nsystem_info: {network: {renderers: [networkd]}}\nlocale: C.UTF-8\n"
    ),
}
MENU = b"""SERIAL 0 115200
DEFAULT debian
PROMPT 0
TIMEOUT 0
LABEL debian
 LINUX /vmlinuz
 INITRD /initrd.gz
 APPEND root=LABEL=nephele-root ro console=tty0 console=ttyS0 net.ifnames=0
"""
PATIENCE = 1800


def build(cache: Path) -> Path:
    """The raw disk, made in the folder `cache` or found there. Needs root. Raises `Unsupported`: what is missing."""
    if shutil.which("mmdebstrap") is None:
        raise Unsupported("mmdebstrap is not here: apt-get install --no-install-recommends mmdebstrap")
    seen = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    made = cache / f"debian-{seen}.raw"
    if made.exists():
        return made
    packages = Packages.wanted(cache)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".debian-") as name:
        draft, tree = Path(name), Path(name) / "root"
        _bootstrap(tree)
        for place, text in FILES.items():
            (tree / place).write_text(text)
        _run("chroot", str(tree), "systemctl", "enable", "systemd-networkd", "qemu-guest-agent")
        kernel, memory_disk = next(tree.glob("boot/vmlinuz-*")), next(tree.glob("boot/initrd.img-*"))
        disk = draft / "disk.raw"
        make_disk(
            disk,
            kernel,
            memory_disk,
            packages.unpack(draft / "unpacked"),
            size=2048 * MIB,
            boot_size=128 * MIB,
            menu_text=MENU,
            root_tree=tree,
        )
        os.replace(disk, made)
    return made


def _bootstrap(tree: Path) -> None:
    sources = tree.with_name("sources.list")
    sources.write_text(_sources())
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    options += ["--aptopt=APT::Install-Recommends false", f"--include={','.join(PACKAGES)}"]
    _run("mmdebstrap", "--variant=minbase", "--format=directory", *options, SUITE, str(tree), str(sources))


def _sources() -> str:
    """Where this machine's apt finds the packages of the suite."""
    form = "deb $(SITE) $(RELEASE) $(COMPONENT)"
    lines = sorted(set(_run("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines()))
    wanted = [line for line in lines if line.split()[2].startswith(SUITE)]
    if not wanted:
        raise Unsupported(f"this machine's apt knows no {SUITE}")
    return "\n".join(wanted) + "\n"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Unsupported(f"{command[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout
