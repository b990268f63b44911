"""Speed of networks in the kernel: `python -m bench.network`, as root; everything happens in private namespaces.

What is timed is a pass of the reconciler after a commit, which reads the rows, plans, and changes the kernel, and a
driver's `adopt`; at last the whole way from a commit to the kernel, with the reconciler's waiting. Medians of the
rounds, and of the processor time of this process; the aims are those of the issue that asked for real networks.
"""

from __future__ import annotations

import ipaddress
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from backends.network import lifecycle
from backends.network.book import TOPIC, NetworkHost
from backends.network.drivers.linux import namespace
from backends.network.drivers.linux.driver import LinuxNetwork
from backends.network.drivers.linux.namespace import OWN, Namespace
from backends.network.rules import spell
from backends.reconcile import Reconciler
from tests.unit.network_worlds import World, new_world

NETWORKS, PORTS, ROUNDS = 50, 10, 5
Spent = tuple[float, float]
"""Milliseconds: by the clock, and of the processor."""
INSIDE = "NEPHELE_BENCH_INSIDE"


def timed(work: Callable[[], object]) -> Spent:
    """What the work takes."""
    begun, spent = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - begun) * 1000, (time.process_time() - spent) * 1000


def show(what: str, spent: Sequence[Spent], aim: float) -> None:
    """One line of the table."""
    wall, processor = (statistics.median(each) for each in zip(*spent, strict=True))
    word = "met" if wall <= aim else "MISSED"
    print(f"| {what} | {wall:,.1f} ms | {processor:,.1f} ms | {aim:,.0f} ms | {word} |", flush=True)


def populate(world: World) -> None:
    """Networks with a segment and ports each; every port in two firewall groups of its own, since a group holds few
    rules."""
    with world.service() as service:
        for number in range(NETWORKS):
            network = service.add_network(id=f"vpc-{number}", cidr="10.0.0.0/16", ids=world.ids())
            segment = world.segment(service, network)
            for port in range(PORTS):
                mine = [f"sg-{number}-{port}-{n}" for n in range(2)]
                for id in mine:
                    service.add_group(id=id, network=network, name=id, description="", rule_out=world.name("rule"))
                service.session.flush()
                service.add_port(f"eni-{number}-{port}", segment, mine)


def link(driver: LinuxNetwork, host: Namespace, port: str) -> None:
    """A port's link, as a hypervisor makes it; its other end goes nowhere."""
    name = driver.link(port)
    host.run(lambda: host.links.link("add", ifname=name, kind="veth", peer={"ifname": "x" + name[1:]}))


def allow(world: World, number: int, count: int) -> None:
    """Put `count` more allowances into groups of a network, 50 into each."""
    with world.service() as service:
        for place in range(count // 50):
            held = service.group_named(f"vpc-{number}", f"sg-{number}-{place // 2}-{place % 2}")
            assert held is not None
            specs = [spell("tcp", 1 + n, 1 + n, "cidr4", f"192.0.2.{n}/32") for n in range(50)]
            service.allow(held, False, specs, lambda: world.name("rule"))


def unlink(driver: LinuxNetwork, network: str, port: str) -> None:
    """Let a port's link go, as its guest does."""
    space = driver._spaces[network]
    space.run(lambda: space.links.link("del", ifname=driver.link(port)))


def measure(world: World, driver: LinuxNetwork, host: Namespace) -> None:
    """All figures, one after the other."""
    network_host = NetworkHost(driver=driver)

    def converge() -> None:
        lifecycle.converge(world.database, network_host)

    populate(world)
    ids = [f"eni-{number}-{port}" for number in range(NETWORKS) for port in range(PORTS)]
    for port in ids[1:]:
        link(driver, host, port)
    show(f"{NETWORKS} networks with {len(ids)} interfaces, from nothing", [timed(converge)], 30_000)
    attached = []
    for _ in range(ROUNDS):
        link(driver, host, ids[0])
        attached.append(timed(lambda: driver.adopt("vpc-0", ids[0])))
        unlink(driver, "vpc-0", ids[0])
    show("attach an interface", attached, 50)
    converge()

    def look() -> None:
        network_host.applied.looked = float("-inf")
        converge()

    look()
    show("pass with nothing to do, which looks at everything", [timed(look) for _ in range(ROUNDS)], 300)
    show("pass with nothing to do, which trusts", [timed(converge) for _ in range(ROUNDS)], 300)
    for first, count, aim in ((10, 100, 20), (20, 1000, 100)):
        spent = []
        for turn in range(ROUNDS):
            allow(world, first + turn, count)
            spent.append(timed(converge))
        show(f"{count} rules more, beside {NETWORKS} networks", spent, aim)
    world.database.prompt = {TOPIC}
    reconciler = Reconciler(world.database)
    reconciler.add(TOPIC, lambda: lifecycle.converge(world.database, network_host))
    reconciler.start()
    for first, count, aim in ((30, 100, 20), (40, 1000, 100)):
        spent = []
        for turn in range(ROUNDS):
            time.sleep(0.5)  # a quiet time
            allow(world, first + turn, count)
            id = f"vpc-{first + turn}"
            spent.append(timed(partial(until, partial(_is_another, driver, id, driver._held[id]))))
        show(f"{count} rules more, from commit to kernel", spent, aim)
    reconciler.stop()


def _is_another(driver: LinuxNetwork, id: str, before: object) -> bool:
    return driver._held.get(id, before) is not before


def until(true: Callable[[], bool]) -> None:
    """Wait."""
    while not true():
        time.sleep(0.0005)


def main() -> None:
    """Begin again in namespaces of our own, and measure there."""
    if os.environ.get(INSIDE) is None:
        script = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"'
        command = ["unshare", "-nm", "--propagation", "private", "sh", "-c", script, "sh", sys.executable]
        raise SystemExit(subprocess.call([*command, "-m", "bench.network"], env=os.environ | {INSIDE: "1"}))
    print("| what | median | processor | aim | |\n|---|---|---|---|---|")
    host, driver = Namespace(OWN), LinuxNetwork("bench", ipaddress.IPv4Network("198.18.0.0/15"))
    with tempfile.TemporaryDirectory() as folder:
        world = new_world(Path(folder), exclusive=True)
        measure(world, driver, host)
        world.database.close()
    driver.close()
    for name in namespace.names("nph-bench"):
        namespace.remove(name)
    host.close()


if __name__ == "__main__":
    main()
