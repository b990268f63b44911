"""From RunInstances to the guest that runs its user data: `python -m bench.guests`, as root, in private namespaces.

A server is started for each kind of guest, with real networks; the guest is the micro image. The clock runs from the
call to the moment in which the guest has its user data; the processor's time is the server's own in that while, which
other work on the machine does not lengthen. What the machine cannot run is said, and left out.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backends.compute.drivers import libvirt
from backends.errors import DriverError, Unsupported
from backends.image import micro
from backends.network.drivers import linux
from tests.compat.conftest import new_client
from tests.sandbox import Sandbox, missing
from tests.server import ROOT, Server

ACCOUNT = "123456789012"
AIMS = {"lxc": 1.5, "libvirt": 8.0}
"""Seconds from the call to the request for user data, on an idle machine."""
PATIENCE = 240.0
BEGINS = re.compile(r"user data begins at ([\d.]+) s")
USER_DATA = "#!/bin/sh\ntrue\n"


def lacks(compute: str) -> str:
    """Why such guests cannot be measured here; empty when they can."""
    if reason := missing():
        return reason
    found = libvirt.lxc_lacks() if compute == "lxc" else libvirt.lacks()
    return "; ".join([one.what for one in found] + list(linux.lacks()))


def processor_seconds(pid: int) -> float:
    """What a process used, with its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def start(cloud: Server, ec2: Any, image: str, compute: str) -> tuple[float, float]:
    """Start one guest and end it again; seconds by the clock, and of the server's processor."""
    used, begun, uptime = processor_seconds(cloud.pid), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
    run = ec2.run_instances(ImageId=image, InstanceType="t2.nano", MinCount=1, MaxCount=1, UserData=USER_DATA)
    id = run["Instances"][0]["InstanceId"]
    while True:
        said = BEGINS.search(ec2.get_console_output(InstanceId=id).get("Output", ""))
        if said is not None:
            break
        if time.monotonic() - begun > PATIENCE:
            raise SystemExit(f"{id} never had its user data:\n{cloud.log.read_text()[-2000:]}")
        time.sleep(0.1)
    # A container has the machine's clock, and says the moment itself.
    took = float(said[1]) - uptime if compute == "lxc" else time.monotonic() - begun
    used = processor_seconds(cloud.pid) - used
    ec2.terminate_instances(InstanceIds=[id])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[id], WaiterConfig={"Delay": 1})
    return took, used


@contextmanager
def clouds(compute: str, disk: Path) -> Iterator[tuple[Server, Any, str]]:
    """A server with real guests in a sandbox, a client of it, and the micro image there."""
    volume = "sparse" if compute == "lxc" else "qcow2"
    arguments = ("--compute", compute, "--volume", volume, "--network", "linux", "--log-level", "error")
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox, sandbox.entered():
        with Server(Path(folder) / "data", *arguments, prefix=sandbox.prefix) as cloud:
            words = ("-m", "gateway", "image", "import", str(disk), "--name", "micro", "--account", ACCOUNT)
            command = [*sandbox.python(*words), "--endpoint", cloud.endpoint]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            yield cloud, new_client(cloud.endpoint, "ec2", ACCOUNT), done.stdout.split()[-1]
        daemon = sandbox.run("sh", "-c", "cat /run/nephele-*/libvirtd.pid", check=False).stdout
        if daemon.strip():
            os.kill(int(daemon), signal.SIGTERM)


def measure(compute: str, rounds: int) -> None:
    """One line of the table. The first start, which brings libvirtd up, is not counted."""
    if reason := lacks(compute):
        print(f"| {compute} | not measured: {reason} | | | | |", flush=True)
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nephele"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        disk = micro.build(cache).disk
    except (Unsupported, DriverError) as error:
        print(f"| {compute} | not measured: {error} | | | | |", flush=True)
        return
    with clouds(compute, disk) as (cloud, ec2, image):
        taken = [start(cloud, ec2, image, compute) for _ in range(rounds + 1)][1:]
    clock, processor = zip(*taken, strict=True)
    aim, load = AIMS[compute], os.getloadavg()[0]
    word = "met" if statistics.median(clock) <= aim else "MISSED"
    print(
        f"| {compute} | {statistics.median(clock):.2f} s | {min(clock):.2f} s | {statistics.median(processor):.2f} s "
        f"| {aim:g} s | {word}, at load {load:.1f} |",
        flush=True,
    )


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "compute", nargs="*", choices=[[], *AIMS], default=[], metavar="{lxc,libvirt}", help="which guests; all of them"
    )
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print("RunInstances to user data:\n")
    print("| guests | median | best | server's processor | aim | |\n|---|---|---|---|---|---|")
    for compute in given.compute or AIMS:
        measure(compute, given.rounds)


if __name__ == "__main__":
    main()
