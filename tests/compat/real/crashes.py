"""Kill the driver before each of its steps, and see whether a new one ends where nothing had happened. In a sandbox:

    python -m tests.compat.real.crashes build|change|drop|reboot|neighbours

prints a JSON object: how many steps there were, and what was not as it should be.
"""

from __future__ import annotations

import ipaddress
import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from backends.errors import DriverError
from backends.network.drivers.linux import layout, links, namespace
from backends.network.drivers.linux.driver import LinuxNetwork
from backends.network.drivers.linux.namespace import Namespace
from backends.network.plan import NatPlan, NetworkPlan
from tests.compat.real.random_networks import World
from tests.compat.real.standins import StandIn, here

POOL = ipaddress.IPv4Network("198.18.0.0/15")
Plans = dict[str, NetworkPlan]
Told = dict[str, Any]


class Killed(BaseException):
    """The process ends here."""


def drive(deployment: str = "crash", kill_at: int = 0, before: Callable[[str], None] | None = None) -> LinuxNetwork:
    """A driver that is killed before its n-th step, or by `before`."""
    steps = 0

    def count(what: str) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            raise Killed(what)

    return LinuxNetwork(deployment, POOL, before=before or count)


def world(seed: int) -> Plans:
    """Two peered networks with gateway, translator and public addresses, and little else."""
    dice = random.Random(seed)
    made = World(0)
    while True:
        made.shuffle(dice)
        first, second = list(made.plans.values())[:2]
        link = second.peerings[:1]
        if link and all(plan.gateway and plan.nats for plan in (first, second)):
            return {plan.id: _small(plan, link[0].id) for plan in (first, second)}


def _small(plan: NetworkPlan, peering: str) -> NetworkPlan:
    kept = tuple(one for one in plan.peerings if one.id == peering)
    return replace(plan, ports=(plan.ports[0], plan.ports[-1]), peerings=kept, edge_table=None)


def changed(plans: Plans) -> Plans:
    """The same networks with other rules, less in one and more in the other."""
    (one, first), (two, second) = sorted(plans.items())
    port = first.ports[0]
    moved = replace(port, publics=((port.addresses[0], "198.18.200.1"),), addresses=(*port.addresses, "10.10.1.77"))
    return {
        one: replace(first, ports=(moved,), nats=(), peerings=()),
        two: replace(second, peerings=(), nats=(NatPlan("nat-second", second.nats[0].port, True),)),
    }


def reconcile(driver: LinuxNetwork, plans: Plans) -> None:
    """What the reconciler does, again and again, since links of guests that ended may go late."""
    for again in (True, True, False):
        observed = driver.observe()
        for id, plan in plans.items():
            if observed.get(id) != plan.digest:
                try:
                    driver.ensure(plan)
                except DriverError:
                    if not again:
                        raise
        for left in observed.keys() - plans.keys():
            driver.drop(left)


def guests(driver: LinuxNetwork, host: Namespace, plans: Plans) -> list[StandIn]:
    """Links for the first port of each network, which wait in the host's namespace."""
    return [
        StandIn(f"{plan.id}-{n}", host, driver.link(plan.ports[0].id), plan.ports[0], "10.0.0.0/8")
        for n, plan in enumerate(plans.values())
    ]


def state(driver: LinuxNetwork, host: Namespace, deployment: str = "crash") -> Told:
    """All that a deployment has on this machine."""

    def read(space: Namespace) -> Told:
        held = layout.found(space.links)
        listed = json.loads(space.rules.list())["nftables"]
        return {
            "links": sorted(links.present()),
            "addresses": sorted(held.addresses),
            "marks": sorted(held.marks),
            "routes": sorted(map(repr, held.routes)),
            "neighbours": sorted(held.neighbours),
            "rules": sorted(json.dumps(_plain(item), sort_keys=True) for item in listed if "metainfo" not in item),
            "forwards": (links.IPV4 / "ip_forward").read_text(),
        }

    found = {}
    for name in namespace.names(f"nph-{deployment}"):
        found[name] = namespace.visit(namespace.FOLDER / name, read)
    outside = host.run(partial(read, host))
    found["host"] = {
        "routes": [route for route in outside["routes"] if driver._edge._link in route],
        "rules": [rule for rule in outside["rules"] if f'"nephele_{deployment}"' in rule],
        "links": [name for name in outside["links"] if name == driver._edge._link],
    }
    return found


