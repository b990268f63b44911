"""An ordinary user who may run a cloud without root, in a private view of this machine.

The user, its ranges of subordinate ids and a /dev/net/tun that everybody may open are there in a mount namespace only:
on the machine nothing changes. Folders that are root's alone, and have our Python in them, are opened there as far as
it takes to get there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.server import ROOT

NAME, ID = "nephele-ordinary", 61234
RANGES = f"{NAME}:6100000:65536\n"
LINES = {
    "/etc/passwd": f"{NAME}:x:{ID}:{ID}::/nonexistent:/bin/sh\n",
    "/etc/group": f"{NAME}:x:{ID}:\n",
    "/etc/subuid": RANGES,
    "/etc/subgid": RANGES,
}


def missing() -> str:
    """What this machine lacks for it; empty when there is all."""
    if os.geteuid() != 0:
        return "needs root, to make an ordinary user who may do without"
    lacking = [one for one in ("newuidmap", "newgidmap", "setpriv", "unshare") if shutil.which(one) is None]
    if lacking:
        return f"needs {', '.join(lacking)} (apt-get install uidmap util-linux)"
    return "" if Path("/dev/net/tun").exists() else "this kernel has no /dev/net/tun"


def view(folder: Path) -> str:
    """A script, for root in a mount namespace of its own, that makes the view; `folder` is the user's."""
    lines = ["set -e", "mount --make-rprivate /"]
    for place, line in LINES.items():
        copy = folder / Path(place).name
        if not copy.exists():  # else somebody reads it at this moment, who would not find the user
            copy.write_text((Path(place).read_text() if Path(place).exists() else "") + line)
            copy.chmod(0o644)
        lines.append(f"mount --bind {shlex.quote(str(copy))} {place}")
    tun = shlex.quote(str(folder / "tun"))
    lines += [f"[ -e {tun} ] || mknod -m 0666 {tun} c 10 200", f"mount --bind {tun} /dev/net/tun"]
    for path in (Path(sys.base_prefix), Path(sys.prefix), ROOT):
        lines += _opened(path)
    return "\n".join(lines)


def _opened(path: Path) -> list[str]:
    """Commands that put an empty folder in place of the first one above `path` that not everybody may pass, with
    `path` in it as it is."""
    closed = next((one for one in [*reversed(path.parents), path] if one.exists() and not one.stat().st_mode & 1), None)
    if closed is None or closed == path:
        return []
    there, held = shlex.quote(str(path)), "/mnt/nephele-held"
    return [
        f"if ! mountpoint -q {closed}; then",
        f"mount -t tmpfs tmpfs /mnt; mkdir {held}; mount --bind {there} {held}",
        f"mount -t tmpfs -o mode=0755 tmpfs {closed}",
        f"mkdir -p {there}; mount --move {held} {there}; umount /mnt",
        "fi",
    ]


def refused(folder: Path) -> str:
    """Why this machine lets no ordinary user do it, though all is there; empty when it does."""
    spaces = ["unshare", "-U", "-n", "-m", "--map-root-user", "--map-auto"]
    words = [*prefix(folder), *spaces, "sh", "-c", "mount -t tmpfs tmpfs /run && : <>/dev/net/tun"]
    tried = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return "" if tried.returncode == 0 else f"an ordinary user cannot: {tried.stderr.strip()}"


def prefix(folder: Path) -> list[str]:
    """What to put before a command so that the ordinary user runs it. `folder` is made the user's own."""
    folder.chmod(0o755)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    os.chown(home, ID, ID)
    script = view(folder) + '\nexec "$@"'
    become = ["setpriv", f"--reuid={NAME}", f"--regid={NAME}", "--clear-groups", "--inh-caps=-all"]
    environment = ["env", f"HOME={home}", f"XDG_DATA_HOME={home}/data", f"XDG_CACHE_HOME={home}/cache"]
    return ["unshare", "-m", "sh", "-c", script, "sh", *become, *environment]
