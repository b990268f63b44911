"""An engine without root: in a user, network and mount namespace of its own, where it may do what root may elsewhere.

The machine sees nothing of its networks. Guests and networks outlive the engine there as they do elsewhere, and the
next engine of the same data folder goes back to them: a process that does nothing keeps the place open, and its number
is in the folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

KEEPER = "engine.keeper"
"""The file in the data folder that names the process: its number, and when it began, in ticks after the boot."""

SETUP = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock /run/nephele
mount -t sysfs sysfs /sys 2>/dev/null || true
ip link set lo up
"""
"""/run and /sys must be of the new network namespace, or named namespaces and links would be looked for in the old."""
KEEP = """
setsid sleep infinity </dev/null >/dev/null 2>&1 &
keeper=$!
read -r line </proc/$keeper/stat
set -- "$keeper" "${line##*) }" "$@"
began=$(echo "$2" | cut -d' ' -f20)
echo "$keeper $began" >"$3"
shift 3
"""
BACK = 'cd "$1" && shift && exec "$@"'


def inside(*words: str) -> list[str]:
    """The command that runs a command inside namespaces of its own, which go with it."""
    return _made("", *words)


def enter(folder: Path) -> None:
    """Begin anew inside, with the same arguments, except for `--rootless`. The process keeps its id.

    Inside is where the last engine of the data folder was, while that stands. Raises `gateway.settings.StartError` when
    one is there now."""
    from gateway.serve import hold

    arguments = [argument for argument in sys.argv[1:] if argument != "--rootless"]
    words = [sys.executable, "-m", "gateway", *arguments]
    with hold(folder, "engine.lock"):
        pass
    keeper = _keeper(folder / KEEPER)
    if keeper is not None:
        place = ["nsenter", "--preserve-credentials", "-U", "-n", "-m", "-t", str(keeper), "--"]
        command = [*place, "sh", "-c", BACK, "sh", os.getcwd(), *words]
    else:
        command = _made(KEEP, str(folder / KEEPER), *words)
    os.execvp(command[0], command)


def _made(more: str, *words: str) -> list[str]:
    spaces = ["-U", "-n", "-m", "--map-root-user", "--map-auto", "--propagation", "slave"]
    return ["unshare", *spaces, "sh", "-c", f'{SETUP}{more}exec "$@"', "sh", *words]


def _keeper(file: Path) -> int | None:
    """The process that keeps the place open; None when it is gone. One of another that has its number now is none."""
    try:
        number, began = file.read_text().split()
        stat = Path("/proc", number, "stat").read_text()
    except (OSError, ValueError):
        return None
    return int(number) if stat.rpartition(")")[2].split()[19] == began else None