def _plain(value: Any) -> Any:
    """Without what counts, and what has no order in any order."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if key != "handle"}
    if isinstance(value, list):
        plain = [_plain(each) for each in value]
        return plain if any(isinstance(each, dict) and "match" in each for each in plain) else sorted(plain, key=repr)
    return value


def differences(wanted: Told, found: Told) -> list[str]:
    """What is not as wanted, in words."""
    told = [f"{name} is {'missing' if name in wanted else 'left'}" for name in wanted.keys() ^ found.keys()]
    for name in wanted.keys() & found.keys():
        told += [
            f"{name}: {key}: {wanted[name][key]} != {found[name][key]}"
            for key in wanted[name]
            if wanted[name][key] != found[name][key]
        ]
    return told


def interrupted(driver: LinuxNetwork, work: Callable[[LinuxNetwork], None]) -> bool:
    """Whether the driver was killed during the work."""
    try:
        work(driver)
    except Killed:
        return True
    finally:
        driver.close()
    return False


def every_step(
    host: Namespace, begin: Callable[[], None], work: Callable[[LinuxNetwork], None], plans: Plans, wanted: Told
) -> Told:
    """Kill before each step of the work, in turn; afterwards a new driver brings `plans` about."""
    wrong: list[str] = []
    step = 1
    while True:
        begin()
        killed = interrupted(drive(kill_at=step), work)
        after = drive()
        reconcile(after, plans)
        wrong += [f"step {step}: {difference}" for difference in differences(wanted, state(after, host))]
        wrong += [f"step {step}: not settled" for id, digest in after.observe().items() if plans[id].digest != digest]
        after.close()
        if not killed or len(wrong) > 3:
            return {"steps": step - 1, "wrong": wrong}
        step += 1


def main(what: str) -> None:
    host = here()
    plans = world(3)
    standins: list[StandIn] = []

    def empty() -> None:
        driver = drive()
        reconcile(driver, {})
        driver.close()
        while standins:
            standins.pop().close()

    def full(wanted: Plans = plans) -> None:
        driver = drive()
        if not standins:
            standins.extend(guests(driver, host, plans))
        reconcile(driver, wanted)
        driver.close()

    def build(driver: LinuxNetwork) -> None:
        standins.extend(guests(driver, host, plans))
        reconcile(driver, plans)

    def at(wanted: Plans) -> Told:
        full(wanted)
        driver = drive()
        told = state(driver, host)
        driver.close()
        return told

    empty()  # of what a run before in the same sandbox left
    nothing = state(drive(), host)
    whole = at(plans)
    if what == "build":
        told = every_step(host, empty, build, plans, whole)
    elif what == "change":
        other = changed(plans)
        told = every_step(host, full, lambda driver: reconcile(driver, other), other, at(other))
    elif what == "drop":
        told = every_step(host, full, lambda driver: reconcile(driver, {}), {}, nothing)
    elif what == "reboot":
        driver = drive()
        reconcile(driver, plans)
        for name in namespace.names("nph-crash"):
            namespace.remove(name)
        while standins:
            standins.pop().close()
        standins.extend(guests(driver, host, plans))
        reconcile(driver, plans)
        told = {"steps": 1, "wrong": differences(whole, state(driver, host))}
        driver.close()
    else:
        other_one = drive("other")
        reconcile(other_one, plans)
        wrong = differences(whole, state(drive(), host))
        reconcile(other_one, {})
        wrong += differences(whole, state(drive(), host))
        told = {"steps": 1, "wrong": wrong + list(namespace.names("nph-other"))}
        other_one.close()
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
