"""Change rules of running networks, the short way, and see whether the kernel holds what a fresh load makes of them.

In a sandbox:

    python -m tests.compat.real.rule_changes ROUNDS SEED

prints a JSON object: how many changes there were, how many of them went the short way, and what was not as it should
be.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from typing import Any

from backends.network.drivers.linux import netlink
from backends.network.drivers.linux.driver import LinuxNetwork
from backends.network.drivers.linux.namespace import Namespace
from backends.network.drivers.linux.ruleset import Chain, Ruleset
from backends.network.drivers.linux.transaction import Writer, messages
from backends.network.plan import NetworkPlan, RulePlan
from tests.compat.real.crashes import Killed, Plans, differences, drive, interrupted, reconcile, state, world
from tests.compat.real.standins import here

PEERS = (
    *("", "ip saddr 10.0.0.0/8", "ip daddr 10.1.0.0/16", "ip saddr 10.1.2.0/24", "ip saddr 192.0.2.7/32"),
    *("ip daddr 192.0.2.7", "ip saddr 198.18.0.0/15", "ip saddr 10.1.2.128/25", "ip saddr 128.0.0.0/1"),
    *("ip daddr @one", "ip saddr @many", "iifname . ip saddr @both", "oifname . ip daddr @both"),
)
MATCHES = (
    *("", "tcp dport 80", "udp dport 1-1024", "ip protocol tcp", "ip protocol icmp", "ip protocol 47"),
    *("icmp type 8", "icmp type 8 icmp code 0"),
)
ENDS = ("accept", "drop", "return", "jump other", 'counter accept comment "sgr-1#7"')
OWN_MARKS = ('"chain": "g_', '"name": "g_', '"name": "l_')
"""What names of links do not stand in."""
DUMP_RULES = 10 << 8 | 7


def mutated(plan: NetworkPlan, dice: random.Random) -> NetworkPlan:
    """The network with other rules: some added, taken away, changed or turned round."""
    groups = dict(plan.groups)
    for group in dice.sample(sorted(groups), dice.choice((1, 1, 2))):
        rules = list(groups[group])
        for _ in range(dice.choice((1, 2, 5))):
            what = dice.choice(("add", "add", "remove", "change", "turn"))
            if what == "add" or not rules:
                rules.append(_rule(f"{group}x{dice.randrange(1 << 30)}", dice))
            elif what == "remove":
                rules.remove(dice.choice([rule for rule in rules if not rule.named] or rules))
            elif what == "change":
                place = dice.choice([n for n, rule in enumerate(rules) if not rule.named] or [0])
                rules[place] = _rule(rules[place].id, dice)
            else:
                rules.reverse()
        groups[group] = tuple(rules)
    return replace(plan, groups=groups)


def _rule(id: str, dice: random.Random) -> RulePlan:
    protocol = dice.choice(("tcp", "udp", "icmp", "icmpv6", "-1", "47"))
    low, high = (-1, -1)
    if protocol in ("tcp", "udp"):
        low, high = dice.choice(((80, 80), (1, 1024), (0, 65535)))
    elif protocol == "icmp":
        low, high = dice.choice(((8, -1), (8, 0), (-1, -1)))
    length = dice.randrange(33)
    peer = "2001:db8::/64" if protocol == "icmpv6" else f"{dice.choice(('0.0.0.0', '128.0.0.0'))}/{length}"
    if peer.startswith("128") and length == 0:
        peer = "0.0.0.0/0"
    return RulePlan(id, dice.random() < 0.3, protocol, low, high, (peer,))


def loaded(plans: Plans) -> Any:
    """What a driver without a past makes of the plans."""
    driver, host = drive("fresh"), here()
    reconcile(driver, plans)
    found = state(driver, host, "fresh")
    reconcile(driver, {})
    driver.close()
    host.close()
    return found


def rules_of(found: Any, deployment: str) -> Any:
    """The rules alone, by network; names of links are the deployment's own."""
    return {
        name.removeprefix(f"nph-{deployment}-"): {
            "rules": [rule for rule in held["rules"] if any(mark in rule for mark in OWN_MARKS)]
        }
        for name, held in found.items()
        if name.startswith(f"nph-{deployment}-")
    }


