"""`nephele doctor`: what this machine can do, what it lacks, and the command that mends each.

Nothing is believed that can be tried: a guest of one sector is booted, a namespace made, a file cloned. Nothing that is
tried stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import platform
import pwd
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from backends.compute.drivers import accelerator, libvirt
from backends.network.drivers import linux
from gateway.commands.rootless import inside
from gateway.settings import Settings

FICLONE = 0x40049409  # linux/fs.h
APT = "apt-get install -y --no-install-recommends"
INSTALL = "apt-get install"
PRIVILEGED = ("apt-get", "chmod", "modprobe", "sysctl", "usermod")
WANTED_MEMORY = 2048
"""MiB that are to be free for a first guest and what runs it."""
WANTED_SPACE = 4
"""GiB of the data folder's disk."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend` is a command, or empty where there is nothing to do, or nothing helps."""

    name: str
    well: bool
    said: str
    needed: bool = True
    mend: str = ""


Look = Callable[[Path], Iterator[Finding]]


def examine(settings: Settings, *, as_json: bool) -> int:
    """Look at everything and print it; the exit status. The data folder may be there, or not yet."""
    folder = settings.data_dir
    found = [finding for look in LOOKS for finding in look(folder)]
    found += _pool(settings, found)
    if os.geteuid() != 0 and _run(*inside("true")) == "":
        found = _as_inside(found, folder)
    well = all(finding.well for finding in found if finding.needed)
    if as_json:
        typer.echo(json.dumps({"real": well, "findings": [asdict(finding) for finding in found]}, indent=2))
    else:
        _show(found, well)
    return 0 if well else 1


def _as_inside(found: list[Finding], folder: Path) -> list[Finding]:
    """The same for an ordinary user who has namespaces: what `nephele engine --rootless` finds inside of them is what
    counts of networks and guests, and the lack of root is none."""
    command = inside(sys.executable, "-m", "gateway", "doctor", "--json")
    try:
        done = subprocess.run(
            command, env=os.environ | {"NEPHELE_DATA_DIR": str(folder)}, capture_output=True, text=True, timeout=120
        )
        told = {one["name"]: Finding(**one) for one in json.loads(done.stdout)["findings"]}
    except (OSError, ValueError, LookupError, TypeError, subprocess.TimeoutExpired):
        return found
    root = Finding("root", True, f"user {os.geteuid()}: networks and guests live in a namespace of yours")
    return [root if one.name == "root" else told.get(one.name, one) if one.name in INSIDE else one for one in found]


def _show(found: list[Finding], well: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "what", "found", box=None, padding=(0, 1))
    for finding in found:
        mark, style = ("yes", "green") if finding.well else ("NO", "red") if finding.needed else ("no", "yellow")
        table.add_row(Text(mark, style), finding.name, Text(finding.said))
    console = Console()
    console.print(table)
    if commands := _commands([finding.mend for finding in found if not finding.well], root=os.geteuid() == 0):
        console.print("\nTo mend what is missing:")
        for command in commands:
            console.print(Text(f"  {command}"), soft_wrap=True)
    if well:
        verdict = "Real guests and networks can run here: make real"
    else:
        verdict = "Simulated clouds run here (nephele serve); real ones do not before what says NO is mended."
    console.print(f"\n{verdict}")


def _commands(mends: list[str], *, root: bool) -> list[str]:
    """All mends as commands, each once, with one for all packages; `root`: it is root's shell that they are for."""
    steps = [step.removeprefix("sudo ") for mend in mends if mend for step in mend.split(" && ")]
    packages: dict[str, None] = {}
    found: dict[str, None] = {}
    for step in steps:
        if step.startswith(INSTALL):
            packages |= dict.fromkeys(word for word in step.removeprefix(INSTALL).split() if not word.startswith("-"))
            step = INSTALL
        rights = "" if root or step.split()[0] not in PRIVILEGED and not step.startswith("make real") else "sudo "
        found[rights + step] = None
    return [step.replace(INSTALL, f"{APT} {' '.join(packages)}") for step in found]


# --- looks ------------------------------------------------------------------------------------------------------------


