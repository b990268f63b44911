"""What is done for disks that running containers have open: their file systems are held still while they are copied.

A file system that is held still (FIFREEZE) has written all it had, and lets nobody write. It stays so when whoever held
it is killed; so a small process holds it, which lets go when we are gone, or when that took too long.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from backends.compute.drivers import container_root
from backends.compute.drivers.container_process import Record
from backends.errors import DriverError, Unsupported
from backends.volume.drivers.base import Limits

STILL = 20
"""Seconds for which a container is held up at most."""
ROOM = 64 * 1024
"""Bytes on a medium, below which it counts as full."""
HOLDER = """
thaw() { for place; do fsfreeze --unfreeze "$place" 2>/dev/null; done; }
for place; do fsfreeze --freeze "$place" || { thaw "$@"; exit 1; }; done
echo still
timeout %d cat >/dev/null
late=$?
thaw "$@"
exit $late
"""


class LxcDisks:
    """`OpenDisks` over containers, whose disks are raw files."""

    def __init__(self, records: Callable[[], Sequence[Record]]) -> None:
        """`records` gives what is noted of every container."""
        self._records = records

    def _holders(self, disks: Sequence[str]) -> list[Record]:
        return [record for record in self._records() if record.lives and not record.disks.keys().isdisjoint(disks)]

    def holds(self, disk: str) -> bool:
        """See `OpenDisks`."""
        return bool(self._holders([disk]))

    @contextlib.contextmanager
    def still(self, disks: Sequence[str]) -> Iterator[None]:
        """See `OpenDisks`."""
        places: list[str] = []
        for record in self._holders(disks):
            for disk, path in record.disks.items():
                if disk in disks:
                    places += mounted(record.first, path)
                    flush(path)
        with held(places):
            yield

    def back_up(
        self,
        targets: Mapping[str, str],
        checkpoint: str,
        since: Mapping[str, str | None],
        report: Callable[[int], None] = lambda percent: None,
    ) -> Mapping[str, bool]:
        """See `OpenDisks`."""
        raise Unsupported("a container's disk is a plain file, and copied as one")

    def grow(self, disk: str, size: int) -> None:
        """See `OpenDisks`."""
        for record in self._holders([disk]):
            with open(record.disks[disk], "r+b") as file:
                file.truncate(size)
                os.fsync(file.fileno())
            for device in container_root.loops(record.disks[disk]):
                container_root.reread(device)

    def limit(self, disk: str, limits: Limits) -> None:
        """See `OpenDisks`. A container uses its disks as fast as the machine does."""


def without_room(record: Record) -> tuple[str, ...]:
    """The disks, by id, whose files have holes that nothing can be written into, since their medium is full."""
    found = []
    for disk, path in record.disks.items():
        with contextlib.suppress(OSError):
            about, medium = os.stat(path), os.statvfs(path)
            if about.st_blocks * 512 < about.st_size and medium.f_bavail * medium.f_frsize < ROOM:
                found.append(disk)
    return tuple(sorted(found))


def mounted(first: int, path: str) -> list[str]:
    """Where the container with that first process has file systems of the disk's file, as we reach them: one place of
    each."""
    numbers = set()
    for device in container_root.loops(path):
        with contextlib.suppress(OSError):
            numbers.add(Path("/sys/block", Path(device).name, "dev").read_text().strip())
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{first}/mountinfo").read_text().splitlines():
            _, _, number, _, place, *_ = line.split()
            if number in numbers:
                found.setdefault(number, f"/proc/{first}/root{_unescaped(place)}")
    return list(found.values())


def _unescaped(place: str) -> str:
    """A path as mountinfo has it, where blanks and the like are octal."""
    return place.encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")


def flush(path: str) -> None:
    """Bring what was written to block devices over a file into the file. Raises `DriverError` where it does not come
    there: a copy would lack it."""
    for device in container_root.loops(path):
        try:
            descriptor = os.open(device, os.O_RDONLY)
        except OSError:
            continue  # it was detached at this moment, and had written all it had
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise DriverError(f"what was written to {device} cannot be kept: {error.strerror}", path=path) from error
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def held(places: Sequence[str]) -> Iterator[None]:
    """Hold the file systems at these places still. Raises `DriverError` when that cannot be, and at the end of the
    block when they were let go before."""
    if not places:
        yield
        return
    holder = subprocess.Popen(
        ["sh", "-c", HOLDER % STILL, "sh", *places],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what ends us must not end it
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != "still\n":
        _, told = holder.communicate()
        raise DriverError(f"a file system cannot be held still: {told.strip()}")
    try:
        yield
    finally:
        holder.communicate()
    if holder.returncode != 0:
        raise DriverError(f"copying took longer than {STILL} s, for which a container is held up at most")


def let_go(first: int, paths: Sequence[str]) -> None:
    """Let the file systems of these files go on, whoever held them still and was killed over it."""
    for path in paths:
        for place in mounted(first, path):
            container_root.thaw(place)
