"""Which connections a change of plan ends.

Where AWS tracks a connection, it outlives the rule that let it in. It tracks none that a rule for everybody let in,
when another rule lets everything back out: such a flow ends with its rule. (EC2 User Guide, "Security group connection
tracking".) A port's connections end, too, when an address leaves it or stands for another public one.
"""

from __future__ import annotations

from collections.abc import Callable

from backends.network.drivers.linux.netlink import Connection
from backends.network.drivers.linux.rules import ANY, PROTOCOLS
from backends.network.plan import NetworkPlan, RulePlan

Pick = Callable[[Connection], bool]
WHOLE = ((-1, -1), (0, 65535))
UNTRACKED = ("tcp", "udp", "-1")


def stale(old: NetworkPlan, new: NetworkPlan) -> Pick | None:
    """Picks the connections that end when `new` takes the place of `old`; None when none do."""
    freed = _held(old) - _held(new)
    ips = {ip for pair in freed for ip in pair if ip}
    changed = {group for group, rules in old.groups.items() if new.groups.get(group) != rules}
    after = {port.id: port.groups for port in new.ports}
    ended: dict[tuple[tuple[str, ...], tuple[str, ...]], list[RulePlan]] = {}
    opened: list[tuple[set[str], RulePlan]] = []
    for port in old.ports:
        sides = port.groups, after.get(port.id, port.groups)
        if sides[0] == sides[1] and changed.isdisjoint(port.groups):
            continue
        if sides not in ended:
            ended[sides] = _ended(_rules(old, sides[0]), _rules(new, sides[1]))
        opened += [(set(port.addresses), rule) for rule in ended[sides]]
    if not ips and not opened:
        return None
    return lambda entry: (
        not ips.isdisjoint(entry.addresses) or any(_let_in(entry, addresses, rule) for addresses, rule in opened)
    )


def _rules(plan: NetworkPlan, groups: tuple[str, ...]) -> list[RulePlan]:
    """What holds for a port: the rules of all its groups together."""
    return [rule for group in groups for rule in plan.groups.get(group, ())]


def _ended(old: list[RulePlan], new: list[RulePlan]) -> list[RulePlan]:
    """The rules that are gone, and with them the flows that they let pass."""
    kept = {rule[1:] for rule in new if rule.peers == (ANY,)}
    return [rule for rule in old if rule[1:] not in kept and _is_untracked(rule, old)]


def _held(plan: NetworkPlan) -> set[tuple[str, str]]:
    """(address, public address) of every port."""
    return {(ip, dict(port.publics).get(ip, "")) for port in plan.ports for ip in port.addresses}


def _is_untracked(rule: RulePlan, rules: list[RulePlan]) -> bool:
    """Whether flows that the rule lets pass are tracked by nobody: it is for everybody, and so is the way back."""
    if rule.peers != (ANY,) or rule.protocol not in UNTRACKED:
        return False
    return any(
        other.egress != rule.egress
        and other.peers == (ANY,)
        and other.protocol in ("-1", rule.protocol)
        and (other.from_port, other.to_port) in WHOLE
        for other in rules
    )


def _let_in(entry: Connection, addresses: set[str], rule: RulePlan) -> bool:
    source, destination, protocol, port = entry.began
    # Behind a public address, the connection began towards that one, and is answered by the private one.
    mine = source in addresses if rule.egress else destination in addresses or entry.answered[0] in addresses
    if not mine or protocol == 1:
        return False
    if rule.protocol != "-1" and PROTOCOLS[rule.protocol] != str(protocol):
        return False
    return (rule.from_port, rule.to_port) in WHOLE or rule.from_port <= port <= rule.to_port