def _machine(folder: Path) -> Iterator[Finding]:
    yield Finding("system", sys.platform == "linux", f"{platform.system()} {platform.release()}, {platform.machine()}")
    processors = len(os.sched_getaffinity(0))
    free, total = _memory()
    yield Finding("processors", processors >= 1, str(processors))
    yield Finding(
        "memory",
        free >= WANTED_MEMORY,
        f"{free} MiB of {total} MiB free" + ("" if free >= WANTED_MEMORY else f"; a first guest wants {WANTED_MEMORY}"),
        needed=False,
    )
    near = next(path for path in (folder, *folder.parents) if path.exists())
    space = shutil.disk_usage(near).free >> 30
    yield Finding("space", space >= WANTED_SPACE, f"{space} GiB free at {near}", needed=False)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    yield Finding("open files", files >= 4096, f"up to {files}", needed=False, mend="ulimit -Hn 65536")


def _memory() -> tuple[int, int]:
    """MiB that are free, and in all."""
    found = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) >> 10
    return found["MemAvailable"], found["MemTotal"]


def _rights(folder: Path) -> Iterator[Finding]:
    root = os.geteuid() == 0
    mapped = Path("/proc/self/uid_map").read_text().split()[:2] != ["0", "0"]
    said = f"user {os.geteuid()}" + (", root of a user namespace" if root and mapped else "")
    yield Finding("root", root, said, mend="" if root else "sudo make real")
    if not root:
        done = _run(*inside("true"))
        yield Finding(
            "user namespaces",
            done == "",
            "can be made: the real cloud runs without root" if done == "" else done,
            needed=False,
            mend=_mend_spaces(),
        )
    with contextlib.suppress(OSError):
        os.close(os.open("/dev/net/tun", os.O_RDWR))
        yield Finding("tun", True, "/dev/net/tun opens")
        return
    yield Finding("tun", False, "/dev/net/tun cannot be opened", mend="modprobe tun && chmod 0666 /dev/net/tun")


def _mend_spaces() -> str:
    """The command after which an ordinary user has namespaces with ids of its own."""
    name = pwd.getpwuid(os.geteuid()).pw_name if _has_name() else str(os.geteuid())
    if shutil.which("newuidmap") is None:
        return f"sudo {APT} uidmap"
    for place in ("/etc/subuid", "/etc/subgid"):
        lines = Path(place).read_text().splitlines() if os.path.exists(place) else []
        if not any(line.split(":")[0] in (name, str(os.geteuid())) for line in lines):
            return f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
    return "sudo sysctl -w kernel.unprivileged_userns_clone=1   # or kernel.apparmor_restrict_unprivileged_userns=0"


def _has_name() -> bool:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return True


def _network(folder: Path) -> Iterator[Finding]:
    lacking = _quietly(linux.lacks)
    yield Finding(
        "networks",
        not lacking,
        "namespaces and nftables work" if not lacking else "; ".join(lacking),
        mend=_mend_networks(),
    )


def _mend_networks() -> str:
    """What installs what networks lack; nothing where it is rights."""
    steps = [] if importlib.util.find_spec("pyroute2") is not None else ["make .venv/.real"]
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError:
        steps.append(f"{APT} libnftables1")
    return " && ".join(steps)


def _pool(settings: Settings, found: list[Finding]) -> Iterator[Finding]:
    """Whether another deployment on this host lends the same public addresses. That of an ordinary user is alone."""
    if os.geteuid() != 0 or not any(one.name == "networks" and one.well for one in found):
        return
    from gateway.drivers import worry

    told, mend = worry(settings.model_copy(update={"network": "linux"}))
    said = told or f"{settings.public_pool} is no other deployment's"
    yield Finding("public pool", not told, said, needed=False, mend=f"sudo make real {mend}" if mend else "")


