"""Debian's packages, fetched by apt, which checks their sums and signatures, and unpacked without installing them."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from backends.errors import DriverError, Unsupported

KERNEL = "linux-image-cloud-amd64"
GUEST = ("busybox-static", "dropbear-bin", "libtomcrypt1", "libtommath1", "libgmp10", "libcrypt1", "zlib1g", "libc6")
TOOLS = ("mtools", "syslinux", "syslinux-common")
PATIENCE = 300
"""Seconds that a download may take."""

_LINE = re.compile(r"^'(?P<address>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sum>[0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Packages:
    """The files of packages, in a folder that keeps them; `names` have versions in them."""

    folder: Path
    names: tuple[str, ...]

    @classmethod
    def wanted(cls, cache: Path) -> Self:
        """The newest packages that apt knows of, fetched where the folder has not got them.

        Raises `Unsupported` (fact: reason) on machines that are no Debian, `DriverError` when a download fails.
        """
        for program in ("apt-get", "apt-cache", "dpkg", "dpkg-deb"):
            if shutil.which(program) is None:
                reason = f"{program} is not here: the micro image is made out of Debian's packages"
                raise Unsupported(reason, reason=reason)
        machine = _run(["dpkg", "--print-architecture"]).strip()
        if machine != "amd64":
            reason = f"the micro image is for amd64; this machine is {machine}"
            raise Unsupported(reason, reason=reason)
        found = re.search(r"Depends: (linux-image-\S+)", _run(["apt-cache", "depends", KERNEL]))
        if found is None:
            reason = f"apt knows no package {KERNEL}: run apt-get update, or use Debian 12 or newer"
            raise Unsupported(reason, reason=reason)
        folder = cache / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        names = (found[1], *GUEST, *TOOLS)
        # Not in the folder itself: what lies there already would not be named.
        offered = list(_LINE.finditer(_run(["apt-get", "download", "--print-uris", *names], cache)))
        if len(offered) != len(names):
            reason = f"apt cannot name all of {', '.join(names)}: run apt-get update"
            raise Unsupported(reason, reason=reason)
        missing = [one["file"] for one in offered if not _is_whole(folder / one["file"], one["sum"])]
        if missing:
            # Older files go, so that versions do not pile up.
            for path in folder.glob("*.deb"):
                if path.name not in {one["file"] for one in offered}:
                    path.unlink()
            wanted = [name for name in names if any(file.startswith(f"{name}_") for file in missing)]
            _run(["apt-get", "download", "--quiet", *wanted], folder)
            for one in offered:
                if not _is_whole(folder / one["file"], one["sum"]):
                    raise DriverError(f"apt brought no {one['file']} of the right sum")
        return cls(folder, tuple(one["file"] for one in offered))

    def unpack(self, folder: Path) -> Path:
        """Unpack everything into a new folder, and answer that."""
        folder.mkdir()
        for name in self.names:
            _run(["dpkg-deb", "--extract", str(self.folder / name), str(folder)])
        return folder


def _is_whole(path: Path, sum: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sum
    except FileNotFoundError:
        return False


def _run(command: list[str], folder: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"{command[0]} did not end within {PATIENCE} s") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DriverError(f"{' '.join(command[:2])}: {said[-1] if said else done.returncode}")
    return done.stdout.decode("utf-8", "replace")
