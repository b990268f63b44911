"""A libvirtd of our own: started by hand in a private mount namespace, with run directories of its own.

It outlives whoever started it, as do its guests. Two deployments have two daemons that see nothing of each other, and
the machine's own libvirt, if there is one, is not touched. Everything is below two folders: what may go with a reboot
of the machine below `/run`, what must last below the deployment's data folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from backends.errors import Away

DEADLINE = 30.0
"""Seconds within which the daemon has to answer; the first start probes QEMU, which takes some."""
BETWEEN = 1.0
"""Seconds between two attempts to start it."""

QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
security_default_confined = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
max_core = 0
"""
LIBVIRTD_CONF = """\
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_dir = "/run/libvirt"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
log_filters = "3:qemu 3:lxc"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
host_uuid = "{uuid}"
"""
PLACES = {
    "run": "/run/libvirt",
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that this machine lacks, and the command that mends it."""

    what: str
    remedy: str


def missing() -> list[Missing]:
    """What stands in the way of a daemon of our own on this machine."""
    lacks = []
    for program, package in (
        ("libvirtd", "libvirt-daemon-system"),
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("unshare", "util-linux"),
        ("mount", "mount"),
    ):
        if shutil.which(program, path=_path()) is None:
            lacks.append(Missing(f"the program {program}", f"apt-get install --no-install-recommends {package}"))
    if os.geteuid() != 0:
        lacks.append(Missing("root", "run it as root, or in a user namespace of yours: unshare -Urnm --map-auto"))
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        lacks.append(Missing("access to /dev/net/tun", "chmod 0666 /dev/net/tun"))
    return lacks


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class OwnDaemon:
    """One libvirtd for one deployment. `kvm` False hides /dev/kvm from it: where that opens and does not work, libvirt
    would probe it at every call. `cgroups` False takes the unified hierarchy out of its sight, on which containers
    fail to start where it is mounted beside the old one."""

    def __init__(self, folder: Path, mark: str, *, kvm: bool, unified: bool = True) -> None:
        self._lasting, self._kvm, self._unified = folder, kvm, unified
        base = Path("/run") if os.access("/run", os.W_OK) else Path(tempfile.gettempdir())
        self.run = base / f"nephele-{mark}"
        self.socket = self.run / "libvirt-sock"
        self._lock = threading.Lock()
        self._tried = 0.0

    def ensure(self) -> None:
        """After success the daemon listens at `socket`. Starts it if it is not there. Raises `Away`."""
        with self._lock:
            if time.monotonic() - self._tried < BETWEEN:
                raise Away("libvirtd was tried a moment ago")
            self._prepare()
            # The lock is inherited by the daemon: whoever cannot have it knows that one runs.
            with (self.run / "nephele.lock").open("a+") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                try:
                    self._start(lock.fileno())
                finally:
                    self._tried = time.monotonic()

    def pid(self) -> int | None:
        """The daemon's process; None when none is known."""
        try:
            return int((self.run / "libvirtd.pid").read_text())
        except (OSError, ValueError):
            return None

    def end(self) -> None:
        """Have the daemon end, soon; its guests go on, and `ensure` starts the next one."""
        pid = self.pid()
        with contextlib.suppress(OSError):
            if pid is not None and Path(f"/proc/{pid}/comm").read_text().strip() == "libvirtd":
                os.kill(pid, signal.SIGTERM)

    def _prepare(self) -> None:
        try:
            for name in PLACES:
                self._place(name).mkdir(mode=0o711, parents=True, exist_ok=True)
            identity = self._lasting / "host-uuid"
            if not identity.exists():
                identity.write_text(str(uuid.uuid4()))
            etc = self._place("etc")
            (etc / "qemu.conf").write_text(QEMU_CONF)
            (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(uuid=identity.read_text().strip()))
            nothing = self._lasting / "nothing"
            nothing.touch()
            nothing.chmod(0o400)
        except OSError as error:
            raise Away(f"the folders of libvirtd: {error}") from error

    def _place(self, name: str) -> Path:
        return self.run if name == "run" else self._lasting / name

    def _script(self) -> str:
        """What runs in the private mount namespace: a read-only bind of an empty file hides /dev/kvm, since one of
        /dev/null can be opened for writing and is taken for it."""
        lines = ["set -e"]
        for name, target in PLACES.items():
            lines.append(f"mkdir -p {target}")
            lines.append(f"mount --bind {shlex.quote(str(self._place(name)))} {target}")
        if not self._kvm and os.path.exists("/dev/kvm"):
            lines.append(f"mount --bind {shlex.quote(str(self._lasting / 'nothing'))} /dev/kvm")
            lines.append("mount -o remount,bind,ro /dev/kvm")
        if not self._unified:
            lines.append("! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified")
        lines.append("exec libvirtd -p /run/libvirt/libvirtd.pid")
        return "\n".join(lines)

    def _listens(self) -> bool:
        """Whether somebody is behind the socket: it is there a moment before."""
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(str(self.socket))
            except OSError:
                return False
        return True

    def _start(self, lock: int) -> None:
        self.socket.unlink(missing_ok=True)
        output = self._lasting / "log" / "start.log"
        with output.open("wb") as out:
            process = subprocess.Popen(
                ["unshare", "-m", "--propagation", "slave", "sh", "-c", self._script()],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={"PATH": _path(), "LC_ALL": "C", "HOME": "/root"},
                start_new_session=True,
                pass_fds=(lock,),
            )
        deadline = time.monotonic() + DEADLINE
        while not self._listens():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = output.read_text(errors="replace")[-500:].strip()
                raise Away(f"libvirtd does not start: {tail or 'no word from it'}")
            time.sleep(0.02)
        _log.info("libvirtd runs as process %d, socket %s", process.pid, self.socket)
        # Nobody waits for it: it is to outlive us. Reaped here only if it ends first.
        threading.Thread(target=process.wait, name="libvirtd-reaper", daemon=True).start()
