"""How long disks and snapshots take over each driver: `python -m bench.volumes`.

Aim: a volume from a snapshot within 50 ms. Times are the driver's own, bytes durable, as the reconciler asks for them.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backends.volume.drivers.base import DiskDriver, DiskSpec
from backends.volume.drivers.qcow2 import Qcow2Disks
from backends.volume.drivers.sparse import SparseFiles

GIB = 1 << 30
AIM = 50.0
DRIVERS: dict[str, Callable[[Path], DiskDriver]] = {"sparse": SparseFiles, "qcow2": Qcow2Disks}


def measure(driver: DiskDriver, rounds: int, filled: int) -> dict[str, list[float]]:
    """Milliseconds by what was done, of disks of 10 GiB that hold `filled` MiB."""
    taken: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        begun = time.perf_counter()
        work()
        taken.setdefault(name, []).append((time.perf_counter() - begun) * 1000)

    def make(disk: str, source: str | None) -> None:
        driver.ensure_disk(DiskSpec(disk, 10 * GIB, source))
        driver.flush()

    timed("empty disk", lambda: make("vol-0", None))
    access = driver.access("vol-0")
    command = ["qemu-io", "-f", access.format, "-c", f"write -P 1 0 {filled}M", access.path]
    subprocess.run(command, check=True, capture_output=True)
    for number in range(rounds):
        timed("snapshot", lambda number=number: driver.ensure_snapshot(f"snap-{number}", "vol-0"))  # type: ignore[misc]
        timed("disk from snapshot", lambda number=number: make(f"vol-1{number}", "snap-0"))  # type: ignore[misc]
        timed("empty disk", lambda number=number: make(f"vol-2{number}", None))  # type: ignore[misc]
        timed("blocks listed", lambda: driver.extents("snap-0"))
        timed("block read", lambda: driver.read("snap-0", 512 * 1024, 512 * 1024))
    return taken


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="Where the disks lie.  [default: a temporary folder]")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--filled", type=int, default=64, help="MiB that the first disk holds.")
    given = parser.parse_args()
    print("| driver | what | median ms | worst ms | aim |\n|---|---|---|---|---|")
    for name, new in DRIVERS.items():
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            for what, times in measure(new(Path(folder)), given.rounds, given.filled).items():
                aim = f"≤ {AIM:.0f}" if what == "disk from snapshot" and name == "qcow2" else ""
                print(f"| {name} | {what} | {statistics.median(times):.1f} | {max(times):.1f} | {aim} |")


if __name__ == "__main__":
    main()
