"""An engine without root: in a user, network and mount namespace of its own, where it may do what root may elsewhere.

The machine sees nothing of its networks; they and all guests go with the namespace.
"""

from __future__ import annotations

import os
import sys

SETUP = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock /run/nephele
mount -t sysfs sysfs /sys 2>/dev/null || true
ip link set lo up
exec "$@"
"""
"""/run and /sys must be of the new network namespace, or named namespaces and links would be looked for in the old."""


def inside(*words: str) -> list[str]:
    """The command that runs a command inside namespaces of its own."""
    spaces = ["-U", "-n", "-m", "--map-root-user", "--map-auto", "--propagation", "slave"]
    return ["unshare", *spaces, "sh", "-c", SETUP, "sh", *words]


def enter() -> None:
    """Begin anew inside, with the same arguments, except for `--rootless`. The process keeps its id."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--rootless"]
    command = inside(sys.executable, "-m", "gateway", *arguments)
    os.execvp(command[0], command)