def _guests(folder: Path) -> Iterator[Finding]:
    emulator = shutil.which(accelerator.EMULATOR)
    if emulator is None:
        yield Finding("QEMU", False, f"no {accelerator.EMULATOR}", mend=f"{APT} qemu-system-x86 qemu-utils")
    else:
        yield Finding("QEMU", accelerator.boots("tcg", 30.0), "a guest boots (without acceleration)")
        yield _kvm()
    lacking = libvirt.lacks()
    yield Finding(
        "libvirt",
        not lacking,
        "guests can be run" if not lacking else "; ".join(str(one.what) for one in lacking),
        mend=" && ".join(dict.fromkeys(one.remedy for one in lacking if one.what != "root")),
    )
    lacking = libvirt.lxc_lacks()
    yield Finding(
        "LXC",
        not lacking,
        "containers as guests" if not lacking else "; ".join(one.what for one in lacking),
        needed=False,
        mend=" && ".join(dict.fromkeys(one.remedy for one in lacking if one.remedy and one.what != "root")),
    )


def _kvm() -> Finding:
    if not os.path.exists("/dev/kvm"):
        return Finding("KVM", False, "no /dev/kvm: guests run, but some ten times slower", needed=False)
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        mend = "sudo usermod -aG kvm $USER   # then log in anew"
        return Finding("KVM", False, "/dev/kvm may not be opened", needed=False, mend=mend)
    if accelerator.boots("kvm"):
        return Finding("KVM", True, "a guest boots under it", needed=False)
    return Finding("KVM", False, "/dev/kvm opens, but a guest does not boot under it: QEMU translates", needed=False)


def _disks(folder: Path) -> Iterator[Finding]:
    there = shutil.which("qemu-img") is not None
    yield Finding("disks", there, "qemu-img" if there else "no qemu-img", mend=f"{APT} qemu-utils")
    near = next(path for path in (folder, *folder.parents) if path.exists() and os.access(path, os.W_OK))
    clones = _clones(near)
    said = (
        f"files at {near} are cloned without copying" if clones else f"not at {near}: disks lean on each other instead"
    )
    yield Finding("reflink", clones, said, needed=False)


def _clones(folder: Path) -> bool:
    """Whether the file system of a folder can clone files."""
    with (
        tempfile.NamedTemporaryFile(dir=folder) as one,
        tempfile.NamedTemporaryFile(dir=folder) as other,
        contextlib.suppress(OSError),
    ):
        one.write(b"x" * 4096)
        one.flush()
        fcntl.ioctl(other.fileno(), FICLONE, one.fileno())
        return True
    return False


def _tools(folder: Path) -> Iterator[Finding]:
    there = shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None
    said = "mkfs.ext4 for the micro image" if there else "no mkfs.ext4: the micro image cannot be made"
    yield Finding("e2fsprogs", there, said, needed=False, mend=f"{APT} e2fsprogs")
    for name, purpose, package in (
        ("ssh", "to enter guests", "openssh-client"),
        ("terraform", "to describe clouds", ""),
    ):
        there = shutil.which(name) is not None
        mend = f"{APT} {package}" if package else ""
        yield Finding(name, there, f"{name} {purpose}" if there else f"not here ({purpose})", needed=False, mend=mend)


def _run(*command: str) -> str:
    """Run a command; empty when it succeeds, else why it does not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        return str(error)
    except subprocess.TimeoutExpired:
        return f"{command[0]} does not end"
    return "" if done.returncode == 0 else done.stderr.strip() or f"{command[0]}: status {done.returncode}"


def _quietly(look: Callable[[], list[str]]) -> list[str]:
    """Look from a process of our own in a mount namespace of its own, where there are the rights for one: what is
    tried for networks prepares /run/netns, which is not to stay."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        libc = ctypes.CDLL(None)
        if libc.unshare(0x00020000) == 0:  # CLONE_NEWNS
            libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE
        with os.fdopen(writer, "w") as out:
            json.dump(look(), out)
            out.flush()
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    os.waitpid(child, 0)
    found: list[str] = json.loads(text) if text else ["the look at networks failed"]
    return found


INSIDE = ("tun", "networks", "QEMU", "KVM", "libvirt", "LXC")
"""What is found by those who run guests."""

LOOKS: tuple[Look, ...] = (_machine, _rights, _network, _guests, _disks, _tools)