def spelled(host: Namespace) -> list[str]:
    """Rules that come to something else in our spelling than in that of libnftables. On the host's thread."""
    rules = tuple(" ".join(filter(None, (peer, what, end))) for peer in PEERS for what in MATCHES for end in ENDS)
    begin = (
        "add table ip nephele\nadd set ip nephele one { type ipv4_addr; }\n"
        "add set ip nephele many { type ipv4_addr; flags interval; }\n"
        "add set ip nephele both { type ifname . ipv4_addr; }\n"
        "add chain ip nephele other\nadd chain ip nephele theirs\nadd chain ip nephele ours\n"
    )
    host.rules.run(begin + "\n".join(f"add rule ip nephele theirs {rule}" for rule in rules))
    steps = messages(Ruleset({"ours": Chain("", ())}), Ruleset({"ours": Chain("", rules)}))
    assert steps is not None and len(steps) == len(rules)
    generation = host.reader.generation()
    writer = Writer()
    wrong = [] if writer.commit(steps, generation) == host.reader.generation() else ["the generation is another one"]
    try:
        writer.commit(steps, generation)
        wrong.append("a generation that is over is not refused")
    except OSError:
        pass
    writer.close()
    theirs, ours = _dumped(host, "theirs"), _dumped(host, "ours")
    host.rules.run("delete table ip nephele")
    wrong += [rule for rule, one, other in zip(rules, theirs, ours, strict=True) if one != other]
    return wrong


def _dumped(host: Namespace, chain: str) -> list[tuple[bytes, bytes]]:
    """Expressions and comments of a chain's rules, as the kernel tells them."""
    socket = netlink.connect(netlink.NETLINK_NETFILTER)
    body = b"\2\0\0\0" + netlink.attribute(1, b"nephele\0") + netlink.attribute(2, chain.encode() + b"\0")
    found = []
    for message in netlink.ask(socket, DUMP_RULES, netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP, body):
        held = dict(netlink.attributes(message[4:]))
        if held[2].rstrip(b"\0").decode() == chain:
            found.append((held[4], held.get(7, b"")))
    socket.close()
    return found


def killed(host: Namespace, plans: Plans, dice: random.Random) -> list[str]:
    """Kill the driver before each step of a change of rules; what a new one does not bring about."""
    wrong: list[str] = []
    for step in range(1, 20):
        following = {id: mutated(plan, dice) for id, plan in plans.items()}
        done = not _dies(step, plans, following)
        after = drive()
        reconcile(after, following)
        wrong += differences(rules_of(loaded(following), "fresh"), rules_of(state(after, host), "crash"))
        wrong += [f"{id} is not settled" for id, digest in after.observe().items() if following[id].digest != digest]
        after.close()
        if done:
            return wrong if step > 2 else [*wrong, "there was nothing to kill"]
        plans = following
    return [*wrong, "it never ended"]


def _dies(step: int, plans: Plans, following: Plans) -> bool:
    """Whether a driver that knows the networks is killed before its n-th step to what follows."""
    counted = [-1]

    def before(what: str) -> None:
        counted[0] += counted[0] >= 0
        if counted[0] == step:
            raise Killed(what)

    driver = drive(before=before)
    reconcile(driver, plans)
    counted[0] = 0
    return interrupted(driver, lambda driver: reconcile(driver, following))


def main(rounds: int, seed: int) -> None:
    dice, host, short = random.Random(seed), here(), 0
    wrong = host.run(lambda: spelled(host))
    plans = world(3)
    go = LinuxNetwork._change_rules

    def counted(*arguments: Any) -> bool:
        nonlocal short
        done = go(*arguments)
        short += done
        return done

    LinuxNetwork._change_rules = counted  # type: ignore[assignment, method-assign]
    driver = drive()
    reconcile(driver, plans)
    changes = 0
    for number in range(rounds):
        for id in plans:
            following = mutated(plans[id], dice)
            changes += following != plans[id]
            plans = {**plans, id: following}
            driver.ensure(following)
        if driver.observe() != {id: plan.digest for id, plan in plans.items()}:
            wrong.append(f"round {number}: not settled")
        if number % 5 == 4:
            wrong += differences(rules_of(loaded(plans), "fresh"), rules_of(state(driver, host), "crash"))
    driver.close()
    wrong += killed(host, plans, dice)
    driver = drive()
    reconcile(driver, {})
    driver.close()
    host.close()
    sys.stdout.write(json.dumps({"changes": changes, "short": short, "wrong": wrong}))
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
